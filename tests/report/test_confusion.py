"""What is taken for what: counts, rows, the matrix at 80 columns, and the sheet of pictures."""

from __future__ import annotations

import io
import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import confusion_matrix

from whichtune.cli.reading import print_comparison, report
from whichtune.errors import InputError, RecordError
from whichtune.records.predictions import read_predictions, write_predictions
from whichtune.report.comparison import compare_study
from whichtune.report.confusion import MATRIX_LABELS, PAIRS, ROWS, read_confusion
from whichtune.report.contact_sheet import NO_THUMBNAILS, SIDE, add_sheet, draw_sheet, open_thumbnail, read_thumbnails
from whichtune.report.terminal import render_terminal
from whichtune.report.view import View
from whichtune.stats.scores import score_predictions


def look(maker, candidate=None):
    comparison = compare_study(maker.folder)
    comparison.confusion = read_confusion(maker.folder, comparison, candidate)
    return comparison


def printed(comparison, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    render_terminal(comparison, console)
    return console.export_text()


def tables_of(maker, candidate):
    trials = [one for one in maker.folder.read_trials() if one.candidate == candidate]
    return [read_predictions(maker.folder.trial(one.id).predictions)["test"] for one in trials]


def change(maker, record, **columns) -> None:
    path = maker.folder.trial(record.id).predictions
    table = read_predictions(path)["test"]
    for name, values in columns.items():
        setattr(table, name, values)
    write_predictions(path, [table])
    record.scores = {"test": score_predictions(table, table.labels)}
    maker.folder.trial(record.id).write(record)


@pytest.fixture
def shapes(viewer):
    made = viewer()
    for seed in (1, 2, 3):
        made.see("mlp@dino", seed, 0.7)
    made.see("question-only", shares=0.4)
    return made


def test_counts_are_scikit_learns_over_all_trainings(shapes) -> None:
    found = look(shapes).confusion
    tables = tables_of(shapes, "mlp@dino")
    expected = sum(confusion_matrix(one.gold, one.parsed, labels=one.labels) for one in tables)
    assert (found.candidate, found.trainings, found.answers) == ("mlp@dino", 3, 900)
    assert np.array_equal(found.counts, expected)
    assert found.wrong == expected.sum() - np.trace(expected)
    off = expected - np.diag(np.diag(expected))
    assert [one.count for one in found.pairs] == sorted(off[off > 0].tolist(), reverse=True)
    place = {label: place for place, label in enumerate(found.labels)}
    for one in found.pairs:
        gold = place[one.gold]
        assert one.count == expected[gold, place[one.predicted]]
        assert one.share == pytest.approx(one.count / expected[gold].sum())


def test_rows_are_those_that_most_trainings_took_so(shapes) -> None:
    found = look(shapes).confusion
    first = found.pairs[0]
    times = Counter(
        row
        for table in tables_of(shapes, "mlp@dino")
        for row, gold, said in zip(table.ids, table.gold, table.parsed, strict=True)
        if (gold, said) == (first.gold, first.predicted)
    )
    assert len(first.rows) == min(ROWS, len(times))
    assert [one.times for one in first.rows] == sorted(times.values(), reverse=True)[: len(first.rows)]
    for one in first.rows:
        assert times[one.id] == one.times
        assert one.origin == f"shapes/test:{int(one.id[1:]) + 1}"
        assert one.text


def test_the_matrix_and_the_pairs_stand_at_80_columns(shapes) -> None:
    comparison = look(shapes)
    text = printed(comparison)
    assert max(map(len, text.splitlines())) <= 80
    assert "Confusion of mlp@dino, 3 trainings added up" in text
    first = comparison.confusion.pairs[0]
    assert f"{first.rows[0].id} ({first.rows[0].origin})" in text
    assert "Most often confused by mlp@dino" in text


def test_a_matrix_of_many_labels_is_cut_into_parts_that_fit(viewer) -> None:
    made = viewer(texts=False)
    record = made.see("mlp@dino")
    labels = tuple(f"a rather long label {place:02d}" for place in range(MATRIX_LABELS))
    gold = [labels[place % MATRIX_LABELS] for place in range(300)]
    told = [labels[(place + place // 15 % 2) % MATRIX_LABELS] for place in range(300)]
    change(made, record, labels=labels, gold=gold, parsed=told)
    found = read_confusion(made.folder, compare_study(made.folder))
    assert len(found.counts) == MATRIX_LABELS
    assert (len(found.pairs), found.more_pairs) == (PAIRS, MATRIX_LABELS - PAIRS)
    comparison = compare_study(made.folder)
    comparison.confusion, comparison.types = found, []
    text = printed(comparison)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("columns are what was") == 2
    assert "5 more pairs are confused less often" in " ".join(text.split())
    more = (*labels, "one more")
    change(made, record, labels=more)
    assert read_confusion(made.folder, compare_study(made.folder)).counts is None


def test_unreadable_answers_have_a_column(speaker) -> None:
    maker = speaker()
    maker.say("zero-shot@smol", share=0.5, garbage=0.4)
    comparison = look(maker)
    found = comparison.confusion
    assert found.unreadable
    assert sum(map(sum, found.counts)) == found.answers == 60
    assert {one.predicted for one in found.pairs} >= {None}
    assert printed(comparison).count("unread") >= 2


def test_texts_have_the_same_matrix_without_pictures(maker) -> None:
    maker.add("lora@minilm", share=0.6)
    comparison = look(maker)
    add_sheet(maker.folder, comparison.confusion, "test")
    assert comparison.confusion.picture is None
    assert NO_THUMBNAILS in " ".join(printed(comparison).split())
    assert comparison.confusion.pairs[0].rows[0].origin is None


def test_the_best_candidate_is_shown_unless_another_is_named(shapes) -> None:
    shapes.see("concat@dino", 1, 0.9)
    assert look(shapes).confusion.candidate == "concat@dino"
    assert look(shapes, "question-only").confusion.candidate == "question-only"
    with pytest.raises(InputError, match=r"--candidate: got 'mlp@dinoo'.*did you mean"):
        look(shapes, "mlp@dinoo")


def test_what_cannot_be_confused_is_refused(speaker, viewer) -> None:
    maker = speaker("summarization")
    maker.say("zero-shot@smol")
    with pytest.raises(InputError, match="--confusion"):
        look(maker)
    with pytest.raises(RecordError, match="no trial has finished"):
        look(viewer())


def test_nothing_confused_draws_nothing(viewer) -> None:
    made = viewer()
    made.see("mlp@dino", 1, 2.0)
    comparison = look(made)
    add_sheet(made.folder, comparison.confusion, "test")
    assert (comparison.confusion.pairs, comparison.confusion.picture, comparison.confusion.note) == ([], None, "")
    assert not made.folder.report.exists()


def test_the_sheet_holds_the_pictures_of_the_rows(shapes) -> None:
    found = look(shapes).confusion
    add_sheet(shapes.folder, found, "test")
    path = shapes.folder.report / "confusion-mlp@dino.png"
    assert found.picture == str(path)
    with Image.open(path) as sheet:
        sheet.load()
        widest = max(len(one.rows) for one in found.pairs)
        assert sheet.width > widest * SIDE
        assert sheet.height > len(found.pairs) * SIDE
        colours = {colour for _, colour in sheet.getcolors(1 << 24)}
    assert (173, 216, 230) in colours
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_each_split_has_a_sheet_of_its_own(shapes, monkeypatch) -> None:
    shown = read_thumbnails(shapes.folder, "test", {row.id for one in look(shapes).confusion.pairs for row in one.rows})
    monkeypatch.setattr("whichtune.report.contact_sheet.read_thumbnails", lambda *_: shown)
    for split in ("test", "validation"):
        add_sheet(shapes.folder, look(shapes).confusion, split)
    names = {each.name for each in shapes.folder.report.iterdir()}
    assert names == {"confusion-mlp@dino.png", "confusion-validation-mlp@dino.png"}


def test_odd_names_and_labels_stay_in_the_folder(shapes) -> None:
    shapes.see("../mlp[lr=0.1]@dino \x1b[31m是", 1, 0.5)
    found = look(shapes, "../mlp[lr=0.1]@dino \x1b[31m是").confusion
    found.pairs[0].gold = "x" * 500 + "\n\x1b[31m是"
    add_sheet(shapes.folder, found, "test")
    assert [each.parent for each in shapes.folder.report.rglob("*.png")] == [shapes.folder.report]


@pytest.mark.parametrize("held", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\nbroken"])
def test_a_damaged_thumbnail_leaves_its_place_empty(shapes, held) -> None:
    found = look(shapes).confusion
    assert open_thumbnail(held) is None
    thumbnails = {row.id: held for pair in found.pairs for row in pair.rows if held is not None}
    assert draw_sheet("x", found.pairs, thumbnails).width > SIDE


def test_a_picture_far_too_large_is_not_opened() -> None:
    held = io.BytesIO()
    Image.new("1", (2100, 2100)).save(held, "PNG")
    assert open_thumbnail(held.getvalue()) is None


def test_examples_without_thumbnails_are_told_of(viewer) -> None:
    made = viewer(thumbnails=False)
    made.see("mlp@dino", 1, 0.5)
    found = look(made).confusion
    add_sheet(made.folder, found, "test")
    assert (found.picture, found.note) == (None, NO_THUMBNAILS)
    assert "thumbnail" not in pq.read_schema(made.folder.examples).names


def test_the_command_prints_and_draws(shapes, tmp_path) -> None:
    out = tmp_path / "report.json"
    print_comparison(shapes.folder.path, "json", out, View(confusion=True, by="tdiuc"))
    held = json.loads(out.read_text(encoding="utf-8"))
    assert held["by"] == "tdiuc"
    assert held["confusion"]["picture"].endswith("confusion-mlp@dino.png")
    print_comparison(shapes.folder.path, "markdown", out, View(confusion=True))
    assert "Most often confused by mlp@dino" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"form": "csv", "confusion": True}, "--confusion"),
        ({"form": "pairs-csv", "by": "tdiuc"}, "--by"),
        ({"candidate": "mlp@dino"}, "--candidate.*--confusion"),
        ({"by": "coco"}, "--by.*did you mean"),
    ],
)
def test_flags_that_do_not_fit_are_refused(shapes, asked, match) -> None:
    with pytest.raises(InputError, match=match):
        report(shapes.folder.path, **asked)
