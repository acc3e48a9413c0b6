"""The `whichtune` command: each subcommand a few lines over the floors below.

Exit codes: 0 all is well; 1 the command ran and something failed (a trial, say); 2 the input is wrong, and the
message says how to mend it; 130 stopped by Ctrl-C or `kill` (the same command goes on).

Importing this package loads no torch, pandas or YAML: subcommands import what they need when they run.
"""

from __future__ import annotations

import sys

import typer

from whichtune.cli import (
    advising,
    benching,
    checks,
    comparing,
    counting,
    embedding,
    reading,
    running,
    training,
    trying,
    using,
    verifying,
    writing,
)
from whichtune.cli.made import SETTINGS
from whichtune.errors import WhichtuneError

app = typer.Typer(
    name="whichtune",
    help="Which way of adapting this pretrained model to my data should I use, and what does it cost?",
    epilog="Exit codes: 0 well, 1 something failed, 2 wrong input, 130 stopped. --debug goes before the command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("init")(checks.init)
app.command("advise")(advising.advise)
app.command("run")(running.run)
app.command("report")(reading.report)
app.command("compare")(comparing.compare)
app.command("verify")(verifying.verify)
app.command("show")(reading.show)
app.command("list")(reading.list_studies)
app.command("doctor")(checks.doctor)
app.command("bench")(benching.bench)
app.command("count", cls=counting.MethodCommand, context_settings=SETTINGS)(counting.count)
app.command("train", cls=training.TrialCommand, context_settings=SETTINGS)(training.train)
app.command("embed")(embedding.embed)
app.command("evaluate")(using.evaluate)
app.command("predict")(using.predict)
app.command("generate", cls=writing.DecodingCommand, context_settings=SETTINGS)(writing.generate)
app.command("prompt", cls=writing.DecodingCommand, context_settings=SETTINGS)(trying.prompt)


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Options of every command."""
    sys.tracebacklimit = 1000 if debug else 0


def main() -> None:
    """Run the command line; errors whichtune expects become one message and an exit code."""
    try:
        app()
    except WhichtuneError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"whichtune: {error}", err=True)
        sys.exit(error.exit_code)
    except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError) as error:
        if "--debug" in sys.argv or error.filename is None:
            raise
        place = error.filename2 or error.filename
        typer.echo(f"whichtune: {place}: {error.strerror}; check the path and who may write there", err=True)
        sys.exit(2)
