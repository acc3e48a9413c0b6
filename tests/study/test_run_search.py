"""Studies with a search, and with contenders, from a file to records."""

import json

import pytest

from whichtune.errors import SpecError
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import read_predictions
from whichtune.report.contenders import find_contenders
from whichtune.spec.search import SearchSpec
from whichtune.study.run import run_study

METHODS = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "search": {"rank": [2, 4], "learning_rate": []}},
    "held": {"kind": "lora", "rank": 8, "search": {"learning_rate": []}},
}
SEARCH = {"trials": 2, "best": 1, "repeats": 1, "own": False}


class Interrupter:
    """Stops a study as Ctrl-C does, before the trial that is named by its place."""

    def __init__(self, watcher, place):
        self.watcher, self.place = watcher, place

    def __getattr__(self, name):
        return getattr(self.watcher, name)

    def on_trial(self, planned, place, total):
        if place == self.place:
            raise KeyboardInterrupt


@pytest.fixture
def searching(tiny_study):
    return lambda **changes: tiny_study(**({"methods": METHODS, "search": SEARCH, "seeds": (1,)} | changes))


def test_a_search_leaves_records_and_its_choice(searching, tmp_path, quiet):
    outcome = run_study(searching(), tmp_path / "runs", quiet())
    assert outcome.exit_code == 0
    tried, finals = outcome.folder.read_trials("search"), outcome.folder.read_trials()
    assert [one.candidate for one in finals] == ["majority", "full@bert", "lora@bert", "held@bert"]
    assert {one.seed for one in tried} == set(SearchSpec.model_validate(SEARCH).seeds)
    for one in tried:
        folder = outcome.folder.trial(one.id)
        assert list(one.scores) == list(read_predictions(folder.predictions)) == ["validation"], "no test row is seen"
        assert not folder.adapter.exists()
        assert (one.checked, one.adapter_bytes, one.probe) == (None, None, None)
        assert {"checked", "adapter_bytes", "probe"} <= one.unmeasured.keys()
        assert one.settings["rank" if one.method == "lora" else "learning_rate"] in one.tuned.values()
        assert one.identity["role"] == "search"
    log = outcome.folder.read_searches()
    assert log.untuned == ["majority", "held@bert"]
    assert (log.metric, [one.candidate for one in log.candidates]) == ("accuracy", ["full@bert", "lora@bert"])
    assert [len(one.trials) for one in log.candidates] == [3 + one.extended for one in log.candidates]
    chosen = {one.candidate: one.chosen for one in log.candidates}
    assert {one.candidate: one.tuned for one in finals if one.tuned} == chosen
    assert finals[2].settings["rank"] == chosen["lora@bert"]["rank"]
    assert all("role" not in one.identity and "tuned" not in one.identity for one in finals)


def test_a_search_that_was_stopped_goes_on_where_it_was(searching, tmp_path, quiet):
    study, whole = searching(methods={"lora": METHODS["lora"]}), quiet()
    complete = run_study(study, tmp_path / "whole", whole)
    for place in (1, 2, 4):  # in the first round, before the repeats, between the final trials
        with pytest.raises(KeyboardInterrupt):
            run_study(study, tmp_path / "runs", Interrupter(quiet(), place))
        assert not StudyFolder(tmp_path / "runs" / "tiny").read_plan().complete
    again = quiet()
    outcome = run_study(study, tmp_path / "runs", again)
    assert outcome.folder.read_plan().complete
    assert [found for *_, found in again.ended] == [True] * 4 + [False]
    assert [one.id for one in outcome.folder.read_trials()] == [one.id for one in complete.folder.read_trials()]
    left, right = (json.loads(one.folder.searches.read_text()) for one in (outcome, complete))
    assert left == right
    last = quiet()
    run_study(study, tmp_path / "runs", last)
    assert last.steps == 0
    assert not last.notes, "nothing has changed"


def test_a_choice_that_meets_another_entry_stays_a_candidate_of_its_own(tiny_study, tmp_path, quiet):
    methods = {
        "fixed": {"kind": "lora", "rank": 2, "search": {"learning_rate": []}},
        "chosen": {"kind": "lora", "search": {"learning_rate": [], "rank": [2, 4]}},
    }
    study = tiny_study(methods=methods, search=SEARCH | {"repeats": 0}, seeds=(1,))
    outcome = run_study(study, tmp_path / "runs", quiet())
    one, other = outcome.records[1:]
    assert [one.candidate, other.candidate] == ["fixed@bert", "chosen@bert"]
    assert one.id != other.id
    if other.settings["rank"] == 2:
        assert one.scores == other.scores


def test_two_entries_that_are_the_same_are_refused_before_anything_trains(searching, tmp_path, quiet):
    with pytest.raises(SpecError, match="same settings"):
        run_study(searching(methods={"a": METHODS["lora"], "b": METHODS["lora"]}), tmp_path / "runs", quiet())


def test_a_study_without_its_search_forgets_it(searching, tmp_path, quiet):
    methods = {"lora": METHODS["lora"]}
    first = run_study(searching(methods=methods), tmp_path / "runs", quiet())
    watcher = quiet()
    second = run_study(searching(methods=methods, search=None), tmp_path / "runs", watcher)
    assert first.folder.path == second.folder.path
    assert second.folder.read_searches() is None
    assert not second.folder.read_trials("search")
    assert any("leave the comparison" in note for note in watcher.notes)


def test_contenders_by_the_validation_rows_get_further_seeds(tiny_study, tmp_path, quiet):
    methods = {"lora": {"kind": "lora", "learning_rate": 1e-2}, "full": {"kind": "full"}}
    study = tiny_study(methods=methods, seeds=(1, 2, 3), contender_seeds=4)
    outcome = run_study(study, tmp_path / "runs", quiet())
    base = [one for one in outcome.records if one.seed <= 3]
    leading = find_contenders(outcome.folder, base)
    further = {one.candidate for one in outcome.records if one.seed == 4}
    assert further == set(leading) - {"majority"}
    assert len(leading) >= 2, "on so few rows nobody is ruled out"
    assert outcome.folder.read_plan().total == len(outcome.records) == 7 + len(further)
    again = quiet()
    run_study(study, tmp_path / "runs", again)
    assert again.steps == 0


def test_who_breaks_a_limit_is_no_contender(tiny_study, tmp_path, quiet):
    methods = {"lora": {"kind": "lora"}, "full": {"kind": "full"}}
    study = tiny_study(methods=methods, seeds=(1, 2, 3), contender_seeds=4, limits={"adapter_mb": 0.05})
    outcome = run_study(study, tmp_path / "runs", quiet())
    assert {one.candidate for one in outcome.records if one.seed == 4} == {"lora@bert"}
    base = [one for one in outcome.records if one.seed <= 3]
    assert "full@bert" in find_contenders(outcome.folder, base)
