"""Studies whose every text tries to be something else than text."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whichtune.fetch.atomic import write_text

HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<!--<script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "\"quoted\" 'text' & {{ 7 * 7 }} {% raw %} ${7*7} `x`",
    "שלום \u202eעולם\u202c مرحبا",
    "👩‍👩‍👧‍👦 🏳️‍🌈 \u2028 \u2029",
    "=cmd|' /C calc'!A0",
    "\\u003c/script\\u003e \\",
)


@pytest.fixture
def hostile_maker(maker):
    """A study of three candidates whose texts, labels, settings and failures are hostile."""
    maker.fill()
    write_examples(maker, HOSTILE)
    maker.fail(f"lora[x={HOSTILE[0]}]@minilm", 7, message=HOSTILE[2])
    maker.fail("lora[rank=2]@minilm", 8, message=HOSTILE[4])
    held = json.loads(maker.folder.data_report.read_text(encoding="utf-8"))
    write_text(maker.folder.data_report, json.dumps(held | {"notes": list(HOSTILE), "source": HOSTILE[1]}))
    for record in maker.folder.read_trials():
        record.traps = [HOSTILE[3]]
        record.settings["note"] = HOSTILE[0]
        record.device["name"] = HOSTILE[2]
        maker.folder.trial(record.id).write(record)
    write_curves(maker)
    return maker


@pytest.fixture
def fill_examples():
    """A function that writes a study's examples, its texts in turn."""
    return write_examples


def write_examples(maker, texts) -> None:
    rows = range(maker.rows)
    table = {
        "id": [f"r{row}" for row in rows],
        "split": ["test"] * maker.rows,
        "text": [f"{texts[row % len(texts)]} {row}" for row in rows],
        "pair": [None] * maker.rows,
        "gold": ["negative" if row % 2 == 0 else "positive" for row in rows],
        "origin": [f"rows.csv:{row}" for row in rows],
        "group": [None] * maker.rows,
    }
    pq.write_table(pa.table(table), maker.folder.examples)


def write_curves(maker, steps: int = 40) -> None:
    for record in maker.folder.read_trials():
        if record.status == "finished" and not record.baseline:
            losses = np.linspace(1.0, 0.2, steps) + record.seed / 100
            lines = [{"step": step + 1, "loss": float(loss)} for step, loss in enumerate(losses)]
            lines += [
                {"step": step, "validation_score": 0.5 + step / 100, "validation": {"accuracy": 0.5 + step / 100}}
                for step in (20, 40)
            ]
            told = "".join(json.dumps(line) + "\n" for line in lines)
            write_text(maker.folder.trial(record.id).curve, told)
