"""Settings drawn by Optuna: seeded, told every result, ended early only where that was asked for."""

import math
import sys

import pytest

from whichtune.errors import InputError, PrunedError
from whichtune.spec.read import resolve_study
from whichtune.spec.search import SearchSpec, Space
from whichtune.study.drawing import Answer, Halving, draw_settings
from whichtune.study.run import run_study
from whichtune.study.stages import next_trials

SPACE = Space({"learning_rate": (1e-4, 1e-2)}, {"targets": (("query",), ("query", "value"))})


def answer_by_rate(setting):
    """Best at 3e-3."""
    return Answer(1 - abs(math.log10(setting["learning_rate"] / 3e-3)))


def draw(spec, answer=answer_by_rate, stream=0):
    return [one.setting for one in draw_settings(spec, SPACE, stream, answer)]


@pytest.mark.parametrize("sampler", ["tpe", "random", "quasi-random"])
def test_draws_are_seeded_inside_their_space_and_rounded(sampler):
    spec = SearchSpec(engine="optuna", sampler=sampler, trials=12)
    settings = draw(spec)
    assert settings == draw(spec)
    assert settings != draw(spec, stream=1)
    assert len(settings) == 12
    assert all(1e-4 <= one["learning_rate"] <= 1e-2 for one in settings)
    assert all(float(f"{one['learning_rate']:.3g}") == one["learning_rate"] for one in settings)
    assert {one["targets"] for one in settings} == {("query",), ("query", "value")}


def test_one_setting_is_asked_for_at_a_time():
    spec = SearchSpec(engine="optuna", trials=6)
    whole = draw(spec)
    known = {}
    for setting in whole:
        assert draw(spec, lambda one: known.get(str(one))) == whole[: len(known) + 1]
        known[str(setting)] = answer_by_rate(setting)


def test_a_sampler_that_learns_draws_nearer_to_the_best():
    far = {}
    for sampler in ("tpe", "random"):
        late = draw(SearchSpec(engine="optuna", sampler=sampler, trials=40))[20:]
        far[sampler] = sum(abs(math.log(one["learning_rate"] / 3e-3)) for one in late)
    assert far["tpe"] < 0.7 * far["random"]


def test_a_failed_trial_is_told_as_failed():
    assert len(draw(SearchSpec(engine="optuna", trials=5), lambda _: Answer(None))) == 5


def test_halving_ends_what_is_worse_at_a_rung_and_not_at_the_last_step():
    spec = SearchSpec(engine="optuna", trials=4, pruner={"kind": "successive-halving", "first": 1, "factor": 2})
    curve = ((10, 0.9), (20, 0.95))
    drawn = list(draw_settings(spec, SPACE, 0, _first_only(curve)))
    assert len(drawn) == 2
    halving = Halving(drawn[1].trial)
    halving.on_step(None, 20)
    with pytest.raises(PrunedError, match="at step 10, validation 1"):
        halving.on_validation(10, 0.1, {})
    last = Halving(list(draw_settings(spec, SPACE, 0, _first_only(curve)))[1].trial)
    last.on_step(None, 10)
    last.on_validation(10, 0.1, {})
    good = Halving(list(draw_settings(spec, SPACE, 0, _first_only(curve)))[1].trial)
    good.on_step(None, 20)
    good.on_validation(10, 0.99, {})


def test_a_validation_without_a_finite_score_is_told_as_none():
    spec = SearchSpec(engine="optuna", trials=2, pruner={"kind": "successive-halving"})
    assert len(list(draw_settings(spec, SPACE, 0, _first_only(((10, None), (20, 0.9)))))) == 2


def _first_only(curve):
    told = []

    def answer(setting):
        told.append(setting)
        return Answer(curve[-1][1], curve) if len(told) == 1 else None

    return answer


def test_without_optuna_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"whichtune\[search\]"):
        draw(SearchSpec(engine="optuna"))


def test_a_study_asks_for_the_entrys_own_setting_and_then_for_draws():
    tree = {
        "name": "s",
        "data": {"source": {"kind": "tweets"}},
        "backbones": {"b": {"kind": "minilm"}},
        "methods": {"lora": {"kind": "lora", "search": {"head_learning_rate": [1e-4, 1e-2]}}},
        "search": {"engine": "optuna", "trials": 5},
    }
    asked = next_trials(resolve_study(tree), [], list)
    assert [one.purpose for one in asked] == ["own", "grid"]
    assert asked[0].tuned == {"learning_rate": 1e-3, "head_learning_rate": None}
    assert set(asked[1].tuned) == {"learning_rate", "head_learning_rate"}


def test_a_study_with_halving_runs_and_goes_on(tiny_study, tmp_path, quiet):
    study = tiny_study(
        methods={"lora": {"kind": "lora", "search": {"learning_rate": [1e-5, 1e-1]}}},
        seeds=(1,),
        training={"epochs": 2, "batch_size": 16, "max_length": 40, "validate_every": 1},
        search={
            "engine": "optuna",
            "trials": 5,
            "own": False,
            "repeats": 0,
            "pruner": {"kind": "successive-halving"},
        },
    )
    outcome = run_study(study, tmp_path / "runs", quiet())
    assert outcome.exit_code == 0
    tried = outcome.folder.read_trials("search")
    assert {one.status for one in tried} <= {"finished", "pruned"}
    assert all(one.identity["pruner"]["kind"] == "successive-halving" for one in tried)
    ended = [one for one in tried if one.status == "pruned"]
    assert all(one.steps < 6 and not one.scores for one in ended)
    watcher = quiet()
    again = run_study(study, tmp_path / "runs", watcher)
    assert watcher.steps == 0, "draws come out of the records again"
    assert [one.id for one in again.searched] == [one.id for one in outcome.searched]


def test_trials_that_are_ended_early_are_answers_and_never_chosen(tiny_study, tmp_path, quiet, monkeypatch):
    optuna = pytest.importorskip("optuna")
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda self: True)
    study = tiny_study(
        methods={"lora": {"kind": "lora", "learning_rate": 2e-3}},
        seeds=(1,),
        training={"epochs": 1, "batch_size": 16, "max_length": 40, "validate_every": 1},
        search={"engine": "optuna", "trials": 2, "own": False, "pruner": {"kind": "successive-halving"}},
    )
    outcome = run_study(study, tmp_path / "runs", quiet())
    assert outcome.exit_code == 0
    assert [(one.status, one.steps, one.scores) for one in outcome.searched] == [("pruned", 1, {})] * 2
    assert outcome.records[-1].settings["learning_rate"] == 2e-3
    assert "validation 1" in outcome.searched[0].failure.message
