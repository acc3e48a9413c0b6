"""One table of everything that `whichtune bench` has left in a folder: every row with its target, and what was not run.

    python benchmarks/table.py docs/results

Reads each `bench*.json` there and writes `bench.md` beside them. A row may stand in it more than once: at other sizes,
against the other baseline.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from whichtune.bench.model import RowResult
from whichtune.bench.rows import FINE_TUNING, ROWS
from whichtune.bench.show import EXPLAINED, format_measured, format_value
from whichtune.report.figures import DASH
from whichtune.report.markdown import render_sections
from whichtune.report.sections import TableSection

PAGE = "bench.md"
LEAD = (
    "Printed by python benchmarks/table.py docs/results from the JSON files beside it; nothing here is typed. A star "
    "marks a commit with changes on top."
)
COLUMNS = ("row", "texts", "baseline", "measured", "target", "limit", "state", "peer ran", "day", "commit", "from")


@dataclass(frozen=True)
class Found:
    """A row with the report that it stands in."""

    row: RowResult
    report: dict[str, Any]
    source: str

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table shows of it."""
        row, git = self.row, self.report["git"]
        return (
            row.row,
            DASH if row.texts is None else f"{row.texts:,}",
            self.report["baseline"],
            format_measured(row),
            format_value(row.target, row.unit, ">= " if row.unit == "x" else "<= "),
            format_value(row.limit, row.unit),
            row.state,
            row.peer_trials or DASH,
            self.report["date"][:10],
            DASH if git is None else git["commit"][:7] + ("*" if git.get("dirty") else ""),
            self.source,
        )


def read_folder(folder: Path) -> list[Found]:
    """Read every row of every report, in the order of the benchmark's own table, the largest study first."""
    names = {one.name for one in fields(RowResult)}
    found: list[Found] = []
    for path in sorted(folder.glob("bench*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        for raw in report["rows"]:
            row = RowResult(**{name: value for name, value in raw.items() if name in names - {"agreements"}})
            found.append(Found(row, report, path.stem))
    return sorted(found, key=lambda one: (list(ROWS).index(one.row.row), -(one.row.texts or 0), one.source))


def list_shares(found: list[Found]) -> Iterator[tuple[str, ...]]:
    """Yield the time outside passes of each fine-tuning row, whose greatest is judged."""
    target = ROWS["outside"].targets["tuned"]
    for one in found:
        share = one.row.outside
        if one.row.row in FINE_TUNING and share is not None:
            state = "met" if share <= target else "missed"
            yield one.row.row, one.cells[1], f"{share:.2f}", f"<= {target:.2f}", state, one.source


def list_missing(found: list[Found]) -> Iterator[tuple[str, str]]:
    """Yield the rows that were not run, with the command that would."""
    ran = {one.row.row for one in found if one.row.state not in {"not run", "failed"}}
    ran |= {"outside"} if any(list_shares(found)) else set()
    for name in ROWS:
        if name not in ran:
            yield name, f"whichtune bench --rows {name}" + (" on a machine with a GPU" if ROWS[name].gpu else "")


def main(folder: Path) -> None:
    found = read_folder(folder)
    sections = [
        TableSection("Rows", COLUMNS, [one.cells for one in found], right=frozenset({1, 3, 4, 5}), note=EXPLAINED),
        TableSection(
            "Time outside forward and backward passes, share of the study's wall time",
            ("row", "texts", "measured", "target", "state", "from"),
            list(list_shares(found)),
            right=frozenset({1, 2, 3}),
        ),
    ]
    missing = list(list_missing(found))
    if missing:
        sections.append(TableSection("Not run", ("row", "command"), missing))
    (folder / PAGE).write_text(render_sections("Speed: all rows", LEAD, sections), encoding="utf-8")
    print(folder / PAGE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
