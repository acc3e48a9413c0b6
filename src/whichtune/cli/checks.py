"""`init` and `doctor`: before the first study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    data: Annotated[Path, typer.Argument(help="A data file (CSV, TSV, JSONL or Parquet), or a folder of images.")],
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model: a folder, a name on the hub, or a built-in one; chosen by the rows when left out."
        ),
    ] = None,
    *,
    backbone: Annotated[str | None, typer.Option("--model", help="The same, as an option.")] = None,
    out: Annotated[Path, typer.Option(help="Study file to write.")] = Path("study.yaml"),
    text: Annotated[str | None, typer.Option(help="Column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the label.")] = None,
    pair: Annotated[str | None, typer.Option(help="Column of the second text, where rows have two.")] = None,
    image: Annotated[str | None, typer.Option(help="Column of paths of images.")] = None,
) -> None:
    """Write a commented study file from a data file or a folder of images, and a model."""
    from whichtune.cli.places import require_place
    from whichtune.cli.starter import write_starter
    from whichtune.errors import SpecError

    if image is not None and (text is not None or pair is not None):
        raise SpecError("--image and --text: `init` writes studies of images or of texts", remedy="leave one out")
    require_place("--out", out, text=False)
    if model is not None and backbone is not None:
        raise SpecError("the model is named twice", value=backbone, remedy="leave `--model` out")
    typer.echo(write_starter(data, model or backbone, out, text=text, label=label, pair=pair, image=image))


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is there, what cannot be measured here and why, and what is missing for what."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from whichtune.inspect.doctor import examine, render

    findings = examine()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        render(findings, Console())
    raise typer.Exit(1 if any(finding.status == "missing" for finding in findings) else 0)
