"""Forgetting in a report, from records that no model made."""

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from whichtune.fetch.atomic import write_text
from whichtune.records.folder import StudyFolder
from whichtune.records.retention import (
    MeasuredText,
    MeasuredTexts,
    RetentionFigures,
    RetentionRows,
    read_rows,
    write_rows,
)
from whichtune.records.trial import TrialRecord
from whichtune.report.comparison import compare_study
from whichtune.report.csv_table import render_csv
from whichtune.report.forgetting import estimate_change, weigh_rows
from whichtune.report.forgetting_tables import lay_out_forgetting
from whichtune.report.html.page import render_page
from whichtune.report.latex import render_latex
from whichtune.report.markdown import render_markdown
from whichtune.report.show import render_trial
from whichtune.report.terminal import render_terminal

ROWS = 60


def rows_of(seed, shift=0.0, spread=0.0, count=ROWS):
    """Return rows of different lengths; what a seed adds to each token stands in `shift` and `spread`."""
    base, own = np.random.default_rng(1), np.random.default_rng([2, seed])
    counts = base.integers(5, 80, count)
    totals = counts * (3 + base.normal(0, 0.5, count) + shift + own.normal(0, 0.1, count) * spread)
    return RetentionRows([f"r{place}" for place in range(count)], totals, counts.astype(np.int32), cut=4, left_out=1)


def right_of(seed, share, count=ROWS):
    right = np.random.default_rng(seed).random(count) < share
    ids = [f"s{place}" for place in range(count)]
    return RetentionRows(ids, right.astype(np.float64), np.ones(count, np.int32))


@pytest.fixture
def measured(maker):
    """A study with two measures: LoRA forgets, full fine-tuning is bit-equal, a third could not be measured."""
    texts = [
        MeasuredText(name="general", kind="text-loss", source="a file", rows=ROWS,
             found=90, empty=2, trained_exactly=3, trained_nearly=1),
        MeasuredText(name="truths", kind="labels", source="statements", rows=ROWS,
             found=60, empty=0, trained_exactly=0, trained_nearly=0),
    ]  # fmt: skip
    write_text(maker.folder.retention_texts, MeasuredTexts(texts=texts).model_dump_json())
    maker.surround()
    maker.add("majority", share=0.5)
    befores = {"general": rows_of(0), "truths": right_of(1, 0.8)}
    for name, before in befores.items():
        write_rows(maker.folder.retention(f"id-{name}"), before)
    for seed in (1, 2, 3):
        for candidate in ("lora@minilm", "full@minilm"):
            worse = candidate.startswith("lora")
            after = {
                "general": rows_of(seed, 0.4, 1.0) if worse else rows_of(0),
                "truths": right_of(1, 0.8) if worse else right_of(1 + seed, 0.4),
            }
            figures = {
                name: RetentionFigures(
                    id=f"id-{name}", kind="text-loss" if name == "general" else "labels",
                    before=befores[name].value, after=own.value, rows=ROWS, counted=int(own.counts.sum()), cut=own.cut,
                    left_out=own.left_out,
                )
                for name, own in after.items()
            }  # fmt: skip
            record = maker.add(candidate, seed, retention=figures)
            for name, own in after.items():
                write_rows(maker.folder.trial(record.id).retention(f"id-{name}"), own)
    none = RetentionFigures(id="other", kind="text-loss", reason="not a causal language model", never=True)
    maker.add("last-layers@minilm", retention={"general": none})
    return maker


def test_the_interval_is_that_of_a_ratio_over_rows_and_seeds():
    before, after = rows_of(0), [rows_of(seed, 0.3, 2.0) for seed in range(1, 5)]
    found = estimate_change("lora", before, after)
    change = np.mean([one.totals.sum() / one.counts.sum() for one in after]) - before.totals.sum() / before.counts.sum()
    assert found.value == pytest.approx(change)
    assert weigh_rows(before).mean() == pytest.approx(before.value)
    draw = np.random.default_rng(3)
    mean = np.mean([one.totals for one in after], axis=0) - before.totals
    drawn = [(mean[rows].sum() / before.counts[rows].sum()) for rows in draw.integers(0, ROWS, (4000, ROWS))]
    assert math.sqrt(found.item_variance) == pytest.approx(np.std(drawn), rel=0.06), "as a bootstrap over rows says"
    single = estimate_change("lora", before, after[:1])
    assert single.seed_variance == 0.0
    spread = [rows_of(0, shift) for shift in (0.1, 0.5, 0.9)]
    assert estimate_change("lora", before, spread).seed_variance > 0, "seeds that differ beyond flips of rows"
    assert estimate_change("lora", rows_of(0, count=1), [rows_of(1, count=1)]) is None


def test_a_measure_of_each_candidate_with_what_may_be_said(measured):
    found = compare_study(measured.folder).forgetting
    rows = {(row.measure, row.candidate): row for row in found.rows}
    assert set(rows) == {
        ("general", "lora@minilm"), ("general", "full@minilm"), ("general", "last-layers@minilm"),
        ("truths", "lora@minilm"), ("truths", "full@minilm"),
    }  # fmt: skip
    lora = rows["general", "lora@minilm"]
    assert (lora.trainings, lora.rows, lora.cut, lora.left_out, lora.call) == (3, ROWS, 4, 1, "worse")
    assert 0.3 < lora.low < lora.change < lora.high < 0.5
    assert (lora.perplexity_before, lora.perplexity_after) == (math.exp(lora.before), math.exp(lora.after))
    full = rows["general", "full@minilm"]
    assert (full.change, full.low, full.high, full.call) == (0.0, 0.0, 0.0, "unchanged")
    same = rows["truths", "lora@minilm"]
    assert (same.change, same.call) == (0.0, "not-shown"), "equal answers are no proof of an equal model"
    assert same.low < 0 < same.high
    assert same.perplexity_before is None
    assert rows["truths", "full@minilm"].call == "worse", "less accuracy is worse, less loss is better"
    none = rows["general", "last-layers@minilm"]
    assert (none.before, none.after, none.change, none.reason) == (None, None, None, "not a causal language model")
    assert "general: loss a token on 60 of 90 rows; a file" in found.remarks
    assert any("3 rows stand among the training rows, 1 more nearly so" in one for one in found.remarks)
    assert "general, minilm: 4 rows cut to the tokens that a row may have" in found.remarks


def test_less_loss_is_better(measured):
    folder = measured.folder
    for record in folder.read_trials():
        if record.candidate == "full@minilm":
            write_rows(folder.trial(record.id).retention("id-general"), rows_of(record.seed, -0.4, 1.0))
    rows = {(row.measure, row.candidate): row for row in compare_study(folder).forgetting.rows}
    assert rows["general", "full@minilm"].call == "better"


def test_every_form_shows_it(measured):
    comparison = compare_study(measured.folder)
    page = io.StringIO()
    render_terminal(comparison, Console(file=page, width=80))
    shown = page.getvalue()
    assert "Forgetting: before and after tuning" in shown
    assert "the same, bit" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "## Forgetting: before and after tuning" in render_markdown(comparison)
    assert "Forgetting: before and after tuning" in render_latex(comparison)
    html = render_page(measured.folder, comparison)
    assert '<a href="#forgetting">Forgetting</a>' in html
    assert "the same, bit for bit" in html
    head, *lines = render_csv(comparison).splitlines()
    place = head.split(",").index("general_loss_change")
    assert float(next(line for line in lines if line.startswith("lora@")).split(",")[place]) > 0.3
    assert next(line for line in lines if line.startswith("majority")).split(",")[place] == ""
    told = json.loads(comparison.model_dump_json())["forgetting"]
    assert told["rows"][0]["measure"] == "general"
    shown = io.StringIO()
    lora = next(one for one in measured.folder.read_trials() if one.candidate == "lora@minilm")
    render_trial(measured.folder.trial(lora.id), Console(file=shown, width=100))
    assert "Forgetting" in shown.getvalue()
    assert "general" in shown.getvalue()


def test_a_study_without_measures_shows_nothing(maker):
    maker.fill()
    comparison = compare_study(maker.folder)
    assert comparison.forgetting is None
    assert list(lay_out_forgetting(comparison)) == []
    assert "orgetting" not in render_markdown(comparison)
    assert "orgetting" not in render_page(maker.folder, comparison)


def test_rows_that_are_gone_are_no_zero(measured):
    for path in measured.folder.path.glob("trials/*/retention-id-general.parquet"):
        path.unlink()
    row = compare_study(measured.folder).forgetting.rows[0]
    assert (row.after, row.change, row.call) == (None, None, None)
    assert "run the study again" in row.reason


def test_records_of_before_are_read_as_they_are(tmp_path, maker):
    record = maker.add("lora@minilm")
    path = maker.folder.trial(record.id).record
    held = json.loads(path.read_text())
    del held["retention"]
    path.write_text(json.dumps(held))
    assert maker.folder.trial(record.id).read() == record
    assert TrialRecord.model_validate(held).retention == {}
    assert StudyFolder(tmp_path / "none").read_retention_texts().texts == []


def test_rows_come_back_as_they_were_written(tmp_path):
    one = rows_of(3, 0.1, 1.0)
    write_rows(tmp_path / "rows.parquet", one)
    back = read_rows(tmp_path / "rows.parquet")
    assert (back.ids, back.cut, back.left_out, back.value) == (one.ids, 4, 1, one.value)
    assert np.array_equal(back.totals, one.totals)
    assert read_rows(tmp_path / "none.parquet") is None
