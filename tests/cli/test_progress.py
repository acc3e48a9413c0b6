import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from whichtune.cli.progress import LiveBars, PlainLines, describe_data, describe_end, make_progress
from whichtune.data.examples import DataReport
from whichtune.records.trial import MetricValue, SplitScores, TrialRecord


def test_rows_are_shown_by_label_where_there_are_labels():
    balance = {"train": {"bad": 3, "good": 4}, "test": {"bad": 1, "good": 0}}
    lines = describe_data(DataReport("made", balance, rows={"train": 7, "test": 1}))
    assert lines == ["data: made", "  train: 7 rows (bad 3, good 4)", "  test: 1 rows (bad 1, good 0)"]


def test_rows_are_shown_by_number_where_gold_are_texts():
    lines = describe_data(DataReport("made", {}, rows={"train": 30, "test": 8}, notes=("odd",)))
    assert lines == ["data: made", "  train: 30 rows", "  test: 8 rows", "  odd"]


def ended(**splits):
    of = {"name": "accuracy", "direction": "higher", "unit": "share"}
    scores = {
        split: SplitScores(rows=10, metrics=[MetricValue(**of, value=value)], predicted_labels=2)
        for split, value in splits.items()
    }
    blank = {"id": "a", "study": "s", "candidate": "c", "method": "c", "kind": "lora", "baseline": False, "seed": 1}
    record = TrialRecord(**blank, status="finished", identity={}, started_at="2026-01-01T00:00:00+00:00", settings={})
    return record.model_copy(update={"scores": scores, "wall_seconds": 2.5})


def test_the_end_of_a_trial_tells_no_test_score():
    assert describe_end(ended(validation=0.75, test=0.25), found=False) == "validation accuracy 0.7500 (2.5 s)"
    assert describe_end(ended(test=0.25), found=False) == "done (2.5 s)"
    assert describe_end(ended(test=0.25), found=True) == "done (finished before)"


@pytest.mark.parametrize("live", [False, True])
def test_lines_about_trials_that_run_together_say_which(live, monkeypatch):
    monkeypatch.setattr("whichtune.cli.progress.QUIET_SECONDS", -1)
    told = io.StringIO()
    console = Console(file=told, width=200)
    bars = make_progress(console)
    watcher = LiveBars(console, bars) if live else PlainLines(console)
    trials = [(SimpleNamespace(label=lambda name=name: name), place, 2) for place, name in enumerate(("lora", "full"))]
    for trial in trials:
        watcher.on_trial(*trial)
    for step, trial in enumerate(trials, start=1):
        watcher.turn_to(*trial)
        watcher.on_step(SimpleNamespace(step=step, loss=0.5), 9)
    if live:
        shown = [(task.description, task.completed) for task in bars.tasks]
        assert shown == [("trials", 0), ("lora", 1), ("full", 2)]
    for trial in trials:
        watcher.turn_to(*trial)
        watcher.on_trial_end(ended(validation=0.75), found=False)
    ends = [f"[{place}/2] {name}: validation accuracy 0.7500 (2.5 s)" for place, name in ((1, "lora"), (2, "full"))]
    steps = [f"[{place}/2] {name}: step {place} of 9, loss 0.5000" for place, name in ((1, "lora"), (2, "full"))]
    assert told.getvalue().splitlines() == (ends if live else [*steps, *ends])
    assert not live or [(task.description, task.completed) for task in bars.tasks] == [("trials", 2)]
