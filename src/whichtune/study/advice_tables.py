"""What `advise` found, as tables and lists that read at 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from whichtune.report.figures import (
    DASH,
    count_of,
    enumerate_words,
    format_bytes,
    format_count,
    format_seconds,
    plain,
)
from whichtune.report.model import Figure
from whichtune.report.sections import ListSection, Section, TableSection
from whichtune.report.terminal import print_sections
from whichtune.study.advising_model import Advice, Advised

RIGHT = frozenset(range(1, 7))
AXES = {
    "seconds": "seconds of training, search included, and of {predictions:,} predictions",
    "peak_bytes": "peak memory",
    "flops": "operations of training, search included, and of {predictions:,} predictions",
}
SHOWN = {
    "training_seconds": "time of training",
    "validation_seconds": "time of validations",
    "test_seconds": "time of the test split",
    "peak_bytes": "peak",
    "adapter_bytes": "adapter",
}


def render_advice(advice: Advice, predictions: int, console: Console) -> None:
    """Print advice."""
    scale = "" if advice.scale is None else f", scale {advice.scale}"
    console.print(Text(plain(f"Study {advice.study}{scale}: estimates before anything is spent"), style="bold"))
    rows = ", ".join(f"{count:,} {split}" for split, count in advice.rows.items())
    threads, memory = count_of(advice.threads, "thread"), format_bytes(advice.memory_bytes)
    console.print(Text(plain(f"{advice.device}, {threads}, {memory} of memory; {rows} rows")))
    print_sections(lay_out_advice(advice, predictions), console)


def lay_out_advice(advice: Advice, predictions: int) -> list[Section]:
    """Return the sections: one training, the study, the order, the grounds."""
    sections: list[Section] = [_lay_out_one(advice), _lay_out_study(advice), _lay_out_order(advice, predictions)]
    apart = [f"{one.estimate.candidate}: {one.reason}" for one in advice.candidates if one.place is None]
    if apart:
        sections.append(ListSection("Not worth a try here", apart))
    told = [*_list_gaps(advice), *_list_notes(advice)]
    if told:
        sections.append(ListSection("Notes", told))
    return [
        *sections,
        ListSection("What this rests on", list(advice.rests_on)),
        ListSection("Not counted", list(advice.not_counted)),
    ]


def _lay_out_one(advice: Advice) -> Section:
    return TableSection(
        title="One training of each",
        columns=("candidate", "trained", "steps", "training", "answering", "peak", "adapter"),
        rows=[_cells(one) for one in advice.candidates],
        right=RIGHT,
        note="answering = all validations and the test split; peak = of a step, or of asking, with its whole process",
    )


def _cells(one: Advised) -> tuple[str, ...]:
    estimate = one.estimate
    answering = [estimate.validation_seconds.value, estimate.test_seconds.value]
    training = estimate.training_seconds.value
    if training is not None and estimate.shared_seconds.value is not None:
        training += estimate.shared_seconds.value
    return (
        estimate.candidate,
        format_count(estimate.trainable.value),
        format_count(estimate.steps),
        format_seconds(training),
        DASH if None in answering else format_seconds(sum(part or 0.0 for part in answering)),
        format_bytes(estimate.peak_bytes.value),
        format_bytes(estimate.adapter_bytes.value),
    )


def _lay_out_study(advice: Advice) -> Section:
    total = ("together", _range(advice.least_trainings, advice.most_trainings), *_times(advice))
    probes = advice.probe_seconds
    told = "" if probes.value is None else f"; probes of cost alone add about {format_seconds(probes.value)}"
    return TableSection(
        title="All that the study will ask for",
        columns=("candidate", "trainings", "at least", "at most"),
        rows=[
            *(
                (one.estimate.candidate, _range(one.least_trainings, one.most_trainings), *_times(one))
                for one in advice.candidates
            ),
            total,
        ],
        right=frozenset({1, 2, 3}),
        note=f"trainings = search, seeds, fewer rows; at most = with seeds of contenders and rates beyond an end{told}",
    )


def _times(one: Advice | Advised) -> tuple[str, str]:
    return format_seconds(one.least_seconds.value), format_seconds(one.most_seconds.value)


def _range(least: int, most: int | None) -> str:
    if most is None:
        return "by time"
    return f"{least:,}" if least == most else f"{least:,}..{most:,}"


def _lay_out_order(advice: Advice, predictions: int) -> Section:
    axis = AXES[advice.axis].format(predictions=predictions)
    placed = [one for one in advice.candidates if one.place is not None]
    return TableSection(
        title="What to try first",
        columns=("place", "candidate", "why"),
        rows=[(str(one.place), one.estimate.candidate, one.reason) for one in placed],
        right=frozenset({0}),
        note=f"what trains nothing first, then by the study's cost: {axis}",
    )


def _list_gaps(advice: Advice) -> Iterator[str]:
    """Say why there are dashes, a line a reason."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for one in advice.candidates:
        if one.estimate.unsupported is not None:
            continue
        for name, title in SHOWN.items():
            figure: Figure = getattr(one.estimate, name)
            if figure.value is None:
                gaps = reasons.setdefault(figure.reason or "not known", {})
                gaps.setdefault(one.estimate.candidate, []).append(title)
    for reason, gaps in reasons.items():
        titles = dict.fromkeys(title for own in gaps.values() for title in own)
        yield f"{enumerate_words(gaps)}: {enumerate_words(titles)} ({reason})"


def _list_notes(advice: Advice) -> Iterator[str]:
    told: dict[str, list[str]] = {}
    for one in advice.candidates:
        for note in one.estimate.notes:
            told.setdefault(note, []).append(one.estimate.candidate)
    yield from (f"{enumerate_words(names)}: {note}" for note, names in told.items())
