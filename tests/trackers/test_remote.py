"""A tracker's process against libraries that fail in every way: the near side never waits long and leaves nothing."""

import os
import time

import psutil
import pytest

from whichtune.spec.trackers import WandbSpec
from whichtune.trackers import remote
from whichtune.trackers.contract import Ending, Opening
from whichtune.trackers.remote import RemoteTracker, TrackerError

OPENING = Opening("reviews", "lora@bert", "abc", "run", (), {"seed": 1})
LIBRARY = """
import sys, time, os
from wandb.errors import UsageError
Settings = dict
class Run:
    summary = {}
    def log(self, figures, step):
        print("something on stdout", flush=True)
        if "hang" in figures: time.sleep(60)
        if "die" in figures: os._exit(3)
        if "fail" in figures: raise OSError("disk full\\nand more")
        if "read" in figures: assert sys.stdin.read() == ""
    def finish(self, exit_code):
        with open(os.environ["ENDED"], "a") as file: file.write(f"{exit_code} {dict(self.summary)['status']};")
def init(**settings): return Run()
def login(): raise UsageError("no key")
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a tracker over a library of ours in W&B's place."""
    monkeypatch.setenv("ENDED", str(tmp_path / "ended"))
    made = []

    def make(library=LIBRARY, **spec):
        (tmp_path / "wandb").mkdir(exist_ok=True)
        (tmp_path / "wandb" / "__init__.py").write_text(library)
        (tmp_path / "wandb" / "errors.py").write_text("class UsageError(Exception): ...")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        made.append(RemoteTracker(WandbSpec(kind="wandb", **spec), tmp_path / "files", tmp_path / "log"))
        return made[-1]

    yield make
    for tracker in made:
        tracker.close(5)
        assert not psutil.pid_exists(tracker.process.pid)


def test_prints_and_questions_stay_in_the_process(start, tmp_path, capfd):
    tracker = start()
    tracker.wait_until_made()
    tracker.open(OPENING)
    tracker.log(1, {"loss": 1.0, "read": 1.0})
    tracker.end(Ending("finished", 1, {"test/accuracy": 0.5}))
    assert (tmp_path / "ended").read_text() == "0 finished;"
    assert "something on stdout" in (tmp_path / "log").read_text()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how, told", [("fail", "OSError: disk full$"), ("die", "exit code 3"), ("hang", "no answer")])
def test_failures_come_back_as_one_line(how, told, start, monkeypatch):
    monkeypatch.setattr(remote, "LOG_SECONDS", 0.3)
    tracker = start()
    tracker.wait_until_made()
    tracker.open(OPENING)
    before = time.monotonic()
    with pytest.raises(TrackerError, match=told):
        tracker.log(1, {how: 1.0})
    tracker.close(0.1)
    assert time.monotonic() - before < 10


@pytest.mark.parametrize("library, missing", [("import nothing_of_this_name", True), ("1 / 0", False)])
def test_a_library_that_cannot_be_imported(library, missing, start):
    tracker = start(library)
    with pytest.raises(TrackerError) as caught:
        tracker.wait_until_made()
    assert caught.value.missing == missing


def test_online_without_a_login_is_told_and_not_asked(start):
    tracker = start(mode="online")
    with pytest.raises(TrackerError, match=r"no login; run `wandb login`.*mode: offline"):
        tracker.wait_until_made()


def test_a_run_that_nobody_ended_is_interrupted(start, tmp_path):
    tracker = start()
    tracker.wait_until_made()
    tracker.open(OPENING)
    tracker.close(5)
    assert (tmp_path / "ended").read_text() == "1 interrupted;"


def test_the_environment_of_the_study_is_not_touched(start):
    before = dict(os.environ)
    start().wait_until_made()
    assert {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} == {
        name: value for name, value in before.items() if name != "PYTHONPATH"
    }
