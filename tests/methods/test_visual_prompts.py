"""Visual prompts against the trunk's own parts run one after the other, and what they start from."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from whichtune.engine.build import build_assembly
from whichtune.engine.trial import count_assembly
from whichtune.layers.heads import HeadRequest
from whichtune.models.backbone import LoadRequest
from whichtune.models.image_batch import ImageBatch
from whichtune.models.layout import layout_of
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.seeds import Streams
from whichtune.spec.soft_prompts import PromptTuningSpec, PTuningSpec

COUNT = 3
FAMILIES = ("vit", "deit", "dinov2", "clip_vision_model", "siglip_vision_model")


def load(family="vit", **config):
    spec = RandomBackbone(kind="random", family=family, config={"initializer_range": 0.2} | config)
    return load_backbone(spec, LoadRequest(reads="image")) if "siglip" not in family else load_siglip(family)


def load_siglip(family):
    return load_backbone(RandomBackbone(kind="random", family=family), LoadRequest(reads="image"))


def assemble(backbone, method=PromptTuningSpec, kind="prompt-tuning", seed=1, **fields):
    spec = method(kind=kind, virtual_tokens=COUNT, **fields)
    return build_assembly(backbone, spec, HeadRequest(2), 0.0, Streams(seed))


def draw_batch(backbone, rows=4):
    side = backbone.reader.side
    pixels = torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(0))
    layout = layout_of(torch.full((rows,), backbone.reader.width))
    return ImageBatch(np.arange(rows), pixels, torch.arange(rows) % 2, layout)


def widen(assembly):
    """Let the rows weigh as much as the image's own, and the head tell outputs apart."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in (assembly.attachment.trained["added.rows"], assembly.head.out.weight):
            tensor.copy_(torch.empty(tensor.shape).normal_(0, 1, generator=generator))
    return assembly.attachment.trained["added.rows"].detach()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("read", ["token", "virtual"])
@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_logits_equal_the_blocks_run_by_hand(family, deep, read):
    backbone = load(family)
    assembly = assemble(backbone, deep=deep, read=read)
    rows, batch = widen(assembly), draw_batch(backbone)
    with assembly.predicting():
        ours = assembly(batch)
    assembly.attachment.detach()
    hidden = backbone.trunk.embeddings(batch.pixels)
    for place, block in enumerate(backbone.blocks):
        if place == 0:
            own = rows[0] if deep else rows
            hidden = torch.cat([own.expand(4, COUNT, 32), hidden], dim=1)
        elif deep:
            hidden = torch.cat([rows[place].expand(4, COUNT, 32), hidden[:, COUNT:]], dim=1)
        hidden = block(hidden)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    pooled = backbone.trunk.layernorm(hidden)[:, 0 if read == "virtual" else COUNT]
    expected = assembly.head(pooled)
    assert float(ours.std()) > 0.1
    assert (ours - expected).abs().max() < 1e-5


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_counted_and_start_as_published(family, deep):
    backbone = load(family)
    assembly = assemble(backbone, deep=deep)
    rows = assembly.attachment.trained["added.rows"].detach()
    assert rows.shape == ((2, COUNT, 32) if deep else (COUNT, 32))
    bound = (6 / (3 * 8**2 + 32)) ** 0.5
    assert float(rows.abs().max()) <= bound
    assert float(rows.std()) == pytest.approx(bound / 3**0.5, rel=0.2)
    counts, _ = count_assembly(assembly)
    assert counts.added == rows.numel() == COUNT * 32 * (2 if deep else 1)
    assert counts.trainable_theory == counts.trainable == counts.added + assembly.head.size
    assert assembly.attachment.merge is None
    other = assemble(load(family), deep=deep, initialise="random").attachment.trained["added.rows"]
    assert torch.equal(rows, other), "without words, both mean the same"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_image_is_read_by_its_own_rows(family):
    backbone = load(family)
    batch = draw_batch(backbone)
    rows, layout = assemble(backbone).attachment.inputs(backbone.embed(batch), batch.layout)
    assert torch.equal(rows[:, COUNT:], backbone.embed(batch))
    assert torch.equal(layout.first, torch.full((4,), COUNT))
    assert not layout.read[:, :COUNT].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputed_blocks_give_the_same_gradients(family):
    gradients = []
    for recompute in (False, True):
        assembly = assemble(load(family), deep=True)
        widen(assembly)
        assembly.checkpoints = recompute
        batch = draw_batch(assembly.backbone)
        with assembly.fitting():
            cross_entropy(assembly(batch), batch.targets).backward()
        gradients.append(assembly.attachment.trained["added.rows"].grad)
    assert gradients[0].abs().amax(dim=(1, 2)).gt(0).all(), "every block's rows learn"
    assert torch.allclose(*gradients, atol=1e-7)


def test_deep_keys_start_with_the_spread_of_what_the_trunk_makes_of_noise():
    backbone = load()
    assembly = assemble(backbone, PTuningSpec, "p-tuning", deep=True, encoder="none")
    rows = assembly.attachment.trained["added.rows"].detach()
    assembly.attachment.detach()
    batch = draw_batch(backbone, 16)
    hidden = backbone.blocks[0].layernorm_before(backbone.embed(batch))
    attention = backbone.blocks[0].attention
    for place, projection in enumerate((attention.k_proj, attention.v_proj)):
        own = rows[:, 32 * place : 32 * (place + 1)]
        assert float(own.std()) == pytest.approx(float(projection(hidden).detach().std()), rel=0.3)
