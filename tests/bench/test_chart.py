"""The chart: what is measured is a bar from one to it, also where a side is slower."""

import re

from whichtune.bench.chart import draw_bench
from whichtune.bench.model import Report, RowResult
from whichtune.report.charts.files import save_chart


def make_report(*measured):
    rows = [
        RowResult(f"row-{place}", "", "met", target=2.0, measured=one, ratios=[one * 0.9, one], limit=4.0)
        for place, one in enumerate(measured)
    ]
    return Report("whichtune bench", "2026-01-01", "tuned", {}, {}, None, 1e11, rows=rows)


def test_every_row_has_a_bar_that_can_be_seen(tmp_path):
    chart = draw_bench(make_report(3.0, 0.5))
    path = tmp_path / "bench.svg"
    save_chart(chart, chart.first, path, "svg")
    drawn = path.read_text()
    assert "row-0: 3.00x" in drawn
    assert "row-1: 0.50x" in drawn
    bars = re.findall(r'd="([^"]+)"', drawn.split('class="mark-rect')[1].split("</g>")[0])
    assert len(bars) == 2
    widths = [float(bar.split("h")[1].split("v")[0]) for bar in bars]
    assert all(abs(width) > 5 for width in widths), widths


def test_no_row_with_a_speed_is_no_chart():
    assert draw_bench(make_report()) is None
