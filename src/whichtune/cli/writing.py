"""`generate`: completions by a model or by a finished trial of one."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whichtune.cli.made import MadeCommand, given_settings
from whichtune.cli.places import RUNS
from whichtune.cli.prompts import gather_texts
from whichtune.cli.running import INTERRUPTED
from whichtune.cli.using import Device, Threads, find_model
from whichtune.errors import RecordError, SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whichtune.records.trial import TrialRecord
    from whichtune.spec.backbones import BackboneSpec
    from whichtune.spec.flags import Placed
    from whichtune.study.generating import Wish, Writer, Written
    from whichtune.study.using import Trained

RESUME = "resume"
"""Stands for the newest finished trial of a study's folder."""
DECODING = "decoding."
SHOWN_CHARACTERS = 60
"""Of a prompt, in the line above its completion."""


class DecodingCommand(MadeCommand):
    """Adds the settings of writing."""

    def groups(self) -> Mapping[str, list[Placed]]:
        """Return the flags of decoding."""
        from whichtune.spec.flags import list_decoding_flags

        return {"Decoding": list_decoding_flags()}


def generate(
    ctx: typer.Context,
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts, each in quotes.")] = None,
    *,
    start: Annotated[list[str] | None, typer.Option(help="A prompt, as an option; it may stand several times.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A file of prompts: a line each, or the `text` of a .jsonl, .csv or .parquet.")
    ] = None,
    trial: Annotated[
        str | None, typer.Option(help="A finished trial: its id (or its beginning), or its folder.")
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(help="A model: smollm2, a folder, a GGUF file, a name on the hub; or resume, with --out-dir."),
    ] = None,
    out_dir: Annotated[Path | None, typer.Option(help="A study's folder, whose newest finished trial writes.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = RUNS,
    ask: Annotated[
        bool, typer.Option("--ask", help="Put the texts through the trial's own prompt, and read the answers.")
    ] = False,
    chat: Annotated[
        bool, typer.Option("--chat/--raw", help="A prompt is the user's turn of a conversation, or text to go on with.")
    ] = False,
    num_samples: Annotated[int, typer.Option(min=1, help="Completions of each prompt.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the draws, where a temperature is set.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Prompts at the same time.")] = 8,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line a completion.")] = False,
) -> None:
    """Write on: completions of prompts by a model, or by a finished trial of one; token by token on a terminal."""
    if ask and chat:
        raise SpecError("--ask and --chat: two forms of one prompt", remedy="leave one out")
    given = {path.removeprefix(DECODING): value for path, value in given_settings(ctx).items()}
    require_decoding(given)
    if num_samples > 1 and "temperature" in given and not given["temperature"]:
        raise SpecError(f"--num-samples {num_samples}: at temperature 0 all completions of a prompt are the same")
    name, model = choose_source(trial, init_from, out_dir)
    texts = gather_texts([*(prompts or []), *(start or [])], file, what="prompt")
    from whichtune.study.generating import Wish, open_writer

    source = open_model_word(str(model)) if name is None else open_writing_trial(name, runs)
    form = "ask" if ask else "chat" if chat else "raw"
    with open_writer(source, form, given, device=device, threads=threads) as writer:
        print_all(writer, texts, Wish(writer.decoding, seed, num_samples, batch), as_json=as_json)


def require_decoding(given: Mapping[str, Any]) -> None:
    """Refuse settings of decoding that are wrong whatever they are laid over, before anything is loaded."""
    from whichtune.spec.decoding import DecodingSpec
    from whichtune.spec.flags import lay_flags

    lay_flags(DecodingSpec(), given)


def choose_source(trial: str | None, init_from: str | None, out_dir: Path | None) -> tuple[str | None, str | None]:
    """Return what writes: the name of a trial, or the word of a model."""
    if trial is not None:
        if init_from is not None or out_dir is not None:
            raise SpecError("--trial: the model is named twice", remedy="leave out `--init-from` and `--out-dir`")
        return trial, None
    if out_dir is not None:
        if init_from not in (None, RESUME):
            raise SpecError("--out-dir: the model is named twice", remedy="leave it out, or say `--init-from resume`")
        return str(find_newest(out_dir)), None
    if init_from == RESUME:
        raise SpecError("--init-from resume: from which study?", remedy="for example `--out-dir runs/lora`")
    if init_from is None:
        remedy = "for example `--init-from smollm2`, or `--out-dir runs/lora`"
        raise SpecError("no model to write with", allowed="--trial, --init-from or --out-dir", remedy=remedy)
    if (Path(init_from) / "study.yaml").is_file():
        return str(find_newest(Path(init_from))), None
    return (init_from, None) if (Path(init_from) / "trial.json").is_file() else (None, init_from)


def find_newest(folder: Path) -> Path:
    """Return the folder of a study's newest finished trial that can write."""
    from whichtune.records.folder import find_study

    study = find_study(folder)
    trials = study.read_trials()
    kinds = list_written_tasks()
    able = [one for one in trials if one.status == "finished" and not one.baseline and task_of(one) in kinds]
    if not able:
        there = ", ".join(f"{one.candidate} ({one.status})" for one in trials[:8]) or "none"
        remedy = "train one with `--task instruction-classification`, `summarization` or `question-answering-by-prompt`"
        raise RecordError(f"{folder}: no finished trial that can write; its trials", value=there, remedy=remedy)
    return study.trial(max(able, key=lambda one: (one.ended_at or "", one.started_at)).id).path


def task_of(record: TrialRecord) -> str:
    """Return the kind of a trial's task."""
    return str(record.identity.get("task", {}).get("kind"))


def list_written_tasks() -> set[str]:
    """Return the kinds of tasks that are answered in words."""
    from whichtune.spec.members import kinds, specs
    from whichtune.spec.tasks import LanguageTaskBase, TaskSpec

    return {kind for member in specs(TaskSpec) if issubclass(member, LanguageTaskBase) for kind in kinds(member)}


def open_model_word(word: str) -> BackboneSpec:
    """Return the model that a word stands for."""
    from pydantic import TypeAdapter

    from whichtune.spec.backbones import BackboneSpec
    from whichtune.spec.shorthand import read_backbone_word

    return TypeAdapter[BackboneSpec](BackboneSpec).validate_python(read_backbone_word(word))


def open_writing_trial(name: str, runs: Path) -> Trained:
    """Find a trial that can write, or say what it does instead."""
    from whichtune.study.using import open_trained

    trained = open_trained(find_model(name, runs))
    if not trained.writes:
        told = f"{trained.record.id}: a trial of {trained.task.kind} answers by a head and writes no text"
        raise RecordError(told, remedy="`whichtune predict` and `whichtune evaluate` ask it about rows")
    return trained


def print_all(writer: Writer, texts: Sequence[str], wish: Wish, *, as_json: bool) -> None:
    """Print completions as they come, and on stderr what it took."""
    from whichtune.study.generating import write_texts

    alone = len(texts) == 1 and wish.samples == 1
    done: list[Written] = []
    try:
        if alone and not as_json and sys.stdout.isatty() and wish.decoding.beams == 1:
            done.append(print_stream(writer, texts[0], wish))
        else:
            for one in write_texts(writer.speaker, writer.form, texts, wish):
                print_one(one, alone=alone, as_json=as_json)
                done.append(one)
    except KeyboardInterrupt:
        typer.echo("", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not as_json:
        typer.echo(describe_effort(done), err=True)


def print_stream(writer: Writer, text: str, wish: Wish) -> Written:
    """Show a completion token by token."""
    from whichtune.study.generating import stream_text

    one = stream_text(writer.speaker, writer.form, text, wish, show_piece)
    typer.echo("")
    if writer.form.reader is not None:
        typer.echo(describe_reading(one))
    return one


def show_piece(piece: str) -> None:
    """Hand a piece of text on at once."""
    sys.stdout.write(calm(piece))
    sys.stdout.flush()


def calm(text: str) -> str:
    """Leave out what moves a terminal's cursor or changes its colours; lines and tabs stay."""
    from unicodedata import category

    return "".join(each for each in text if each in "\n\t" or category(each) != "Cc")


def print_one(one: Written, *, alone: bool, as_json: bool) -> None:
    """Print one completion: its text alone where there is no other, under a line of its own where there are several."""
    if as_json:
        hidden = {"asked"} if one.asked else {"asked", "answer"}
        told = {name: value for name, value in asdict(one).items() if name not in hidden}
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    if not alone:
        typer.echo(head_of(one))
    typer.echo(calm(one.text) if sys.stdout.isatty() else one.text)
    if one.asked:
        typer.echo(describe_reading(one))


def head_of(one: Written) -> str:
    """Say in one line whose completion follows."""
    words = " ".join(one.prompt.split())
    shown = words if len(words) <= SHOWN_CHARACTERS else f"{words[: SHOWN_CHARACTERS - 1]}…"
    return f"--- {shown}" + (f" (sample {one.sample})" if one.sample > 1 else "")


def describe_reading(one: Written) -> str:
    """Say what was read off a completion."""
    return "answer: none could be read" if one.answer is None else f"answer: {one.answer}"


def describe_effort(done: Sequence[Written]) -> str:
    """Say how much was written, how fast, and how it ended."""
    tokens, seconds = sum(one.tokens for one in done), sum(one.seconds for one in done)
    cut = sum(not one.ended for one in done)
    how = f"; {cut:,} stopped by --max-new-tokens" if cut else ""
    rate = f", {tokens / seconds:,.0f} a second" if seconds > 0 else ""
    return f"{len(done):,} completion{'s' if len(done) != 1 else ''}, {tokens:,} tokens in {seconds:.1f} s{rate}{how}"
