"""The files that `report` writes: a page, and figures as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from whichtune.cli.places import STDOUT
from whichtune.errors import InputError
from whichtune.report.view import View

if TYPE_CHECKING:
    from whichtune.records.folder import StudyFolder
    from whichtune.report.model import Comparison


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
    """Compare a study from its records and write the files that are asked for; `-` is standard output for a page."""
    from whichtune.fetch.atomic import write_text
    from whichtune.report.charts.files import choose_key, draw_figure, save_chart
    from whichtune.report.html.page import render_page

    folder, comparison = read_comparison(study, view)
    if files.html is not None:
        page = render_page(folder, comparison, files.browse)
        if files.html == STDOUT:
            typer.echo(page)
        else:
            write_text(files.html, page)
            typer.echo(f"page: {files.html}")
    if files.pictures:
        chart = draw_figure(folder, comparison, files.figure)
        key = choose_key(chart, read_choices(files.choose))
        for kind, path in files.pictures.items():
            save_chart(chart, key, path, kind)
            typer.echo(f"{chart.title.lower()}: {path}", err=files.html == STDOUT)
    if comparison.withheld is not None:
        typer.echo(comparison.withheld, err=True)


def read_comparison(study: Path, view: View) -> tuple[StudyFolder, Comparison]:
    """Find a study and compare its candidates as a view asks."""
    from whichtune.records.folder import find_study
    from whichtune.report.comparison import compare_study
    from whichtune.report.confusion import read_confusion
    from whichtune.report.contact_sheet import add_sheet

    folder = find_study(study)
    comparison = compare_study(folder, view.split, view.answers, view.by, partial=view.partial, settings=view.settings)
    if view.confusion:
        comparison.confusion = read_confusion(folder, comparison, view.candidate)
        add_sheet(folder, comparison.confusion, comparison.split)
    return folder, comparison


def read_choices(told: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=VALUE, as often as it is given."""
    found: dict[str, str] = {}
    for one in told:
        name, sign, value = one.partition("=")
        if not sign or not name or not value:
            raise InputError("--choose", value=one, allowed="NAME=VALUE, such as x=peak_bytes")
        found[name] = value
    return found
