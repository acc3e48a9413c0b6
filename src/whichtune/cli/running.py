"""`run`: run a study file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whichtune.cli.places import RUNS

INTERRUPTED = 130


def run(
    study: Annotated[Path, typer.Argument(help="The study file (YAML).")],
    scale: Annotated[str | None, typer.Option(help="A named set of overrides of the file's `scales`.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="An override, such as methods.lora.rank=16.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder the study's own folder is made in.")] = RUNS,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the comparison as JSON, progress as plain lines on stderr.")
    ] = False,
) -> None:
    """Run every trial of a study that is not finished, and print the comparison."""
    from rich.console import Console

    from whichtune.cli.progress import LiveBars, PlainLines, make_progress
    from whichtune.cli.reading import print_comparison
    from whichtune.spec.read import read_study

    spec = read_study(study, scale=scale, overrides=settings or ())
    from whichtune.study.run import run_study

    console = Console(stderr=True)
    try:
        if console.is_terminal and not as_json:
            with make_progress(console) as progress:
                outcome = run_study(spec, runs, LiveBars(console, progress), scale=scale)
        else:
            outcome = run_study(spec, runs, PlainLines(console), scale=scale)
    except KeyboardInterrupt:
        typer.echo("whichtune: stopped; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from None
    print_comparison(outcome.folder.path, "json" if as_json else "terminal")
    raise typer.Exit(outcome.exit_code)
