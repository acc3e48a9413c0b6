"""Studies whose LoRA trials train in one pass leave the records of trials run one after another."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from whichtune.engine import packed
from whichtune.engine.adapter import check_adapter
from whichtune.engine.pace import Pace
from whichtune.errors import DoesNotFitError, UnsupportedError
from whichtune.models.load import load_backbone
from whichtune.records.folder import StudyFolder, read_lines
from whichtune.records.predictions import read_predictions
from whichtune.spec.trackers import TensorBoardSpec
from whichtune.study import packs
from whichtune.study.execute import Desk
from whichtune.study.packs import describe_pack, divide
from whichtune.study.plan import plan_study
from whichtune.study.run import run_study
from whichtune.study.sharing import Ledger, Shared
from whichtune.study.verifying import verify
from whichtune.trackers.crew import Crew, Guard

METHODS = {
    "small": {"kind": "lora", "rank": 2, "learning_rate": 1e-2, "dropout": 0.2},
    "large": {"kind": "lora", "rank": 4, "learning_rate": 5e-3},
}
WILD = {"kind": "lora", "rank": 2, "learning_rate": 1e30}
OWN = {"device", "phases", "wall_seconds", "started_at", "ended_at", "scores", "study", "evaluated_merged"}
"""What of a record is a run's own, or compared apart."""


@pytest.fixture
def follower(quiet):
    """A watcher that knows whose steps it is told of."""

    class Follower(quiet):
        def __init__(self, stop_at=None):
            super().__init__()
            self.turn, self.lines, self.stop_at = None, [], stop_at

        def on_trial(self, planned, place, total):
            self.turn_to(planned, place, total)

        def turn_to(self, planned, place, total):
            self.turn = (planned.candidate, planned.seed)

        def on_step(self, figures, total):
            super().on_step(figures, total)
            self.lines.append((*self.turn, figures.step))
            if self.steps == self.stop_at:
                raise KeyboardInterrupt

        def on_trial_end(self, record, *, found):
            super().on_trial_end(record, found=found)
            assert found or self.turn == (record.candidate, record.seed)

    return Follower


@pytest.fixture
def packing(tiny_study):
    def make(pack=3, **changes):
        return tiny_study(**{"methods": METHODS, "engine": {"pack": pack}, "contender_seeds": 0} | changes)

    return make


def run_both(packing, quiet, place, **changes):
    """The same study with packs and without."""
    together = run_study(packing(**changes), place / "together", quiet())
    return together, run_study(packing(**changes | {"pack": "off"}), place / "alone", quiet())


def tuned(outcome):
    """Its records, without the baseline that every study has."""
    return [one for one in outcome.records if not one.baseline]


def require_same(together, alone, folders):
    """Hold a packed trial against a lone one: T1, and everything that is no number equal."""
    told, own = (one.model_dump(exclude=OWN) for one in (together, alone))
    assert told == own
    assert together.device.keys() - alone.device.keys() <= {"pack", "pack_together", "pack_reason", "pack_gain"}
    assert {name: together.device[name] for name in alone.device} == alone.device
    assert sum(phase.seconds for phase in together.phases.values()) == pytest.approx(together.wall_seconds, rel=1e-6)
    assert together.phases.keys() >= {"attach", "step", "validate"}
    for split, scores in together.scores.items():
        for metric, other in zip(scores.metrics, alone.scores[split].metrics, strict=True):
            assert metric.value == pytest.approx(other.value, abs=1e-4)
    trials = [folder.trial(together.id) for folder in folders]
    tables, others = (read_predictions(one.predictions) for one in trials)
    assert tables.keys() == others.keys()
    for split, table in tables.items():
        assert table.parsed == others[split].parsed
        assert np.allclose(table.probabilities, others[split].probabilities, atol=1e-5)
    curves, lone = ([line["loss"] for line in read_lines(one.curve) if "loss" in line] for one in trials)
    assert curves == pytest.approx(lone, rel=1e-5)
    assert (trials[0].adapter / "adapter.json").is_file() is (trials[1].adapter / "adapter.json").is_file()


def test_a_packed_study_is_the_study_one_after_another(packing, tmp_path, follower):
    together, alone = run_both(packing, follower, tmp_path)
    assert together.exit_code == 0
    assert [one.id for one in together.records] == [one.id for one in alone.records]
    for one, lone in zip(tuned(together), tuned(alone), strict=True):
        require_same(one, lone, (together.folder, alone.folder))
        assert lone.evaluated_merged
        assert one.evaluated_merged is ("pack" not in one.device), "few rows: those of all three make one batch"
    sizes = [one.device.get("pack") for one in tuned(together)]
    assert sizes == [3, 3, 3, None], "four are there for packs of three: the last one is alone"
    backbone = load_backbone(packing().backbone("bert"), packs_request(packing()))
    for one in together.records:
        if one.device.get("pack"):
            assert one.device["pack_together"] is True
            assert one.adapter_bytes
            assert check_adapter(together.folder.trial(one.id).adapter, backbone)["ok"]
    verification = verify(together.folder.trial(tuned(together)[0].id), follower())
    assert verification.outcome in ("equal", "within-noise"), verification.differences
    assert any("in one pass" in caveat for caveat in verification.caveats)


def packs_request(study):
    shared = Shared(study, None, None, torch.device("cpu"), None)
    return shared.request(study.methods["small"])


def test_steps_are_told_of_the_trial_that_took_them(packing, tmp_path, follower):
    watcher = follower()
    run_study(packing(), tmp_path / "runs", watcher)
    for name in ("small@bert", "large@bert"):
        for seed in (1, 2):
            steps = [step for candidate, own, step in watcher.lines if (candidate, own) == (name, seed)]
            assert steps == list(range(1, len(steps) + 1))
            assert steps
    first = [line[:2] for line in watcher.lines[:3]]
    assert len(set(first)) == 3, "three trials step in turn"


def test_one_that_is_not_a_number_fails_alone(packing, tmp_path, quiet):
    methods = {"small": METHODS["small"], "wild": WILD, "large": METHODS["large"]}
    together, alone = run_both(packing, quiet, tmp_path, methods=methods, seeds=(1,))
    assert [one.status for one in tuned(together)] == ["finished", "failed", "finished"]
    wild, lone = tuned(together)[1], tuned(alone)[1]
    assert (wild.failure.kind, wild.failure.message) == (lone.failure.kind, lone.failure.message)
    assert wild.failure.kind == "NonFiniteError"
    assert wild.wall_seconds > 0
    assert not together.folder.trial(wild.id).adapter.exists()
    for place in (0, 2):
        require_same(tuned(together)[place], tuned(alone)[place], (together.folder, alone.folder))


def test_what_was_stopped_goes_on_with_what_is_not_finished(packing, tmp_path, follower):
    study, whole = packing(pack=2), follower()
    alone = run_study(packing(pack="off"), tmp_path / "alone", whole)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "runs", follower(stop_at=whole.steps - 2))
    folder = StudyFolder(tmp_path / "runs" / "tiny")
    assert [one.status for one in folder.read_trials()] == ["finished"] * 3 + ["running"] * 2
    again = follower()
    outcome = run_study(study, tmp_path / "runs", again)
    assert [(status, found) for *_, status, found in again.ended] == [("finished", place < 3) for place in range(5)]
    for one, lone in zip(tuned(outcome), tuned(alone), strict=True):
        require_same(one, lone, (outcome.folder, alone.folder))


def test_rates_that_are_searched_train_together(packing, tmp_path, quiet):
    methods = {"lora": {"kind": "lora", "search": {"rank": [2, 4], "learning_rate": []}}}
    search = {"trials": 3, "best": 1, "repeats": 1, "own": False}
    together, alone = run_both(packing, quiet, tmp_path, methods=methods, search=search, seeds=(1,))
    assert [one.id for one in together.searched] == [one.id for one in alone.searched]
    assert [one.device.get("pack") for one in together.searched][:2] == [2, 2]
    for one, lone in zip(together.searched, alone.searched, strict=True):
        require_same(one, lone, (together.folder, alone.folder))
        assert list(one.scores) == ["validation"]
    assert together.folder.read_searches() == alone.folder.read_searches()


def test_trials_of_sizes_train_together_on_their_own_rows(packing, tmp_path, quiet):
    changes = {"sizes": [16, 24], "seeds": (1, 2, 3, 4, 5), "sizes_hold": "epochs"}
    together, alone = run_both(packing, quiet, tmp_path, pack=8, methods={"small": METHODS["small"]}, **changes)
    pairs = zip(tuned(together), tuned(alone), strict=True)
    sized = [(one, lone) for one, lone in pairs if one.role == "size"]
    assert {one.labels for one, _ in sized[:8]} == {16, 24}, "of both sizes in one pass"
    assert [one.device.get("pack") for one, _ in sized] == [8] * 8 + [2] * 2
    for one, lone in sized:
        require_same(one, lone, (together.folder, alone.folder))


def test_a_pack_that_cannot_be_put_together_is_run_one_after_another(packing, tmp_path, quiet, monkeypatch):
    def refuse(*_):
        raise UnsupportedError("not this one")

    monkeypatch.setattr(packs, "build_packed", refuse)
    methods = {"small": METHODS["small"], "wild": WILD}
    outcome = run_study(packing(methods=methods, seeds=(1,)), tmp_path / "runs", quiet())
    assert [one.status for one in tuned(outcome)] == ["finished", "failed"]
    assert all(one.device["pack"] == 1 and "not this one" in one.device["pack_reason"] for one in tuned(outcome))
    kept = outcome.folder.read_trials()
    assert [one.device for one in kept] == [one.device for one in outcome.records]


def test_a_trial_that_does_not_fit_beside_others_has_another_go(packing, tmp_path, quiet, monkeypatch):
    own = packed.Pack._move

    def refuse(pack, member, loss):
        if member.place == 1:
            member.error = DoesNotFitError("too much")
            return None
        return own(pack, member, loss)

    monkeypatch.setattr(packed.Pack, "_move", refuse)
    watcher = quiet()
    outcome = run_study(packing(methods={"small": METHODS["small"]}, seeds=(1, 2, 3)), tmp_path / "runs", watcher)
    assert outcome.exit_code == 0
    records = tuned(outcome)
    assert [one.device["pack"] for one in records] == [3, 1, 3]
    assert records[1].device["pack_reason"] == "too much"
    assert [seed for _, seed, *_ in watcher.ended][1:] == [1, 3, 2], "it comes when the others have ended"
    assert [one.seed for one in records] == [1, 2, 3]


def test_a_backbone_that_is_not_given_back_as_it_was_fails_all_of_its_pack(packing, tmp_path, quiet, monkeypatch):
    own = packs.run_packed

    def spoil(trials, *given):
        outcomes = own(trials, *given)
        with torch.no_grad():
            next(trials[0].assembly.backbone.trunk.parameters())[0] += 1
        return outcomes

    monkeypatch.setattr(packs, "run_packed", spoil)
    study = packing(methods={"small": METHODS["small"], "head": {"kind": "frozen-features"}})
    outcome = run_study(study, tmp_path / "runs", quiet())
    assert [one.status for one in tuned(outcome)] == ["failed", "failed", "finished", "finished"]
    assert "frozen tensors" in tuned(outcome)[0].failure.message


class Fake:
    """A tracker that keeps what it is told."""

    def __init__(self):
        self.told = []

    def wait_until_made(self):
        pass

    def open(self, opening):
        self.told.append(("open", opening.id))

    def log(self, step, figures):
        self.told.append(("log", step, *figures))

    def end(self, ending):
        self.told.append(("end", ending.status, ending.step))

    def close(self, seconds):
        pass


def test_trackers_hear_of_one_trial_after_the_other(packing, tmp_path, quiet, monkeypatch):
    found = []
    for pack in (3, "off"):
        fake = Fake()
        crew = Crew([Guard("t", TensorBoardSpec(kind="tensorboard", every=1), lambda fake=fake: fake)])
        monkeypatch.setattr("whichtune.study.run.tracking", lambda *_, crew=crew: nullcontext(crew))
        study = packing(pack=pack, methods={"small": METHODS["small"], "wild": WILD}, seeds=(1,))
        run_study(study, tmp_path / str(pack), quiet())
        found.append(fake.told)
    assert found[0] == found[1]
    assert [one[0] for one in found[0]].count("open") == 3
    assert [one[1] for one in found[0] if one[0] == "end"] == ["finished", "finished", "failed"]


def test_who_trains_with_whom(tiny_study, tmp_path):
    def places(pack=3, workers=1, device="cpu"):
        methods = {"first": METHODS["small"], "full": {"kind": "full"}, "second": METHODS["large"]}
        study = tiny_study(methods=methods | {"majority": {"kind": "majority"}}, engine={"pack": pack})
        shared = Shared(study, None, None, torch.device(device), Ledger(tmp_path / "costs"))
        return divide(Desk(StudyFolder(tmp_path), shared, None, 1, workers=workers), plan_study(study))

    lone = [[place] for place in range(7)]
    assert places() == [[0], [1, 2, 5], [3], [4], [6]]
    assert places(2) == [[0], [1, 2], [3], [4], [5, 6]]
    assert places("auto", device="cuda") == [[0], [1, 2, 5, 6], [3], [4]]
    assert places("auto") == places("off") == lone
    assert places(workers=2) == lone, "a worker trains one trial at a time"


def test_what_a_record_says_of_a_pack():
    assert describe_pack(Pace(together=True), 3) == {"pack": 3, "pack_together": True}
    open_still = describe_pack(Pace(), 2)
    assert (open_still["pack_together"], "before" in open_still["pack_reason"]) == (False, True)
    pace = Pace()
    while pace.together is None:
        together = pace.choose(2)
        pace.note(1 if together else 2, 10, together=together)
    told = describe_pack(pace, 4)
    assert (told["pack"], told["pack_together"], told["pack_gain"]) == (4, True, 2.0)
