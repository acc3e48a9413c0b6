"""The files that `report` writes: a page, and figures as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from whichtune.errors import InputError
from whichtune.report.view import View


@dataclass(frozen=True)
class Files:
    """What is asked for."""

    html: Path | None
    browse: tuple[str, ...]
    figure: str
    choose: tuple[str, ...]
    """Choices of the figure, as NAME=VALUE."""
    pictures: Mapping[str, Path]
    """Kind of file to where it goes."""


def write_files(study: Path, files: Files, view: View) -> None:
    """Compare a study from its records and write the files that are asked for."""
    from whichtune.fetch.atomic import write_text
    from whichtune.records.folder import find_study
    from whichtune.report.charts.files import choose_key, draw_figure, save_chart
    from whichtune.report.comparison import compare_study
    from whichtune.report.confusion import read_confusion
    from whichtune.report.contact_sheet import add_sheet
    from whichtune.report.html.page import render_page

    folder = find_study(study)
    comparison = compare_study(folder, view.split, view.answers, view.by)
    if view.confusion:
        comparison.confusion = read_confusion(folder, comparison, view.candidate)
        add_sheet(folder, comparison.confusion, view.split)
    if files.html is not None:
        write_text(files.html, render_page(folder, comparison, files.browse))
        typer.echo(f"page: {files.html}")
    if files.pictures:
        chart = draw_figure(folder, comparison, files.figure)
        key = choose_key(chart, read_choices(files.choose))
        for kind, path in files.pictures.items():
            save_chart(chart, key, path, kind)
            typer.echo(f"{chart.title.lower()}: {path}")


def read_choices(told: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=VALUE, as often as it is given."""
    found: dict[str, str] = {}
    for one in told:
        name, sign, value = one.partition("=")
        if not sign or not name or not value:
            raise InputError("--choose", value=one, allowed="NAME=VALUE, such as x=peak_bytes")
        found[name] = value
    return found
