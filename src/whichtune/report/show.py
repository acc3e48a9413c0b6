"""One trial in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from whichtune.records.folder import StudyFolder, TrialFolder, read_lines
from whichtune.records.retention import METRICS as MEASURED
from whichtune.records.trial import SplitScores, TrialRecord
from whichtune.report.figures import (
    DASH,
    enumerate_words,
    format_bytes,
    format_count,
    format_percent,
    format_score,
    format_seconds,
    plain,
)
from whichtune.report.layout import ListSection, Section, TableSection
from whichtune.report.notes import explain, flatten
from whichtune.report.quality import SPLIT, title_of
from whichtune.report.terminal import print_sections
from whichtune.report.waiting import is_withheld
from whichtune.stats.metrics import METRICS

CONFUSION_LABELS = 12
"""Up to so many labels the confusion matrix is printed."""
CLASSES_SHOWN = 50
"""Up to so many classes are listed."""
VALIDATION_METRICS = {"accuracy", "macro_f1", "loss"}
"""Shown of each validation, beside the study's own metric; the curve keeps all."""
NOT_SETTINGS = {"kind", "grid", "on", "training", "search"}


def render_trial(folder: TrialFolder, console: Console, *, traceback: bool = False) -> None:
    """Print everything a trial left; the traceback of a failure only when asked for."""
    record, told = withhold(folder.read(), StudyFolder(folder.path.parent.parent))
    console.print(Text(f"Trial {plain(record.id)}", style="bold"))
    about = "" if record.role == "final" else "search trial of "
    which = f"{about}{record.candidate}, seed {record.seed}, study {record.study}: {record.status}"
    console.print(Text(plain(f"{which}. {told}" if told else which)))
    sections = lay_out_trial(record, list(read_lines(folder.curve)))
    print_sections([one for one in sections if (one.rows if isinstance(one, TableSection) else one.lines)], console)
    if traceback and record.failure is not None and record.failure.traceback:
        console.print()
        console.print(Text("Traceback", style="bold"))
        console.print(Text("\n".join(plain(line) for line in record.failure.traceback.splitlines())))


def withhold(record: TrialRecord, study: StudyFolder) -> tuple[TrialRecord, str]:
    """Leave out the test scores of a study that may still ask for trainings, and say so."""
    if SPLIT not in record.scores or not is_withheld(study, SPLIT):
        return record, ""
    scores = {split: own for split, own in record.scores.items() if split != SPLIT}
    return record.model_copy(update={"scores": scores}), "Test scores appear once all trainings of its study are in."


def lay_out_trial(record: TrialRecord, curve: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Return the sections of a trial; empty ones included."""
    settings = {key: value for key, value in record.settings.items() if key not in NOT_SETTINGS}
    return [
        ListSection("Failure", [] if record.status == "finished" else [explain(record)]),
        _pairs_table("Settings of the method", {"kind": record.kind, **settings}),
        _pairs_table("Held settings", record.training or {}),
        _pairs_table("Held settings that this method changed", record.overrides),
        _scores(record),
        *_per_split(record),
        ListSection("Training", list(_training(record, curve))),
        _validations(record, curve),
        TableSection("Parameters", ("part", "elements"), list(_parameters(record)), frozenset({1})),
        _phases(record),
        ListSection("Forgetting", list(_forgetting(record))),
        ListSection("Traps seen", record.traps),
        _pairs_table("Not measured", record.unmeasured),
        ListSection("Rests on", list(_provenance(record))),
    ]


def _pairs_table(title: str, values: Mapping[str, Any]) -> Section:
    rows = [(name, _write_setting(value)) for name, value in flatten(values)]
    return TableSection(title, ("field", "value"), rows)


def _write_setting(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None or value == {} else str(value)


def _scores(record: TrialRecord) -> Section:
    splits = list(record.scores)
    heads = {one.name: one for scores in record.scores.values() for one in scores.metrics}
    rows: list[tuple[str, ...]] = []
    for name, head in heads.items():
        found = [
            next((one.value for one in record.scores[split].metrics if one.name == name), None) for split in splits
        ]
        title = f"{title_of(name)}{' ↓' if head.direction == 'lower' else ''}"
        rows.append((title, *(format_score(value, head.unit) for value in found)))
    columns = [f"{split} ({record.scores[split].rows:,} rows)" for split in splits]
    return TableSection("Scores", ("metric", *columns), rows, frozenset(range(1, len(splits) + 1)))


def _per_split(record: TrialRecord) -> Iterator[Section]:
    """Yield per-class figures and confusion of the test split, or of the last split there is."""
    if not record.scores:
        return
    split = "test" if "test" in record.scores else list(record.scores)[-1]
    scores = record.scores[split]
    shown = scores.classes[:CLASSES_SHOWN]
    rest = len(scores.classes) - len(shown)
    yield TableSection(
        f"Classes, {split} split",
        ("label", "precision", "recall", "F1", "rows", "predicted"),
        [
            (
                one.label,
                *(format_score(value, "share") for value in (one.precision, one.recall, one.f1)),
                f"{one.support:,}",
                f"{one.predicted:,}",
            )
            for one in shown
        ],
        frozenset(range(1, 6)),
        note=f"{rest:,} more labels are in the record." if rest else "",
    )
    if scores.confusion is not None and len(scores.classes) <= CONFUSION_LABELS:
        yield _confusion(scores, split)
    unread = scores.unparsed_share
    lines = [f"{format_percent(unread)} of the answers could not be read; they count as wrong"] if unread else []
    yield ListSection("Unreadable answers", lines)


def _confusion(scores: SplitScores, split: str) -> Section:
    labels = [one.label for one in scores.classes]
    rows = [
        (label, *(f"{count:,}" for count in row)) for label, row in zip(labels, scores.confusion or [], strict=True)
    ]
    return TableSection(
        f"Confusion, {split} split: rows are gold, columns predicted",
        ("gold", *labels),
        rows,
        frozenset(range(1, len(labels) + 1)),
    )


def _training(record: TrialRecord, curve: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if record.steps is not None:
        epochs = "" if record.epochs is None else f", {record.epochs:.3g} epochs"
        kept = "" if record.kept_step is None else f", weights of step {record.kept_step:,} kept"
        yield f"{record.steps:,} steps{epochs}{kept}"
    losses = [(line["step"], line["loss"]) for line in curve if "loss" in line and "step" in line]
    if losses:
        (first_step, first), (last_step, last) = losses[0], losses[-1]
        yield f"Training loss {first:.4f} at step {first_step:,}, {last:.4f} at step {last_step:,}"
        least_step, least = min(losses, key=lambda pair: pair[1])
        yield f"Least {least:.4f} at step {least_step:,}"
    norms = [line["gradient_norm"] for line in curve if "gradient_norm" in line]
    if norms:
        yield f"Gradient norm {min(norms):.3g} to {max(norms):.3g}"
    scores = [(line["step"], line["validation_score"]) for line in curve if "validation_score" in line]
    if scores:
        told = [f"{score:.4f} at step {step:,}" for step, score in scores]
        yield f"Validation score (higher is better): {enumerate_words(told, 12)}"
    if any(record.cuts.values()):
        yield f"Texts cut: {', '.join(f'{count:,} {split}' for split, count in record.cuts.items())}"
    yield from _outcome(record)


def _validations(record: TrialRecord, curve: Sequence[Mapping[str, Any]]) -> Section:
    """Lay out one row a validation, which is one an epoch unless the study says otherwise."""
    known = list(dict.fromkeys(name for line in curve for name in line.get("validation", ())))
    names = [name for name in known if name == known[0] or name in VALIDATION_METRICS]
    steps_an_epoch = record.steps / record.epochs if record.steps and record.epochs else None
    losses: list[float] = []
    rows: list[tuple[str, ...]] = []
    for line in curve:
        if line.get("loss") is not None:
            losses.append(float(line["loss"]))
        if "validation" not in line:
            continue
        epoch = DASH if steps_an_epoch is None else f"{line['step'] / steps_an_epoch:.3g}"
        trained = f"{sum(losses) / len(losses):.4f}" if losses else DASH
        values = (_write_metric(name, line["validation"].get(name)) for name in names)
        rows.append((epoch, f"{line['step']:,}", trained, *values))
        losses.clear()
    columns = ("epoch", "step", "training loss", *(title_of(name) for name in names))
    note = "The training loss is the mean over the steps since the row above." if rows else ""
    return TableSection("Validations", columns, rows, frozenset(range(len(columns))), note)


def _write_metric(name: str, value: float | None) -> str:
    return format_score(value, METRICS[name].unit if name in METRICS else "nats")


def _outcome(record: TrialRecord) -> Iterator[str]:
    if record.evaluated_merged is not None:
        yield f"Evaluated with the adapter {'merged' if record.evaluated_merged else 'unmerged'}"
    if record.checked is not None:
        told = "gave the same logits" if record.checked else "was not proved to give the same logits"
        yield f"The saved adapter {told} in a clean process"
    if record.adapter_bytes is not None:
        yield f"Saved adapter: {format_bytes(record.adapter_bytes)}"


def _parameters(record: TrialRecord) -> Iterator[tuple[str, str]]:
    counts = record.parameters
    parts = (("trunk", counts.trunk), ("head", counts.head), ("added", counts.added), ("total", counts.total))
    if all(value is None for _, value in parts) and counts.trainable is None:
        return
    for name, value in (*parts, ("trainable, measured", counts.trainable)):
        yield name, format_count(value)
    theory = record.unmeasured.get("parameters.trainable_theory")
    why = f" ({theory})" if counts.trainable_theory is None and theory else ""
    yield "trainable, by theory", format_count(counts.trainable_theory) + why
    if counts.trainable is not None and counts.total:
        yield "trainable share", format_percent(counts.trainable / counts.total)
    if counts.inert:
        yield f"held still ({enumerate_words(counts.inert_names, 3)})", format_count(counts.inert)


def _forgetting(record: TrialRecord) -> Iterator[str]:
    for name, own in record.retention.items():
        unit = METRICS[MEASURED[own.kind]].unit
        told = f"{format_score(own.before, unit)} before, {format_score(own.after, unit)} after"
        yield f"{name}, {MEASURED[own.kind]}: {told}{f' ({own.reason})' if own.reason else ''}"


def _phases(record: TrialRecord) -> Section:
    rows = [(name, format_seconds(one.seconds), format_bytes(one.peak_bytes)) for name, one in record.phases.items()]
    summed = sum(one.seconds for one in record.phases.values())
    if rows:
        rows.append(("all phases", format_seconds(summed), ""))
        rows.append(("wall time", format_seconds(record.wall_seconds), ""))
    peak = record.unmeasured.get("phases.peak_bytes")
    note = f"{DASH} peak: {peak}" if peak else ""
    return TableSection("Phases", ("phase", "time", "peak"), rows, frozenset({1, 2}), note)


def _provenance(record: TrialRecord) -> Iterator[str]:
    ended = f", ended {record.ended_at}" if record.ended_at else ""
    yield f"Started {record.started_at}{ended}; protocol {record.protocol}"
    for title, values in (
        ("Device", record.device),
        ("Fingerprints", record.fingerprints),
        ("Versions", record.versions),
        ("Git", record.git or {}),
    ):
        if values:
            yield f"{title}: {', '.join(f'{name} {value}' for name, value in values.items())}"
    if record.matched_modules:
        yield f"Modules matched: {enumerate_words(record.matched_modules)}"
    if record.trained_names:
        yield f"{len(record.trained_names):,} tensors trained: {enumerate_words(record.trained_names)}"
    if record.probe:
        yield f"Probe: {record.probe}"
