"""`train`: one trial by flags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whichtune.cli.made import TrialCommand, given_settings
from whichtune.cli.places import RUNS
from whichtune.cli.running import watch_study

if TYPE_CHECKING:
    from whichtune.records.trial import TrialRecord
    from whichtune.spec.study import StudySpec

__all__ = ["TrialCommand", "train"]
TEXT, LABEL, PAIR = "data.columns.text", "data.columns.label", "data.columns.pair"
IMAGE = "data.columns.image"
WHOLE = "data.source.all"
INSTRUCTION = "instruction-classification"
QUESTIONS = "visual-question-answering"
ROWS = 200
"""Validation and test rows where the data are not named either."""
_WRITERS = re.compile(r"gpt|smollm|\.gguf$", re.IGNORECASE)
"""Words for models that write."""


def train(
    ctx: typer.Context,
    study: Annotated[
        Path | None, typer.Argument(help="A study file whose settings the flags go over; flags alone will do.")
    ] = None,
    *,
    method: Annotated[
        str | None, typer.Option(help="A kind of method, such as lora, or an entry of the study file.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "--init-from",
            help="minilm, dinov2-small, a folder, a name on the hub, random:bert, the file's own name; IMAGES+TEXTS.",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="A kind of task, such as summarization or image-classification; by the data.")
    ] = None,
    out_dir: Annotated[Path | None, typer.Option(help="The study's folder; runs/train-METHOD when left out.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the trial; the file's first, or 1.")] = None,
    scale: Annotated[str | None, typer.Option(help="A named set of overrides of the study file.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting without a flag, such as data.split.seed=1.")
    ] = None,
    wandb_run_name: Annotated[
        str | None, typer.Option(help="Track with Weights & Biases, offline, under this name.")
    ] = None,
    wandb_project: Annotated[str | None, typer.Option(help="Its project there; the folder's name otherwise.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print trial and comparison as JSON, progress as lines on stderr.")
    ] = False,
) -> None:
    """Train one method on one backbone with one seed, beside the majority baseline; the same command resumes it."""
    from whichtune.errors import SpecError
    from whichtune.spec.read import read_study
    from whichtune.study.single import Asked, plan_single

    given = given_settings(ctx) | name_run(wandb_run_name, wandb_project)
    if study is None and scale is not None:
        raise SpecError("--scale", value=scale, remedy="scales stand in a study file: give one")
    require_model(backbone)
    base = None if study is None else read_study(study, scale=scale)
    if base is None:
        given, task = choose_data(given, task, backbone)
        given = guess_columns(given, task)
    out = out_dir or RUNS / f"train-{method or 'trial'}"
    spec = plan_single(Asked(out, method, backbone, task, seed, given, tuple(settings or ())), base)
    finish(spec, out, as_json=as_json)


def finish(spec: StudySpec, out: Path, *, as_json: bool) -> None:
    """Run the study of one trial, print what came out, and end the program."""
    import json

    from whichtune.cli.reading import print_comparison
    from whichtune.records.folder import find_study
    from whichtune.report.comparison import compare_study

    outcome = watch_study(spec, out.parent, as_json=as_json)
    trial = choose_trial(outcome.records)
    if as_json:
        comparison = compare_study(find_study(outcome.folder.path)).model_dump(mode="json")
        folder = outcome.folder.trial(trial.id).path
        told = {"trial": trial.id, "status": trial.status, "folder": str(folder), "comparison": comparison}
        typer.echo(json.dumps(told, indent=1))
    else:
        print_comparison(outcome.folder.path, "terminal")
        typer.echo(f"\nTrial {trial.id}: {trial.status}, in {outcome.folder.trial(trial.id).path}")
    raise typer.Exit(outcome.exit_code)


def choose_trial(records: list[TrialRecord]) -> TrialRecord:
    """Return the trial that was asked for: the one that is no baseline, where there is one."""
    return next((one for one in records if not one.baseline), records[-1])


def name_run(run_name: str | None, project: str | None) -> dict[str, Any]:
    """Return the settings of Weights & Biases that were given."""
    words = {"trackers.*.run_name": run_name, "trackers.*.project": project}
    return {path: word for path, word in words.items() if word is not None}


def require_model(word: str | None) -> None:
    """Refuse the word by which `generate` names a trained model."""
    from whichtune.errors import SpecError

    if word == "resume":
        remedy = "an interrupted trial goes on when the same command is given again"
        raise SpecError("--init-from: resume is for `whichtune generate`", remedy=remedy)


def choose_data(given: dict[str, Any], task: str | None, backbone: str | None) -> tuple[dict[str, Any], str | None]:
    """Refuse a command without data, but for a language model: that takes the built-in reviews, and says so."""
    from whichtune.errors import SpecError

    if any(path.startswith(("data.source.all", "data.source.train")) for path in given):
        return given, task
    if task not in (None, INSTRUCTION) or backbone is None or not _WRITERS.search(backbone):
        raise SpecError("--data: no rows to train on", remedy="for example `--data reviews.csv`, or give a study file")
    sizes = {f"data.sizes.{split}": ROWS for split in ("validation", "test")}
    rows = {path.rpartition(".")[2]: given.get(path, size) for path, size in sizes.items()}
    told = " ".join(f"--sizes-{split} {size}" for split, size in rows.items())
    typer.echo(f"no --data, so: --data movie-reviews --task {INSTRUCTION} {told}", err=True)
    return {**sizes, **given, WHOLE: "movie-reviews"}, INSTRUCTION


def guess_columns(given: dict[str, Any], task: str | None) -> dict[str, Any]:
    """Find the columns of text and label that were not named, and say which they are."""
    from whichtune.cli.sniff import sniff, sniff_images, sniff_questions
    from whichtune.data.reading import Reading

    path = Path(given.get(WHOLE) or given["data.source.train"])
    content = TEXT in given and IMAGE in given if task == QUESTIONS else TEXT in given or IMAGE in given
    if (content and LABEL in given) or given.get("data.source.header") is False or not path.is_file():
        return given
    how = Reading(format=given.get("data.source.format"), encoding=given.get("data.source.encoding"))
    if TEXT not in given and PAIR not in given and task in (None, "image-classification"):
        shown = sniff_images(path, image=given.get(IMAGE), label=given.get(LABEL), how=how)
        if shown is not None:
            typer.echo(f"columns of {path.name}: image `{shown.image}`, label `{shown.label}`", err=True)
            return {**given, IMAGE: shown.image, LABEL: shown.label}
    own = {"text": given.get(TEXT), "label": given.get(LABEL), "pair": given.get(PAIR)}
    if task == QUESTIONS:
        del own["pair"]
        asked = sniff_questions(path, image=given.get(IMAGE), how=how, **own)
        told = f"image `{asked.image}`, question `{asked.text}`, answer `{asked.label}`"
        typer.echo(f"columns of {path.name}: {told}", err=True)
        return {**given, IMAGE: asked.image, TEXT: asked.text, LABEL: asked.label}
    seen = sniff(path, **own, how=how, in_words=task in {"summarization", "question-answering-by-prompt"})
    pair = {} if seen.pair is None else {PAIR: seen.pair}
    second = f", second text `{seen.pair}`" if pair else ""
    typer.echo(f"columns of {path.name}: text `{seen.text}`{second}, label `{seen.label}`", err=True)
    return {**given, TEXT: seen.text, LABEL: seen.label, **pair}
