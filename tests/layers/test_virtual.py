"""Deep prompts: put in once a pass, and left alone where a later pass happens to look alike."""

import torch
from torch import nn

from whichtune.layers.virtual import FirstRows, KeyValueRows


def test_where_nothing_is_computed_again_a_hook_is_done_after_its_pass():
    hook, module = KeyValueRows(None), nn.Identity()
    output = torch.zeros(2, 5, 3)
    hook.rows, hook.shape = torch.ones(2, 3), (2, 5)
    with torch.no_grad():
        hook.expect()
        assert hook(module, (), output)[:, :2].eq(1).all()
        hook.expect()
        assert hook(module, (), output).eq(0).all(), "rows behind a cache are none of the prompt's"


def test_where_a_block_is_computed_again_it_gets_its_rows_again():
    hook, module = KeyValueRows(None), nn.Identity()
    hook.rows, hook.shape = torch.ones(2, 3), (2, 5)
    for _ in range(2):
        hook.expect()
        assert hook(module, (), torch.zeros(2, 5, 3))[:, :2].eq(1).all()


class Block(nn.Module):
    def forward(self, hidden_states, mask=None):
        return 2 * hidden_states


def test_rows_of_a_block_stand_in_place_of_the_first_ones_however_it_is_called():
    first, block, hidden = FirstRows(), Block(), torch.zeros(2, 5, 3)
    take_off = first.stand_before(block)
    assert block(hidden).eq(0).all(), "without rows nothing changes"
    for call in (lambda: block(hidden), lambda: block(mask=None, hidden_states=hidden)):
        first.rows, first.shape = torch.ones(2, 3), (2, 5)
        made = call()
        assert made[:, :2].eq(2).all()
        assert made[:, 2:].eq(0).all()
    take_off()
    assert "forward" not in vars(block)
    assert block(hidden).eq(0).all()


def test_rows_of_a_block_are_done_after_a_pass_that_is_not_computed_again():
    first, block, hidden = FirstRows(), Block(), torch.zeros(2, 5, 3)
    first.stand_before(block)
    first.rows, first.shape = torch.ones(2, 3), (2, 5)
    for _ in range(2):
        assert block(hidden)[:, :2].eq(2).all(), "a block that is computed again gets its rows again"
    assert block(torch.zeros(2, 1, 3)).eq(0).all(), "another width is another pass"
    with torch.no_grad():
        assert block(hidden)[:, :2].eq(2).all()
        assert block(hidden).eq(0).all()
