"""What the benchmark found as files: JSON, a page, a chart."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whichtune.bench.chart import draw_bench
from whichtune.bench.model import Report
from whichtune.bench.show import lay_out_report
from whichtune.errors import InputError
from whichtune.fetch.atomic import write_text
from whichtune.report.charts.files import save_chart
from whichtune.report.markdown import render_sections

LEAD = (
    "Printed by the command below; nothing here is typed. Both sides run the same trials on the same rows and end "
    "alike, or the row says that they do not."
)


def dump_report(report: Report) -> str:
    """Return the report as JSON; what is not known is null."""
    return json.dumps(_settle(asdict(report)), indent=1)


def _settle(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _settle(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_settle(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Write `NAME.json`, `NAME.md` and `NAME.svg`; no chart where nothing can be drawn, or the packages are missing."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    write_text(paths[0], dump_report(report) + "\n")
    picture = folder / f"{name}.svg"
    drawn = _draw(report, picture)
    page = render_sections(f"Speed: `{name}`".replace("`", ""), LEAD, lay_out_report(report))
    write_text(paths[1], page + (f"\n![{drawn}]({picture.name})\n" if drawn else ""))
    return [*paths, picture] if drawn else paths


def _draw(report: Report, path: Path) -> str | None:
    """Write the chart; return its title."""
    try:
        chart = draw_bench(report)
        if chart is None:
            return None
        save_chart(chart, chart.first, path, "svg")
    except InputError:  # charts need packages of their own
        return None
    return chart.title
