"""The real libraries, on a tiny study: what each has kept, through its own reader, is what the records say."""

import csv
import json
import os
import random
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest

from whichtune.records.predictions import read_predictions
from whichtune.spec.study import StudySpec
from whichtune.study.run import run_study

TRACKERS = {
    "tb": {"kind": "tensorboard", "run_name": "{candidate}/{seed}"},
    "wb": {"kind": "wandb", "tags": ["first", "second"]},
    "ml": {"kind": "mlflow", "tags": ["first"]},
    "tr": {"kind": "trackio"},
}
TENSORBOARD = """
from pathlib import Path
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = {}
for folder in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
    read = EventAccumulator(str(folder)).Reload()
    rows = {tag: [[event.step, event.value] for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    found[folder.name] = {
        "rows": rows,
        "hparams": "_hparams_/session_start_info" in read.PluginTagToContent("hparams"),
        "status": read.Tensors("status/text_summary")[0].tensor_proto.string_val[0].decode(),
    }
"""
MLFLOW = """
import os
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow.tracking import MlflowClient
client, found = MlflowClient(tracking_uri="sqlite:///" + sys.argv[1] + "/mlflow.db"), {}
for experiment in client.search_experiments(filter_string="name = 'tracked'"):
    for run in client.search_runs([experiment.experiment_id], order_by=["attribute.start_time ASC"]):
        rows = {}
        for name in run.data.metrics:
            rows[name] = [[row.step, row.value] for row in client.get_metric_history(run.info.run_id, name)]
        told = {"rows": rows, "status": run.info.status, "config": run.data.params, "tags": run.data.tags}
        found.setdefault(run.info.run_name, []).append(told)
"""
WANDB = """
import struct
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record
def chunks(data):
    place, parts = 7, b""
    while place + 7 <= len(data):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            yield parts
            parts = b""
def named(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
found = []
for path in sorted(Path(sys.argv[1]).glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime):
    run = {"rows": [], "summary": {}}
    for chunk in chunks(path.read_bytes()):
        record = Record.FromString(chunk)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"name": record.run.display_name, "tags": list(record.run.tags), "project": record.run.project}
            run["config"] = named(record.run.config.update)
        elif kind == "history":
            run["rows"].append(named(record.history.item))
        elif kind == "summary":
            run["summary"] |= named(record.summary.update)
        elif kind == "exit":
            run["exit"] = record.exit.exit_code
    found.append(run)
"""
TRACKIO = """
from trackio.sqlite_storage import SQLiteStorage as store
found = []
for run in store.get_run_records("tracked"):
    rows = store.get_logs("tracked", run["name"], run_id=run["id"])
    config = store.get_run_config("tracked", run["name"], run_id=run["id"])
    found.append({"name": run["name"], "rows": rows, "config": config})
"""


class Watcher:
    def __init__(self, stop_at=None):
        self.notes, self.stop_at = [], stop_at

    def on_data(self, report): ...
    def on_trial(self, planned, place, total): ...
    def on_trial_end(self, record, *, found): ...
    def on_validation(self, step, score, metrics): ...

    def on_step(self, figures, total):
        if figures.step == self.stop_at:
            raise KeyboardInterrupt

    def on_note(self, text):
        self.notes.append(text)


@dataclass
class Tracked:
    """What one tracked study left, read once."""

    folder: object
    records: list
    notes: list
    home: list
    processes: list
    environment_kept: bool
    curve: list = field(default_factory=list)

    def series(self, name):
        """A curve's points as [step, value]."""
        part, _, key = name.partition("/")
        lines = [(line["step"], line if part == "train" else line.get("validation", {})) for line in self.curve]
        return [[step, line[key]] for step, line in lines if key in line]


def tiny(table, **changes):
    spec = {
        "name": "tracked",
        "data": {"source": {"kind": "files", "all": str(table)}},
        "backbones": {"bert": {"kind": "random", "family": "bert"}},
        "methods": {"majority": {"kind": "majority"}, "lora": {"kind": "lora", "learning_rate": 1e-2}},
        "training": {"epochs": 2, "batch_size": 16, "max_length": 40},
        "seeds": (1,),
        "execution": {"threads": 1, "device": "cpu", "check": False},
        "measure": {"probe": False},
    }
    return StudySpec.model_validate(spec | changes)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path, draw = tmp_path_factory.mktemp("data") / "tiny.csv", random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for index in range(80):
            word = ("great fine", "poor dull")[index % 2]
            writer.writerow([f"{word} {draw.random()} {index}", ("good", "bad")[index % 2]])
    return path


@pytest.fixture(scope="module")
def tracked(rows, tmp_path_factory):
    """Run the study, stop it in its second trial, and run it to its end."""
    base = tmp_path_factory.mktemp("tracked")
    (base / "home").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(base / "home"))
        patch.setenv("WHICHTUNE_CACHE", str(base / "cache"))
        patch.setenv("TRACKIO_SPACE_ID", "someone/elsewhere")
        patch.delenv("WANDB_API_KEY", raising=False)
        before = variables()
        study, watcher = tiny(rows, trackers=TRACKERS), Watcher()
        with pytest.raises(KeyboardInterrupt):
            run_study(study, base / "runs", Watcher(stop_at=4))
        outcome = run_study(study, base / "runs", watcher)
        kept = variables() == before
    children = [child.name() for child in psutil.Process().children(recursive=True)]
    home = [str(path) for path in (base / "home").rglob("*")]
    curve = outcome.folder.trial(outcome.records[-1].id).curve.read_text().splitlines()
    told = Tracked(outcome.folder.path, outcome.records, watcher.notes, home, children, kept)
    told.curve = [json.loads(line) for line in curve]
    return told


def variables():
    return {name: value for name, value in os.environ.items() if name.startswith(("WANDB", "MLFLOW", "TRACKIO"))}


NAMES = ("train/loss", "train/learning_rate", "train/gradient_norm", "validation/accuracy", "validation/loss")


def accuracy(tracked, place=-1):
    return tracked.records[place].scores["test"].metrics[0].value


def test_nothing_is_left_behind(tracked):
    assert tracked.notes == []
    assert [record.traps for record in tracked.records if any("tracker" in trap for trap in record.traps)] == []
    assert tracked.home == [], "nothing goes to the user's home"
    assert tracked.processes == []
    assert tracked.environment_kept


def test_tensorboard_has_the_curve(tracked, read_in_a_process):
    found = read_in_a_process(TENSORBOARD, tracked.folder / "trackers" / "tb")
    assert list(found) == ["lora@bert_1", "lora@bert_1-2", "majority_1"], "the trial that ran again has a second run"
    assert {name: run["status"] for name, run in found.items()} == {
        "lora@bert_1": "interrupted",
        "lora@bert_1-2": "finished",
        "majority_1": "finished",
    }
    run = found["lora@bert_1-2"]
    for name in NAMES:
        ours, theirs = np.array(tracked.series(name)), np.array(run["rows"][name])
        assert np.array_equal(ours[:, 0], theirs[:, 0]), name
        assert theirs[:, 1] == pytest.approx(ours[:, 1], rel=1e-6), "event files keep float32"
    assert run["rows"]["final/test/accuracy"] == [
        [tracked.records[-1].steps, pytest.approx(accuracy(tracked), rel=1e-6)]
    ]
    assert run["hparams"]


def test_mlflow_has_the_curve(tracked, read_in_a_process):
    found = read_in_a_process(MLFLOW, tracked.folder / "trackers" / "ml")
    assert {name: [run["status"] for run in runs] for name, runs in found.items()} == {
        "majority seed 1": ["FINISHED"],
        "lora@bert seed 1": ["KILLED", "FINISHED"],
    }
    run = found["lora@bert seed 1"][-1]
    for name in NAMES:
        assert run["rows"][name] == tracked.series(name), name
    assert run["rows"]["final/test/accuracy"] == [[tracked.records[-1].steps, accuracy(tracked)]]
    assert run["config"]["method.rank"] == str(tracked.records[-1].settings["rank"])
    assert (run["tags"]["first"], run["tags"]["trial"]) == ("true", tracked.records[-1].id)


def test_wandb_has_the_curve_without_network(tracked, read_in_a_process):
    found = read_in_a_process(WANDB, tracked.folder / "trackers" / "wb")
    assert [(run["name"], run["exit"]) for run in found] == [
        ("majority seed 1", 0),
        ("lora@bert seed 1", 1),
        ("lora@bert seed 1", 0),
    ]
    run = found[-1]
    for name in NAMES:
        assert [[row["_step"], row[name]] for row in run["rows"] if name in row] == tracked.series(name), name
    assert run["summary"]["final/test/accuracy"] == accuracy(tracked)
    assert run["summary"]["status"] == "finished"
    assert (run["project"], run["tags"]) == ("tracked", ["first", "second"])
    assert run["config"]["method.rank"] == tracked.records[-1].settings["rank"]


def test_trackio_has_the_curve(tracked, read_in_a_process):
    folder = tracked.folder / "trackers" / "tr"
    found = read_in_a_process(TRACKIO, TRACKIO_DIR=str(folder))
    assert sorted(run["name"] for run in found) == ["lora@bert seed 1", "lora@bert seed 1", "majority seed 1"]
    ends = {run["rows"][-1]["status"]: run for run in found if run["name"] == "lora@bert seed 1"}
    assert set(ends) == {"interrupted", "finished"}
    run = ends["finished"]
    for name in NAMES:
        assert [[row["step"], row[name]] for row in run["rows"] if name in row] == tracked.series(name), name
    assert run["rows"][-1]["final/test/accuracy"] == accuracy(tracked)
    assert run["config"]["method.rank"] == tracked.records[-1].settings["rank"]


def test_tracking_changes_no_outcome(tracked, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    plain = run_study(tiny(rows), tmp_path / "runs", Watcher())
    assert [record.id for record in plain.records] == [record.id for record in tracked.records]
    for record in plain.records:
        ours = read_predictions(plain.folder.trial(record.id).predictions)
        theirs = read_predictions(tracked.folder / "trials" / record.id / "predictions.parquet")
        for split, table in ours.items():
            assert np.array_equal(table.probabilities, theirs[split].probabilities)
            assert np.array_equal(table.loss, theirs[split].loss)


BROKEN = """
Settings = dict
def init(**settings):
    return Run()
class Run:
    summary = {}
    def log(self, figures, step):
        if step == 3: raise OSError("disk full")
    def finish(self, exit_code): ...
"""


def test_a_tracker_that_fails_fails_no_trial(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").write_text(BROKEN)
    (tmp_path / "wandb" / "errors.py").write_text("class UsageError(Exception): ...")
    watcher = Watcher()
    outcome = run_study(tiny(rows, trackers={"wb": {"kind": "wandb"}}), tmp_path / "runs", watcher)
    assert outcome.exit_code == 0
    assert watcher.notes == [
        "warning: tracker 'wb' is switched off in this trial, at step 3: OSError: disk full",
    ]
    stored = outcome.folder.read_trials()[-1]
    assert "tracker 'wb' was switched off at step 3: OSError: disk full" in stored.traps
    assert stored.status == "finished"
    assert stored.scores["test"].rows == 20


def test_a_missing_library_stops_the_study_before_anything_trains(rows, tmp_path, monkeypatch):
    from whichtune.errors import SpecError

    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "trackio.py").write_text("raise ModuleNotFoundError('No module named trackio')")
    study = tiny(rows, trackers={"tr": {"kind": "trackio"}})
    with pytest.raises(SpecError, match=r"trackers\.tr: .*pip install 'whichtune\[trackio\]'"):
        run_study(study, tmp_path / "runs", Watcher())
    assert not (tmp_path / "runs" / "tracked" / "trials").exists()
