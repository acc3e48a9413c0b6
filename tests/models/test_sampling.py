"""How the next token is chosen: shares by hand, and what may not come."""

import pytest
import torch

from whichtune.errors import ModelError
from whichtune.models.sampling import Chooser, Sampling, find_repeats, forbid


def test_draws_follow_the_shares():
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()[None].expand(4000, 4)
    drawn = Chooser(Sampling(temperature=1.0), range(4000)).choose(scores)
    assert torch.allclose(drawn.bincount(minlength=4) / 4000, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.03)
    cold = Chooser(Sampling(temperature=0.01), range(50)).choose(scores[:50])
    assert set(cold.tolist()) == {3}


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(temperature=1.0, top_k=2), {2, 3}),
        (Sampling(temperature=1.0, top_p=0.69), {2, 3}),
        (Sampling(temperature=1.0, top_p=0.71), {1, 2, 3}),
        (Sampling(temperature=1.0, top_p=0.01), {3}),
        (Sampling(temperature=1.0, top_k=9), {0, 1, 2, 3}),
    ],
)
def test_only_the_best_tokens_are_drawn(sampling, kept):
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    left = Chooser(sampling, [0]).narrow(scores).isfinite()[0].nonzero()[:, 0].tolist()
    assert set(left) == kept


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"min_new_tokens": -1}, "min_new_tokens"),
        ({"max_new_tokens": 4, "min_new_tokens": 5}, r"min_new_tokens.*0 to 4"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, word):
    with pytest.raises(ModelError, match=word):
        Sampling(**fields)


@pytest.mark.parametrize(
    ("tokens", "size", "expected"),
    [
        ([1, 2, 1], 0, []),
        ([], 1, []),
        ([3, 1, 3], 1, [1, 3]),
        ([1, 2, 1], 2, [2]),
        ([1, 2, 1, 3, 1], 2, [2, 3]),
        ([1, 1], 2, [1]),
        ([1, 2], 3, []),
        ([1, 2, 3, 1, 2], 3, [3]),
        ([1, 2, 3, 2, 1], 3, []),
    ],
)
def test_tokens_that_would_repeat_a_run_are_found(tokens, size, expected):
    assert find_repeats(tokens, size) == expected


def test_what_may_not_come_is_put_away_and_the_scores_given_are_left_alone():
    scores = torch.zeros(2, 5)
    limited = Sampling(9, ends=(4,), min_new_tokens=3, no_repeat_ngram=2)
    away = forbid(scores, [[1, 1], [1, 2]], limited)
    assert away.isinf().nonzero().tolist() == [[0, 1], [0, 4], [1, 4]]
    assert not scores.any()
    later = forbid(scores, [[1, 2, 1], [1, 2, 3]], limited)
    assert later.isinf().nonzero().tolist() == [[0, 2]]
    assert forbid(scores, [[], []], Sampling(9, ends=(4,))) is scores
    assert forbid(scores, [[], []], limited).isinf().nonzero().tolist() == [[0, 4], [1, 4]]
