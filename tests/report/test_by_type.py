"""Scores by type of question: three ways of telling questions apart, with intervals that hold together."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console
from scipy import stats

from whichtune.errors import InputError
from whichtune.records.predictions import read_predictions
from whichtune.report.comparison import compare_study
from whichtune.report.csv_table import render_csv
from whichtune.report.markdown import render_markdown
from whichtune.report.model import Comparison
from whichtune.report.terminal import render_terminal
from whichtune.stats.intervals import estimate_difference, estimate_single
from whichtune.stats.samples import collect_sample

GOOD = {"what-colour": 0.95, "what-shape": 0.7, "yes-no": 0.6}
OTHER = {"what-colour": 0.6, "what-shape": 0.7, "yes-no": 0.6}


def printed(comparison: Comparison, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    render_terminal(comparison, console)
    return console.export_text()


def flat(text: str) -> str:
    return " ".join(text.split())


def table_of(comparison: Comparison, grouping: str):
    return next(one for one in comparison.types if one.grouping == grouping)


@pytest.fixture
def shapes(viewer):
    made = viewer()
    for seed in (1, 2, 3):
        made.see("mlp@dino", seed, GOOD)
        made.see("concat@dino", seed, OTHER)
    made.see("question-only", shares=0.4)
    made.see("majority", shares=0.3)
    return made


def test_questions_are_grouped_three_ways_and_counted_by_split(shapes) -> None:
    comparison = compare_study(shapes.folder)
    assert [one.grouping for one in comparison.types] == ["source", "coco-qa", "tdiuc"]
    assert {one.type: one.rows_by_split for one in table_of(comparison, "coco-qa").types} == {
        "object": {"train": 20, "test": 150}, "colour": {"train": 20, "test": 150},
    }  # fmt: skip
    assert {one.type: one.rows for one in table_of(comparison, "tdiuc").types} == {
        "color attributes": 75, "other attributes": 75, "object presence": 150,
    }  # fmt: skip
    assert {one.type: one.rows for one in table_of(comparison, "source").types} == {
        "what-colour": 75, "what-shape": 75, "yes-no": 150,
    }  # fmt: skip


def test_scores_and_differences_are_those_of_the_statistics(shapes) -> None:
    comparison = compare_study(shapes.folder)
    table = table_of(comparison, "source")
    places = range(0, 300, 4)
    samples = {}
    for name in ("mlp@dino", "concat@dino"):
        trials = [one for one in shapes.folder.read_trials() if one.candidate == name]
        tables = [read_predictions(shapes.folder.trial(one.id).predictions)["test"] for one in trials]
        for own in tables:
            own.ids, own.gold, own.parsed = (
                [column[place] for place in places] for column in (own.ids, own.gold, own.parsed)
            )
        samples[name] = collect_sample(name, tables, tables[0].labels, "accuracy")
    score = next(one for one in table.scores if (one.type, one.candidate) == ("what-colour", "mlp@dino"))
    assert (score.mean, (score.low, score.high)) == (
        samples["mlp@dino"].total, estimate_single(samples["mlp@dino"]).interval(),
    )  # fmt: skip
    pair = next(one for one in table.pairs if {one.first, one.second} == samples.keys() and one.type == "what-colour")
    own = estimate_difference(samples[pair.first], samples[pair.second])
    half = stats.t.ppf(1 - 0.025 / 3, own.df) * math.sqrt(own.variance)
    assert table.adjusted_for == 3
    assert pair.difference == own.value
    assert (pair.low, pair.high) == pytest.approx((own.value - half, own.value + half))
    assert pair.better == "mlp@dino"
    assert pair.sentence.startswith("mlp@dino better by ")


def test_nobody_is_better_where_the_interval_holds_zero(shapes) -> None:
    for table in compare_study(shapes.folder).types:
        for pair in table.pairs:
            assert (pair.better is None) == (pair.low <= 0 <= pair.high) == (pair.sentence == "not settled")
            assert {pair.first, pair.second} != {"question-only", "majority"}
    own = table_of(compare_study(shapes.folder), "source")
    same = [one for one in own.pairs if one.type == "yes-no" and "question-only" not in (one.first, one.second)]
    assert [one.better for one in same if "majority" not in (one.first, one.second)] == [None]


def test_a_row_a_type_by_default_and_all_of_one_grouping_on_request(shapes) -> None:
    text = printed(compare_study(shapes.folder))
    assert max(map(len, text.splitlines())) <= 80
    for title in ("the source's kinds", "COCO-QA's types", "TDIUC's types"):
        assert f"By type of question, {title}: accuracy" in text
    assert "widened so that those of all 3 types of a pair hold together" in flat(text)
    assert "against" not in text.split("By type of question")[1].split("Cost")[0]
    full = printed(compare_study(shapes.folder, by="tdiuc"))
    assert max(map(len, full.splitlines())) <= 80
    assert "COCO-QA" not in full
    assert "Rows by type of question, TDIUC's types" in full
    assert "mlp@dino against concat@dino, TDIUC's types" in full
    against = [full.index(f"mlp@dino against {name}") for name in ("question-only", "concat@dino", "majority")]
    assert against == sorted(against), "the best baseline stands before other methods, the other one behind them"
    assert "docs/question-types.md" in full
    markdown = render_markdown(compare_study(shapes.folder, by="source"))
    assert "what-colour" in markdown


def test_the_comparison_survives_its_json_form(shapes) -> None:
    comparison = compare_study(shapes.folder, by="coco-qa")
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison
    assert comparison.by == "coco-qa"


def test_a_source_without_kinds_leaves_the_two_taxonomies(viewer) -> None:
    made = viewer(groups=False)
    made.see("mlp@dino")
    made.see("concat@dino")
    comparison = compare_study(made.folder)
    assert [one.grouping for one in comparison.types] == ["coco-qa", "tdiuc"]
    with pytest.raises(InputError, match=r"--by.*source.*coco-qa, tdiuc"):
        compare_study(made.folder, by="source")


def test_other_tasks_have_no_types_of_questions(viewer, maker) -> None:
    made = viewer(texts=False)
    made.see("mlp@dino")
    assert compare_study(made.folder).types == []
    with pytest.raises(InputError, match="visual-question-answering"):
        compare_study(made.folder, by="tdiuc")
    maker.add("lora@minilm")
    assert compare_study(maker.folder).types == []


def test_without_examples_there_are_no_types(shapes) -> None:
    shapes.folder.examples.write_bytes(b"PAR1 cut short")
    assert compare_study(shapes.folder).types == []
    shapes.folder.examples.unlink()
    comparison = compare_study(shapes.folder)
    assert comparison.types == []
    assert "By group of rows" in printed(comparison)


def test_a_type_of_one_row_has_no_score(viewer) -> None:
    made = viewer(rows=5, thumbnails=False)
    made.see("mlp@dino")
    made.see("concat@dino")
    table = table_of(compare_study(made.folder), "tdiuc")
    assert {one.type: one.mean is None for one in table.scores} == {
        "color attributes": False, "other attributes": True, "object presence": False,
    }  # fmt: skip
    assert "other attributes" not in {one.type for one in table.pairs}
    assert "other attributes" in printed(compare_study(made.folder))


def test_top5_stands_in_every_form(shapes) -> None:
    comparison = compare_study(shapes.folder)
    assert [one.name for one in comparison.metrics][:2] == ["accuracy", "top5_accuracy"]
    own = comparison.candidates[0].quality[1]
    assert own.mean is not None
    assert comparison.candidates[0].quality[0].mean < own.mean
    assert own.low < own.mean < own.high
    assert "top-5 accuracy" in flat(printed(comparison, 120))
    assert "top5_accuracy_mean" in render_csv(comparison)
    assert all("by its records" not in note for note in comparison.notes)


def test_scores_of_types_follow_a_first_metric_that_goes_by_classes(viewer) -> None:
    made = viewer(metric="macro_f1")
    made.write_spec(task={"kind": "visual-question-answering", "metric": "macro_f1"})
    made.see("mlp@dino")
    assert {one.metric.name for one in compare_study(made.folder).types} == {"accuracy"}


def test_losses_are_turned_back(viewer) -> None:
    made = viewer(metric="loss")
    made.write_spec(task={"kind": "visual-question-answering", "metric": "loss"})
    for seed in (1, 2, 3):
        made.see("mlp@dino", seed, 0.95)
        made.see("concat@dino", seed, 0.5)
    table = table_of(compare_study(made.folder), "source")
    assert all(0 < one.low < one.mean < one.high for one in table.scores)
    assert {one.better for one in table.pairs} == {"mlp@dino"}
    assert "mlp@dino better by" in flat(printed(compare_study(made.folder, by="source")))
