"""Studies under a folder."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from whichtune.report.listing import StudyLine, list_studies, render_list


def printed(lines) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    render_list(lines, console)
    return console.export_text()


def test_a_study_in_a_line(maker) -> None:
    maker.fill()
    (line,) = list_studies(maker.folder.path.parent)
    assert (line.name, line.finished, line.failed, line.total) == ("reviews-small", 7, 1, 10)
    assert line.best in {"lora@minilm", "full@minilm"}
    assert (line.metric, line.when) == ("accuracy", "2026-01-01T00:10:00+00:00")
    text = printed([line])
    assert "7/10" in text
    assert f"accuracy {100 * (line.best_mean or 0):.1f}" in text


def test_the_best_of_a_loss_is_the_least(maker) -> None:
    maker.metric = "loss"
    maker.add("lora@minilm", 1, share=0.95)
    maker.add("full@minilm", 1, share=0.5)
    assert list_studies(maker.folder.path.parent)[0].best == "lora@minilm"


def test_the_plan_knows_the_total(maker) -> None:
    maker.plan(9, maker.add("lora@minilm", 1))
    assert list_studies(maker.folder.path.parent)[0].total == 9


def test_a_broken_study_is_a_line_of_its_own(maker) -> None:
    record = maker.add("lora@minilm", 1)
    maker.folder.trial(record.id).record.write_text("{")
    (line,) = list_studies(maker.folder.path.parent)
    assert "not a readable record" in (line.fault or "")
    assert "reviews-small cannot be read: " in printed([line])
    assert "\n" not in (line.fault or "")


def test_no_studies(tmp_path) -> None:
    assert list_studies(tmp_path / "none") == []
    assert "No studies here" in printed([])


def line(name: str, best: str, **over) -> StudyLine:
    held = {"finished": 7, "total": 10, "metric": "accuracy", "best_mean": 0.9, "when": "2026-01-01T00:10:00+00:00"}
    return StudyLine(name=name, path=name, best=best, **{**held, **over})


@pytest.mark.parametrize(
    ("name", "best", "kept", "gone"),
    [
        ("movie-rows-new", "lora@minilm", ["2026-01-01"], ["00:10"]),
        ("reviews", "lora@minilm", ["00:10", "failed", "accuracy 90.0"], []),
        ("reviews-of-movies", "last-layers@minilm-pretrained", ["accuracy 90.0"], ["2026", "failed"]),
        ("reviews-of-movies-offline", "lora[rank=64,alpha=128]@minilm", ["90.0"], ["2026", "accuracy"]),
        ("easy-visual-questions-offline", "lora[rank=64,learning_rate=3e-4]@mini", ["7/10"], ["accuracy", "2026"]),
        ("easy-visual-questions-offline", f"lora[rank=64,{'x' * 60}]@minilm", ["7/10"], ["rank", "2026"]),
        (f"a-study-{'x' * 72}", "lora@minilm", ["7/10"], ["lora"]),
    ],
)
def test_names_are_whole_at_80_columns(name, best, kept, gone) -> None:
    text = printed([line(name, best), line("b", "full@x")])
    assert name in text
    assert best in text or "rank" in gone or "lora" in gone
    assert all(word in text for word in kept)
    assert not any(word in text for word in gone)


def test_failures_are_kept_before_the_time() -> None:
    text = printed([line("reviews-of-movies", "last-layers@minilm-twice", failed=3)])
    assert "failed" in text
    assert "00:10" not in text
