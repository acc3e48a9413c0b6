"""`bench`: whole studies against Hugging Face Trainer + PEFT, side by side."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whichtune.cli.running import INTERRUPTED
from whichtune.errors import InputError

if TYPE_CHECKING:
    from whichtune.bench.model import Asked, Report

PACKAGES = ("accelerate", "peft")
PAGE = "bench"


class Peer(StrEnum):
    """How the peer pads; the words of `bench.model.BASELINES`."""

    tuned = "tuned"
    tutorial = "tutorial"


Quick = Annotated[
    bool,
    typer.Option(
        "--quick", help="reviews, last-layer and frozen-features at 400 reviews: ten minutes on two free cores."
    ),
]
Rows = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Rows to run: reviews, lora-epoch, search, last-layer, frozen-features, docstrings, gpu-short, gpu-dense, "
        "outside, memory. All when left out.",
    ),
]
Baseline = Annotated[
    Peer,
    typer.Option(
        metavar="<word>",
        help='How the peer pads: tuned (to the longest of a batch) or tutorial (padding="max_length").',
    ),
]
Share = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Share of its trials that the peer runs, such as 1/3; its seconds are scaled, and the table says so.",
    ),
]
Rounds = Annotated[
    int | None, typer.Option(min=1, help="Times that both sides run, in turn; the row's own when left out, 1 or 3.")
]
Texts = Annotated[
    int | None, typer.Option(min=8, help="Training texts of every row; the row's own number when left out.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of both sides; all cores when left out.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="An override of every row's study, such as execution.workers=auto; repeatable."),
]
OutDir = Annotated[
    Path | None, typer.Option(help="Folder for bench.json, bench.md and bench.svg; bench-quick.* with --quick.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")]


def bench(
    *,
    quick: Quick = False,
    rows: Rows = None,
    baseline: Baseline = Peer.tuned,
    peer_share: Share = None,
    rounds: Rounds = None,
    texts: Texts = None,
    threads: Threads = None,
    settings: Settings = None,
    out_dir: OutDir = None,
    as_json: AsJson = False,
) -> None:
    """Run whole studies against Trainer + PEFT: measured, target, limit (exit code 1: missed, or other results).

    Our side is a study as `whichtune run` runs it. The peer trains the same trials one after another: same rows, steps
    and rates, its model loaded for each. Sides alternate, and a row counts only when both end alike. Needs the extra
    `bench`.
    """
    from whichtune.bench.model import Asked
    from whichtune.bench.rows import choose_rows, read_share

    asked = Asked(
        rows=choose_rows(rows, quick=quick),
        baseline=baseline.value,
        share=read_share(peer_share),
        rounds=rounds,
        texts=texts,
        threads=threads,
        quick=quick,
        settings=tuple(settings or ()),
    )
    require_packages()
    if out_dir is not None and not out_dir.parent.is_dir():
        raise InputError("--out-dir", value=str(out_dir), allowed="a folder in a folder that is there")
    report = _run(asked, out_dir, f"{PAGE}-quick" if quick else PAGE)
    _show(report, as_json=as_json)
    raise typer.Exit(report.exit_code)


def require_packages() -> None:
    """Refuse to begin without what the peer is made of."""
    from importlib.util import find_spec

    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        told = f"`bench` runs Hugging Face Trainer + PEFT, and {' and '.join(missing)} is not installed"
        raise InputError(told, remedy="pip install 'whichtune[bench]'")


def _run(asked: Asked, out_dir: Path | None, name: str) -> Report:
    """Run the rows; what is asked for as files is written after every row, so that an interrupt loses one at most."""
    from whichtune.models.quiet import silence_four_bit

    with silence_four_bit():  # PEFT loads it
        from whichtune.bench.run import run_bench
    from whichtune.bench.writing import write_report

    def keep(report: Report) -> None:
        paths = [] if out_dir is None else write_report(report, out_dir, name)
        for path in paths:
            typer.echo(f"written: {path}", err=True)

    command = " ".join(["whichtune", *sys.argv[1:]])
    try:
        return run_bench(asked, command, lambda line: typer.echo(line, err=True), keep)
    except KeyboardInterrupt:
        kept = "nothing was kept" if out_dir is None else f"the rows that were done stand in {out_dir}"
        typer.echo(f"whichtune: stopped; {kept}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _show(report: Report, *, as_json: bool) -> None:
    from rich.console import Console

    from whichtune.bench.show import lay_out_report
    from whichtune.bench.writing import dump_report
    from whichtune.report.terminal import print_sections

    if as_json:
        typer.echo(dump_report(report))
    else:
        print_sections(lay_out_report(report), Console())
