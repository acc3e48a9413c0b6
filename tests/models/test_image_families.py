"""Image families and the towers beside them: our way of running a trunk against the library's own forward."""

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from whichtune.errors import ModelError
from whichtune.models.anatomy import WORDS, image_rows
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import collate
from whichtune.models.count import count_parameters
from whichtune.models.families import IMAGE_FAMILIES, describe_family
from whichtune.models.image_batch import ImageBatch
from whichtune.models.layout import layout_of
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone

TEXTS = ("clip_text_model", "siglip_text_model")
IMAGES = sorted(set(IMAGE_FAMILIES) - set(TEXTS))
ROWS = ("clip_vision_model", "deit", "dinov2", "siglip_vision_model", "vit")
MAPS = sorted(set(IMAGES) - set(ROWS))
SIDE = 32


def load(family, reads="image", **config):
    spec = RandomBackbone(kind="random", family=family, config=config)
    return load_backbone(spec, LoadRequest(reads=reads))


def draw(backbone, count=3, side=SIDE):
    """Images of noise as a batch."""
    pixels = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(side))
    width = image_rows(backbone.anatomy, backbone.config, side)
    return ImageBatch(np.arange(count), pixels, torch.zeros(count), layout_of(torch.full((count,), width)))


def run(backbone, batch):
    return backbone.run(backbone.embed(batch), batch.layout)


def run_library(backbone, pixels):
    """The family's own forward; what it calls the image, and its hidden rows."""
    own = {"pixel_values": pixels}
    if pixels.shape[-1] != SIDE and backbone.anatomy.family not in ("dinov2", *MAPS):
        own["interpolate_pos_encoding"] = True
    found = backbone.trunk(**own)
    rows = found.last_hidden_state
    rows = rows if rows.ndim == 3 else rows.flatten(2).transpose(1, 2)
    pooled = getattr(found, "image_embeds", None)
    return rows, getattr(found, "pooler_output", None) if pooled is None else pooled


def pool_by_hand(family, rows):
    return rows[:, 0] if family in ("vit", "deit") else rows.mean(dim=1)


@pytest.mark.parametrize("side", [SIDE, 48])
@pytest.mark.parametrize("family", IMAGES)
def test_hidden_rows_and_features_are_the_librarys_at_its_own_and_another_size(family, side):
    backbone = load(family)
    batch = draw(backbone, side=side)
    with torch.no_grad():
        rows, pooled = run_library(backbone, batch.pixels)
        ours = run(backbone, batch)
        features = backbone.pool(ours, batch.layout)
    expected = pool_by_hand(family, rows) if pooled is None else pooled.flatten(1)
    assert torch.equal(ours, rows)
    assert ours.shape == (3, batch.layout.real.shape[1], backbone.hidden)
    assert features.shape == (3, backbone.feature_width())
    assert torch.allclose(features, expected, atol=1e-6)


@pytest.mark.parametrize("family", TEXTS)
def test_towers_of_texts_give_the_librarys_rows_and_embeddings(family):
    backbone = load(family, "text")
    ids = torch.randint(3, 200, (3, 9), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 258
    layout = layout_of(torch.full((3,), 9))
    with torch.no_grad():
        found = backbone.trunk(input_ids=ids, attention_mask=torch.ones_like(ids))
        ours = backbone.run(backbone.trunk.get_submodule(backbone.anatomy.tokens)(ids), layout)
        pooled = backbone.pool(ours, layout)
    expected = found.text_embeds if hasattr(found, "text_embeds") else found.pooler_output
    assert torch.equal(ours, found.last_hidden_state)
    assert torch.allclose(pooled, expected, atol=1e-6)
    assert pooled.shape == (3, backbone.feature_width())


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", TEXTS)
def test_a_text_alone_has_the_embedding_it_has_in_a_batch(family, side):
    backbone = load(family, "text")
    encoded = backbone.encoder.encode(["a red circle", "x", "nothing at all, twice over"], np.zeros(3), 64)

    def embed(rows):
        batch = collate(encoded, rows, side=side)
        return backbone.pool(backbone.run(backbone.embed(batch), batch.layout), batch.layout)

    with torch.no_grad():
        together, alone = embed(range(3)), torch.cat([embed([row]) for row in range(3)])
    assert (together - alone).abs().max() <= 1e-5 * alone.std()


@pytest.mark.parametrize("family", IMAGES)
def test_an_image_alone_has_the_features_it_has_in_a_batch(family):
    backbone = load(family)
    batch = draw(backbone)
    with torch.no_grad():
        together = backbone.pool(run(backbone, batch), batch.layout)
        for row in range(3):
            one = ImageBatch(batch.rows[:1], batch.pixels[row : row + 1], batch.targets[:1], layout_of(
                torch.tensor([batch.layout.real.shape[1]])))  # fmt: skip
            alone = backbone.pool(run(backbone, one), one.layout)
            assert (together[row] - alone[0]).abs().max() <= 1e-5 * max(together.std(), 1e-3)


def test_both_towers_of_clip_are_those_of_the_whole_model():
    torch.manual_seed(0)
    images, texts = load("clip"), load("clip", "text")
    whole = CLIPModel(CLIPConfig(vision_config=images.config, text_config=texts.config, projection_dim=24)).eval()
    whole.load_state_dict({**whole.state_dict(), **images.trunk.state_dict(), **texts.trunk.state_dict()})
    batch = draw(images)
    with torch.no_grad():
        found = whole.get_image_features(pixel_values=batch.pixels)
        ours = images.pool(run(images, batch), batch.layout)
    assert torch.allclose(ours, getattr(found, "pooler_output", found), atol=1e-6)


@pytest.mark.parametrize("family", [*IMAGES, *TEXTS])
def test_sizes_by_formula_are_those_of_the_tensors(family):
    backbone = load(family, "text" if family in TEXTS else "image")
    sizes = backbone.dimensions
    named = dict(backbone.trunk.named_parameters())
    assert sizes.trunk.parameters == count_parameters(backbone.trunk)
    assert sizes.trunk.biases == sum(one.numel() for name, one in named.items() if name.endswith("bias"))
    assert (sizes.hidden, sizes.blocks) == (backbone.hidden, len(backbone.blocks))
    blocks = [count_parameters(block) for block in backbone.blocks]
    for count in range(1, len(blocks) + 1):
        assert sizes.last_blocks(count).parameters == sum(blocks[-count:])
    outside = sum(one.numel() for name, one in named.items() if name in backbone.anatomy.unread)
    assert sizes.trunk.inert == sum(named[name].numel() for name in backbone.inert) + outside


@pytest.mark.parametrize("family", [*IMAGES, *TEXTS])
def test_every_projection_is_where_and_as_large_as_stated_in_every_block(family):
    backbone = load(family, "text" if family in TEXTS else "image")
    known = {"convnext": ("mlp-in", "mlp-out"), "resnet": (), "efficientnet-lite0": ()}
    assert tuple(backbone.anatomy.projections) == known.get(family, WORDS)
    for index in range(len(backbone.blocks)):
        for word, extent in backbone.dimensions.extents(index).items():
            path, module, _ = backbone.projection(index, word)
            assert path.startswith(f"{backbone.block_path(index)}.")
            assert (module.in_features, module.out_features) == (extent.inputs, extent.outputs)
            assert (module.bias is not None) == extent.bias


def test_blocks_in_stages_are_listed_in_the_order_in_which_they_run():
    backbone = load("swin")
    paths = [backbone.block_path(index) for index in range(3)]
    assert paths == ["encoder.layers.0.blocks.0", "encoder.layers.1.blocks.0", "encoder.layers.1.blocks.1"]
    assert backbone.block_path(-1) == paths[-1]
    ran = []
    for path, block in zip(paths, backbone.blocks, strict=True):
        block.register_forward_hook(lambda *_, path=path: ran.append(path))
    with torch.no_grad():
        run(backbone, draw(backbone))
    assert ran == paths


@pytest.mark.parametrize("family", IMAGES)
def test_gradients_reach_every_tensor_that_is_not_named_as_unreached_or_inert(family):
    backbone = load(family)
    batch = draw(backbone)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # some families begin with zeros
        for tensor in backbone.trunk.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    pooled = backbone.pool(run(backbone, batch), batch.layout)
    (pooled * torch.randn(pooled.shape, generator=generator)).sum().backward()
    for name, tensor in backbone.trunk.named_parameters():
        if name in backbone.unreached():
            assert tensor.grad is None, name
        elif name in backbone.inert:
            assert tensor.grad.abs().max() < 1e-5, name
        else:
            assert tensor.grad.abs().max() > 1e-5, name
    embeddings = backbone.module(backbone.anatomy.embeddings[0])
    assert any(tensor.grad is not None and tensor.grad.any() for tensor in embeddings.parameters())


@pytest.mark.parametrize("family", ROWS)
def test_rows_put_in_front_are_seen_and_get_a_gradient(family):
    backbone = load(family)
    batch = draw(backbone)
    virtual = torch.randn(3, 2, backbone.embedding_width, requires_grad=True)
    embedded = backbone.embed(batch)
    layout = batch.layout.prepend(2)
    hidden = backbone.run(torch.cat([virtual, embedded], dim=1), layout)
    assert hidden.shape == (3, embedded.shape[1] + 2, backbone.hidden)
    pooled = backbone.pool(hidden, layout)
    pooled.square().sum().backward()
    assert virtual.grad is not None
    assert virtual.grad.abs().max() > 0
    with torch.no_grad():
        assert not torch.allclose(pooled, backbone.pool(backbone.run(embedded, batch.layout), batch.layout))


@pytest.mark.parametrize("family", ROWS)
def test_the_trunk_is_given_back_after_a_run_even_one_that_fails(family):
    backbone = load(family)
    batch = draw(backbone)
    with pytest.raises((RuntimeError, ValueError)):
        backbone.run(torch.zeros(3, 4, backbone.hidden + 1), batch.layout)
    assert all("forward" not in vars(module) for module in backbone.trunk.modules())
    with torch.no_grad():
        assert torch.equal(run(backbone, batch), run_library(backbone, batch.pixels)[0])


def test_what_a_head_does_not_read_is_named():
    clip = load("clip_vision_model")
    above = ("vision_model.post_layernorm.weight", "vision_model.post_layernorm.bias", "visual_projection.weight")
    assert set(clip.unreached("first")) == set(above)
    assert clip.unreached() == ()
    assert load("dinov2").unreached() == ("embeddings.mask_token",)
    assert all(name.startswith("head.") for name in load("siglip_vision_model").unreached("mean"))
    assert load("siglip_vision_model").unreached("mean")
    assert (clip.feature_width(), clip.feature_width("mean")) == (24, 32)


def test_a_text_is_refused_where_images_are_read_and_the_other_way_round():
    with pytest.raises(ModelError, match=r"'vit' reads images.*texts"):
        load("vit").encoder  # noqa: B018
    bert = load("bert", "text")
    with pytest.raises(ModelError, match=r"'bert' reads texts.*images"):
        bert.embed(draw(load("vit")))
    with pytest.raises(ModelError, match="reads texts"):
        image_rows(bert.anatomy, bert.config, 32)


@pytest.mark.parametrize("family", MAPS)
def test_no_place_of_a_map_stands_for_the_image(family):
    backbone = load(family)
    batch = draw(backbone)
    with torch.no_grad(), pytest.raises(ModelError, match="no place of a map"):
        backbone.pool(run(backbone, batch), batch.layout, "first")


def test_images_too_small_for_one_place_are_refused():
    backbone = load("vit")
    with pytest.raises(ModelError, match="leave too little to read"):
        image_rows(backbone.anatomy, backbone.config, 7)


def test_images_whose_last_map_is_less_than_a_window_are_refused():
    backbone = load("swin")  # patches of 4 and one halving: 4 places a side, the window, need more than 24 pixels
    with pytest.raises(ModelError, match="leave too little to read"):
        image_rows(backbone.anatomy, backbone.config, 24)
    with torch.no_grad():
        found = backbone.run(torch.randn(1, 3, 25, 25), layout_of(torch.tensor([1])))
    assert found.shape[1] == image_rows(backbone.anatomy, backbone.config, 25) == 16


def test_oblong_images_are_refused():
    config = load("vit").config | {"image_size": [32, 48]}
    with pytest.raises(ModelError, match="square"):
        describe_family(config).dimensions(config)


def test_gated_blocks_of_the_largest_dinov2_are_described():
    backbone = load("dinov2", use_swiglu_ffn=True)
    assert tuple(backbone.anatomy.projections) == (*WORDS, "mlp-gate")
    assert backbone.dimensions.trunk.parameters == count_parameters(backbone.trunk)


@pytest.mark.parametrize("config", [{"layer_type": "basic"}, {"downsample_in_first_stage": True}])
def test_variants_of_resnet_are_measured(config):
    backbone = load("resnet", **config)
    assert backbone.dimensions.trunk.parameters == count_parameters(backbone.trunk)
    with torch.no_grad():
        assert run(backbone, draw(backbone)).shape[1] == image_rows(backbone.anatomy, backbone.config, SIDE)


def test_maps_of_any_size_have_as_many_rows_as_are_told():
    for family in MAPS:
        backbone = load(family)
        for side in (32, 40, 57):
            with torch.no_grad():
                found = backbone.run(torch.randn(1, 3, side, side), layout_of(torch.tensor([1])))
            assert found.shape[1] == image_rows(backbone.anatomy, backbone.config, side), (family, side)
