import base64
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from whichtune.records.predictions import read_predictions
from whichtune.report.comparison import compare_study
from whichtune.report.html import browser
from whichtune.report.html.browser import choose_candidates, pack_examples


def draw_picture(shade: int) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (16, 16), (shade, 80, 160)).save(held, "PNG")
    return held.getvalue()


def pack(maker, *asked):
    held = pack_examples(maker.folder, compare_study(maker.folder), None, asked)
    assert held is not None
    return held


def test_answers_and_right_counts_are_those_of_the_predictions(maker):
    maker.fill()
    data = pack(maker).data
    best = compare_study(maker.folder).candidates[0]
    tables = [read_predictions(maker.folder.trial(one).predictions, "test")["test"] for one in best.trial_ids]
    own = data["candidates"][0]
    assert own["name"] == best.candidate
    assert [data["words"][place] for place in own["read"]] == tables[0].parsed
    assert [data["words"][place] for place in data["gold"]] == tables[0].gold
    right = np.sum([np.array(one.parsed) == np.array(one.gold) for one in tables], axis=0)
    assert own["right"] == right.tolist()
    assert own["trainings"] == 3


def test_without_examples_rows_still_have_their_answers(maker):
    maker.fill()
    data = pack(maker).data
    assert data["texts"] == [None] * 300
    assert data["shown"] == []


def test_long_texts_and_many_rows_are_cut_and_told(maker, fill_examples, monkeypatch):
    maker.fill()
    fill_examples(maker, ["long " * 100])
    monkeypatch.setattr(browser, "ROWS", 40)
    monkeypatch.setattr(browser, "TEXT_CHARACTERS", 40)
    held = pack(maker)
    assert len(held.data["ids"]) == 40
    assert all(len(text) == 202 for text in held.data["texts"])
    assert "40 test rows of 300." in held.note
    assert "40 texts cut to 200 characters." in held.note


def test_a_picture_is_kept_once_however_many_rows_show_it(maker, monkeypatch):
    maker.fill()
    shades = [draw_picture(shade) for shade in (10, 20, 30)]
    rows = range(maker.rows)
    table = {
        "id": [f"r{row}" for row in rows],
        "split": ["test"] * maker.rows,
        "image_sha256": [f"h{row % 3}" for row in rows],
        "thumbnail": [shades[row % 3] for row in rows],
    }
    pq.write_table(pa.table(table), maker.folder.examples)
    data = pack(maker).data
    assert [base64.b64decode(one.partition(",")[2]) for one in data["pictures"]] == shades
    assert data["shown"] == [row % 3 for row in rows]
    monkeypatch.setattr(browser, "PICTURE_BYTES", len(shades[0]) + 1)
    held = pack(maker)
    assert held.data["shown"][:4] == [0, -1, -1, 0]
    assert "200 rows without a picture" in held.note


def test_what_is_no_picture_is_not_embedded(maker):
    maker.fill()
    held = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    table = {"id": [f"r{row}" for row in range(300)], "split": ["test"] * 300, "thumbnail": [held] * 300}
    pq.write_table(pa.table(table), maker.folder.examples)
    assert pack(maker).data["pictures"] == []


def test_written_answers_stand_beside_what_was_read(speaker):
    maker = speaker(kind="summarization")
    maker.say("lead")
    maker.say("lora@smol")
    data = pack(maker).data
    assert data["matched"] is False
    assert data["labels"] is False
    own = next(one for one in data["candidates"] if one["name"] == "lora@smol")
    assert data["words"][own["raw"][0]].startswith("The answer:\n\t")


def test_the_verdict_comes_first_then_the_best_and_one_baseline(maker, monkeypatch):
    maker.fill()
    comparison = compare_study(maker.folder)
    monkeypatch.setattr(browser, "CANDIDATES", 2)
    chosen = choose_candidates(comparison, None, ())
    assert [row.baseline for row in chosen] == [False, True]
    named = choose_candidates(comparison, None, ("majority", "lora@minilm", "majority"))
    assert [row.candidate for row in named] == ["majority", "lora@minilm"]


def test_nothing_is_packed_where_nobody_answered(maker):
    maker.fail("lora@minilm")
    assert pack_examples(maker.folder, compare_study(maker.folder)) is None


@pytest.mark.parametrize("gone", ["r3", "r299"])
def test_rows_that_a_candidate_was_never_asked_are_marked(maker, gone):
    maker.fill()
    comparison = compare_study(maker.folder)
    second = comparison.candidates[1].trial_ids[0]
    path = maker.folder.trial(second).predictions
    table = pq.read_table(path)
    kept = [name != gone for name in table.column("id").to_pylist()]
    pq.write_table(table.filter(pa.array(kept)), path)
    held = pack_examples(maker.folder, comparison)
    assert held is not None
    own = held.data["candidates"][1]["read"]
    assert [place for place, one in enumerate(own) if one == -2] == [int(gone[1:])]
