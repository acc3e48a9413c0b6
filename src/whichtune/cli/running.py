"""`run`: run a study file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whichtune.cli.places import RUNS

if TYPE_CHECKING:
    from whichtune.cli.progress import PlainLines
    from whichtune.spec.study import StudySpec
    from whichtune.study.run import StudyOutcome

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
    from whichtune.cli.reading import print_comparison
    from whichtune.spec.read import read_study

    outcome = watch_study(read_study(study, scale=scale, overrides=settings or ()), runs, scale=scale, as_json=as_json)
    print_comparison(outcome.folder.path, "json" if as_json else "terminal")
    raise typer.Exit(outcome.exit_code)


def watch_study(spec: StudySpec, runs: Path, *, scale: str | None = None, as_json: bool = False) -> StudyOutcome:
    """Run a study with its progress on stderr; an interrupt ends the program and says how to go on."""
    from whichtune.study.run import run_study

    with watching("the same command goes on where it was", as_json=as_json) as watcher:
        return run_study(spec, runs, watcher, scale=scale)


@contextmanager
def watching(stopped: str, *, as_json: bool) -> Generator[PlainLines]:
    """Yield what shows progress on stderr; an interrupt ends the program and says what that means."""
    from rich.console import Console

    from whichtune.cli.progress import LiveBars, PlainLines, make_progress

    console = Console(stderr=True)
    try:
        if console.is_terminal and not as_json:
            with make_progress(console) as progress:
                yield LiveBars(console, progress)
        else:
            yield PlainLines(console)
    except KeyboardInterrupt:
        typer.echo(f"whichtune: stopped; {stopped}", err=True)
        raise typer.Exit(INTERRUPTED) from None
