"""`verify`: a finished trial run again from its record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whichtune.cli.places import RUNS
from whichtune.cli.running import watching
from whichtune.cli.using import find_model

if TYPE_CHECKING:
    from whichtune.records.outcomes import Difference
    from whichtune.study.verifying import Verification

SHOWN = 40
"""So many differences are listed; all stand in the JSON form."""


def verify(
    trial: Annotated[
        str, typer.Argument(help="A trial's id (or its beginning), its folder, or a folder `train` made.")
    ],
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, progress as plain lines on stderr.")] = False,
) -> None:
    """Run a finished trial again from its record: equal outcome, within the measured noise, or not (exit code 1)."""
    from rich.console import Console

    from whichtune.study.verifying import verify as run_again

    folder = find_model(trial, runs)
    with watching("nothing was changed", as_json=as_json) as watcher:
        found = run_again(folder, watcher)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        render_verification(found, Console())
    raise typer.Exit(1 if found.outcome == "different" else 0)


def render_verification(found: Verification, console: Any) -> None:
    """Print how the second run came out, and each thing that differs."""
    from rich.text import Text

    from whichtune.report.figures import plain
    from whichtune.report.layout import ListSection, Section, TableSection
    from whichtune.report.terminal import print_sections

    console.print(Text(plain(f"Trial {found.trial}: {found.candidate} seed {found.seed}"), style="bold"))
    console.print(Text(plain(tell_outcome(found))))
    sections: list[Section] = []
    if found.differences:
        rest = len(found.differences) - SHOWN
        note = "By: the greatest difference, and its share of the recorded values' standard deviation."
        columns = ("what", "differ", "by", "share", "noise?")
        rows = [describe(one) for one in found.differences[:SHOWN]]
        note += f" {rest:,} more stand in the JSON form." if rest > 0 else ""
        sections.append(TableSection("Differences", columns, rows, frozenset({1, 2, 3}), note))
        examples = [f"{one.part}, {one.name}: {one.example}" for one in found.differences[:SHOWN] if one.example]
        if examples:
            sections.append(ListSection("Recorded -> again", examples))
    if found.caveats:
        sections.append(ListSection("Not as in the first run", found.caveats))
    print_sections(sections, console)


def tell_outcome(found: Verification) -> str:
    """Say in a sentence or two how the second run came out."""
    rows = ", ".join(f"{count:,} {split} rows" for split, count in found.rows.items())
    if found.failure is not None:
        return f"Not equal: the second run ended {found.failure}"
    told = f"{', '.join(found.compared)} ({rows})"
    if found.outcome == "equal":
        return f"Equal, bit for bit: {told}."
    agreed = "not the same rows" if found.agreement is None else f"{100 * found.agreement:.4g} % of the rows alike"
    allowed = f"{found.precision}: up to {found.tolerance:g} of the standard deviation"
    if found.outcome == "within-noise":
        return f"Equal within the measured noise ({allowed}); {agreed}. Compared: {told}."
    other = " Device or versions are others, too, and may be why." if found.caveats else ""
    return f"Not equal (noise of {allowed}); {agreed}. Compared: {told}.{other}"


def describe(one: Difference) -> tuple[str, ...]:
    """Write a difference as the cells of a row."""
    figures = ("–" if value is None else f"{value:.2g}" for value in (one.greatest, one.distance))
    return (f"{one.part}: {one.name}", f"{one.differing:,} of {one.values:,}", *figures, "yes" if one.noise else "no")
