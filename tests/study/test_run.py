import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from whichtune.errors import RecordError
from whichtune.methods import TUNERS
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import read_predictions
from whichtune.spec.methods import LoraSpec
from whichtune.spec.write import dump_study
from whichtune.study.run import alone_in, run_study

SLOW_SECONDS = 2.0
"""Far more than the work itself takes, on a busy machine too."""
SLOW = [("validation", "validate", "predict"), ("test", "predict", "validate")]


def outcome_columns(folder, record):
    return {
        split: (table.ids, table.parsed, table.probabilities, table.loss)
        for split, table in read_predictions(folder.trial(record.id).predictions).items()
    }


def test_a_study_runs_from_a_file_to_records(tiny_study, tmp_path, quiet):
    watcher = quiet()
    outcome = run_study(tiny_study(), tmp_path / "runs", watcher)
    assert outcome.exit_code == 0
    assert [(name, seed, status) for name, seed, status, _ in watcher.ended] == [
        ("majority", 1, "finished"),
        ("lora@bert", 1, "finished"),
        ("lora@bert", 2, "finished"),
    ]
    record = outcome.folder.read_trials()[-1]
    assert record.scores["test"].rows == 20
    assert record.parameters.trainable == record.parameters.trainable_theory
    assert sum(phase.seconds for phase in record.phases.values()) == pytest.approx(record.wall_seconds, rel=1e-6)
    assert outcome.folder.examples.is_file()
    curve = [json.loads(line) for line in outcome.folder.trial(record.id).curve.read_text().splitlines()]
    assert [line["step"] for line in curve if "loss" in line] == list(range(1, record.steps + 1))


def test_finished_trials_never_run_twice(tiny_study, tmp_path, quiet):
    first, second = quiet(), quiet()
    run_study(tiny_study(), tmp_path / "runs", first)
    run_study(tiny_study(), tmp_path / "runs", second)
    assert first.steps > 0
    assert second.steps == 0
    assert all(found for *_, found in second.ended)


def test_the_same_study_twice_gives_equal_outcomes(tiny_study, tmp_path, quiet):
    one = run_study(tiny_study(), tmp_path / "one", quiet())
    two = run_study(tiny_study(), tmp_path / "two", quiet())
    for left, right in zip(one.records, two.records, strict=True):
        assert left.id == right.id
        ours, theirs = outcome_columns(one.folder, left), outcome_columns(two.folder, right)
        for split, columns in ours.items():
            assert all(np.array_equal(a, b) for a, b in zip(columns, theirs[split], strict=True))
        curves = [study.folder.trial(left.id).curve for study in (one, two)]
        assert [path.read_text() if path.is_file() else None for path in curves][:1] == [
            path.read_text() if path.is_file() else None for path in curves
        ][1:]


def test_a_failed_trial_is_a_row_and_the_rest_goes_on(tiny_study, tmp_path, quiet, monkeypatch):
    real = TUNERS[LoraSpec]

    class Broken:
        supports, needs = real.supports, real.needs

        def attach(self, backbone, head, spec, key):
            if key.streams.seed == 1:
                raise ZeroDivisionError("on purpose")
            return real.attach(backbone, head, spec, key)

    monkeypatch.setitem(TUNERS, LoraSpec, Broken())
    outcome = run_study(tiny_study(), tmp_path / "runs", quiet())
    assert outcome.exit_code == 1
    assert [record.status for record in outcome.records] == ["finished", "failed", "finished"]
    failure = outcome.records[1].failure
    assert (failure.kind, failure.message) == ("ZeroDivisionError", "on purpose")
    assert "attach" in failure.traceback
    monkeypatch.setitem(TUNERS, LoraSpec, real)
    again = run_study(tiny_study(), tmp_path / "runs", quiet())
    assert again.exit_code == 0


@pytest.mark.parametrize("split, own, other", SLOW)
def test_a_slower_split_changes_its_own_phase_alone(split, own, other, tiny_study, monkeypatch, request):
    quiet, tmp_path = (request.getfixturevalue(name) for name in ("quiet", "tmp_path"))
    from whichtune.engine import trial

    real = trial.predict

    def slow(assembly, task, asked, *rest):
        time.sleep(SLOW_SECONDS if asked == split else 0)
        return real(assembly, task, asked, *rest)

    monkeypatch.setattr(trial, "predict", slow)
    record = run_study(tiny_study(seeds=(1,)), tmp_path / "runs", quiet()).records[-1]
    assert record.phases[own].seconds > SLOW_SECONDS
    assert record.phases[other].seconds < SLOW_SECONDS
    assert record.phases["step"].seconds < SLOW_SECONDS


def test_adapters_are_proved_and_probes_taken_in_processes_of_their_own(tiny_study, tmp_path, quiet):
    study = tiny_study(
        seeds=(1,), execution={"threads": 1, "device": "cpu"}, measure={"probe_steps": 2, "latency_repeats": 2}
    )
    outcome = run_study(study, tmp_path / "runs", quiet())
    assert outcome.probe_failures == []
    record = outcome.folder.read_trials()[-1]
    assert record.checked is True
    alone = outcome.folder.read_probes()[record.probe].alone
    assert alone.step_seconds > 0
    assert alone.forward_flops > 0
    assert alone.saved_bytes > 0
    assert {(figures.batch, figures.merged) for figures in alone.latencies} == {
        (1, False),
        (1, True),
        (12, False),
        (12, True),
    }
    whats = [cost["what"] for cost in outcome.folder.read_costs()]
    assert {"read data", "load", "encode", "check", "probe"} <= set(whats)


def test_a_broken_adapter_is_not_called_finished(tiny_study, tmp_path, quiet, monkeypatch):
    from whichtune.study import execute

    real = execute.save_adapter

    def spoil(folder, *rest):
        size = real(folder, *rest)
        sample = json.loads((folder / "sample.json").read_text())
        sample["logits"][0][0] += 1.0
        (folder / "sample.json").write_text(json.dumps(sample))
        return size

    monkeypatch.setattr(execute, "save_adapter", spoil)
    outcome = run_study(tiny_study(seeds=(1,), execution={"threads": 1, "device": "cpu"}), tmp_path / "runs", quiet())
    assert outcome.records[-1].status == "failed"
    assert "other logits in a clean process" in outcome.records[-1].failure.message


def test_one_study_runs_once_at_a_time(tiny_study, tmp_path):
    folder = StudyFolder(tmp_path / "runs" / "tiny")
    folder.path.mkdir(parents=True)
    with alone_in(folder), pytest.raises(RecordError, match="another process"), alone_in(folder):
        pass


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_study_goes_on_to_the_same_outcome(kill, tiny_study, tmp_path, quiet):
    study = tiny_study(training={"epochs": 40, "batch_size": 16, "max_length": 40})
    file = tmp_path / "study.yaml"
    file.write_text(dump_study(study, {}))
    command = [sys.executable, "-m", "whichtune", "run", str(file), "--runs", str(tmp_path / "runs")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - the suite runs in one thread
    )
    wait_for(lambda: list((tmp_path / "runs").glob("tiny/trials/*/curve.jsonl")), process)
    process.send_signal(kill)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (-9 if kill == signal.SIGKILL else 130)
    assert b"Traceback" not in told
    cut_short = run_study(study, tmp_path / "runs", quiet())
    whole = run_study(study, tmp_path / "whole", quiet())
    assert cut_short.exit_code == 0
    for left, right in zip(cut_short.records, whole.records, strict=True):
        ours, theirs = outcome_columns(cut_short.folder, left), outcome_columns(whole.folder, right)
        assert all(np.array_equal(a, b) for split in ours for a, b in zip(ours[split], theirs[split], strict=True))


def heed_interrupts():
    """A shell starts what runs in the background with Ctrl-C ignored, and children would inherit it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(found, process, seconds=60):
    end = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_changed_data_under_the_same_path_run_again(tiny_study, tmp_path, quiet, table):
    copy = tmp_path / "rows.csv"
    copy.write_bytes(table.read_bytes())
    study = tiny_study(data={"source": {"kind": "files", "all": str(copy)}})
    first = run_study(study, tmp_path / "runs", quiet())
    copy.write_text(copy.read_text().replace("great", "grand"))
    second = run_study(study, tmp_path / "runs", quiet())
    assert {record.id for record in first.records}.isdisjoint(record.id for record in second.records)
    assert [record.id for record in second.folder.read_trials()] == [record.id for record in second.records]


def test_a_model_stuck_at_one_class_is_flagged(tiny_study, tmp_path, quiet):
    methods = {"lora": {"kind": "lora", "learning_rate": 1e-9}}
    record = run_study(tiny_study(methods=methods, seeds=(1,)), tmp_path / "runs", quiet()).records[-1]
    stuck = record.scores["test"].predicted_labels == 1
    assert stuck == any("predicts one class" in trap for trap in record.traps)
    assert stuck
