"""From estimates to advice: how many trainings, how long in all, what breaks a limit, and what to try first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whichtune.report.figures import format_bytes, format_operations, format_seconds
from whichtune.report.limits import UNITS
from whichtune.report.model import Figure
from whichtune.spec.study import StudySpec
from whichtune.study.advising_model import Advised, Basis, Estimate
from whichtune.study.plan import Planned, plan_study
from whichtune.study.searching import Search
from whichtune.study.stages import further_seeds, list_searches, plan_sizes

BARS = "a bar that every method has to be above"
UNTRAINED = "nothing is trained"
FIRST = "the cheapest that is trained"
NOT_COUNTED = (
    "reading and encoding the data, loading, the proof of saved adapters, measures of forgetting, trackers",
    "that early stopping may end a training before, and that a pruner may end trials of a search",
    "what else the machine does later: it was as busy as it was while this was measured",
    "what `engine` saves: times and memory are those of the plain path, with padding and with every frozen block",
    "caches that an earlier study filled: features of a frozen trunk may be there already",
)
ORDER = {"baseline": 0, "prompter": 1, "tuner": 2}


@dataclass(frozen=True)
class Machine:
    """Where it would run."""

    name: str
    threads: int
    memory_bytes: int | None


@dataclass(frozen=True)
class Trainings:
    """How many trials of one candidate a study asks for."""

    searched: int
    """Trials of its search that are certain."""
    finals: int
    """On all rows and on fewer."""
    searched_more: int = 0
    """Trials of a search that a best rate at the end of its range adds."""
    finals_more: int = 0
    """Seeds that it gets where it leads."""
    search_seconds: float | None = None
    """Time of a search that ends by time."""


def weigh_up(study: StudySpec, estimates: Sequence[Estimate], machine: Machine) -> list[Advised]:
    """Return the candidates in the order in which to try them."""
    counts = count_trainings(study)
    paid: set[str] = set()
    advised = [_advise(study, one, counts[one.candidate], machine, paid) for one in estimates]
    advised.sort(key=_rank)
    trained = [one.cost.value for one in advised if one.estimate.family == "tuner" and _worth(one) and one.cost.value]
    for place, one in enumerate(filter(_worth, advised), start=1):
        one.place = place
        one.reason = _reason(one, min(trained, default=None), study.cost.axis)
    for one in advised:
        if one.place is None:
            one.reason = one.estimate.unsupported or "; ".join(one.beyond)
    return advised


def count_trainings(study: StudySpec) -> dict[str, Trainings]:
    """Count the trials of every candidate, by its name."""
    plan = plan_study(study)
    finals = Counter(one.candidate for one in [*plan, *plan_sizes(study, plan, ())])
    searches = {one.base.candidate: one for one in list_searches(study)}
    more = len(further_seeds(study))
    each = {one.candidate: one for one in plan}
    return {name: _count(one, finals[name], searches.get(name), more) for name, one in each.items()}


def add_up(pairs: Sequence[tuple[Figure, Figure]]) -> tuple[Figure, Figure]:
    """Add figures side by side; one that is not known leaves the sum unknown, with its reason."""
    sides = zip(*pairs, strict=True)
    least, most = (_sum(side) for side in sides)
    return least, most


def explain(study: StudySpec, bases: Sequence[Basis]) -> list[str]:
    """Say what the estimates rest on, a sentence each."""
    lines = [line for basis in bases for line in _explain(basis)]
    if any(one.candidate is not None for one in bases):
        lines += [
            "theory: every candidate's operations and kept bytes, counted forward and backward on a few short batches "
            "and extended to the batches of a first epoch by rows, padded width and its square",
            "time is operations over the measured rate, and the optimizer's own time a trained number",
            "memory is what the process held before, 8 bytes a trained number for AdamW, and the greater of 4 bytes a "
            "trained number for gradients and of what the greatest batch works with",
        ]
    if study.search is not None:
        lines.append("a search's trainings are taken to last as long as with the entry's own settings")
    return lines


def _explain(basis: Basis) -> Iterator[str]:
    head = f"{basis.backbone} ({basis.loaded})"
    if basis.candidate is None:
        yield f"{head}: a few prompts or images were timed; nothing is trained there"
        return
    rates = " and ".join(
        f"{format_operations(rate)} {word}"
        for rate, word in ((basis.forward, "forward"), (basis.backward, "backward"), (basis.predicting, "predicting"))
    )
    yield (
        f"{head}: {basis.steps} training steps of {basis.candidate} after 2 to warm up, "
        f"{basis.cells or 0:,.0f} tokens or patches a step with padding, {format_seconds(basis.step_seconds)} a step; "
        f"operations a second: {rates}"
    )
    if basis.working is None:
        yield f"{head}: memory is not known: {basis.why_no_memory}"
        return
    yield (
        f"{head}: its process held {format_bytes(basis.before_bytes)} before and {format_bytes(basis.peak_bytes)} at "
        f"the peak, so a step is taken to work with {basis.working:.1f} times the bytes that it keeps for the backward "
        "pass"
    )


def _count(one: Planned, finals: int, search: Search | None, more: int) -> Trainings:
    more = 0 if one.deterministic else more
    if search is None:
        return Trainings(0, finals, finals_more=more)
    if search.spec.seconds is not None:
        return Trainings(0, finals, finals_more=more, search_seconds=search.spec.seconds)
    spec = search.spec
    certain = spec.trials + spec.own + spec.best * spec.repeats
    beyond = 1 + spec.repeats if spec.engine == "grid" and search.space.ranges else 0
    return Trainings(certain, finals, beyond, more)


def _advise(study: StudySpec, one: Estimate, count: Trainings, machine: Machine, paid: set[str]) -> Advised:
    by_time = count.search_seconds is not None
    least, most = count.searched + count.finals, count.searched + count.finals
    most += count.searched_more + count.finals_more
    shared = 0.0 if one.shares in paid else one.shared_seconds.value or 0.0
    paid |= {one.shares} if one.shares is not None else set()
    return Advised(
        estimate=one,
        least_trainings=least,
        most_trainings=None if by_time else most,
        least_seconds=_total(one, (count.searched, count.finals), shared + (count.search_seconds or 0.0)),
        most_seconds=_total(
            one,
            (count.searched + count.searched_more + by_time, count.finals + count.finals_more),
            shared + (count.search_seconds or 0.0),
        ),
        cost=_price(study, one, count.searched),
        beyond=[*_break_limits(study, one), *_break_machine(one, machine)],
    )


def _total(one: Estimate, counts: tuple[int, int], shared: float) -> Figure:
    """Return the seconds of so many trials of a search and so many final ones."""
    if one.unsupported is not None:
        return Figure(value=0.0)
    searched, final = one.searched_seconds, one.run_seconds
    if searched is None or final is None:
        parts = (one.training_seconds, one.validation_seconds, one.test_seconds)
        return Figure(reason=next((part.reason for part in parts if part.reason), "not known"))
    return Figure(value=counts[0] * searched + counts[1] * final + shared)


def _price(study: StudySpec, one: Estimate, searched: int) -> Figure:
    """Return what a candidate costs on the study's axis, as the verdict will price it."""
    if study.cost.axis == "peak_bytes":
        return one.peak_bytes
    seconds = study.cost.axis == "seconds"
    training, answer = (one.alone_seconds, one.answer_seconds) if seconds else (one.operations, one.answer_operations)
    if training.value is None or (study.cost.predictions and answer.value is None):
        return Figure(reason=training.reason or answer.reason)
    return Figure(value=training.value * (1 + searched) + study.cost.predictions * (answer.value or 0.0))


def _break_limits(study: StudySpec, one: Estimate) -> Iterator[str]:
    figures = {
        "peak_gb": one.peak_bytes,
        "latency_ms": one.answer_seconds,
        "adapter_mb": one.adapter_bytes,
        "train_minutes": one.alone_seconds,
    }
    for name, limit in study.limits.given().items():
        unit, factor = UNITS[name]
        value = figures[name].value
        if value is not None and value * factor > limit:
            yield f"beyond `limits.{name}`: about {value * factor:.3g} {unit} of {limit:g}"


def _break_machine(one: Estimate, machine: Machine) -> Iterator[str]:
    peak = one.peak_bytes.value
    if peak is not None and machine.memory_bytes is not None and peak > machine.memory_bytes:
        yield f"does not fit: about {format_bytes(peak)}, and this machine has {format_bytes(machine.memory_bytes)}"


def _worth(one: Advised) -> bool:
    return one.estimate.unsupported is None and not one.beyond


def _rank(one: Advised) -> tuple[bool, bool, int, bool, float]:
    """Order by: can run, keeps its limits, trains nothing, cost known, cost."""
    cost = one.cost.value
    untold = one.estimate.unsupported is not None
    return untold, bool(one.beyond), ORDER[one.estimate.family], cost is None, cost or 0.0


def _reason(one: Advised, cheapest: float | None, axis: str) -> str:
    if one.estimate.family != "tuner":
        told, seconds = BARS if one.estimate.family == "baseline" else UNTRAINED, one.estimate.run_seconds
        return told if seconds is None else f"{told}; {format_seconds(seconds)} in all"
    cost = one.cost.value
    if cost is None:
        return f"its cost is not known: {one.cost.reason}"
    write = {"seconds": format_seconds, "peak_bytes": format_bytes, "flops": format_operations}[axis]
    if cheapest is None or cost <= cheapest:
        return f"{FIRST}: {write(cost)}"
    return f"{cost / cheapest:.3g} times the cheapest: {write(cost)}"


def _sum(figures: Sequence[Figure]) -> Figure:
    unknown = next((one for one in figures if one.value is None), None)
    if unknown is not None:
        return Figure(reason=unknown.reason)
    return Figure(value=sum(one.value or 0.0 for one in figures))
