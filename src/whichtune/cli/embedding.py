"""`embed`: embeddings of any data by any frozen encoder, as files."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whichtune.cli.progress import QUIET_SECONDS
from whichtune.cli.running import INTERRUPTED
from whichtune.cli.using import Device, ImageRoot, Threads

if TYPE_CHECKING:
    from whichtune.models.backbone import Backbone
    from whichtune.study.embedding import Part, Way
    from whichtune.study.rows_to_embed import Chosen


class Pooling(StrEnum):
    """Which hidden rows make the embedding; the words of `models.backbone.POOLINGS`."""

    default = "default"
    mean = "mean"
    first = "first"
    last = "last"


def embed(
    *,
    backbone: Annotated[
        str, typer.Option(help="minilm, dinov2-small, efficientnet-lite0, a folder, a name on the hub, random:vit.")
    ],
    data: Annotated[
        str, typer.Option(help="A file of rows, a folder of images, a pattern, or a source: digits, movie-reviews.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for embeddings.npy, rows.parquet and embeddings.json.")],
    text: Annotated[str | None, typer.Option(help="Column of the texts to embed; `text` when left out.")] = None,
    image: Annotated[str | None, typer.Option(help="Column of the images to embed; `image` when left out.")] = None,
    image_root: ImageRoot = None,
    label: Annotated[str | None, typer.Option(help="Column of a label to keep; `label` where there is one.")] = None,
    identity: Annotated[str | None, typer.Option("--id", help="Column of an id to keep; else split and place.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="A split of the source, such as test; all when left out.")
    ] = None,
    pooling: Annotated[
        Pooling | None,
        typer.Option(
            metavar="<word>",
            help="default (the family's own way), mean, first or last. When left out: default for images, mean for "
            "texts unless the model has an embedding of its own.",
        ),
    ] = None,
    normalise: Annotated[bool, typer.Option(help="Give every row length 1.")] = False,
    max_length: Annotated[int | None, typer.Option(min=1, help="Tokens of a text at most; 128.")] = None,
    image_size: Annotated[int | None, typer.Option(min=8, help="Side of images in pixels; the model's own.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Rows a forward pass.")] = 64,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the embeddings of texts or images by a frozen encoder; what was computed before is found."""
    from whichtune.measure.device import set_threads
    from whichtune.study.embedding import Way, open_encoder, require_folder
    from whichtune.study.rows_to_embed import Wish, choose_rows

    require_folder(out)
    set_threads(threads)
    wish = Wish(data, text, image, label, identity, image_root, tuple(split or ()))
    try:
        chosen = choose_rows(wish)
        encoder = open_encoder(backbone, chosen.reads, image_size=image_size, device=device)
        way = Way(None if pooling is None else pooling.value, normalise, max_length, batch)
        write(out, backbone, encoder, chosen, way, as_json=as_json)
    except KeyboardInterrupt:
        typer.echo("whichtune: stopped; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from None


def write(out: Path, word: str, encoder: Backbone, chosen: Chosen, way: Way, *, as_json: bool) -> None:
    """Embed the rows with a line of progress, write the files and say what came out."""
    import json

    from rich.console import Console

    from whichtune.study.embedding import embed_splits, write_embeddings

    with watching(Console(stderr=True), quiet=as_json) as watcher:
        parts = embed_splits(encoder, chosen, way, watcher)
    about = write_embeddings(out, word, encoder, chosen, parts, way)
    if as_json:
        typer.echo(json.dumps(about, indent=1, ensure_ascii=False))
    else:
        render(out, about, parts, Console())


def render(out: Path, about: dict[str, Any], parts: list[Part], console: Any) -> None:
    """Print shape, splits, seconds, and whether anything had to be computed."""
    from rich.text import Text

    from whichtune.report.figures import count_of, format_bytes, format_seconds, plain
    from whichtune.report.layout import ListSection, Section, TableSection
    from whichtune.report.terminal import print_sections

    rows, width = about["shape"]
    what = "images" if about["reader"]["reads"] == "image" else "texts"
    console.print(Text(f"{plain(out)}: {rows:,} x {width:,} float32 ({format_bytes(4 * rows * width)})", style="bold"))
    way = f"{what}, pooling {about['pooling']}{', length 1' if about['normalise'] else ''}"
    console.print(Text(f"Model: {plain(about['model'])}, {way}"))
    console.print(Text(f"Data: {plain(about['data']['source'])}"))
    lines = [
        (one.split, f"{one.rows:,}", f"{one.distinct:,}", format_seconds(one.seconds), one.state, one.key[:12])
        for one in parts
    ]
    heads = ("split", "rows", "distinct", "time", "", "key")
    note = "Found: an earlier run or a study computed it. Rows are in the same order in all files."
    sections: list[Section] = [TableSection("Embeddings", heads, lines, frozenset({1, 2, 3}), note)]
    odd = [f"{count_of(count, 'row')} left out: {reason}" for reason, count in about["data"]["left_out"].items()]
    cut = about["data"]["cut"]
    odd += [f"{count_of(cut, 'text')} cut to {about['reader'].get('max_length')} tokens"] * bool(cut)
    odd += about["notes"]
    print_sections([*sections, ListSection("Notes", odd)] if odd else sections, console)


def watching(console: Any, *, quiet: bool) -> Any:
    """Return what shows the progress: a bar on a terminal, a line now and then elsewhere."""
    from contextlib import contextmanager

    from whichtune.cli.progress import make_progress

    @contextmanager
    def opened() -> Any:
        if quiet or not console.is_terminal:
            yield Lines(console)
            return
        with make_progress(console) as progress:
            yield Bar(progress)

    return opened()


class Lines:
    """A line every half minute."""

    def __init__(self, console: Any) -> None:
        self.console = console
        self.split, self.done, self.total = "", 0, 0
        self.spoke = time.monotonic()

    def on_split(self, split: str, rows: int, done: int) -> None:
        """Remember which split is embedded, and say where it goes on."""
        self.split, self.done, self.total = split, done, rows
        if 0 < done < rows:
            self.say()

    def on_rows(self, rows: int) -> None:
        """Show a sign of life now and then."""
        if time.monotonic() - self.spoke > QUIET_SECONDS:
            self.say()
        self.done += rows

    def say(self) -> None:
        """Print how far it is."""
        self.spoke = time.monotonic()
        self.console.print(f"{self.split}: {self.done:,} of {self.total:,}", highlight=False, markup=False)


class Bar:
    """A bar with the time left."""

    def __init__(self, progress: Any) -> None:
        self.progress = progress
        self.task = progress.add_task("", total=None, visible=False)

    def on_split(self, split: str, rows: int, done: int) -> None:
        """Start the split's bar."""
        from rich.markup import escape

        self.progress.reset(self.task, description=escape(split), total=rows, completed=done, visible=done < rows)

    def on_rows(self, rows: int) -> None:
        """Move it."""
        self.progress.advance(self.task, rows)
