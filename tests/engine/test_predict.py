import numpy as np
import pytest
import torch

from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.predict import predict
from whichtune.engine.using import Predictor
from whichtune.errors import NonFiniteError
from whichtune.spec.methods import FullSpec, LoraSpec

CPU = torch.device("cpu")


def run(trial, size):
    rows = (trial.material.data.examples["test"], trial.material.encoded["test"])
    return predict(trial.assembly, trial.material.task, "test", rows, size, Arithmetic("float32", CPU))


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_one_by_one_equals_a_batch(family, tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(family), FullSpec(kind="full"))
    (alone, _), (together, _) = run(trial, 1), run(trial, 16)
    assert np.allclose(alone.probabilities, together.probabilities, atol=1e-6)
    assert alone.ids == together.ids == [example.id for example in trial.material.data.examples["test"]]
    assert alone.parsed == together.parsed


def test_a_model_at_work_answers_as_in_its_trial(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(), LoraSpec(kind="lora"))
    examples, length = trial.material.data.examples["test"], trial.training.max_length
    expected, _ = run(trial, 5)
    with trial.assembly.predicting() as merged:
        predictor = Predictor(trial.assembly, trial.material.task, length, 5, Arithmetic("float32", CPU), merged)
        table, encoded = predictor.answer(examples)
    assert np.array_equal(table.probabilities, expected.probabilities)
    assert (table.ids, table.parsed) == (expected.ids, expected.parsed)
    assert np.array_equal(table.tokens_in, encoded.lengths)
    assert len(table.batch_seconds) == len(examples)


def test_outputs_that_are_no_numbers_are_told(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(), FullSpec(kind="full"))
    with torch.no_grad():
        next(trial.assembly.head.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="outputs on test rows are not numbers"):
        run(trial, 5)
    predictor = Predictor(trial.assembly, trial.material.task, 40, 5, Arithmetic("float32", CPU), merged=False)
    with pytest.raises(NonFiniteError, match="outputs on new rows are not numbers"):
        predictor.answer(trial.material.data.examples["test"])


def test_metrics_do_not_depend_on_uneven_batches(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(), FullSpec(kind="full"))
    scores = [trial.material.task.evaluate(run(trial, size)[0]) for size in (5, 16)]
    for left, right in zip(scores[0].metrics, scores[1].metrics, strict=True):
        assert left.value == pytest.approx(right.value, abs=1e-6), left.name


def test_merged_predictions_agree_and_leave_the_trunk_alone(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(), LoraSpec(kind="lora", learning_rate=1e-2))
    trial.run()
    trunk = trial.assembly.backbone.trunk
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    merged, was_merged = run(trial, 8)
    assert was_merged
    trial.assembly.attachment.merge = None
    unmerged, was_merged = run(trial, 8)
    assert not was_merged
    assert np.abs(merged.probabilities - unmerged.probabilities).max() < 1e-5
    assert np.abs(merged.probabilities - unmerged.probabilities).max() > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in trunk.state_dict().items())
