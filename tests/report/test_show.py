"""One trial in full."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from whichtune.errors import RecordError
from whichtune.records.trial import ClassFigures
from whichtune.report.show import render_trial


def printed(maker, record, **kwargs) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    render_trial(maker.folder.trial(record.id), console, **kwargs)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    return text


def test_a_finished_trial(maker) -> None:
    record = maker.add("lora@minilm", 1, checked=True, steps=30, epochs=3.0, kept_step=20, traps=["[red]odd"])
    lines = [{"step": step, "loss": 1 / step, "learning_rate": 0.1, "gradient_norm": step} for step in range(1, 31)]
    first = {"accuracy": 0.75, "macro_f1": 0.7, "loss": None, "calibration_error": 0.1}
    lines.insert(15, {"step": 15, "validation_score": 0.75, "validation": first})
    lines += [{"step": 30, "validation_score": 0.8, "validation": first | {"accuracy": 0.8, "loss": 0.5}}]
    text_lines = [json.dumps(line) for line in lines]
    maker.folder.trial(record.id).curve.write_text("\n".join([*text_lines, '{"step": 31, "lo']))
    text = printed(maker, record)
    for told in (
        "lora@minilm, seed 1, study reviews: finished",
        "query, value",
        "30 steps, 3 epochs, weights of step 20 kept",
        "Training loss 1.0000 at step 1, 0.0333 at step 30",
        "Gradient norm 1 to 30",
        "0.8000 at step 30",
        "The saved adapter gave the same logits in a clean process",
        "22,787,714",
        "[red]odd",
        "Confusion, test split",
    ):
        assert told in text
    assert "Failure" not in text
    rows = [line.split() for line in text.partition("Validations")[2].splitlines()[1:5]]
    means = [sum(1 / step for step in steps) / 15 for steps in (range(1, 16), range(16, 31))]
    assert ["1.5", "15", f"{means[0]:.4f}", "75.0", "70.0", "–"] in rows
    assert ["3", "30", f"{means[1]:.4f}", "80.0", "70.0", "0.500"] in rows


def test_phases_add_up_to_the_wall_time(maker) -> None:
    text = printed(maker, maker.add("lora@minilm", 1))
    rows = {line[:12].strip(): line[12:].strip() for line in text.splitlines() if " s" in line}
    assert rows["all phases"] == rows["wall time"] == "13.5 s"


def test_a_failed_trial_keeps_its_traceback_until_asked(maker) -> None:
    record = maker.fail("lora@minilm", 1)
    text = printed(maker, record)
    assert "NonFiniteError: loss is nan" in text
    assert "Traceback" not in text
    asked = printed(maker, record, traceback=True)
    assert "Traceback:\n  line [bold]" in asked


def test_a_baseline(maker) -> None:
    text = printed(maker, maker.add("majority", share=0.5))
    assert "Parameters" not in text
    assert "Held settings" not in text


def test_no_confusion_of_many_labels(maker) -> None:
    record = maker.add("lora@minilm", 1)
    scores = record.scores["test"]
    one = ClassFigures(label="x", precision=None, recall=0.0, f1=0.0, support=1, predicted=0)
    scores.classes = [one.model_copy(update={"label": f"l{place}"}) for place in range(60)]
    maker.folder.trial(record.id).write(record)
    text = printed(maker, record)
    assert "Confusion" not in text
    assert "10 more labels are in the record." in text


def test_unreadable_answers_are_told(maker) -> None:
    record = maker.add("lora@minilm", 1)
    record.scores["test"].unparsed_share = 0.25
    maker.folder.trial(record.id).write(record)
    assert "25.0 % of the answers could not be read; they count as wrong" in printed(maker, record)


def test_no_such_trial(maker) -> None:
    with pytest.raises(RecordError, match="no such record"):
        render_trial(maker.folder.trial("none"), Console(file=io.StringIO()))
