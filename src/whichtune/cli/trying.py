"""`prompt`: styles of asking side by side, on a few rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whichtune.cli.made import given_settings
from whichtune.cli.prompts import gather_texts
from whichtune.cli.running import INTERRUPTED
from whichtune.cli.using import Device, Threads
from whichtune.cli.writing import DECODING, open_model_word, require_decoding
from whichtune.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

    from whichtune.study.asked_rows import File
    from whichtune.study.trying import Attempt, Question, Rows, Way

MOST_LINES = 4
"""Lines of a prompt or a completion that are shown, unless all are asked for."""
MOST_CHARACTERS = 200
"""Of a line that is shown."""

Model = Annotated[str | None, typer.Option(help="A model: smollm2, a folder, a GGUF file, or a name on the hub.")]
Template = Annotated[list[str] | None, typer.Option(help='A style of your own, such as "{{ text }} True or false?".')]
Wording = Annotated[
    str | None, typer.Option(help="What is asked: statements, labels, problems, inference, pairs, summaries, ...")
]


def prompt(
    ctx: typer.Context,
    statements: Annotated[list[str] | None, typer.Argument(help="What is asked about, each in quotes.")] = None,
    *,
    init_from: Model = None,
    style: Annotated[str, typer.Option(help="Styles of asking, with commas between them.")] = "zero-shot",
    template: Template = None,
    wording: Wording = None,
    labels: Annotated[str | None, typer.Option(help="Labels, with commas between them.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file of rows: a table, or a text a line.")] = None,
    text: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    label: Annotated[str | None, typer.Option(help="Column of the right answer; `label` where it is there.")] = None,
    pair: Annotated[str | None, typer.Option(help="Column of the second text.")] = None,
    examples: Annotated[
        str | None, typer.Option(help="Labelled rows that prompts may show: a file, or a built-in source.")
    ] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="How many are shown; as the style has it otherwise.")] = None,
    chat: Annotated[
        bool, typer.Option("--chat/--raw", help="As a turn of a conversation, where the model knows of any.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of the choice of examples and of draws.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Rows at the same time.")] = 8,
    device: Device = "auto",
    threads: Threads = None,
    full: Annotated[bool, typer.Option("--full", help="Show prompts and completions whole.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line a row and style.")] = False,
) -> None:
    """Ask a model about a few rows in several styles: prompts, completions and answers side by side."""
    if init_from is None:
        raise SpecError("no model to ask", remedy="for example `--init-from smollm2`")
    given = {path.removeprefix(DECODING): value for path, value in given_settings(ctx).items()}
    require_decoding(given)
    from whichtune.study.asked_rows import File
    from whichtune.study.trying import choose_ways

    table = None if file is None else File(file, text, label, pair)
    question = settle_question((wording, split_words(labels), chat), table, pair)
    styles = [] if template and style == "zero-shot" else split_words(style)
    ways = choose_ways(styles, template or [], question, shots, given)
    rows = gather_rows(statements or [], table, question, (examples, ways))
    attempts = ask_all((init_from, device, threads), (ways, question, rows), (seed, batch))
    if as_json:
        for one in attempts:
            typer.echo(json.dumps(asdict(one), ensure_ascii=False))
        return
    from rich.console import Console

    render_attempts(attempts, Console(), full=full)


def split_words(words: str | None) -> list[str]:
    """Return what stands between commas."""
    return [word.strip() for word in (words or "").split(",") if word.strip()]


def settle_question(asked: tuple[str | None, list[str], bool], table: File | None, pair: str | None) -> Question:
    """Settle what is asked, by flags and by the labels of the file."""
    from whichtune.study.trying import choose_question, find_wording_name

    wording, labels, chat = asked
    name = None if wording is None else find_wording_name(wording)
    if not labels and table is not None and name in (None, "labels", "pairs", "multiple-choice"):
        labels = list(table.list_labels())
    two = pair is not None or name in ("pairs", "inference")
    return choose_question(name, labels, two=two, chat=chat)


def gather_rows(
    statements: list[str], table: File | None, question: Question, shown: tuple[str | None, Sequence[Way]]
) -> Rows:
    """Read who is asked about, and the rows that prompts show where a style shows any."""
    from whichtune.study.asked_rows import name_rows, read_asked, read_pool
    from whichtune.study.trying import Rows

    two = question.columns.pair is not None
    if table is not None and table.tabular:
        asked = (*(name_rows(statements, two=two) if statements else ()), *read_asked(table, question))
    else:
        texts = gather_texts(statements, None if table is None else table.path, what="statement")
        asked = name_rows(texts, two=two)
    examples, ways = shown
    return Rows(asked, read_pool(examples, question, table) if any(way.shots for way in ways) else ())


def ask_all(
    model: tuple[str, str, int | None], what: tuple[Sequence[Way], Question, Rows], how: tuple[int, int]
) -> list[Attempt]:
    """Load the model, put all prompts together, and ask in one style after the other."""
    from whichtune.engine.using import Manner, open_model
    from whichtune.measure.device import pick_device, set_threads
    from whichtune.study.trying import ask, prepare

    (word, device, threads), (ways, question, rows) = model, what
    spec = open_model_word(word)
    where = pick_device(device)
    set_threads(threads)
    speaker = open_model(spec, Manner(where, batch=how[1]))
    attempts: list[Attempt] = []
    try:
        for way, trial, encoded in prepare(speaker, ways, question, rows, how):
            found = ask(way, trial, encoded)
            attempts += found
            cut = f"; {encoded.cut:,} texts cut to fit" if encoded.cut else ""
            took = sum(one.seconds for one in found)
            typer.echo(f"{way.name}: {len(found):,} asked in {took:.1f} s{cut}", err=True)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    return attempts


def render_attempts(attempts: Sequence[Attempt], console: Console, *, full: bool) -> None:
    """Print a block a row with every style in it, and how often each style was right."""
    from rich.text import Text

    rows: dict[tuple[str, str | None], list[Attempt]] = {}
    for one in attempts:
        rows.setdefault((one.text, one.pair), []).append(one)
    for place, own in enumerate(rows.values(), start=1):
        first = own[0]
        shown = first.text if first.pair is None else f"{first.text} / {first.pair}"
        head = Text(f"{place}. {clean(shown, full=full)}", style="bold")
        console.print(head)
        if first.gold is not None:
            console.print(Text(f"   right answer: {clean(first.gold, full=full)}"))
        for one in own:
            render_attempt(one, console, full=full)
        console.print()
    render_scores(attempts, console)


def render_attempt(one: Attempt, console: Console, *, full: bool) -> None:
    """Print what one style asked, got and read."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=12)
    grid.add_column(overflow="fold")
    console.print(Text(f"   {one.style}", style="bold cyan"))
    grid.add_row("     prompt", Text(clean(one.prompt, full=full), style="dim"))
    grid.add_row("     written", Text(clean(one.completion.strip(), full=full)))
    grid.add_row("     answer", describe_answer(one))
    console.print(grid)


def describe_answer(one: Attempt) -> Text:
    """Say what was read off a completion, whether it is right, and which label is the likeliest."""
    from rich.text import Text

    told = Text("none could be read" if one.answer is None else clean(one.answer, full=False))
    if one.right is not None:
        told.append("  right" if one.right else "  wrong", style="green" if one.right else "red")
    if one.shares:
        best = max(one.shares, key=lambda name: one.shares[name])
        told.append(f"  (likeliest label: {best}, {100 * one.shares[best]:.0f} %)", style="dim")
    return told


def clean(text: str, *, full: bool) -> str:
    """Return a text that moves no cursor; but for its first line and its last ones it is left out when it is long."""
    from whichtune.report.figures import plain

    lines = [plain(line) for line in text.splitlines()]
    if not full and len(lines) > MOST_LINES:
        left = len(lines) - MOST_LINES + 1
        lines = [lines[0], f"[{left} lines]", *lines[-(MOST_LINES - 2) :]]
    if not full:
        lines = [line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…" for line in lines]
    return "\n".join(lines)


def render_scores(attempts: Sequence[Attempt], console: Console) -> None:
    """Print a line a style: how many answers were right, and how many could not be read."""
    from whichtune.report.figures import format_score
    from whichtune.report.sections import TableSection
    from whichtune.report.terminal import print_sections

    lines: list[tuple[str, ...]] = []
    rows = 0
    for style in dict.fromkeys(one.style for one in attempts):
        own = [one for one in attempts if one.style == style]
        known, rows = [one for one in own if one.right is not None], len(own)
        share = sum(bool(one.right) for one in known) / len(known) if known else None
        unread = sum(one.answer is None for one in own) / len(own)
        tokens = sum(one.tokens for one in own) / len(own)
        lines.append((style, format_score(share, "share"), format_score(unread, "share"), f"{tokens:,.0f}"))
    heads = ("style", "accuracy", "unread", "tokens written")
    note = f"{rows:,} rows; shares in hundredths. What cannot be read counts as wrong."
    print_sections([TableSection("Styles", heads, lines, frozenset({1, 2, 3}), note)], console)
