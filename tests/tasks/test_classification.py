import numpy as np
import pytest
import torch
from torch.nn import functional

from whichtune.data.examples import Example
from whichtune.errors import DataError
from whichtune.models.encoder import TextEncoder
from whichtune.models.tiny import make_byte_tokenizer
from whichtune.spec.members import members
from whichtune.spec.tasks import PairClassificationSpec, TaskSpec, TextClassificationSpec
from whichtune.tasks import BUILDERS, build_task
from whichtune.tasks.scored import gather, score_shares

SPEC = TextClassificationSpec(kind="text-classification")


def test_every_task_has_exactly_one_builder():
    assert set(BUILDERS) == set(members(TaskSpec))


def test_the_loss_is_a_sum_over_valid_targets():
    task = build_task(SPEC, ("a", "b", "c"))
    outputs, targets = torch.randn(5, 3), torch.tensor([0, 2, -1, 1, -1])
    total, count = task.loss(outputs, targets)
    assert count == 3
    assert total == pytest.approx(
        float(functional.cross_entropy(outputs[[0, 1, 3]], targets[[0, 1, 3]], reduction="sum"))
    )


def test_scores_are_probabilities_and_losses():
    task = build_task(SPEC, ("a", "b"))
    scored = task.score(torch.tensor([[0.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 0]))
    assert scored.predicted.tolist() == [0, 1]
    assert scored.confidence[0] == pytest.approx(0.5)
    assert scored.loss[0] == pytest.approx(np.log(2))
    assert np.allclose(scored.probabilities.sum(axis=1), 1)


def test_thousands_of_labels_keep_no_table_of_probabilities():
    task = build_task(SPEC, tuple(f"label{index:04d}" for index in range(5000)))
    scored = task.score(torch.randn(4, 5000), torch.tensor([1, 2, 3, 4]))
    assert scored.probabilities is None
    assert scored.confidence.shape == (4,)


def test_a_share_of_zero_is_an_infinite_loss_not_an_error():
    scored = score_shares(np.array([[1.0, 0.0]]), np.array([1]))
    assert np.isinf(scored.loss[0])


def test_a_row_without_gold_has_no_target_and_no_loss():
    task = build_task(SPEC, ("a", "b"))
    examples = [Example("1", "new", "x", None, "o:1"), Example("2", "new", "y", "b", "o:2", group="g")]
    assert task.targets(examples).tolist() == [-1, 1]
    scored = task.score(torch.tensor([[0.0, 4.0], [0.0, 4.0]]), torch.tensor([-1, 1]))
    assert np.isnan(scored.loss).tolist() == [True, False]
    table = task.tabulate("new", examples, scored)
    assert (table.gold, table.parsed, table.group) == ([None, "b"], ["b", "b"], [None, "g"])
    assert task.tabulate("new", examples[:1], task.score(torch.zeros(1, 2), torch.tensor([-1]))).group is None


def test_pairs_are_encoded_as_pairs():
    task = build_task(PairClassificationSpec(kind="pair-classification"), ("a", "b"))
    encoder = TextEncoder(make_byte_tokenizer(), vocabulary=259, max_positions=128, segments=True)
    encoded = task.encode([Example("1", "new", "x", "b", "o:1", pair="yz")], encoder, 16)
    by_hand = make_byte_tokenizer().encode("x", "yz")
    assert (encoded.row(0).tolist(), encoded.segments.tolist()) == (by_hand.ids, by_hand.type_ids)
    assert encoded.targets.tolist() == [1]
    with pytest.raises(DataError, match=r"o:2 has no second text.*data\.columns\.pair"):
        task.encode([Example("2", "new", "x", "b", "o:2")], encoder, 16)


def test_gathered_rows_stand_in_the_order_of_their_places():
    task = build_task(SPEC, ("a", "b"))
    outputs, targets = torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])
    whole = task.score(outputs, targets)
    places = [np.array([4, 1]), np.array([0, 5, 2, 3])]
    parts = [task.score(outputs[place], targets[place]) for place in places]
    assert np.allclose(gather(parts, places).probabilities, whole.probabilities)
