"""`evaluate` and `predict`: a finished trial on new rows."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whichtune.cli.places import RUNS
from whichtune.cli.running import INTERRUPTED
from whichtune.errors import DataError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from whichtune.data.reading import Reading
    from whichtune.engine.using import Answerer
    from whichtune.records.folder import TrialFolder
    from whichtune.study.new_rows import NewRows, Wanted
    from whichtune.study.using import Evaluation, Trained

STANDARD_INPUT = "-"

Trial = Annotated[str, typer.Argument(help="A trial's id (or its beginning), its folder, or a folder `train` made.")]
Runs = Annotated[Path, typer.Option(help="Folder of the studies.")]
Rows = Annotated[
    str | None,
    typer.Argument(
        metavar="[data]",
        help="The rows: a file, or - for standard input, a text a line; images: a folder, a pattern or one, too.",
    ),
]
Text = Annotated[str | None, typer.Option(help="Column of the text; as in training when left out.")]
Pair = Annotated[str | None, typer.Option(help="Column of the second text.")]
Image = Annotated[str | None, typer.Option(help="Column of the image's path; as in training when left out.")]
ImageRoot = Annotated[Path | None, typer.Option(help="Folder that paths of images start at; the file's own.")]
Identity = Annotated[str | None, typer.Option("--id", help="Column of an id to be kept; else the row's place.")]
Format = Annotated[str | None, typer.Option("--format", help="csv, tsv, jsonl or parquet; by the file's name.")]
Encoding = Annotated[str | None, typer.Option(help="Text encoding; detected when left out.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores when left out.")]
Spreadsheet = Annotated[
    bool,
    typer.Option(
        "--spreadsheet",
        help="For a CSV or TSV that people will open: an apostrophe before each cell that would run as a formula. "
        "Without it ids, labels and texts stay as they are (in a TSV a text's tabs and line breaks become spaces).",
    ),
]
Batch = Annotated[int | None, typer.Option(min=1, help="Rows a forward pass; as in training when left out.")]


def evaluate(
    trial: Trial,
    *,
    data: Annotated[
        Path, typer.Option(help="A labelled file: CSV, TSV, JSONL or Parquet; of images a folder of class folders too.")
    ],
    out: Annotated[Path | None, typer.Option(help="Keep the predictions: .csv, .tsv, .jsonl or .parquet.")] = None,
    spreadsheet: Spreadsheet = False,
    runs: Runs = RUNS,
    text: Text = None,
    label: Annotated[str | None, typer.Option(help="Column of the label; as in training when left out.")] = None,
    pair: Pair = None,
    image: Image = None,
    image_root: ImageRoot = None,
    identity: Identity = None,
    form: Format = None,
    encoding: Encoding = None,
    device: Device = "auto",
    threads: Threads = None,
    batch: Batch = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a finished trial on labelled rows: every metric with its interval."""
    from rich.console import Console

    from whichtune.study.answers import lay_out_answers, require_exact, require_writable, write_answers
    from whichtune.study.new_rows import read_labelled

    if out is not None:
        require_writable(out, data)
    folder = find_model(trial, runs)
    from whichtune.study.using import open_trained, score_rows, using

    trained = open_trained(folder)
    columns = choose_columns(trained, Named(text, pair, image, identity, label, image_root), labelled=True)
    how = choose_reading(trained, form, encoding)
    unlabeled = () if trained.data is None else trained.data.unlabeled
    rows = read_labelled(data, columns, how, trained.known_labels, unlabeled, two=trained.reads_two)
    if out is not None:
        require_exact(out, [*rows.ids, *trained.labels])
    with using(trained, device=device, threads=threads, batch=batch) as predictor:
        found, answers = score_rows(trained, predictor, rows, data)
    if out is not None:
        write_answers(out, lay_out_answers(rows, answers, gold=True), spreadsheet=spreadsheet)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        render_evaluation(found, Console())


def predict(
    trial: Trial,
    source: Rows = None,
    *,
    data: Annotated[str | None, typer.Option(help="The same, as an option.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write .csv, .tsv, .jsonl or .parquet; JSON lines on the terminal without it.")
    ] = None,
    spreadsheet: Spreadsheet = False,
    runs: Runs = RUNS,
    text: Text = None,
    pair: Pair = None,
    image: Image = None,
    image_root: ImageRoot = None,
    identity: Identity = None,
    form: Format = None,
    encoding: Encoding = None,
    device: Device = "auto",
    threads: Threads = None,
    batch: Batch = None,
    label_only: Annotated[
        bool, typer.Option("--label-only", help="From standard input: print the answer alone, not JSON.")
    ] = False,
) -> None:
    """Predict new rows with a finished trial: the answer to each, with probabilities where it is a label."""
    from whichtune.study.answers import require_exact, require_writable

    where = choose_source(source, data, out)
    if where == STANDARD_INPUT:
        require_no_columns(text=text, pair=pair, image=image, id=identity, format=form, encoding=encoding)
    if out is not None:
        require_writable(out, where)
    folder = find_model(trial, runs)
    from whichtune.study.using import open_trained, using

    trained = open_trained(folder)
    model = using(trained, device=device, threads=threads, batch=batch)
    if where == STANDARD_INPUT:
        require_texts_alone(trained)
        with model as predictor:
            answer_lines(predictor, two=trained.reads_two, label_only=label_only)
        return
    named = Named(text, pair, image, identity, root=image_root)
    rows = read_new(Path(where), trained, named, choose_reading(trained, form, encoding))
    if out is not None:
        require_exact(out, [*rows.ids, *trained.labels])
    answer_file(rows, model, out, spreadsheet=spreadsheet)


def read_new(path: Path, trained: Trained, named: Named, how: Reading) -> NewRows:
    """Read rows to be answered, by the columns that flags name and those of the training."""
    from whichtune.study.new_rows import read_rows

    return read_rows(path, choose_columns(trained, named), how, two=trained.reads_two)


def answer_file(rows: NewRows, model: AbstractContextManager[Answerer], out: Path | None, *, spreadsheet: bool) -> None:
    """Answer all rows of a file; those that cannot be answered keep their place."""
    from whichtune.study.answers import lay_out_answers, write_answers, write_lines

    answers, cut = None, 0
    if rows.usable:
        with model as predictor:
            answers, encoded = predictor.answer(rows.usable)
            cut = encoded.cut
    table = lay_out_answers(rows, answers)
    if out is not None:
        write_answers(out, table, spreadsheet=spreadsheet)
    else:
        typer.echo("\n".join(write_lines(table)))
    tell_rows(rows, cut)


def answer_lines(predictor: Answerer, *, two: bool, label_only: bool) -> None:
    """Answer standard input line by line, each at once; a pair is two texts with a tab between them."""
    from whichtune.study.answers import describe_answer
    from whichtune.study.new_rows import NewRows

    try:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            words = line.decode("utf-8", errors="replace").rstrip("\r\n")
            first, tab, second = words.partition("\t") if two else (words, "", "")
            rows = NewRows("standard input")
            rows.add(str(number), first, second if tab else None, f"line {number}", two=two, gold=None)
            told: dict[str, Any] = {"prediction": None, "reason": rows.reasons[0]}
            if rows.usable:
                told = dict(describe_answer(predictor.answer(rows.usable)[0], 0))
            answer = " ".join((told["prediction"] or "").splitlines())
            print_line(answer if label_only else json.dumps(told, ensure_ascii=False))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def print_line(text: str) -> None:
    """Print a line and hand it on at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def choose_source(source: str | None, data: str | None, out: Path | None) -> str:
    """Return where the rows are: the argument or the option, not both; standard input is answered on the spot."""
    if (source is None) == (data is None):
        told = "the rows are named twice" if data is not None else "no rows to predict"
        raise DataError(told, allowed="a file, or - for standard input", remedy="for example `--data new.csv`")
    where = str(source or data)
    if where == STANDARD_INPUT and out is not None:
        raise DataError("--out: not with standard input", remedy="redirect the output: `whichtune predict ... > FILE`")
    return where


def require_no_columns(**named: str | None) -> None:
    """Refuse what says how a file is read, where lines are."""
    given = [name for name, value in named.items() if value is not None]
    if given:
        told = f"--{given[0]}: standard input is a text a line, in UTF-8, without columns"
        raise DataError(told, remedy="leave it out, or give a file")


def find_model(name: str, runs: Path) -> TrialFolder:
    """Find a trial as `show` does; in the folder of a study, its only finished trial with a model."""
    from whichtune.cli.reading import find_trial
    from whichtune.errors import RecordError
    from whichtune.records.folder import StudyFolder

    study = StudyFolder(Path(name))
    if not study.spec.is_file():
        return find_trial(name, runs)
    own = [one for one in study.read_trials() if one.status == "finished" and not one.baseline]
    if len(own) != 1:
        names = ", ".join(f"{one.id[:8]} ({one.candidate} seed {one.seed})" for one in own[:8]) or "none"
        raise RecordError(f"{name}: which of its finished trials?", allowed=names, remedy="give the id of one")
    return study.trial(own[0].id)


@dataclass(frozen=True)
class Named:
    """Columns that flags name; None where they name none."""

    text: str | None = None
    pair: str | None = None
    image: str | None = None
    id: str | None = None
    label: str | None = None
    root: Path | None = None
    """Folder that paths of images start at."""


def choose_columns(trained: Trained, named: Named, *, labelled: bool = False) -> Wanted:
    """Return the columns: those of the training, but for the ones that are named; a label only where one is read."""
    from whichtune.study.new_rows import Wanted

    require_columns(trained, named)
    own, reads = trained.columns, trained.task.reads
    found = Wanted(
        text=None if reads == "image" else named.text or own.text,
        label=(named.label or own.label) if labelled else None,
        pair=(named.pair or own.pair) if trained.reads_two else None,
        id=named.id or own.id,
        must_have_id=named.id is not None,
        image=None if reads == "text" else named.image or own.image,
        image_root=named.root,
    )
    read = {"text": found.text, "pair": found.pair, "image": found.image, "label": found.label}
    for first, second in combinations(read, 2):
        if read[first] == read[second] is not None:
            told = f"columns: {first} and {second} are the same column"
            raise DataError(told, value=read[first], remedy=f"check `--{first}` and `--{second}`")
    return found


def require_columns(trained: Trained, named: Named) -> None:
    """Refuse columns that the trial does not read, and a folder of images that is not there."""
    reads = trained.task.reads
    told = {"text": "texts and no images", "image": "images and no texts", "pair": "an image and one text a row"}[reads]
    if named.pair is not None and not trained.reads_two:
        told = "one text a row" if reads == "text" else told
        raise DataError(f"--pair: the trial reads {told}", value=named.pair, remedy="leave it out")
    if named.text is not None and reads == "image":
        raise DataError(f"--text: the trial reads {told}", value=named.text, remedy="leave it out")
    for flag, value in (("image", named.image), ("image-root", named.root)):
        if value is not None and reads == "text":
            raise DataError(f"--{flag}: the trial reads {told}", value=str(value), remedy="leave it out")
    if named.root is not None and not named.root.is_dir():
        raise DataError("--image-root: no such folder", value=str(named.root), remedy="check the path")


def require_texts_alone(trained: Trained) -> None:
    """Refuse standard input where a trial reads images: lines are texts."""
    if trained.task.reads != "text":
        what = "images" if trained.task.reads == "image" else "images with questions"
        remedy = "give a folder, a pattern or an image" if trained.task.reads == "image" else "give a file"
        raise DataError(f"standard input is a text a line, and the trial reads {what}", remedy=remedy)


def choose_reading(trained: Trained, form: str | None, encoding: str | None) -> Reading:
    """Return how the file is read."""
    from dataclasses import replace
    from typing import get_args

    from whichtune.errors import did_you_mean
    from whichtune.spec.sources import FileFormat

    allowed = get_args(FileFormat)
    if form is not None and form not in allowed:
        raise DataError("--format", value=form, allowed=", ".join(allowed), remedy=did_you_mean(form, allowed))
    return replace(trained.reading, format=form, encoding=encoding)


def tell_rows(rows: NewRows, cut: int) -> None:
    """Say on stderr how many rows there were, and what was odd about them."""
    odd = [f"{count:,} {reason}: no prediction" for reason, count in rows.left_out.items()]
    odd += [f"{cut:,} cut to the trial's length"] * bool(cut)
    odd += [f"read as {rows.encoding}"] * bool(rows.encoding)
    typer.echo(f"{rows.name}: {len(rows.ids):,} rows" + "".join(f"; {one}" for one in odd), err=True)


def render_evaluation(found: Evaluation, console: Any) -> None:
    """Print every metric with its interval, figures of each class, and what was left out."""
    from rich.text import Text

    from whichtune.report.figures import count_of, format_interval, format_score, plain
    from whichtune.report.layout import ListSection, Section, TableSection
    from whichtune.report.quality import title_of
    from whichtune.report.terminal import print_sections

    console.print(Text(f"Trial {plain(found.trial)}: {plain(found.candidate)}", style="bold"))
    console.print(Text(f"{plain(found.data)}: {found.rows:,} rows scored"))
    metrics = [
        (
            f"{title_of(one.name)}{' ↓' if one.direction == 'lower' else ''}",
            format_score(one.value, one.unit),
            format_interval(one.low, one.high, one.unit),
        )
        for one in found.metrics
    ]
    classes = [
        (
            one.label,
            *(format_score(value, "share") for value in (one.precision, one.recall, one.f1)),
            f"{one.support:,}",
            f"{one.predicted:,}",
        )
        for one in found.scores.classes[:50]
    ]
    note = "Shares in hundredths, ↓: less is better. Rows are random in the intervals, the trained model is fixed."
    odd = [f"{count_of(count, 'row')} left out: {reason}" for reason, count in found.left_out.items()]
    odd += [f"{found.cut:,} texts cut to the trial's length"] * bool(found.cut)
    if found.scores.unparsed_share:
        odd.append(f"{100 * found.scores.unparsed_share:.1f} % of the answers could not be read: they count as wrong")
    sections: list[Section] = [
        TableSection("Scores", ("metric", "value", "95 % interval"), metrics, frozenset({1, 2}), note)
    ]
    if classes:
        heads = ("label", "precision", "recall", "F1", "rows", "predicted")
        sections.append(TableSection("Classes", heads, classes, frozenset(range(1, 6))))
    print_sections([*sections, ListSection("Rows", odd)] if odd else sections, console)
