"""Keys and values of deep prompts: put in once a pass, and left alone where a later pass happens to look alike."""

import torch
from torch import nn

from whichtune.layers.virtual import KeyValueRows


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
