"""The cost ledger: what all trials spent, by candidate and phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from whichtune.records.trial import TrialRecord
from whichtune.report.charts.axes import LABELS, SECONDS, choose_time
from whichtune.report.charts.chart import Chart, Choice, Spec
from whichtune.report.charts.style import finish, load_altair, series_colours
from whichtune.report.figures import DASH, enumerate_words, format_seconds, plain
from whichtune.report.model import Comparison
from whichtune.report.sections import TableSection

ORDER = ("step", "validate", "predict", "load", "encode", "probe", "save", "attach", "compile", "warm-up", "import")
OTHER = "other"
SMALL, SMALL_SHARE = "smaller phases", 0.01
ROW_HEIGHT, MOST_ROWS = 30, 30
SPENT, MEAN, SEARCH, SIZE = "spent", "mean", "search", "size"
LOOKS = {
    SPENT: "all final trials",
    MEAN: "one final trial, on average",
    SEARCH: "all search trials",
    SIZE: "all trials of fewer rows",
}

Ledger = Mapping[str, Mapping[str, float]]
"""Candidate to phase to seconds."""
TABLES = {
    SPENT: "Final trials, by phase",
    SEARCH: "Search trials, by phase",
    SIZE: "Trials of fewer rows, by phase",
}


def draw_ledger(
    comparison: Comparison,
    trials: Sequence[TrialRecord],
    searches: Sequence[TrialRecord] = (),
    sized: Sequence[TrialRecord] = (),
) -> Chart | None:
    """Return the seconds of each phase: of all final trials together, of one on average, of searches and of sizes."""
    kinds = {SPENT: trials, SEARCH: searches, SIZE: sized}
    sums = {kind: sum_phases(own) for kind, own in kinds.items()}
    spent = sums[SPENT]
    counts = {kind: Counter(one.candidate for one in own if one.phases) for kind, own in kinds.items()}
    mean = {name: {phase: value / counts[SPENT][name] for phase, value in own.items()} for name, own in spent.items()}
    every = {SPENT: spent, MEAN: mean, SEARCH: sums[SEARCH], SIZE: sums[SIZE]}
    ledgers = {name: own for name, own in every.items() if _is_filled(own)}
    if not ledgers:
        return None
    named = dict.fromkeys(name for own in sums.values() for name in own)
    ranked = [row.candidate for row in comparison.candidates if row.candidate in named]
    order = list(dict.fromkeys([*ranked, *named]))
    shown, rest = order[:MOST_ROWS], order[MOST_ROWS:]
    seconds = [own for each in sums.values() for own in each.values()]
    phases = _list_phases(seconds)
    main = _list_main(seconds, phases)
    told = [f"Not drawn: {enumerate_words(rest)}."] if rest else []
    tables = [_tabulate(TABLES[kind], own, order, phases, counts[kind]) for kind, own in sums.items() if own]
    return Chart(
        name="ledger",
        title="Cost ledger by phase",
        said="Seconds that each phase of the trials took; the phases of a trial add up to its wall time.",
        base=_skeleton([plain(name) for name in shown], [*main, *([SMALL] if len(main) < len(phases) else [])]),
        specs={name: _fill(name, f"{LOOKS[name]} ({_unit(own)[1]})") for name, own in ledgers.items()},
        datasets={name: list(_rows(own, shown, main, phases)) for name, own in ledgers.items()},
        choices=(Choice("what", "Show", tuple((name, LOOKS[name]) for name in ledgers)),),
        tables=tuple(tables),
        notes=dict.fromkeys(ledgers, told),
    )


def sum_phases(trials: Iterable[TrialRecord]) -> dict[str, dict[str, float]]:
    """Add up the seconds of each phase, failed trials included."""
    found: dict[str, dict[str, float]] = {}
    for one in trials:
        own = found.setdefault(one.candidate, {}) if one.phases else {}
        for phase, held in one.phases.items():
            own[phase] = own.get(phase, 0.0) + held.seconds
    return found


def _is_filled(ledger: Ledger) -> bool:
    return any(sum(own.values()) > 0 for own in ledger.values())


def _list_phases(spent: Iterable[Mapping[str, float]]) -> list[str]:
    seen = {phase for own in spent for phase in own}
    known = [phase for phase in ORDER if phase in seen]
    return [*known, *sorted(seen - {*known, OTHER}), *([OTHER] if OTHER in seen else [])]


def _list_main(spent: Iterable[Mapping[str, float]], phases: Sequence[str]) -> list[str]:
    """Return the phases that some candidate spends a visible part of its time in."""
    shares = [(own, sum(own.values()) or 1.0) for own in spent]
    return [phase for phase in phases if any(own.get(phase, 0.0) / total >= SMALL_SHARE for own, total in shares)]


def _unit(ledger: Ledger) -> tuple[float, str]:
    return choose_time(max(sum(own.values()) for own in ledger.values()))


def _rows(ledger: Ledger, names: Sequence[str], main: Sequence[str], phases: Sequence[str]) -> Iterator[dict[str, Any]]:
    divisor, _ = _unit(ledger)
    for name in names:
        own = ledger.get(name, {})
        small = sum(own.get(phase, 0.0) for phase in phases if phase not in main)
        parts = [(phase, own.get(phase, 0.0)) for phase in main] + [(SMALL, small)]
        for place, (phase, seconds) in enumerate(parts):
            if seconds > 0:
                yield {
                    "candidate": plain(name),
                    "phase": plain(phase),
                    "time": seconds / divisor,
                    "place": place,
                    "told": format_seconds(seconds),
                }


def _skeleton(names: Sequence[str], phases: Sequence[str]) -> Spec:
    alt = load_altair()
    domain = [plain(phase) for phase in phases]
    colour = alt.Color("phase:N", title=None, sort=domain).scale(domain=domain, range=series_colours(len(domain)))
    y = alt.Y("candidate:N", title=None, sort=names, axis=alt.Axis(labelLimit=190, ticks=False, domain=False))
    tips = [alt.Tooltip("candidate:N"), alt.Tooltip("phase:N"), alt.Tooltip("told:N", title="time")]
    bars = alt.Chart().mark_bar(height={"band": 0.62}).encode(y=y, color=colour, order="place:Q", tooltip=tips)
    return finish(alt.layer(bars), ROW_HEIGHT * len(names) + 10)


def _fill(name: str, title: str) -> Spec:
    axis = {"labelExpr": LABELS[SECONDS], "grid": True}
    return {
        "data": {"name": name},
        "encoding": {"x": {"field": "time", "type": "quantitative", "title": title, "axis": axis}},
    }


def _tabulate(
    title: str, spent: Ledger, order: Sequence[str], phases: Sequence[str], counts: Mapping[str, int]
) -> TableSection:
    rows: list[tuple[str, ...]] = []
    for name in (one for one in order if one in spent):
        own = spent[name]
        cells = (format_seconds(own[phase]) if phase in own else DASH for phase in phases)
        rows.append((name, str(counts[name]), *cells, format_seconds(sum(own.values()))))
    sums = [sum(own.get(phase, 0.0) for own in spent.values()) for phase in phases]
    rows.append(("all", str(sum(counts.values())), *map(format_seconds, sums), format_seconds(sum(sums))))
    columns = ("candidate", "trials", *phases, "all phases")
    return TableSection(title, columns, rows, frozenset(range(1, len(columns))))
