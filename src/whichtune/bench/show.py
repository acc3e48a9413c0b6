"""What the benchmark found, as tables: measured, target, limit, and whether both sides ended alike."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from whichtune.bench.model import Report, RowResult
from whichtune.bench.parity import worst_of
from whichtune.report.figures import DASH, format_seconds
from whichtune.report.sections import ListSection, Section, TableSection

PEER = "Hugging Face Trainer + PEFT"
LOOKS = {"tuned": "texts padded to the longest of their batch", "tutorial": 'padding="max_length"'}
EXPLAINED = (
    "Measured: the peer's time over ours, median of the rounds (least..greatest); whole studies, loading included. "
    "Limit: the peer's time over that of the least arithmetic at this machine's own rate of matrix products."
)
SPENT = (
    "Where the peer ran a part of its trials, its time is scaled to all of them, candidate by candidate. Outside: our "
    "time outside forward and backward passes, of all processes where several train."
)


def lay_out_report(report: Report) -> Iterator[Section]:
    """Yield the table, where the time went, what each row needs said, and how alike the sides ended."""
    yield TableSection(
        title=f"Against {PEER}, {report.baseline} baseline ({LOOKS[report.baseline]})",
        columns=("row", "measured", "target", "limit", "state"),
        rows=[tuple(_cells(row)) for row in report.rows],
        right=frozenset({1, 2, 3}),
        note=EXPLAINED,
    )
    ran = [row for row in report.rows if row.ratios]
    if ran:
        yield TableSection(
            title="Time of the sides, median of the rounds",
            columns=("row", "rounds", "ours", "peer", "trials of the peer", "outside"),
            rows=[tuple(_spend(row)) for row in ran],
            right=frozenset(range(1, 6)),
            note=SPENT,
        )
    yield ListSection("Rows", [line for row in report.rows for line in _tell(row)])
    agreements = [(row, one) for row in report.rows for one in row.agreements]
    if agreements:
        yield TableSection(
            title="Results of both sides, mean over trainings (minus the loss where answers are texts)",
            columns=("row", "candidate", "ours", "peer", "apart", "allowed"),
            rows=[
                (row.row, one.candidate.partition("@")[0] + _setting(one.candidate), f"{one.own:.3f}",
                 f"{one.other:.3f}", f"{one.apart:+.3f}", f"{one.allowed:.3f}")
                for row, one in agreements
            ],
            right=frozenset(range(2, 6)),
            note="Allowed: half the 95 % interval of the difference (all candidates of a row together), or the margin.",
        )  # fmt: skip
    yield ListSection("Machine", list(_describe(report)))


def _setting(candidate: str) -> str:
    """Return the part of a candidate's name behind its backbone."""
    _, bracket, rest = candidate.partition("[")
    return bracket + rest if "@" in candidate.partition("[")[0] else ""


def _cells(row: RowResult) -> Iterator[str]:
    yield row.row
    yield format_measured(row)
    yield format_value(row.target, row.unit, ">= " if row.unit == "x" else "<= ")
    yield format_value(row.limit, row.unit)
    yield row.state


def _spend(row: RowResult) -> Iterator[str]:
    yield row.row
    yield str(len(row.ratios))
    yield format_seconds(median(row.own_seconds))
    yield format_seconds(median(row.peer_seconds))
    yield row.peer_trials
    yield DASH if row.outside is None else f"{100 * row.outside:.0f} %"


def format_measured(row: RowResult) -> str:
    """Write the median, and the least and greatest where there are several rounds."""
    told = format_value(row.measured, row.unit)
    return told if len(row.ratios) < 2 else f"{told} ({min(row.ratios):.2f}..{max(row.ratios):.2f})"


def format_value(value: float | None, unit: str, sign: str = "") -> str:
    """Write a ratio or a share, with a sign in front; a dash where it is not known."""
    if value is None:
        return DASH
    return sign + (f"{value:.2f}" if unit == "share" else f"{value:.1f}x" if value >= 10 else f"{value:.2f}x")


def _tell(row: RowResult) -> Iterator[str]:
    texts = "" if row.texts is None else f" ({row.texts:,} training texts)"
    yield f"{row.row}: {row.title}{texts}"
    faults = [f"{one.candidate}: {one.fault}" for one in row.agreements if one.fault]
    worst = worst_of(row.agreements)
    if faults:
        yield f"{row.row}: results differ: {'; '.join(faults)}"
    elif worst is not None:
        told = f"furthest apart {worst.candidate}, {worst.apart:+.3f} of {worst.allowed:.3f} allowed"
        yield f"{row.row}: equal steps and test tokens; {told}"
    yield from (f"{row.row}: {note}" for note in row.notes)


def _describe(report: Report) -> Iterator[str]:
    machine = report.machine
    cores = f"{machine.get('cores')} cores, {machine.get('threads')} threads"
    yield f"{machine.get('name')} ({machine.get('kind')}), {cores}"
    yield f"matrix products in float32: {report.matrix_flops_per_second / 1e9:,.0f} GFLOP/s"
    yield ", ".join(f"{name} {version}" for name, version in report.versions.items() if name in SHOWN)
    yield f"{report.date}, {format_seconds(report.seconds)}: `{report.command}`"
    if report.git is not None:
        yield f"commit {str(report.git['commit'])[:12]}{' with changes' if report.git.get('dirty') else ''}"


SHOWN = ("python", "whichtune", "torch", "transformers", "peft", "accelerate")
