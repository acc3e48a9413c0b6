"""The head over an image and a text: sizes, seeds, and what each way of putting both together can express."""

import pytest
import torch

from whichtune.layers.heads import FusionHead, HeadRequest, NoHead

WAYS = ("concat", "mlp", "product")


def make(fusion, seed=3, dropout=0.0):
    head = FusionHead((12, 7), fusion, 16, HeadRequest(5), dropout)
    head.initialise(seed)
    return head.eval()


@pytest.mark.parametrize("fusion", WAYS)
def test_sizes_are_counted_and_seeds_decide_every_weight(fusion):
    head = make(fusion)
    assert head.size == sum(tensor.numel() for tensor in head.parameters())
    same, other = make(fusion), make(fusion, seed=4)
    weights = [name for name, _ in head.named_parameters() if name.endswith("weight")]
    assert all(torch.equal(head.get_parameter(name), same.get_parameter(name)) for name in weights)
    assert not any(torch.equal(head.get_parameter(name), other.get_parameter(name)) for name in weights)
    assert all(not tensor.any() for name, tensor in head.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("fusion", WAYS)
def test_only_concat_is_additive_in_image_and_text(fusion):
    """What one text changes is then the same for every image: no answer can depend on both together."""
    head, draw = make(fusion), torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 12, generator=draw), torch.randn(2, 7, generator=draw)
    with torch.no_grad():
        outputs = [[head(torch.cat([image, text])[None])[0] for text in texts] for image in images]
    apart = (outputs[0][0] - outputs[0][1]) - (outputs[1][0] - outputs[1][1])
    assert bool(apart.abs().max() < 1e-5) == (fusion == "concat")


@pytest.mark.parametrize("fusion", WAYS)
def test_the_length_of_an_embedding_does_not_matter(fusion):
    head, row = make(fusion), torch.randn(4, 19, generator=torch.Generator().manual_seed(0))
    scaled = torch.cat([row[:, :12] * 50, row[:, 12:] * 3], dim=1)
    torch.testing.assert_close(head(scaled), head(row), atol=1e-4, rtol=1e-3)


def test_an_exclusive_or_is_learned_by_all_but_concat():
    """Image and text hold one bit each and the answer is whether they differ: a red circle, asked for or not."""
    draw = torch.Generator().manual_seed(1)
    bits = torch.randint(2, (256, 2), generator=draw)
    noise = torch.randn(256, 19, generator=draw) * 0.1
    signal = torch.cat([(bits[:, :1] * 2.0 - 1).expand(-1, 6), torch.zeros(256, 6)], dim=1)
    text = torch.cat([(bits[:, 1:] * 2.0 - 1).expand(-1, 3), torch.zeros(256, 4)], dim=1)
    features, targets = torch.cat([signal, text], dim=1) + noise, bits[:, 0] ^ bits[:, 1]
    reached = {}
    for fusion in WAYS:
        head = FusionHead((12, 7), fusion, 16, HeadRequest(2), 0.0)
        head.initialise(0)
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(features), targets).backward()
            optimizer.step()
        reached[fusion] = float((head(features).argmax(dim=1) == targets).float().mean())
    assert reached["concat"] < 0.8
    assert min(reached["mlp"], reached["product"]) > 0.98


def test_the_stand_in_for_a_head_is_nothing():
    head = NoHead()
    head.initialise(1)
    assert head.size == 0
    assert not list(head.parameters())
