"""Data-size curves, from a study file to trials, records and what a report says of them."""

from unittest.mock import MagicMock

import numpy as np
import pytest

from whichtune.engine.batches import plan_steps
from whichtune.errors import DataError, SpecError
from whichtune.records.predictions import read_predictions
from whichtune.report.comparison import compare_study
from whichtune.spec.read import resolve_study
from whichtune.spec.study import StudySpec
from whichtune.spec.training import TrainingSpec
from whichtune.study.run import run_study
from whichtune.study.searching import Result
from whichtune.study.stages import count_expected, next_trials
from whichtune.study.verifying import verify

SEEDS = (1, 2, 3, 4, 5)
METHODS = {
    "majority": {"kind": "majority"},
    "frozen": {"kind": "frozen-features", "learning_rate": 1e-2},
    "lora": {"kind": "lora", "learning_rate": 1e-2},
}
SIZED = {"methods": METHODS, "seeds": SEEDS, "sizes": [8, 24, "all"], "contender_seeds": 0}
LABELLED = 60
"""Training and validation rows of the table of 80."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, table):
    """A study of two sizes that has run: its spec and its folder."""
    place = tmp_path_factory.mktemp("sized")
    spec = {
        "name": "tiny",
        "data": {"source": {"kind": "files", "all": str(table)}},
        "backbones": {"bert": {"kind": "random", "family": "bert"}},
        "training": {"epochs": 2, "batch_size": 8, "max_length": 40},
        "execution": {"threads": 1, "device": "cpu", "check": False},
        "measure": {"probe": False},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHICHTUNE_CACHE", str(place / "cache"))
        study = StudySpec.model_validate(spec | SIZED)
        outcome = run_study(study, place / "runs", MagicMock())
        assert outcome.exit_code == 0
        yield study, outcome.folder


def test_every_candidate_is_trained_at_every_size_with_every_seed(finished):
    _, folder = finished
    trials = folder.read_trials("size")
    assert {(one.candidate, one.labels, one.seed) for one in trials} == {
        (name, size, seed) for name in ("majority", "frozen@bert", "lora@bert") for size in (8, 24) for seed in SEEDS
    }
    assert len(trials) == 30
    assert len(folder.read_trials()) == 1 + 2 * len(SEEDS), "final trials are those on all rows"
    assert folder.read_plan().complete
    assert all(not folder.trial(one.id).adapter.exists() for one in trials)


def test_a_size_takes_the_steps_of_all_rows_and_validates_as_often(finished):
    _, folder = finished
    whole = {one.steps for one in folder.read_trials() if one.kind == "lora"}
    sized = {one.steps for one in folder.read_trials("size") if one.kind == "lora"}
    assert whole == sized
    lengths = {one.labels: one.epochs for one in folder.read_trials("size") if one.kind == "lora"}
    assert lengths[8] > lengths[24] > 2


def test_only_the_rows_of_the_chain_are_validated_and_all_test_rows_predicted(finished):
    _, folder = finished
    sized = {one.id: one for one in folder.read_trials("size")}
    rows = {}
    for one in sized.values():
        tables = read_predictions(folder.trial(one.id).predictions)
        rows.setdefault((one.labels, one.seed), set()).add(tuple(tables["validation"].ids))
        assert len(tables["test"].ids) == 80 - LABELLED
    assert all(len(each) == 1 for each in rows.values()), "methods share the rows of a chain"
    assert {len(next(iter(each))) for (size, _), each in rows.items() if size == 8} == {2}
    assert len({next(iter(each)) for (size, _), each in rows.items() if size == 24}) > 1, "seeds draw their own"


def test_the_report_has_a_point_a_size_and_says_what_crosses(finished):
    _, folder = finished
    report = compare_study(folder).sizes
    assert report is not None
    curves = {one.candidate: one for one in report.curves}
    assert [point.size for point in curves["lora@bert"].points] == [8, 24, LABELLED]
    assert all(point.chains == 5 for one in report.curves for point in one.points)
    assert not any(one.fixed for one in report.curves)
    for curve in report.curves:
        trials = [one for one in folder.read_trials("size") if one.candidate == curve.candidate and one.labels == 24]
        mean = np.mean([one.scores["test"].metrics[0].value for one in trials])
        assert curve.points[1].mean == pytest.approx(mean)
    assert any(told.startswith("Of 3 pairs of candidates") for told in report.sentences)


def test_a_second_run_trains_nothing_and_a_new_size_trains_that_alone(finished):
    study, folder = finished
    before = {one.id for one in folder.read_trials("size")}
    watcher = MagicMock()
    run_study(study, folder.path.parent, watcher)
    assert all(call.kwargs["found"] for call in watcher.on_trial_end.call_args_list)
    more = study.model_copy(update={"sizes": (8, 16, 24)})
    run_study(more, folder.path.parent, MagicMock())
    after = {one.id: one.labels for one in folder.read_trials("size")}
    assert {after[one] for one in after.keys() - before} == {16}
    assert before <= after.keys()


def test_a_trial_of_a_size_is_verified_like_any_other(finished):
    _, folder = finished
    trial = next(one for one in folder.read_trials("size") if one.kind == "frozen-features" and one.labels == 24)
    assert verify(folder.trial(trial.id), MagicMock()).outcome == "equal"


def make(**changes):
    raw = {
        "name": "s",
        "data": {"source": {"kind": "tweets"}},
        "backbones": {"b": {"kind": "minilm"}},
        "methods": METHODS,
        "seeds": list(SEEDS),
        "sizes": [100, 32, "all"],
        "contender_seeds": 0,
    }
    return resolve_study(raw | changes)


def test_sizes_come_last_with_the_settings_that_the_search_chose():
    study = make(search={"trials": 2, "best": 1, "repeats": 0})
    results = []
    while asked := next_trials(study, results, list):
        results += [
            Result(one, "finished", float(one.method.model_dump().get("learning_rate", 0)), 1.0) for one in asked
        ]
    sized = [one.planned for one in results if one.planned.role == "size"]
    assert [one.planned.role for one in results[-len(sized) :]] == ["size"] * len(sized)
    assert len(sized) == 3 * 2 * 5
    assert [one.labels for one in sized[:10]] == [32] * 5 + [100] * 5
    chosen = {one.planned.candidate: one.planned.method for one in results if one.planned.role == "final"}
    assert all(one.method == chosen[one.candidate] for one in sized)
    assert count_expected(study) == len(results) or any(one.planned.purpose == "beyond" for one in results)


def test_what_makes_no_sense_on_all_rows_is_not_tried_on_fewer():
    study, results = make(), []
    while asked := next_trials(study, results, list):
        results += [Result(one, "unsupported" if "lora" in one.candidate else "finished", 1.0, 1.0) for one in asked]
    assert {one.planned.candidate for one in results if one.planned.role == "size"} == {"majority", "frozen@b"}


def test_zero_shot_prompts_are_asked_once_and_few_shot_ones_at_every_size():
    methods = {
        "zero": {"kind": "prompting", "style": "zero-shot"},
        "few": {"kind": "prompting", "style": "few-shot"},
        "nearest": {"kind": "prompting", "style": "few-shot", "shots": {"choice": "nearest"}},
    }
    study = make(task={"kind": "instruction-classification"}, backbones={"b": {"kind": "smollm2"}}, methods=methods)
    results = []
    while asked := next_trials(study, results, list):
        results += [Result(one, "finished", 1.0, 1.0) for one in asked]
    sized = [one.planned for one in results if one.planned.role == "size"]
    assert {one.candidate for one in sized} == {"majority", "few@b", "nearest@b"}
    assert {one.seed for one in sized if one.candidate == "nearest@b"} == set(SEEDS)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sizes": [32, 32]}, "stands twice"),
        ({"sizes": ["all"]}, "two points or more"),
        ({"sizes": [1, "all"]}, "whole numbers from 2 on"),
        ({"sizes": ["most"]}, "whole numbers from 2 on"),
        ({"sizes": [True]}, "whole numbers from 2 on"),
        ({"seeds": [1, 2, 3]}, "seeds: \\[1, 2, 3, 4, 5\\]"),
    ],
)
def test_sizes_that_make_no_curve_are_refused_with_a_remedy(changes, told):
    with pytest.raises(SpecError, match=told):
        make(**changes)


def test_a_size_beyond_the_data_is_refused_before_anything_trains(tiny_study, tmp_path):
    watcher = MagicMock()
    with pytest.raises(DataError, match="not so many labelled rows"):
        run_study(tiny_study(**SIZED | {"sizes": [8, LABELLED]}), tmp_path / "runs", watcher)
    assert not watcher.on_trial.called


def test_sizes_leave_the_trials_of_a_study_what_they_were(tiny_study, tmp_path):
    methods = {"frozen": METHODS["frozen"]}
    plain = run_study(tiny_study(methods=methods), tmp_path / "plain", MagicMock())
    sized = run_study(tiny_study(methods=methods, seeds=SEEDS, sizes=[8]), tmp_path / "sized", MagicMock())
    assert {one.id for one in plain.records} <= {one.id for one in sized.records}


def test_epochs_may_be_held_instead_of_steps(tiny_study, tmp_path):
    study = tiny_study(**SIZED | {"sizes": [8], "sizes_hold": "epochs", "methods": {"lora": METHODS["lora"]}})
    outcome = run_study(study, tmp_path / "runs", MagicMock())
    sized = [one for one in outcome.folder.read_trials("size") if one.kind == "lora"]
    assert {one.epochs for one in sized} == {1.0}
    assert {one.steps for one in sized} == {plan_steps(7, TrainingSpec(epochs=1, batch_size=16)).total}
