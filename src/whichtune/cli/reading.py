"""`report`, `show`, `list`: read records, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whichtune.cli.places import RUNS, STDOUT, require_place
from whichtune.cli.report_files import Files, read_comparison, write_files
from whichtune.errors import InputError, RecordError, did_you_mean
from whichtune.report.view import View

if TYPE_CHECKING:
    from whichtune.records.folder import TrialFolder

FORMS = ("terminal", "markdown", "csv", "pairs-csv", "json", "latex", "html")
TABLES_ALONE = {"csv", "pairs-csv"}
ROWS_ALONE = "tables for programs hold a row a candidate or a pair"
SPLITS = ("test", "validation")
PAGE_COLUMNS = 100
"""Width of a report written to a file."""


AsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="The same as --format csv.")]
AsLatex = Annotated[bool, typer.Option("--latex", help="The same as --format latex.")]
Html = Annotated[
    Path | None, typer.Option(help="Write one page that opens offline: charts, tables, examples; `-`: print it.")
]
Browse = Annotated[list[str] | None, typer.Option(help="A candidate for the page's example browser; repeatable.")]
Figure = Annotated[
    str, typer.Option(help="For --svg, --png, --pdf: quality, learning, sizes, sensitivity, budget or ledger.")
]
Choose = Annotated[
    list[str] | None, typer.Option(help="What the figure shows, such as x=peak_bytes or y=loss; repeatable.")
]
Svg = Annotated[Path | None, typer.Option(help="Write the figure as SVG.")]
Png = Annotated[Path | None, typer.Option(help="Write the figure as PNG.")]
Pdf = Annotated[Path | None, typer.Option(help="Write the figure as PDF.")]
Weigh = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="What if: margin=3, cost.axis=peak_bytes or limits.peak_gb=8 in this report alone; repeatable.",
    ),
]
Partial = Annotated[
    bool,
    typer.Option("--partial", help="Show test scores before all trainings are in; counts as a use of the test rows."),
]


def report(  # noqa: PLR0917 - options, by name at the command line
    study: Annotated[Path, typer.Argument(help="A study's folder, such as runs/quickstart.")],
    form: Annotated[
        str, typer.Option("--format", help="terminal, markdown, csv (a row a candidate), pairs-csv, json, latex, html.")
    ] = "terminal",
    split: Annotated[str, typer.Option(help="Split to compare on: test, or validation while choosing.")] = "test",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_latex: AsLatex = False,
    out: Annotated[Path | None, typer.Option(help="Write to a file instead of the terminal.")] = None,
    html: Html = None,
    browse: Browse = None,
    figure: Figure = "quality",
    choose: Choose = None,
    svg: Svg = None,
    png: Png = None,
    pdf: Pdf = None,
    answers: Annotated[
        int, typer.Option(min=0, help="List what each candidate's first trial answered to so many rows.")
    ] = 0,
    by: Annotated[
        str | None,
        typer.Option(help="Show one grouping of questions about images in full: source, coco-qa or tdiuc."),
    ] = None,
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Show which labels are taken for which, images as a sheet of pictures.")
    ] = False,
    candidate: Annotated[
        str | None, typer.Option(help="Whose confusion to show; the best one's, baselines apart, unless named.")
    ] = None,
    settings: Weigh = None,
    partial: Partial = False,
) -> None:
    """Compare a study's candidates: quality beside every cost, with intervals."""
    forms = [name for name, asked in (("json", as_json), ("csv", as_csv), ("latex", as_latex)) if asked] or [form]
    if len(forms) > 1:
        raise InputError("--" + " --".join(forms), allowed="one form at a time", remedy="run `report` once for each")
    view = View(split, answers, by, confusion, candidate, partial, tuple(settings or ()))
    check_view(forms[0], view)
    pictures = {kind: path for kind, path in (("svg", svg), ("png", png), ("pdf", pdf)) if path is not None}
    require_places({"out": out, "html": html, **pictures})
    files = Files(html, tuple(browse or ()), figure, tuple(choose or ()), pictures)
    if html is not None or pictures:
        write_files(study, files, view)
    elif figure != "quality" or choose:
        raise InputError("--figure", value=figure, allowed="together with --svg, --png or --pdf")
    if browse and html is None and forms[0] != "html":
        raise InputError("--browse", value=", ".join(browse), allowed="together with --html")
    if out is not None or not (html or pictures):
        print_comparison(study, forms[0], out, view, tuple(browse or ()))


def require_places(asked: Mapping[str, Path | None]) -> None:
    """Refuse files in folders that are not there; only text is printed in place of a file."""
    for option, path in asked.items():
        if path is not None:
            require_place(f"--{option}", path, text=option in {"out", "html"})


def check_view(form: str, view: View) -> None:
    """Refuse a form that there is not, and what a form cannot show."""
    if view.partial and view.split != "test":
        raise InputError("--partial", value=f"with --split {view.split}", allowed="with the test split")
    if form not in FORMS:
        raise InputError("--format", value=form, allowed=", ".join(FORMS), remedy=did_you_mean(form, FORMS))
    if view.split not in SPLITS:
        told = did_you_mean(view.split, SPLITS)
        raise InputError("--split", value=view.split, allowed=", ".join(SPLITS), remedy=told)
    if view.answers and form in TABLES_ALONE:
        raise InputError("--answers", value=view.answers, allowed="with terminal, markdown or json", remedy=ROWS_ALONE)
    if view.candidate is not None and not view.confusion:
        raise InputError("--candidate", value=view.candidate, allowed="together with --confusion")
    for name, given in (("--by", view.by), ("--confusion", view.confusion or None)):
        if given is not None and form in TABLES_ALONE:
            raise InputError(name, value=given, allowed="with terminal, markdown or json", remedy=ROWS_ALONE)


def show(
    trial: Annotated[str, typer.Argument(help="A trial's id (or its beginning), or its folder.")],
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    traceback: Annotated[bool, typer.Option(help="Show the traceback of a failed trial.")] = False,
) -> None:
    """Show one trial in full."""
    from rich.console import Console

    from whichtune.report.show import render_trial

    folder = find_trial(trial, runs)
    record = folder.read()
    if as_json:
        typer.echo(record.model_dump_json(indent=1))
    else:
        render_trial(folder, Console(), traceback=traceback)


def list_studies(
    runs: Annotated[Path, typer.Argument(help="Folder of the studies.")] = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the studies under a folder."""
    import json

    from rich.console import Console

    from whichtune.report.listing import list_studies as find_studies
    from whichtune.report.listing import render_list

    found = find_studies(runs)
    if as_json:
        typer.echo(json.dumps([entry.model_dump(mode="json") for entry in found], indent=1))
    else:
        render_list(found, Console())


def print_comparison(
    study: Path, form: str, out: Path | None = None, view: View = View(), browse: tuple[str, ...] = ()
) -> None:
    """Compare a study from its records and print it, or write it to a file."""
    import io

    from rich.console import Console

    from whichtune.fetch.atomic import write_text
    from whichtune.report.csv_table import render_csv, render_pairs_csv
    from whichtune.report.html.page import render_page
    from whichtune.report.latex import render_latex
    from whichtune.report.markdown import render_markdown
    from whichtune.report.terminal import render_terminal

    folder, comparison = read_comparison(study, view)
    if form == "terminal" and (out is None or out == STDOUT):
        render_terminal(comparison, Console())
        return
    if form == "terminal":
        page = io.StringIO()
        render_terminal(comparison, Console(file=page, width=PAGE_COLUMNS))
        text = page.getvalue()
    else:
        text = {
            "markdown": render_markdown,
            "csv": render_csv,
            "pairs-csv": render_pairs_csv,
            "json": lambda one: one.model_dump_json(indent=1),
            "latex": render_latex,
            "html": lambda one: render_page(folder, one, browse),
        }[form](comparison)
    if out is None or out == STDOUT:
        typer.echo(text)
    else:
        write_text(out, text)


def find_trial(name: str, runs: Path) -> TrialFolder:
    """Find a trial by its folder, its id or the beginning of its id."""
    from whichtune.records.folder import TrialFolder

    direct = Path(name)
    if (direct / "trial.json").is_file():
        return TrialFolder(direct)
    found = sorted(path for path in runs.glob(f"*/trials/{name}*") if (path / "trial.json").is_file())
    if not found:
        raise RecordError(f"no trial under {runs}", value=name, remedy="`whichtune report STUDY` shows the ids")
    if len({path.name for path in found}) > 1:
        names = ", ".join(path.name for path in found[:5])
        raise RecordError(
            "the beginning of more than one trial's id", value=name, allowed=names, remedy="give more of it"
        )
    return TrialFolder(found[0])
