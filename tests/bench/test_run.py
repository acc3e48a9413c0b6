import dataclasses
import json
import os

import pytest
import torch

from whichtune.bench import run as running
from whichtune.bench.model import Agreement, Asked, Report, RowResult
from whichtune.bench.ours import Silent
from whichtune.bench.passes import TIMED, timing_passes
from whichtune.bench.rows import ROWS
from whichtune.bench.run import run_bench
from whichtune.bench.show import lay_out_report
from whichtune.bench.studies import LADDER, build_study, lay_reviews
from whichtune.bench.timed_worker import FOLDER, sum_workers, timing_workers
from whichtune.bench.writing import dump_report, write_report
from whichtune.errors import InputError
from whichtune.fetch.cache import cache_root
from whichtune.report.terminal import print_sections
from whichtune.study import worker
from whichtune.study.run import run_study


@pytest.fixture(autouse=True)
def _known_rate(monkeypatch):
    """Matrix products are timed in `test_limits`."""
    monkeypatch.setattr(running, "measure_rate", lambda *_: 1e10)


def study_two(texts):
    """Two methods of the ladder, two seeds."""
    methods = {name: LADDER[name] for name in ("lora-4", "frozen")}
    return lay_reviews("reviews", texts, methods, epochs=1) | {"seeds": [1, 2]}


def test_a_row_from_end_to_end(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(ROWS, "reviews", dataclasses.replace(ROWS["reviews"], study=study_two))
    told = []
    before = [getattr(owner, name) for owner, name in TIMED]
    place = cache_root()
    asked = Asked(("reviews", "gpu-short", "outside"), texts=24, threads=1, share=0.5, settings=tiny)
    kept = []
    report = run_bench(asked, "whichtune bench", told.append, lambda so_far: kept.append(len(so_far.rows)))
    assert kept == [1, 2, 3]
    row, card, outside = report.rows
    assert row.state in {"met", "missed"}
    assert [one.fault for one in row.agreements] == ["", ""]
    assert row.peer_trials == "2 of 4"
    assert row.measured == pytest.approx(row.peer_seconds[0] / row.own_seconds[0])
    assert 0 < row.outside < 1
    assert row.texts == 24
    assert card.state == "not run"
    assert "whichtune bench --rows gpu-short" in card.notes[0]
    assert outside.measured == row.outside
    assert (before, place) == ([getattr(owner, name) for owner, name in TIMED], cache_root())
    assert not (place / "embeddings").exists()  # features went into a cache of their own
    names = [path.name for path in write_report(report, tmp_path / "out", "bench")]
    assert names == ["bench.json", "bench.md", "bench.svg"]
    assert json.loads(dump_report(report))["rows"][0]["row"] == "reviews"
    assert "<svg" in (tmp_path / "out" / "bench.svg").read_text()
    assert "![Times as fast" in (tmp_path / "out" / "bench.md").read_text()


def test_a_row_that_fails_says_so_and_the_others_go_on(tiny, monkeypatch):
    monkeypatch.setattr(running, "run_ours", lambda *_, **__: 1 / 0)
    asked = Asked(("lora-epoch", "gpu-dense"), texts=16, threads=1, settings=tiny)
    report = run_bench(asked, "x", lambda _: None)
    assert [row.state for row in report.rows] == ["failed", "not run"]
    assert "division by zero" in report.rows[0].notes[0]
    assert report.exit_code == 1


def test_wrong_settings_end_the_command():
    with pytest.raises(InputError, match="epoks"):
        run_bench(Asked(("lora-epoch",), settings=("training.epoks=1",)), "x", lambda _: None)


def test_passes_inside_passes_count_once():
    with timing_passes(torch.device("cpu")) as passes:
        tensor = torch.ones(2, requires_grad=True)
        (tensor * 2).sum().backward()
        first = passes.seconds
        assert first > 0
        passes.depth = 1
        (tensor * 2).sum().backward()
        assert passes.seconds == first
        passes.depth = 0


def test_passes_in_workers_are_counted(tiny, tmp_path):
    before = worker.MODULE
    study = build_study(study_two(24), 1, (*tiny, "execution.workers=2"))
    with timing_workers(tmp_path / "workers", torch.device("cpu")):
        outcome = run_study(study, tmp_path / "runs", Silent())
    assert not outcome.failed
    assert len(list((tmp_path / "workers").iterdir())) == 2
    spent = sum(one.wall_seconds for one in outcome.records)
    assert 0 < sum_workers(tmp_path / "workers") < spent
    assert (worker.MODULE, FOLDER in os.environ) == (before, False)


@pytest.fixture
def report():
    rows = [
        RowResult(
            row.name, row.title, "met", "share" if row.kind in {"outside", "memory"} else "x", 2.0, 12.345,
            ratios=[11.0, 13.9], limit=25.0, own_seconds=[5000.0], peer_seconds=[100000.0], peer_trials="7 of 21",
            outside=0.19, texts=2000, agreements=[Agreement("last-layer@model[learning_rate=0.0003]", 0.8, 0.79, 0.05)],
        )
        for row in ROWS.values()
    ]  # fmt: skip
    return Report("whichtune bench", "2026-11-21", "tuned", {"name": "CPU"}, {"torch": "2"}, None, 1e11, rows=rows)


def test_the_table_fits_into_80_columns(report, capsys):
    from rich.console import Console

    print_sections(lay_out_report(report), Console(width=80))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "12.3x (11.00..13.90)" in printed
    assert "7 of 21" in printed
    for name in ROWS:
        assert any(line.startswith(name + " ") for line in printed.splitlines())


@pytest.mark.parametrize(
    "state, code", [("met", 0), ("not run", 0), ("missed", 1), ("results differ", 1), ("failed", 1)]
)
def test_exit_codes(report, state, code):
    report.rows = [dataclasses.replace(report.rows[0], state=state)]
    assert report.exit_code == code
