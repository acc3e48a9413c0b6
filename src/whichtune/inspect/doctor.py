"""What is there, what cannot be measured here and why, and what is missing for what.

Takes a second or two and never raises: a check that fails is a finding. torch is imported only where there is a GPU
driver to ask about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from whichtune.inspect.caches import check_caches
from whichtune.inspect.finding import Finding, Status
from whichtune.inspect.machine import check_devices, check_machine, check_measurements
from whichtune.inspect.network import check_network
from whichtune.inspect.packages import check_packages

CHECKS: dict[str, Callable[[], list[Finding]]] = {
    "packages": check_packages,
    "machine": check_machine,
    "devices": check_devices,
    "measurements": check_measurements,
    "caches": check_caches,
    "network": check_network,
}
"""Area to what looks at it, in the order they are shown."""

STYLES: dict[Status, str] = {"ok": "green", "note": "yellow", "missing": "bold red"}


def examine() -> list[Finding]:
    """Look at this machine; findings of one area stand together."""
    return [finding for area, check in CHECKS.items() for finding in _run(area, check)]


def _run(area: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except Exception as error:  # whatever is odd about a machine must not keep the rest from being seen
        return [Finding(area, area, "note", f"could not be looked at: {type(error).__name__}: {error}")]


def render(findings: Sequence[Finding], console: Console) -> None:
    """Print the findings area by area, remedies under what they belong to, and a closing line."""
    width = max((len(finding.name) for finding in findings), default=0)
    for area, members in groupby(findings, key=lambda finding: finding.area):
        console.print(Text(area, style="bold"))
        console.print(_tabulate(list(members), width))
        console.print()
    console.print(_sum_up(findings))


def _tabulate(findings: Sequence[Finding], name_width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=len("  missing"))
    table.add_column(width=name_width, overflow="fold")
    table.add_column(overflow="fold")
    for finding in findings:
        value = Text(finding.value)
        if finding.remedy:
            value.append(f"\n{finding.remedy}", style="dim")
        table.add_row(Text(f"  {finding.status}", style=STYLES[finding.status]), Text(finding.name), value)
    return table


def _sum_up(findings: Sequence[Finding]) -> Text:
    missing = [finding.name for finding in findings if finding.status == "missing"]
    if missing:
        return Text(f"Missing before a study can run: {', '.join(missing)}.", style=STYLES["missing"])
    return Text("Nothing that a study needs is missing.", style=STYLES["ok"])
