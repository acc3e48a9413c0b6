"""From records to a comparison."""

from __future__ import annotations

import subprocess
import sys
from statistics import fmean, stdev

import numpy as np
import pytest

from whichtune.errors import RecordError
from whichtune.records.predictions import read_predictions, write_predictions
from whichtune.report.comparison import compare_study
from whichtune.report.costs import ASKING
from whichtune.report.model import Comparison
from whichtune.stats.intervals import estimate_difference, estimate_single
from whichtune.stats.samples import collect_sample

LABELS = ("negative", "positive")


def row_of(comparison: Comparison, name: str):
    return next(row for row in comparison.candidates if row.candidate == name)


def sample_of(maker, records, metric="accuracy"):
    tables = [read_predictions(maker.folder.trial(one.id).predictions)["test"] for one in records]
    sample = collect_sample(records[0].candidate, tables, LABELS, metric)
    assert sample is not None
    return sample


def test_means_intervals_and_pairs_are_those_of_the_statistics(maker) -> None:
    lora = [maker.add("lora@minilm", seed, share=0.84) for seed in (1, 2, 3)]
    full = [maker.add("full@minilm", seed, share=0.87) for seed in (1, 2, 3)]
    comparison = compare_study(maker.folder)
    own = row_of(comparison, "lora@minilm").quality[0]
    values = [one.scores["test"].metrics[0].value for one in lora]
    assert own.mean == pytest.approx(fmean(values))
    assert own.seed_deviation == pytest.approx(stdev(values))
    assert own.by_seed == dict(zip((1, 2, 3), values, strict=True))
    assert (own.low, own.high) == estimate_single(sample_of(maker, lora)).interval()
    assert own.flip_deviation == pytest.approx(sample_of(maker, lora).flip_variance ** 0.5)
    (pair,) = comparison.pairs
    best, other = sorted((lora, full), key=lambda trials: -sample_of(maker, trials).total)
    expected = estimate_difference(sample_of(maker, best), sample_of(maker, other))
    assert (pair.first, pair.second) == (best[0].candidate, other[0].candidate)
    assert pair.difference == expected.value
    assert (pair.low, pair.high) == expected.interval()
    assert comparison.margin_amount == 0.02
    assert [row.candidate for row in comparison.candidates] == [best[0].candidate, other[0].candidate]
    assert comparison.scope == []


def test_loss_as_first_metric_is_turned_back(maker) -> None:
    maker.metric = "loss"
    maker.write_spec(task={"kind": "text-classification", "metric": "loss"})
    for seed in (1, 2, 3):
        maker.add("lora@minilm", seed, share=0.95)
        maker.add("full@minilm", seed, share=0.6)
    comparison = compare_study(maker.folder)
    best, worst = comparison.candidates
    assert (best.candidate, worst.candidate) == ("lora@minilm", "full@minilm")
    quality = best.quality[0]
    assert quality.metric == "loss"
    assert 0 < quality.low < quality.mean < quality.high < worst.quality[0].low
    assert comparison.pairs[0].difference == pytest.approx(worst.quality[0].mean - quality.mean)
    assert comparison.margin_amount == pytest.approx(0.02 * quality.mean)
    assert comparison.pairs[0].sentence.startswith("better by ")
    assert " nats (" in comparison.pairs[0].sentence


@pytest.mark.parametrize(
    ("seeds", "scope"),
    [
        (1, ["One training each: this compares these trained models, not the methods."]),
        (2, ["Two trainings each: intervals only; a verdict needs three."]),
        (3, []),
    ],
)
def test_scope_by_seeds(maker, seeds, scope) -> None:
    maker.add("majority", share=0.5)
    for seed in range(1, seeds + 1):
        maker.add("lora@minilm", seed)
        maker.add("full@minilm", seed)
    comparison = compare_study(maker.folder)
    assert comparison.scope == scope
    majority = row_of(comparison, "majority")
    assert majority.seeds == [1]
    assert majority.quality[0].low < 0.5 < majority.quality[0].high
    assert majority.quality[0].seed_deviation is None
    assert len(comparison.pairs) == 3


def test_scope_names_candidates_that_lack_trainings(maker) -> None:
    for seed in (1, 2, 3):
        maker.add("lora@minilm", seed)
    maker.add("full@minilm", 1)
    scope = compare_study(maker.folder).scope
    assert scope == ["One training each (full@minilm): this compares these trained models, not the methods."]


def test_one_candidate(maker) -> None:
    for seed in (1, 2, 3):
        maker.add("lora@minilm", seed)
    comparison = compare_study(maker.folder)
    own = comparison.candidates[0].quality[0]
    told = f"{100 * own.mean:.1f} ({100 * own.low:.1f}..{100 * own.high:.1f})"
    assert comparison.scope == [f"One candidate: nothing to compare it with; its score is {told}."]
    assert comparison.pairs == []


def test_nothing_has_run(maker) -> None:
    comparison = compare_study(maker.folder)
    assert (comparison.candidates, comparison.metrics, comparison.pairs, comparison.trials) == ([], [], [], {})


def test_nothing_finished(maker) -> None:
    maker.fail("lora@minilm", 1)
    maker.fail("lora@minilm", 2, status="does-not-fit", message="needs about 12 GB")
    maker.fail("full@minilm", 1, status="running")
    comparison = compare_study(maker.folder)
    assert comparison.trials == {"failed": 1, "does-not-fit": 1, "running": 1}
    assert row_of(comparison, "lora@minilm").reason == "NonFiniteError: loss is nan; needs about 12 GB"
    assert [one.status for one in comparison.unfinished] == ["failed", "does-not-fit", "running"]
    assert "still running, or stopped" in comparison.unfinished[2].reason
    assert row_of(comparison, "lora@minilm").costs.spent_seconds.value == 6.0
    assert row_of(comparison, "full@minilm").costs.spent_seconds.reason == "no trial is over"


def test_failed_trials_stand_beside_finished_ones(maker) -> None:
    maker.fill()
    comparison = compare_study(maker.folder)
    assert [row.candidate for row in comparison.candidates[-2:]] == ["lora[rank=64]@minilm", "last-layers@minilm"]
    assert comparison.candidates[-1].reason == "this family has no pooler"
    assert len(comparison.pairs) == 3
    assert row_of(comparison, "majority").baseline


def test_costs_and_why_they_are_missing(maker) -> None:
    maker.fill()
    costs = row_of(compare_study(maker.folder), "lora@minilm").costs
    assert costs.training_seconds.value == 12.0
    assert costs.wall_seconds.value == 14.5
    assert costs.spent_seconds.value == 13.5 + 14.5 + 15.5
    assert costs.step_seconds.value == 0.123
    assert (costs.saved_bytes.value, costs.saved_bytes.reason) == (None, "the kernel keeps its own")
    assert (costs.latency_one_merged.value, costs.latency_many.value, costs.latency_rows) == (0.004, 0.256, 64)
    assert costs.total_parameters.value == 22_713_216 + 770 + 73_728
    assert costs.trainable_share.value == 74_498 / costs.total_parameters.value
    full = row_of(compare_study(maker.folder), "full@minilm").costs
    assert full.latency_one_merged.reason == "it has no merged form of its own"
    majority = row_of(compare_study(maker.folder), "majority").costs
    assert majority.training_seconds.value == 11.0
    assert majority.step_seconds.reason == majority.total_parameters.reason == "a baseline trains no model"
    last = row_of(compare_study(maker.folder), "last-layers@minilm").costs
    assert last.training_seconds.reason == "no finished trial"


def test_every_empty_cost_has_a_reason(maker) -> None:
    maker.fill()
    maker.add("full[x=1]@minilm", 1, probe="lost", adapter_bytes=None, unmeasured={"adapter_bytes": "the disk is full"})
    comparison = compare_study(maker.folder)
    reasons = {one.reason for one in comparison.missing}
    assert {"its probe left no record", "the disk is full", "a baseline trains no model"} <= reasons
    empty = sum(
        getattr(row.costs, name).value is None
        for row in comparison.candidates
        for name in type(row.costs).model_fields
        if name != "latency_rows" and name not in ASKING  # no candidate writes answers in words
    )
    assert empty == sum(len(one.columns) * len(one.candidates) for one in comparison.missing)


def test_surroundings(maker) -> None:
    maker.fill()
    record = maker.add("lora[rank=4]@minilm", 1, overrides={"epochs": 1, "stopping": {"patience": 2}}, traps=["odd"])
    maker.plan(12, record)
    comparison = compare_study(maker.folder)
    assert comparison.unequal == ["lora: epochs = 1, stopping.patience = 2"]
    assert comparison.traps[0].model_dump() == {"sentence": "odd", "where": ["lora[rank=4]@minilm seed 1"]}
    assert comparison.trials_planned == 12
    assert comparison.data_notes == [
        "Source: reviews.csv (sha256 ab12)",
        "train: 100 rows (negative 60 %, positive 40 %)",
        "test: 300 rows (negative 50 %, positive 50 %)",
        "Left out of train: 2 rows (empty, first reviews.csv:7, reviews.csv:9)",
        "Duplicates of train also in test: 3 exact, 1 near",
        "reviews.csv was read as latin-1",
        "3 labels look alike",
        "Texts cut to 128 tokens: 4 train (minilm)",
    ]
    assert [one.model_dump() for one in comparison.shared_costs] == [{"what": "load", "seconds": 2.0, "times": 2}]
    assert comparison.notes[1:] == ["1 adapter not checked in a clean process: no reason recorded"]
    published = {one.name: (one.published, one.ours) for one in comparison.candidates[0].published}
    assert published["accuracy"] == (0.91, comparison.candidates[0].quality[0].mean)
    assert published["training_seconds"] == (768, 11.0)
    assert published["rouge"] == (1.5, None)


def test_trials_on_other_machines_are_noted(maker) -> None:
    maker.add("lora@minilm", 1, checked=True)
    maker.add("lora@minilm", 2, checked=True, device={"name": "H200", "threads": 16})
    (note,) = compare_study(maker.folder).notes
    assert note.endswith("cannot be compared: H200, 16 threads; cpu, 2 threads")


def test_scores_that_are_not_those_of_the_predictions_are_noted(maker) -> None:
    record = maker.add("lora@minilm", 1, checked=True)
    record.scores["test"].metrics[0].value = 0.5
    maker.folder.trial(record.id).write(record)
    (note,) = compare_study(maker.folder).notes
    assert note.startswith("lora@minilm: accuracy is 0.5000 by its records, 0.")


def test_without_predictions_there_is_a_mean_but_no_interval(maker) -> None:
    record = maker.add("lora@minilm", 1)
    maker.folder.trial(record.id).predictions.unlink()
    own = compare_study(maker.folder).candidates[0].quality[0]
    assert own.mean == record.scores["test"].metrics[0].value
    assert (own.low, own.reason) == (None, f"no test predictions of trial {record.id} on disk")


def test_calibration_error_has_no_interval(maker) -> None:
    maker.add("lora@minilm", 1)
    own = compare_study(maker.folder).candidates[0].quality[-1]
    assert (own.metric, own.low, own.reason) == ("calibration_error", None, "it has no scores of single rows")
    assert own.mean is not None


def test_a_loss_without_bound_is_no_number(maker) -> None:
    record = maker.add("lora@minilm", 1)
    path = maker.folder.trial(record.id).predictions
    table = read_predictions(path)["test"]
    table.loss = np.where(np.arange(len(table.ids)) == 0, np.inf, table.loss)
    write_predictions(path, [table])
    record.scores["test"].metrics[3].value = None
    maker.folder.trial(record.id).write(record)
    own = compare_study(maker.folder).candidates[0].quality[3]
    assert (own.metric, own.mean, own.reason) == ("loss", None, "not a finite number")


def test_other_test_rows_are_refused(maker) -> None:
    maker.add("lora@minilm", 1)
    maker.rows = 250
    maker.add("full@minilm", 1)
    with pytest.raises(RecordError, match="were not scored on the same items"):
        compare_study(maker.folder)


def test_a_broken_data_report_is_named(maker) -> None:
    maker.folder.data_report.write_text("{}")
    with pytest.raises(RecordError, match=r"data\.json: not a readable data report"):
        compare_study(maker.folder)


def test_json_round_trip(maker) -> None:
    maker.fill()
    comparison = compare_study(maker.folder)
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


def test_reading_loads_no_model_library() -> None:
    code = (
        "import sys, whichtune.report.comparison, whichtune.report.show, whichtune.report.listing\n"
        "import whichtune.report.terminal, whichtune.report.markdown, whichtune.report.csv_table\n"
        "found = {'torch', 'transformers', 'datasets', 'peft', 'pandas'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_tuner_not_shown_above_a_baseline_is_flagged(maker) -> None:
    for seed in (1, 2, 3):
        maker.add("full@minilm", seed, share=0.8)
        maker.add("stuck@minilm", seed, share=0.5)
    maker.add("majority", 1, share=0.5, baseline=True, kind="majority")
    flagged = {trap.sentence: trap.where for trap in compare_study(maker.folder).traps}
    assert flagged == {"not shown to be better than majority": ["stuck@minilm"]}


def test_a_tuner_that_cannot_be_compared_with_a_baseline_is_named(maker) -> None:
    maker.add("full@minilm", 1, share=0.8)
    lost = maker.add("majority", 1, share=0.5, baseline=True, kind="majority")
    maker.folder.trial(lost.id).predictions.unlink()
    flagged = {trap.sentence: trap.where for trap in compare_study(maker.folder).traps}
    assert flagged == {"cannot be compared with majority row by row": ["full@minilm"]}


def test_trials_of_other_settings_are_counted(maker) -> None:
    first = maker.add("lora@minilm", 1)
    maker.add("lora@minilm", 1)
    maker.plan(1, first)
    told = compare_study(maker.folder).notes[0]
    assert told == "1 trial of other settings in this folder: no table shows them, the study has changed"
