"""From records to a verdict: what each kind of evidence allows to be said."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from whichtune.records.predictions import read_predictions, write_predictions
from whichtune.records.trial import Phase
from whichtune.report.comparison import compare_study
from whichtune.report.csv_table import render_csv
from whichtune.report.markdown import render_markdown
from whichtune.report.price_list import list_unsaid
from whichtune.report.terminal import render_terminal
from whichtune.report.uses import FILE
from whichtune.spec.read import load_stored_study

PHASES = {"step": Phase(seconds=9.0, peak_bytes=10**9), "predict": Phase(seconds=3.0, peak_bytes=5 * 10**8)}
NO_BETTER = "No candidate is shown to beat the baseline."


@pytest.fixture
def study(maker):
    """Return a maker of 2,000 test rows, and a function that adds a candidate with so many seeds and its probe."""
    maker.rows = 2000

    def add(candidate: str, share: float, seeds: int = 3, step_seconds: float = 0.1, **over) -> None:
        probe = maker.probe(candidate, step_seconds=step_seconds, examples_per_step=16)
        for seed in range(1, seeds + 1):
            maker.add(candidate, seed, **({"share": share, "probe": probe, "steps": 300, "phases": PHASES} | over))

    maker.add("majority", share=0.5, phases=PHASES)
    maker.put = add
    return maker


def verdict_of(maker):
    verdict = compare_study(maker.folder).verdict
    assert verdict is not None
    return verdict


def price_of(verdict, name: str):
    return next(one for one in verdict.prices if one.candidate == name)


def test_the_cheapest_within_the_margin_is_recommended(study) -> None:
    study.put("last-layers@minilm", 0.75)
    study.put("lora@minilm", 0.85, step_seconds=0.2)
    study.put("full@minilm", 0.85, step_seconds=0.3)
    verdict = verdict_of(study)
    (said,) = verdict.sentences
    assert said.startswith("Use lora@minilm: the cheapest shown to be at most 2 points below the best (95 %; estimate ")
    assert said.endswith(" Every cheaper one is shown more than 2 points below.")
    assert (verdict.recommended, verdict.guess, verdict.margin) == ("lora@minilm", None, 0.02)
    assert [one.candidate for one in verdict.prices] == [
        "majority", "last-layers@minilm", "lora@minilm", "full@minilm"
    ]  # fmt: skip
    lora = price_of(verdict, "lora@minilm")
    assert lora.cost == pytest.approx(0.2 * 300 + 100_000 * 0.004)
    assert price_of(verdict, "majority").cost == pytest.approx(9.0 + 100_000 * 3.0 / 2000)
    assert lora.recommended
    assert 0 <= lora.estimate <= lora.guaranteed <= 0.02
    assert (lora.trainings, lora.collapsed) == (3, 0)
    assert lora.collapse_bound == pytest.approx(1 - 0.05 ** (1 / 3))
    last = price_of(verdict, "last-layers@minilm")
    assert not last.alive
    assert 0.05 < last.estimate < 0.15


def test_what_another_margin_or_cost_would_recommend(study) -> None:
    study.put("lora@minilm", 0.85, step_seconds=0.2)
    study.put("full@minilm", 0.85, step_seconds=0.3)
    verdict = verdict_of(study)
    margins = {one.said: one.candidate for one in verdict.other_margins}
    assert list(margins) == ["0.5 points", "1 point", "3 points", "5 points"]
    assert margins["0.5 points"] is None
    assert margins["5 points"] == "lora@minilm"
    assert [one.said for one in verdict.other_axes] == ["peak memory", "operations"]
    study.write_spec(cost={"axis": "flops", "predictions": 0})
    again = verdict_of(study)
    assert price_of(again, "lora@minilm").cost == pytest.approx(4e11 * 300)
    assert price_of(again, "majority").reason == "operations are counted in training steps alone, and it has none"
    assert [one.said for one in again.other_axes] == ["time", "peak memory"]


def test_nothing_is_the_cheapest_where_no_cost_is_known(study) -> None:
    for name in ("lora@minilm", "full@minilm"):
        for seed in (1, 2, 3):
            study.add(name, seed, share=0.85)
    study.write_spec(cost={"axis": "flops"})
    comparison = compare_study(study.folder)
    assert comparison.verdict is None
    (told,) = [one for one in comparison.scope if one.startswith("No verdict")]
    assert told.startswith("No verdict: which candidate is the cheapest is not known, for want of the cost of ")
    assert "majority (operations are counted in training steps alone, and it has none)" in told
    assert "lora@minilm, full@minilm (" in told or "full@minilm, lora@minilm (" in told


def test_a_candidate_of_unknown_cost_is_named_beside_the_cheapest(study) -> None:
    study.put("lora@minilm", 0.85, step_seconds=0.2)
    study.put("full@minilm", 0.85, step_seconds=0.3)
    study.put("last-layers@minilm", 0.6)
    for name in ("full-minilm", "last-layers-minilm"):
        probe = json.loads(study.folder.probe(name).read_text())
        probe["alone"] |= {"peak_bytes": None, "unmeasured": {"peak_bytes": "the kernel resets no peak"}}
        study.folder.probe(name).write_text(json.dumps(probe))
    study.write_spec(cost={"axis": "peak_bytes"}, margin=5)
    comparison = compare_study(study.folder)
    assert comparison.verdict is not None
    assert comparison.verdict.recommended == "lora@minilm"
    told = "Cost unknown: full@minilm (the kernel resets no peak): it may be cheaper or dearer than any other."
    assert comparison.verdict.sentences[1] == told  # last-layers is shown to be too far below to matter
    text = render_markdown(comparison)
    assert "full@minilm: cost unknown: the kernel resets no peak; it stands last" in text
    study.write_spec(margin=5)
    again = verdict_of(study)
    assert not [one for one in again.sentences if one.startswith("Cost unknown")]
    (peak,) = [one for one in again.other_axes if one.said == "peak memory"]
    assert (peak.candidate, peak.unpriced) == ("lora@minilm", ["full@minilm"])
    assert "(cost unknown: full@minilm)" in render_markdown(compare_study(study.folder))


def test_no_verdict_over_the_rest_where_predictions_are_lost(study) -> None:
    study.put("lora@minilm", 0.85, step_seconds=0.2)
    study.put("full@minilm", 0.95, step_seconds=0.3)
    assert compare_study(study.folder).verdict is not None
    records = [json.loads(path.read_text()) for path in study.folder.path.glob("trials/*/trial.json")]
    lost = next(one["id"] for one in records if one["candidate"] == "full@minilm")
    study.folder.trial(lost).predictions.unlink()
    comparison = compare_study(study.folder)
    assert comparison.verdict is None
    told = f"No verdict: scores of single rows are lost of full@minilm (no test predictions of trial {lost} on disk)."
    assert told in comparison.scope


def test_limits_have_no_price_by_one_training(study) -> None:
    study.put("full@minilm", 0.85, 1, step_seconds=0.3)
    study.write_spec(limits={"train_minutes": 1})
    assert verdict_of(study).sentences[-1] == "Within the limits: majority."
    told = "One training each: this compares these trained models, not the methods."
    assert list_unsaid(compare_study(study.folder)) == [told]  # of the one outside, which other tables show


def test_too_little_data_for_the_margin(study) -> None:
    for path in study.folder.path.glob("trials/*/trial.json"):
        path.unlink()
    study.rows = 150
    study.add("majority", share=0.5)
    study.put("lora@minilm", 0.85, step_seconds=0.2)
    study.put("full@minilm", 0.85, step_seconds=0.3)
    verdict = verdict_of(study)
    (said,) = verdict.sentences
    assert said.startswith("Not enough data for a margin of 2 points; the smallest these data can promise is ")
    assert "Best guess, not shown: " in said
    assert verdict.recommended is None
    assert verdict.guess in {"lora@minilm", "full@minilm"}
    assert price_of(verdict, verdict.guess).guessed


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (1, "One training each: this compares these trained models, not the methods."),
        (2, "Two trainings each: intervals only; a verdict needs three."),
    ],
)
def test_too_few_trainings(study, seeds, said) -> None:
    study.put("lora@minilm", 0.85, seeds)
    study.put("full@minilm", 0.85, seeds)
    verdict = verdict_of(study)
    assert verdict.sentences == [said]
    assert verdict.recommended is None
    assert verdict.other_margins == verdict.other_axes == []


def test_a_candidate_with_too_few_trainings_is_named(study) -> None:
    study.put("lora@minilm", 0.85)
    study.put("full@minilm", 0.85, 2)
    assert verdict_of(study).sentences == ["Two trainings each (full@minilm): intervals only; a verdict needs three."]


def test_a_collapsed_training(study) -> None:
    study.put("lora@minilm", 0.85, 2)
    study.add("lora@minilm", 3, share=0.5, steps=300, phases=PHASES)
    study.put("full@minilm", 0.85, step_seconds=0.3)
    verdict = verdict_of(study)
    assert "1 of 3 trainings of lora@minilm collapsed; not recommended without restarts." in verdict.sentences
    assert verdict.recommended != "lora@minilm"
    assert price_of(verdict, "lora@minilm").collapsed == 1


def test_a_training_that_diverged_counts_as_collapsed_and_an_accident_as_none(study) -> None:
    study.put("lora@minilm", 0.85, 2)
    study.fail("lora@minilm", 3)
    study.put("full@minilm", 0.85)
    study.fail("full@minilm", 4, status="does-not-fit", message="needs about 12 GB")
    verdict = verdict_of(study)
    assert price_of(verdict, "lora@minilm").trainings == 3
    assert price_of(verdict, "full@minilm").trainings == 3
    assert verdict.sentences[-1] == "1 of 3 trainings of lora@minilm collapsed; not recommended without restarts."


def test_all_predictions_alike(study) -> None:
    """Every training answers with the majority's label: nothing beats the baseline, and all of them collapsed."""
    for candidate in ("lora@minilm", "full@minilm"):
        study.put(candidate, 0.5)
    majority = read_predictions(next(iter(study.folder.path.glob("trials/0001*/predictions.parquet"))))["test"]
    scores = study.folder.read_trials()[0].scores
    for record in study.folder.read_trials()[1:]:
        write_predictions(study.folder.trial(record.id).predictions, [majority])
        record.scores = scores
        study.folder.trial(record.id).write(record)
    verdict = verdict_of(study)
    first, second, *rest = verdict.sentences
    assert first == NO_BETTER
    assert second.startswith("Use majority: the cheapest shown to be at most 2 points below the best (95 %; estimate ")
    assert sorted(rest) == [
        "3 of 3 trainings of full@minilm collapsed; not recommended without restarts.",
        "3 of 3 trainings of lora@minilm collapsed; not recommended without restarts.",
    ]


def test_one_candidate(maker) -> None:
    for seed in (1, 2, 3):
        maker.add("lora@minilm", seed)
    verdict = verdict_of(maker)
    (said,) = verdict.sentences
    assert said.startswith("One candidate: nothing to compare it with; its score is ")
    assert "Scope" not in render_markdown(compare_study(maker.folder))


def test_an_only_candidate_without_a_score_says_none(maker) -> None:
    record = maker.add("lora@minilm", 1)
    first = record.scores["test"].metrics[0].model_copy(update={"value": None})
    record.scores["test"].metrics[0] = first
    maker.folder.trial(record.id).write(record)
    comparison = compare_study(maker.folder)
    told = [*comparison.scope, *([] if comparison.verdict is None else comparison.verdict.sentences)]
    assert not [one for one in told if one.startswith("One candidate")]


def test_nothing_beats_the_baseline(study) -> None:
    study.put("lora@minilm", 0.505)
    study.put("full@minilm", 0.495)
    assert verdict_of(study).sentences[0] == NO_BETTER


def test_limits_make_reference_rows(study) -> None:
    study.put("lora@minilm", 0.75, step_seconds=0.1)
    study.put("full@minilm", 0.85, step_seconds=0.3)
    study.write_spec(limits={"train_minutes": 1})
    verdict = verdict_of(study)
    first, second = verdict.sentences
    assert first.startswith("Use lora@minilm: ")
    assert second.startswith("Within the limits: majority, lora@minilm. The limits cost ")
    full = price_of(verdict, "full@minilm")
    assert full.outside == ["train_minutes: 1.5 min, limit 1 min, over by 0.5 min"]
    assert (full.estimate, full.guaranteed, full.alive) == (None, None, False)
    cost = float(second.split("The limits cost ")[1].split()[0])
    quality = {row.candidate: row.quality[0].mean for row in compare_study(study.folder).candidates}
    assert cost == pytest.approx(100 * (quality["full@minilm"] - quality["lora@minilm"]), abs=0.051)


def test_limits_that_exclude_all(study) -> None:
    study.put("lora@minilm", 0.75, step_seconds=0.1)
    study.put("full@minilm", 0.85, step_seconds=0.3)
    study.write_spec(limits={"latency_ms": 1})
    verdict = verdict_of(study)
    assert verdict.sentences == [
        "No candidate is within the limits; the nearest is majority, over latency_ms by 0.5 ms."
    ]
    study.write_spec(limits={"latency_ms": 2, "peak_gb": 1})
    assert verdict_of(study).sentences[0].startswith("One candidate: ")


def test_what_is_not_measured_is_not_within_a_limit(maker) -> None:
    maker.add("lora@minilm", 1)
    maker.write_spec(limits={"peak_gb": 8})
    verdict = verdict_of(maker)
    (said,) = verdict.sentences
    assert said.endswith("; the nearest is lora@minilm, over peak_gb by an amount that was not measured.")
    assert price_of(verdict, "lora@minilm").outside == ["peak_gb: not known (not probed), limit 8 GB"]


def test_failed_candidates_stand_in_the_price_list(study) -> None:
    study.put("lora@minilm", 0.85)
    study.fail("qlora@minilm", 1, status="does-not-fit", message="needs about 12 GB")
    verdict = verdict_of(study)
    own = price_of(verdict, "qlora@minilm")
    assert (own.absent, own.cost, own.reason, own.score) == ("needs about 12 GB", None, "no finished trial", None)
    assert verdict.recommended == "lora@minilm"
    assert verdict.prices[-1] is own


def test_search_trials_are_paid_for(study) -> None:
    study.put("lora@minilm", 0.85)
    plain = price_of(verdict_of(study), "lora@minilm").cost
    for place in range(5):
        record = study.blank("lora@minilm", 90 + place)
        record.id, record.role, record.status = f"search{place}", "search", "finished"
        study.folder.trial(record.id).write(record)
    verdict = verdict_of(study)
    assert price_of(verdict, "lora@minilm").cost == pytest.approx(plain + 5 * 0.1 * 300)
    assert verdict.cost_title == "training seconds alone x (1 + search trials) + 100,000 predictions x latency"


def test_without_every_probe_all_are_priced_by_their_trials(study) -> None:
    study.put("lora@minilm", 0.85)
    study.put("full@minilm", 0.85, probe=None)
    verdict = verdict_of(study)
    assert price_of(verdict, "lora@minilm").cost == pytest.approx(9.0 + 100_000 * 3.0 / 2000)
    assert verdict.cost_title.endswith("; not every candidate was probed alone")


def test_no_verdict_before_every_trial_is_over(study) -> None:
    study.put("lora@minilm", 0.85)
    records = study.folder.read_trials()
    study.plan(5, *records)
    comparison = compare_study(study.folder)
    assert comparison.verdict is None
    assert comparison.scope == ["No verdict yet: 1 trial not over."]
    assert not (study.folder.path.parent / FILE).exists()
    study.plan(4, *records)
    assert compare_study(study.folder).verdict is not None


def test_no_verdict_on_validation_rows(study) -> None:
    study.put("lora@minilm", 0.85)
    assert compare_study(study.folder, "validation").verdict is None


def test_uses_of_test_rows_are_counted_once_a_set_of_trials(study) -> None:
    study.put("lora@minilm", 0.85)
    assert [verdict_of(study).test_uses for _ in range(3)] == [1, 1, 1]
    study.put("full@minilm", 0.85)
    assert [verdict_of(study).test_uses for _ in range(2)] == [2, 2]
    lines = (study.folder.path.parent / FILE).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert {json.loads(line)["study"] for line in lines} == {"reviews-small"}
    study.rows = 1500
    for path in study.folder.path.glob("trials/*/trial.json"):
        path.unlink()
    study.put("lora@minilm", 0.85)
    study.put("full@minilm", 0.85)
    assert verdict_of(study).test_uses == 1


def test_a_folder_that_may_not_be_written_is_counted_all_the_same(study, monkeypatch) -> None:
    study.put("lora@minilm", 0.85)

    def refuse(*args, **kwargs) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("whichtune.report.uses._append", refuse)
    assert verdict_of(study).test_uses == 1
    assert not (study.folder.path.parent / FILE).exists()


def test_the_verdict_stands_first_in_every_form(study) -> None:
    study.put("lora[rank=64,alpha=128]@minilm", 0.85, step_seconds=0.2)
    study.put("full@minilm", 0.85, step_seconds=0.3)
    study.fail("qlora@minilm", 1, status="does-not-fit", message="needs about 12 GB")
    comparison = compare_study(study.folder)
    console = Console(width=80, file=io.StringIO(), record=True)
    render_terminal(comparison, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert [lines.index(title) for title in ("Verdict", "Price list, cheapest first")] == sorted(
        [lines.index("Verdict"), lines.index("Price list, cheapest first")]
    )
    assert lines.index("Verdict") == 3
    text = render_markdown(comparison)
    assert text.index("## Verdict") < text.index("## Price list, cheapest first") < text.index("## Quality")
    rows = {row["candidate"]: row for row in csv.DictReader(io.StringIO(render_csv(comparison)))}
    best = comparison.verdict.recommended
    assert rows[best]["state"] == "recommended"
    assert float(rows[best]["cost"]) == price_of(comparison.verdict, best).cost
    assert rows["qlora@minilm"]["state"] == "no result"
    assert rows["qlora@minilm"]["shortfall"] == ""
    assert json.loads(comparison.model_dump_json())["verdict"]["recommended"] == best


def test_a_study_stores_its_limits(study) -> None:
    study.write_spec(limits={"peak_gb": 8}, cost={"axis": "peak_bytes", "predictions": 5})
    stored, _ = load_stored_study(study.folder.spec)
    assert stored.limits.given() == {"peak_gb": 8.0}
    assert (stored.cost.axis, stored.cost.predictions) == ("peak_bytes", 5)
