"""`advise`: what a study would take, before anything is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def advise(
    study: Annotated[Path, typer.Argument(help="The study file (YAML).")],
    scale: Annotated[str | None, typer.Option(help="A named set of overrides of the file's `scales`.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="An override, such as methods.lora.rank=16.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate time and memory of every method on this machine, and say what to try first; nothing is written."""
    from rich.console import Console

    from whichtune.spec.read import read_study

    spec = read_study(study, scale=scale, overrides=settings or ())
    from whichtune.study.advice_tables import render_advice
    from whichtune.study.advising import advise as estimate

    advice = estimate(spec, lambda text: typer.echo(text, err=True), scale=scale)
    if as_json:
        typer.echo(advice.model_dump_json(indent=1))
    else:
        render_advice(advice, spec.cost.predictions, Console())
