"""Studies whose answers are written in words: prompters beside tuners, unreadable answers, texts as gold."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from whichtune.cli.reading import print_comparison, report
from whichtune.errors import InputError
from whichtune.records.predictions import read_predictions
from whichtune.records.trial import LatencyFigures
from whichtune.report.answers import show
from whichtune.report.comparison import compare_study
from whichtune.report.costs import NO_MODEL, NOTHING_TRAINED
from whichtune.report.csv_table import render_csv
from whichtune.report.markdown import render_markdown
from whichtune.report.model import Comparison
from whichtune.report.show import render_trial
from whichtune.report.terminal import render_terminal
from whichtune.report.view import View
from whichtune.stats.intervals import estimate_single
from whichtune.stats.samples import collect_sample

KINDS = ("instruction-classification", "summarization", "question-answering-by-prompt")


def printed(comparison: Comparison, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    render_terminal(comparison, console)
    return console.export_text()


def row_of(comparison: Comparison, name: str):
    return next(row for row in comparison.candidates if row.candidate == name)


def fill(maker, garbage: float = 0.2) -> None:
    for seed in (1, 2, 3):
        maker.say("lora@smol", seed, share=0.95, probe=maker.time("lora@smol", unmerged=1.18, merged=1.0), checked=True)
    maker.say("zero-shot@smol", share=0.6, garbage=garbage)
    maker.say("chain-of-thought-expert@smol", share=0.7)
    maker.say("lead" if maker.kind == "summarization" else "majority", share=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_the_report_stands(speaker, kind) -> None:
    maker = speaker(kind, groups=True)
    fill(maker)
    comparison = compare_study(maker.folder, answers=2)
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison
    text = printed(comparison)
    assert max(map(len, text.splitlines())) <= 80
    assert "nan" not in text.split()
    assert "unread" in text
    assert len(comparison.pairs) == 6
    markdown = render_markdown(comparison)
    assert "Does it add inference latency?" in markdown
    rows = list(csv.DictReader(io.StringIO(render_csv(comparison))))
    assert {row["candidate"]: row["family"] for row in rows} == {
        "lora@smol": "tuner", "zero-shot@smol": "prompter", "chain-of-thought-expert@smol": "prompter",
        comparison.candidates[-1].candidate: "baseline",
    }  # fmt: skip
    assert float(rows[0]["decode_1_unmerged_seconds"]) == pytest.approx(0.02 * 1.18)
    assert float(rows[0]["tokens_per_second_16_merged"]) == pytest.approx(16 / 0.08)
    assert float(rows[0]["prefill_1_plain_tokens"]) == 64
    assert rows[-1]["tokens_out"] == ""
    assert float(rows[0]["tokens_in"]) == 41


@pytest.mark.parametrize("kind", KINDS)
def test_one_trial_shows_no_classes_of_texts(speaker, kind) -> None:
    maker = speaker(kind)
    record = maker.say("zero-shot@smol", share=0.6, garbage=0.3)
    console = Console(width=80, file=io.StringIO(), record=True)
    render_trial(maker.folder.trial(record.id), console)
    text = console.export_text()
    assert ("Confusion" in text) == ("Classes, test split" in text) == (kind == KINDS[0])
    assert "of the answers could not be read" in text


def test_intervals_of_texts_are_those_of_the_statistics(speaker) -> None:
    maker = speaker("summarization")
    trials = [maker.say("lora@smol", seed, share=0.9) for seed in (1, 2)]
    maker.say("lead", share=0.5)
    comparison = compare_study(maker.folder)
    assert [metric.name for metric in comparison.metrics] == [
        "rougeL", "rouge1", "rouge2", "rougeLsum", "loss", "answer_words",
    ]  # fmt: skip
    tables = [read_predictions(maker.folder.trial(one.id).predictions)["test"] for one in trials]
    for place, metric in enumerate(comparison.metrics):
        own = row_of(comparison, "lora@smol").quality[place]
        sample = collect_sample("lora@smol", tables, (), metric.name)
        low, high = estimate_single(sample).interval()
        turned = (-high, -low) if metric.name == "loss" else (low, high)
        assert (own.low, own.high) == turned
        assert own.low < own.mean < own.high
    assert not comparison.notes or all("by its records" not in note for note in comparison.notes)


def test_a_candidate_without_losses_leaves_the_others_theirs(speaker) -> None:
    maker = speaker("summarization")
    maker.write_spec(task={"kind": "summarization", "metric": "loss"})
    for name in ("lora@smol", "zero-shot@smol"):
        record = maker.say(name, share=0.9)
        metrics = record.scores["test"].metrics
        record.scores["test"].metrics = sorted(metrics, key=lambda one: one.name != "loss")
        maker.folder.trial(record.id).write(record)
    lead = maker.say("lead", share=0.5)
    lead.scores["test"].metrics = sorted(lead.scores["test"].metrics, key=lambda one: one.name != "loss")
    maker.folder.trial(lead.id).write(lead)
    comparison = compare_study(maker.folder)
    assert comparison.candidates[-1].candidate == "lead"
    own = comparison.candidates[-1].quality[0]
    assert (own.mean, own.reason) == (None, "it gives the right answers no likelihood")
    assert [(pair.first, pair.second) for pair in comparison.pairs] in (
        [("lora@smol", "zero-shot@smol")], [("zero-shot@smol", "lora@smol")],
    )  # fmt: skip
    assert not [trap for trap in comparison.traps if "lead" in trap.sentence]
    assert "lead: loss (it gives the right answers no likelihood)" in " ".join(printed(comparison, 200).split())


def test_summaries_are_held_against_the_lead(speaker) -> None:
    maker = speaker("summarization")
    maker.say("lead", share=0.8)
    maker.say("lora@smol", share=0.99)
    maker.say("zero-shot@smol", share=0.4)
    traps = {trap.sentence: trap.where for trap in compare_study(maker.folder).traps}
    assert traps == {"not shown to be better than lead": ["zero-shot@smol"]}


def test_unreadable_answers_stand_in_the_main_table(speaker) -> None:
    maker = speaker()
    record = maker.say("zero-shot@smol", share=0.6, garbage=0.4)
    maker.say("majority", share=0.5)
    comparison = compare_study(maker.folder)
    share = record.scores["test"].unparsed_share
    assert row_of(comparison, "zero-shot@smol").unreadable == share > 0.1
    main = printed(comparison).split("Other metrics")[0]
    assert f"{100 * share:.1f}" in main
    assert "they count as wrong" in " ".join(main.split())


def test_readable_answers_need_no_column(speaker) -> None:
    maker = speaker()
    maker.say("zero-shot@smol")
    assert "unread" not in printed(compare_study(maker.folder))


def test_what_asking_costs(speaker) -> None:
    maker = speaker()
    fill(maker)
    comparison = compare_study(maker.folder)
    asked, tuned, majority = (row_of(comparison, name).costs for name in ("zero-shot@smol", "lora@smol", "majority"))
    assert (asked.tokens_in.value, asked.item_seconds.value) == (41, pytest.approx(0.025))
    assert 3 <= (asked.tokens_out.value or 0) <= 5
    assert tuned.tokens_in.value == 41
    assert asked.training_seconds.reason == asked.adapter_bytes.reason == asked.step_seconds.reason == NOTHING_TRAINED
    assert asked.total_parameters.value == 134_515_008
    assert majority.tokens_out.reason == NO_MODEL
    missing = {one.reason: one.columns for one in comparison.missing}
    assert "training" in missing[NOTHING_TRAINED]
    assert not any("1 row" in columns for columns in missing.values())
    text = printed(comparison)
    assert "Cost of an answer" in text
    assert "25 ms" in text
    assert "Latency, median of a forward pass" not in text


def test_studies_with_a_head_say_nothing_of_asking(maker) -> None:
    maker.fill()
    text = printed(compare_study(maker.folder))
    assert "Cost of an answer" not in text
    assert "tokens out" not in text
    assert "Does it add" not in text


def test_does_it_add_latency(speaker) -> None:
    maker = speaker()
    maker.say("lora@smol", probe=maker.time("lora@smol", unmerged=1.18, merged=1.004))
    maker.say("prompt-tuning@smol", family="tuner", probe=maker.time("prompt-tuning@smol", unmerged=1.2))
    comparison = compare_study(maker.folder)
    assert sorted(comparison.latency_answers) == [
        "lora@smol, a new token, 1 row: unmerged x1.18, merged x1.00 (too near to tell) of the plain model's time",
        "lora@smol, a prompt, 1 row: unmerged x1.18, merged x1.00 (too near to tell) of the plain model's time",
        "prompt-tuning@smol, a new token, 1 row: tuned x1.20 of the plain model's time",
        "prompt-tuning@smol, a prompt, 1 row: tuned x1.20 of the plain model's time",
    ]
    rows = [(one.batch, one.way) for one in comparison.latencies if one.candidate == "lora@smol"]
    assert rows == [(rows, way) for rows in (1, 16) for way in ("plain", "unmerged", "merged")]
    one = comparison.latencies[0]
    assert one.tokens_per_second == pytest.approx(50)
    assert (one.prefill_tokens, one.forward_seconds) == (64, None)
    text = printed(comparison)
    assert "Prompts of 64 tokens a row." in text
    assert max(map(len, text.splitlines())) <= 80


def test_without_the_plain_model_merged_is_the_measure(speaker) -> None:
    maker = speaker()
    figures = maker.folder
    maker.time("lora@smol", unmerged=1.5, merged=1.0)
    path = figures.probe("lora-smol")
    probe = figures.read_probes()["lora-smol"]
    probe.alone.latencies = [one for one in probe.alone.latencies if not one.plain]
    path.write_text(probe.model_dump_json())
    maker.say("lora@smol", probe="lora-smol")
    first = compare_study(maker.folder).latency_answers[0]
    assert first == "lora@smol, a new token, 1 row: unmerged x1.50 of its time merged"


def test_groups_have_scores_of_their_own(speaker) -> None:
    maker = speaker(groups=True, rows=90)
    record = maker.say("zero-shot@smol", share=0.6)
    comparison = compare_study(maker.folder)
    assert [(head.group, head.rows) for head in comparison.groups] == [(f"topic-{at}", 30) for at in range(3)]
    table = read_predictions(maker.folder.trial(record.id).predictions)["test"]
    right = np.array([one == gold for one, gold in zip(table.parsed, table.gold, strict=True)])
    for place, own in enumerate(comparison.candidates[0].groups):
        assert own.mean == pytest.approx(right[place::3].mean())
        assert own.low < own.mean < own.high
    assert "By group of rows: accuracy" in printed(comparison)


def test_answers_side_by_side(speaker) -> None:
    maker = speaker()
    fill(maker)
    pq.write_table(pa.table({"id": ["r0", "r1"], "text": ["a\ntext", "b"]}), maker.folder.examples)
    comparison = compare_study(maker.folder, answers=2)
    assert [one.id for one in comparison.answers] == ["r0", "r1"]
    assert [len(one.said) for one in comparison.answers] == [4, 4]
    first = comparison.answers[0]
    assert (first.text, first.gold) == ("a\ntext", "negative")
    text = printed(comparison)
    assert "Row r0: gold negative" in text
    assert "a\\ntext" in text
    assert "\\n\\t" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert compare_study(maker.folder).answers == []


def test_answers_of_summaries_are_not_right_or_wrong(speaker) -> None:
    maker = speaker("summarization")
    maker.say("zero-shot@smol")
    assert "right" not in printed(compare_study(maker.folder, answers=1)).split("Row r0")[1]


def test_texts_are_shown_on_one_line() -> None:
    assert show("a\n\x1b[2Jb\u2028c\u202e\\") == "a\\n\\u001b[2Jb\\u2028c\\u202e\\\\"
    assert show("x" * 81) == "x" * 80 + " ..."
    assert show(None) == "–"


def test_prompters_are_asked_not_trained(speaker) -> None:
    maker = speaker()
    maker.say("zero-shot@smol")
    maker.say("one-shot@smol", deterministic=True)
    maker.say("lora@smol")
    assert compare_study(maker.folder).scope == [
        "One training each: this compares these trained models, not the methods.",
        "Asked with one seed each (zero-shot@smol): other draws of examples or answers may score otherwise.",
    ]


def test_cuts_of_prompts_are_told(speaker) -> None:
    maker = speaker("summarization")
    maker.say("zero-shot@smol", cuts={"test": 3})
    assert "Texts cut to fit the prompt: 3 test (smol)" in compare_study(maker.folder).data_notes


def test_a_head_beside_its_plain_model(maker) -> None:
    figures = [
        LatencyFigures(batch=1, merged=way == "merged", plain=way == "plain", median_seconds=took, p95_seconds=took)
        for way, took in (("plain", 0.010), ("unmerged", 0.012), ("merged", 0.010))
    ]
    maker.add("lora@minilm", 1, probe=maker.probe("lora@minilm", latencies=figures))
    comparison = compare_study(maker.folder)
    own = comparison.candidates[0].costs
    assert (own.latency_one.value, own.latency_one_merged.value, own.latency_rows) == (0.012, 0.010, None)
    assert comparison.latency_answers == [
        "lora@minilm, a forward pass, 1 row: unmerged x1.20, merged x1.00 (too near to tell) of the plain model's time"
    ]
    assert "forward" in printed(comparison)


def test_the_command_lists_answers(speaker, tmp_path) -> None:
    maker = speaker()
    maker.say("zero-shot@smol")
    out = tmp_path / "report.md"
    print_comparison(maker.folder.path, "markdown", out, View(answers=1))
    assert "## Row r0: gold negative" in out.read_text(encoding="utf-8")
    with pytest.raises(InputError, match="--answers: got 1; allowed: with terminal, markdown or json"):
        report(maker.folder.path, form="csv", answers=1)


def test_the_plain_model_of_another_candidate_will_do(speaker) -> None:
    maker = speaker()
    maker.say("prompt-tuning@smol", family="tuner", probe=maker.time("prompt-tuning@smol", unmerged=1.3))
    path = maker.folder.probe("prompt-tuning-smol")
    probe = maker.folder.read_probes()["prompt-tuning-smol"]
    probe.alone.latencies = [one for one in probe.alone.latencies if not one.plain]
    path.write_text(probe.model_dump_json())
    assert compare_study(maker.folder).latency_answers == []
    maker.say("zero-shot@smol", probe=maker.time("zero-shot@smol"))
    assert compare_study(maker.folder).latency_answers == [
        "prompt-tuning@smol, a new token, 1 row: tuned x1.30 of the plain model's time",
        "prompt-tuning@smol, a prompt, 1 row: tuned x1.30 of the plain model's time",
    ]


def test_the_peak_of_asking_is_told_as_such(speaker) -> None:
    maker = speaker()
    maker.say("zero-shot@smol", probe=maker.time("zero-shot@smol"))
    comparison = compare_study(maker.folder)
    costs = comparison.candidates[0].costs
    assert (costs.peak_bytes.value, costs.step_seconds.value) == (1_234_567_890, None)
    assert "is that of asking" in printed(comparison)
