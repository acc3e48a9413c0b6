"""Two studies or trials beside each other."""

from __future__ import annotations

import io
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from whichtune.errors import RecordError
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import read_predictions, write_predictions
from whichtune.report.compare import PLAIN_PAIRS, compare_two, open_study, open_trial
from whichtune.report.compare_model import Versus
from whichtune.report.compare_tables import render_versus
from whichtune.stats.intervals import estimate_difference
from whichtune.stats.samples import collect_sample

LABELS = ("negative", "positive")


@pytest.fixture
def two(maker, tmp_path):
    """Return makers of two studies of the same rows."""
    other = type(maker)(StudyFolder(tmp_path / "other"), count=500)
    other.write_spec(margin=3.0, training={"epochs": 5})
    for one in (maker, other):
        one.rows = 600
    return maker, other


def fill(maker, *shares: tuple[str, float], seeds=(1, 2, 3)) -> None:
    for candidate, share in shares:
        for seed in seeds:
            maker.add(candidate, seed, share=share)


def compare(two, **over) -> Versus:
    first, second = two
    return compare_two(open_study("one", first.folder), open_study("other", second.folder), **over)


def sample_of(maker, candidate: str):
    records = [one for one in maker.folder.read_trials() if one.candidate == candidate]
    tables = [read_predictions(maker.folder.trial(one.id).predictions)["test"] for one in records]
    return collect_sample(candidate, tables, LABELS, "accuracy")


def write_examples(maker, texts=None) -> None:
    rows = range(maker.rows)
    columns = {
        "id": [f"r{place}" for place in rows],
        "split": ["test"] * maker.rows,
        "text": texts or [f"text {place}" for place in rows],
    }
    pq.write_table(pa.table(columns), maker.folder.examples)


def test_candidates_of_one_name_and_the_best_of_each(two) -> None:
    first, second = two
    fill(first, ("lora@minilm", 0.7), ("full@minilm", 0.9))
    fill(second, ("lora@minilm", 0.8), ("dora@minilm", 0.85), seeds=(11, 12, 13))
    versus = compare(two)
    assert [(one.first.candidate, one.second.candidate) for one in versus.crossings] == [
        ("lora@minilm", "lora@minilm"),
        ("full@minilm", "dora@minilm"),
    ]
    lora, best = versus.crossings
    expected = estimate_difference(sample_of(first, "lora@minilm"), sample_of(second, "lora@minilm"))
    assert lora.difference == pytest.approx(expected.value)
    assert (lora.low, lora.high) == pytest.approx(expected.interval())
    assert lora.p_value == pytest.approx(expected.p_value)
    assert (lora.better, best.better) == ("B", "A")
    assert lora.sentence.startswith("better by ")
    assert lora.first.mean == pytest.approx(sample_of(first, "lora@minilm").total)
    assert lora.first.trainings == 3
    assert (versus.margin, versus.margin_amount, versus.rows) == (2.0, 0.02, 600)
    assert versus.scope == [PLAIN_PAIRS]
    settings = {one.name: (one.first, one.second) for one in versus.settings}
    assert settings == {"margin": ("2.0", "3.0"), "training.epochs": ("3.0", "5.0")}
    assert versus.unpaired == []


def test_names_that_stand_on_one_side_are_told(two) -> None:
    first, second = two
    fill(first, ("lora@minilm", 0.9), ("full@minilm", 0.7))
    fill(second, ("lora@minilm", 0.8), seeds=(11, 12, 13))
    versus = compare(two, margin=0.5)
    assert [one.model_dump() for one in versus.unpaired] == [{"what": "full@minilm", "reason": "stands in one alone"}]
    assert versus.margin_amount == 0.005


def test_a_training_is_not_compared_with_itself(two) -> None:
    first, second = two
    fill(first, ("lora@minilm", 0.9), ("full@minilm", 0.7))
    shutil.copytree(first.folder.path, second.folder.path, dirs_exist_ok=True)
    versus = compare(two)
    assert versus.crossings == []
    assert {one.what for one in versus.unpaired} == {"lora@minilm", "full@minilm"}
    assert versus.unpaired[0].reason.startswith("3 of 3 trainings are the same trial on both sides")


def test_two_trials_and_what_differs_between_them(two) -> None:
    first, second = two
    one, other = first.add("lora@minilm", 1, share=0.9), second.add("lora@minilm", 2, share=0.7)
    folders = first.folder.trial(one.id), second.folder.trial(other.id)
    versus = compare_two(open_trial("a", folders[0]), open_trial("b", folders[1]))
    (pair,) = versus.crossings
    assert pair.better == "A"
    assert versus.scope == ["One training each: this compares these trained models, not the methods."]
    assert [(each.name, each.first, each.second) for each in versus.settings] == [("seed", "1", "2")]
    assert (versus.first.what, versus.first.study) == ("trial", "reviews")


def test_a_trial_is_compared_with_every_candidate_of_a_study(two) -> None:
    first, second = two
    one = first.add("lora@minilm", 1, share=0.9)
    fill(second, ("lora@minilm", 0.7), ("full@minilm", 0.8), seeds=(11, 12))
    versus = compare_two(open_trial("a", first.folder.trial(one.id)), open_study("b", second.folder))
    assert [pair.second.candidate for pair in versus.crossings] == ["lora@minilm", "full@minilm"]
    assert versus.scope[:2] == [
        "One training each (lora@minilm of A): this compares these trained models, not the methods.",
        "Two trainings each (lora@minilm of B, full@minilm of B): intervals only; a verdict needs three.",
    ]
    assert versus.settings == []


def test_other_rows_are_refused(two) -> None:
    first, second = two
    second.rows = 500
    fill(first, ("lora@minilm", 0.9))
    fill(second, ("lora@minilm", 0.8))
    with pytest.raises(RecordError, match="600 and 500 test rows, 500 of them shared"):
        compare(two)


def test_other_gold_answers_are_refused(two) -> None:
    first, second = two
    fill(first, ("lora@minilm", 0.9))
    record = second.add("lora@minilm", 9)
    path = second.folder.trial(record.id).predictions
    table = read_predictions(path)["test"]
    table.gold = [table.gold[1], *table.gold[1:]]
    write_predictions(path, [table])
    with pytest.raises(RecordError, match="1 row of 600 with another gold answer"):
        compare(two)


def test_other_texts_are_refused(two) -> None:
    first, second = two
    fill(first, ("lora@minilm", 0.9))
    fill(second, ("lora@minilm", 0.8))
    write_examples(first)
    write_examples(second, ["another"] * 3 + [f"text {place}" for place in range(3, 600)])
    with pytest.raises(RecordError, match="3 rows of 600 ask something else"):
        compare(two)
    write_examples(second)
    assert len(compare(two).crossings) == 1


def test_another_metric_is_refused(two, speaker) -> None:
    first, _ = two
    other = speaker("summarization", rows=600)
    fill(first, ("lora@minilm", 0.9))
    other.say("lora@smol")
    with pytest.raises(RecordError, match="cannot be paired: got '600 rows of 600 with another gold answer'"):
        compare((first, other))
    record = next(one for one in other.folder.read_trials())
    path = other.folder.trial(record.id).predictions
    table = read_predictions(path)["test"]
    table.gold = first.predict("lora@minilm", 1, 0.8).gold
    write_predictions(path, [table])
    with pytest.raises(RecordError, match="have no metric in common"):
        compare((first, other))


def test_nothing_finished_is_refused(two) -> None:
    first, second = two
    fill(first, ("lora@minilm", 0.9))
    second.fail("lora@minilm", 1)
    with pytest.raises(RecordError, match="other: nothing finished with predictions of the test split"):
        compare(two)


def test_a_search_trial_predicts_no_test_rows(two) -> None:
    first, _ = two
    fill(first, ("lora@minilm", 0.9))
    record = first.add("lora@minilm", 4, role="search", scores={})
    with pytest.raises(RecordError, match="a search trial predicts no test rows"):
        compare_two(open_trial("x", first.folder.trial(record.id)), open_study("one", first.folder))


def test_other_training_data_are_told(two) -> None:
    first, second = two
    fill(first, ("lora@minilm", 0.9))
    fill(second, ("lora@minilm", 0.8))
    for maker, told in ((first, "aa"), (second, "bb")):
        for record in maker.folder.read_trials():
            record.fingerprints = {"data": told}
            maker.folder.trial(record.id).write(record)
    assert compare(two).scope == ["The test rows are the same, the data are not: training or other rows differ."]


def test_it_prints_within_80_columns_and_reads_back(two) -> None:
    first, second = two
    fill(first, ("lora[rank=64,alpha=128]@minilm", 0.7), ("full@minilm", 0.9))
    fill(second, ("lora[rank=64,alpha=128]@minilm", 0.8), ("dora@minilm", 0.85), seeds=(11, 12))
    versus = compare(two)
    console = Console(width=80, file=io.StringIO(), record=True)
    render_versus(versus, console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for told in ("A: one (study)", "B: other (study)", "600 test rows in both; margin 2 points", "training.epochs"):
        assert told in text
    assert Versus.model_validate_json(versus.model_dump_json()) == versus
