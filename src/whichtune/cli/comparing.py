"""`compare`: two studies or trials over the same rows, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whichtune.cli.places import RUNS
from whichtune.cli.reading import SPLITS, find_trial
from whichtune.errors import InputError, RecordError, did_you_mean

if TYPE_CHECKING:
    from whichtune.report.compare import Opened

EITHER = "A study's folder (or its name under --runs), or a trial's id, its beginning, or its folder."


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=EITHER)],
    second: Annotated[str, typer.Argument(metavar="B", help="The same again.")],
    split: Annotated[str, typer.Option(help="Split to compare on: test or validation.")] = "test",
    margin: Annotated[
        float | None, typer.Option(min=0, help="Margin in points; that of A's study when left out.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two studies or trials that were scored on the same rows: which is better, and by how much."""
    from rich.console import Console

    from whichtune.report.compare import compare_two
    from whichtune.report.compare_tables import render_versus

    if split not in SPLITS:
        raise InputError("--split", value=split, allowed=", ".join(SPLITS), remedy=did_you_mean(split, SPLITS))
    both = open_side(first, runs, split), open_side(second, runs, split)
    if both[0].place == both[1].place:
        raise InputError("A and B are the same", value=first, allowed="two studies, two trials, or one of each")
    versus = compare_two(*both, margin)
    if as_json:
        typer.echo(versus.model_dump_json(indent=1))
    else:
        render_versus(versus, Console())


def open_side(name: str, runs: Path, split: str) -> Opened:
    """Open what a name stands for: a study if there is one of that name, else a trial."""
    from whichtune.records.folder import StudyFolder
    from whichtune.report.compare import open_study, open_trial

    for path in (Path(name), runs / name):
        if (path / "study.yaml").is_file():
            return open_study(name, StudyFolder(path), split)
    try:
        trial = find_trial(name, runs)
    except RecordError as error:
        if error.allowed:
            raise
        raise RecordError(
            "neither a study nor a trial",
            value=name,
            allowed=f"a folder with study.yaml, or the beginning of a trial's id under {runs}",
            remedy="`whichtune list` shows the studies, `whichtune report STUDY` the ids",
        ) from error
    return open_trial(name, trial, split)
