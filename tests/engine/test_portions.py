"""Evaluation in batches that fit: every row once whatever fits, the same answers, and one head of all prompts."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from whichtune.engine import portions
from whichtune.engine.portions import MOST_PASSED, count_passed, count_rows, go_through, group_rows
from whichtune.engine.predict import predict
from whichtune.errors import DoesNotFitError, SpecError
from whichtune.models import causal
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.models.pair import make_pair
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import MethodSpec
from whichtune.spec.read import resolve_study
from whichtune.spec.training import ExecutionSpec
from whichtune.study.plan import plan_study, probe_id

CPU = torch.device("cpu")
LORA = {"kind": "lora", "dropout": 0.0, "learning_rate": 1e-2}
STUDY = {
    "name": "s",
    "data": {"source": {"kind": "tweets"}},
    "backbones": {"b": {"kind": "minilm"}},
    "methods": {"l": LORA},
}


def test_groups_hold_every_row_once_longest_first():
    lengths = np.array([3, 50, 7, 7, 20, 1])
    groups = [rows.tolist() for rows in group_rows(lengths, 3, most_tokens=60)]
    assert groups == [[1], [4, 2, 3], [0, 5]]
    assert next(group_rows(lengths, 2, most_tokens=10)).tolist() == [1], "one row at least"


@pytest.mark.parametrize("room", [1, 2, 3, 5, 100])
def test_what_does_not_fit_is_halved_and_so_is_what_comes_after(room):
    seen, tried = [], []

    def answer(rows):
        tried.append(len(rows))
        if len(rows) > room:
            raise MemoryError
        seen.extend(rows.tolist())

    most = go_through([np.arange(8), np.arange(8, 16), np.arange(16, 18)], answer, CPU)
    assert seen == list(range(18)), "in order, each once"
    failed = [size for size in tried if size > room]
    assert failed == {1: [8, 4, 2], 2: [8, 4], 3: [8, 4], 5: [8], 100: []}[room], "learned once"
    assert most == {1: 1, 2: 2, 3: 2, 5: 4, 100: None}[room]


def test_a_row_that_does_not_fit_is_told_and_other_errors_pass():
    def fail(rows):
        raise RuntimeError("can't allocate memory" if len(rows) else "")

    with pytest.raises(DoesNotFitError, match="too little memory"):
        go_through([np.arange(4)], fail, CPU)
    with pytest.raises(ZeroDivisionError):
        go_through([np.arange(4)], lambda rows: 1 / 0, CPU)


@pytest.fixture
def small_memory(monkeypatch):
    """Let a pass of more than three rows fail as an allocator does; count the batches that ran."""

    def limit(owner, name):
        own, sizes = getattr(owner, name), []

        def run(*given, **named):
            size = len(given[0] if isinstance(given[0], torch.Tensor) else given[1])
            if size > 3:
                raise MemoryError
            sizes.append(size)
            return own(*given, **named)

        monkeypatch.setattr(owner, name, run)
        return sizes

    return limit


def test_predictions_do_not_depend_on_what_fits(tiny_backbone, tiny_trial, small_memory):
    trial = tiny_trial(tiny_backbone("bert"), TypeAdapter(MethodSpec).validate_python(LORA))
    material = trial.material
    given = ("test", (material.data.examples["test"], material.encoded["test"]), 16, trial.prepare().arithmetic)
    whole, _ = predict(trial.assembly, material.task, *given)
    sizes = small_memory(type(trial.assembly.backbone), "run")
    some, _ = predict(trial.assembly, material.task, *given)
    assert max(sizes) == 2
    assert sum(sizes) == 16
    assert some.ids == whole.ids
    assert some.parsed == whole.parsed
    assert np.allclose(some.probabilities, whole.probabilities, atol=1e-5)
    assert some.batch_seconds.all()


@pytest.mark.parametrize("scoring", ["likelihood", "generation"])
def test_a_trained_model_reads_what_all_prompts_begin_with_once(
    tiny_backbone, language_trial, ask_in_words, monkeypatch, scoring
):
    """The instruction is run once a split, not once a row, with the same answers as row by row."""
    query = "Is what this visitor of the cinema wrote down good or bad? {{ text }} =>"
    task = ask_in_words(prompt={"template": {"query": query, "stop": []}}, scoring=scoring)
    trial = language_trial(tiny_backbone("llama"), LORA, task, max_length=120, epochs=1)
    trial.run()
    material, arithmetic = trial.material, trial.prepare().arithmetic
    encoded = material.encoded["test"]
    rows, ran, own = (material.data.examples["test"], encoded), [], causal.run_behind

    def run(backbone, embedded, layout, state=None):
        ran.append(int(layout.real.sum()) if layout.real.shape[1] > 1 else 0)  # tokens that are written have width 1
        return own(backbone, embedded, layout, state)

    monkeypatch.setattr("whichtune.engine.speaking.run_behind", run)
    table, merged = predict(trial.assembly, task, "test", rows, 4, arithmetic)
    assert merged
    prompts = encoded.prompts()
    shared = len(query.partition("{")[0])
    assert shared > 50
    assert ran[0] >= shared, "the head of all prompts comes first"
    assert sum(ran) <= prompts.lengths.sum() - (len(prompts) - 1) * ran[0] + 6 * 2 * len(prompts), "words besides"
    monkeypatch.setattr("whichtune.engine.speaking.LEAST_SHARED_TOKENS", 10**6)
    alone, _ = predict(trial.assembly, task, "test", rows, 1, arithmetic)
    assert table.parsed == alone.parsed
    assert table.raw == alone.raw


def test_predicting_is_without_a_graph_and_training_goes_on_after_it(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone("bert"), TypeAdapter(MethodSpec).validate_python(LORA), validate_every=1)
    with trial.assembly.predicting():
        assert torch.is_inference_mode_enabled()
    assert not torch.is_inference_mode_enabled()
    assert trial.run().steps == 8


def test_auto_is_what_a_device_is_fast_with():
    assert ExecutionSpec().evaluation_batch == "auto"
    assert count_rows("auto", CPU) == 64
    assert count_rows("auto", torch.device("cuda")) > 64
    assert count_rows(7, torch.device("cuda")) == 7


def test_tokens_of_a_gpu_follow_its_free_memory(monkeypatch, tiny_backbone):
    text = tiny_backbone("bert")
    image = load_backbone(RandomBackbone(kind="random", family="vit", image_size=32), LoadRequest(reads="image"))
    widest = max(text.hidden, image.hidden)
    for backbone, hidden in ((text, text.hidden), (make_pair(image, text), widest)):
        assert count_passed(backbone, CPU) == MOST_PASSED
        monkeypatch.setattr(portions, "read_free_bytes", lambda device: 2**26)
        assert count_passed(backbone, torch.device("cuda")) == 2**25 // (hidden * portions.TOKEN_BYTES)
        monkeypatch.setattr(portions, "read_free_bytes", lambda device: 2**40)
        assert count_passed(backbone, torch.device("cuda")) == MOST_PASSED


def test_identities_of_probes_are_those_of_64_rows():
    found = []
    for batch in ("auto", 64, 32):
        study = resolve_study(STUDY | {"execution": {"evaluation_batch": batch}})
        planned = plan_study(study)[-1]
        found.append(probe_id(planned, study, {"method": {}}, {}))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("asked", [0, -3, "many", True, 1.5])
def test_what_is_no_number_of_rows_is_refused(asked):
    with pytest.raises(SpecError, match="whole numbers from 1 on, and `auto`"):
        resolve_study(STUDY | {"execution": {"evaluation_batch": asked}})
