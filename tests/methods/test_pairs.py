import torch

from whichtune.layers.masks import MaskSource, StepKey
from whichtune.methods.pairs import PartKey
from whichtune.spec.seeds import Streams


def test_the_masks_of_both_halves_move_with_the_whole_and_differ():
    whole = StepKey(Streams(1))
    sources = [MaskSource(PartKey(whole, role), "0.attention", 0.5) for role in ("image", "text")]
    seen = []
    for _ in range(4):
        whole.advance()
        queries = [source.find().drop(torch.ones(8, 8)) for source in sources]
        values = [source.find().drop(torch.ones(8, 8)) for source in sources]
        assert all(map(torch.equal, queries, values))  # what reads one input shares its mask
        seen += [tuple(mask.flatten().tolist()) for mask in queries]
    assert len(set(seen)) == 8


def test_a_half_is_where_the_whole_is_without_being_asked_for_a_seed():
    whole = StepKey(Streams(1))
    half = PartKey(whole, "image")
    whole.advance()
    assert half.micro_step == whole.micro_step == 1
