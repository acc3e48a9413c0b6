"""The page of all rows, from the files that `whichtune bench` leaves."""

import importlib.util
import sys
from pathlib import Path

import pytest

from whichtune.bench.model import Agreement, Report, RowResult
from whichtune.bench.writing import dump_report

ROOT = Path(__file__).parents[2]


@pytest.fixture
def table(monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_table", ROOT / "benchmarks" / "table.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def make_row(name, texts, measured, state, **told):
    agreements = [Agreement("lora@model", 0.8, 0.79, 0.05)]
    return RowResult(name, name, state, target=2.0, measured=measured, texts=texts, agreements=agreements, **told)


def write(folder, name, baseline, rows):
    report = Report("whichtune bench", "2026-11-22T10:00", baseline, {}, {}, {"commit": "0123456789"}, 1e11, rows=rows)
    (folder / f"{name}.json").write_text(dump_report(report))


def test_every_row_of_every_file_stands_in_the_table_and_what_was_not_run_below(table, tmp_path):
    slow = make_row("lora-epoch", 400, 1.5, "missed", outside=0.3, ratios=[1.4, 1.5, 1.6])
    write(tmp_path, "bench-quick", "tuned", [slow, make_row("gpu-short", None, None, "not run")])
    write(tmp_path, "bench", "tutorial", [make_row("lora-epoch", 2000, 2.5, "met", outside=0.1)])
    table.main(tmp_path)
    lines = (tmp_path / "bench.md").read_text().splitlines()
    first, second = (line for line in lines if line.startswith("| lora-epoch") and "0123456" in line)
    assert "2,000 | tutorial | 2.50x" in first, "the larger study first"
    assert "400 | tuned | 1.50x (1.40..1.60)" in second
    assert "missed" in second
    shares = [line for line in lines if line.startswith("| lora-epoch") and "0.20" in line]
    assert ["missed" in line for line in shares] == [False, True]
    missing = lines[lines.index("## Not run") :]
    assert any("gpu-short" in line and "with a GPU" in line for line in missing)
    assert any("whichtune bench --rows docstrings |" in line for line in missing)
    assert not any("lora-epoch" in line for line in missing)


def test_the_stored_page_is_that_of_the_stored_files(table, tmp_path):
    for path in (ROOT / "docs" / "results").glob("bench*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    table.main(tmp_path)
    assert (tmp_path / "bench.md").read_text() == (ROOT / "docs" / "results" / "bench.md").read_text()
