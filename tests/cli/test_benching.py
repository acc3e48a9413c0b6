import json

from whichtune.bench import run
from whichtune.bench.model import Report, RowResult
from whichtune.cli import benching


def test_help_reads_well(whichtune):
    told = whichtune("bench", "--help")
    assert told.code == 0
    assert "--quick" in told.out
    assert max(map(len, told.out.splitlines())) <= 80


def test_an_unknown_row_is_wrong_input(whichtune):
    told = whichtune("bench", "--rows", "lora-epok")
    assert told.code == 2
    assert "did you mean 'lora-epoch'" in told.told


def test_without_the_peer_nothing_begins(whichtune, monkeypatch):
    monkeypatch.setattr(benching, "PACKAGES", ("no_such_package",))
    told = whichtune("bench", "--quick")
    assert told.code == 2
    assert "no_such_package" in told.told
    assert "pip install 'whichtune[bench]'" in told.told


def test_the_report_is_printed_and_written(whichtune, monkeypatch, tmp_path):
    asked = []

    def fake(given, command, tell, keep):
        asked.append(given)
        row = RowResult(
            "reviews",
            "Reviews",
            "missed",
            target=2.5,
            measured=2.0,
            ratios=[2.0],
            own_seconds=[1.0],
            peer_seconds=[2.0],
        )
        report = Report(command, "2026-11-21", given.baseline, {}, {}, None, 1e11, rows=[row])
        keep(report)
        return report

    monkeypatch.setattr(run, "run_bench", fake)
    given = ("--rows", "reviews", "--baseline", "tutorial", "--peer-share", "1/3", "--texts", "8", "--json")
    told = whichtune("bench", *given, "--out-dir", tmp_path / "out", "--set", "seeds=[1]")
    assert told.code == 1
    assert json.loads(told.out)["rows"][0]["measured"] == 2.0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"bench.json", "bench.md", "bench.svg"}
    assert (asked[0].share, asked[0].texts, asked[0].settings) == (1 / 3, 8, ("seeds=[1]",))
    assert "2.00x" in whichtune("bench", "--rows", "reviews").out
