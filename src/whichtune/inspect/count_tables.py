"""What `count` found and can count, as tables that read at 80 columns."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from whichtune.inspect.count import Count, MethodCount, Sides
from whichtune.report.figures import count_of, format_count, format_percent, plain
from whichtune.report.layout import ListSection, Section, TableSection
from whichtune.report.terminal import print_sections


def render_count(found: Count, console: Console, *, alone: bool) -> None:
    """Print one method in full, or every method on a line."""
    shape = f"{found.family}, {count_of(found.blocks, 'block')} of width {found.hidden}"
    answers = f"a head of {count_of(found.outputs, 'output')}" if found.outputs else "answers in words"
    head = f"{found.model}: {shape}, {answers}"
    console.print(Text(plain(head), style="bold"))
    console.print(Text(plain(found.origin), style="dim"))
    print_sections(lay_out_method(found.methods[0]) if alone else lay_out_all(found.methods), console)


def lay_out_method(one: MethodCount) -> list[Section]:
    """Return the sections of one method."""
    if one.reason is not None or one.total is None or one.trainable is None:
        return [ListSection(one.kind, [one.reason or "no figures"])]
    parts = {"trunk": one.trunk, "head": one.head, "added": one.added, "total": one.total, "trainable": one.trainable}
    rows = [(name, _theory(sides), _measured(sides), _agree(sides)) for name, sides in parts.items()]
    share = ("trainable share", "", format_percent(one.trainable_share), "")
    kinds = [(kind.kind, format_count(kind.total), format_count(kind.trainable)) for kind in one.kinds]
    matched = [f"{one.modules:,} modules matched its targets"] if one.modules else []
    sections: list[Section] = [
        TableSection(f"Parameters, {one.kind}", ("part", "theory", "measured", ""), [*rows, share], frozenset({1, 2})),
        TableSection("By kind of module", ("kind", "total", "trainable"), kinds, frozenset({1, 2})),
    ]
    lines = [*matched, *one.notes]
    return [*sections, ListSection("Notes", lines)] if lines else sections


def lay_out_all(methods: Iterable[MethodCount]) -> list[Section]:
    """Return one table with a row a method, and the reasons of those without figures."""
    counted = [one for one in methods if one.reason is None]
    rows = [
        (
            one.kind,
            _measured(one.total),
            _measured(one.added),
            _measured(one.trainable),
            format_percent(one.trainable_share),
            _agree(one.trainable),
        )
        for one in counted
    ]
    columns = ("method", "total", "added", "trainable", "share", "theory")
    table = TableSection("Methods with their defaults", columns, rows, frozenset({1, 2, 3, 4}))
    reasons = [f"{one.kind}: {one.reason}" for one in methods if one.reason is not None]
    return [table, ListSection("Without figures", reasons)] if reasons else [table]


def render_tuners(table: str, console: Console) -> None:
    """Print the Markdown table of PEFT's tuners so that it reads at the console's width."""
    head, *lines = table.splitlines()
    rows = [tuple(_unmark(cell) for cell in line.split("|")[1:-1]) for line in lines if line.startswith("| `")]
    running = [(name, adapts, rate, remark) for name, runs, adapts, rate, remark in rows if runs == "yes"]
    refused = [f"{name}: {remark}" for name, runs, _, _, remark in rows if runs != "yes"]
    console.print(Text(plain(head), style="bold"))
    columns = ("tuner", "adapts by default", "learning rate", "remark")
    print_sections([TableSection("What runs", columns, running), ListSection("What does not", refused)], console)


def _unmark(cell: str) -> str:
    return cell.strip().replace("`", "")


def _theory(sides: Sides | None) -> str:
    return format_count(None if sides is None else sides.theory)


def _measured(sides: Sides | None) -> str:
    return format_count(None if sides is None else sides.measured)


def _agree(sides: Sides | None) -> str:
    """Say in a word whether theory and measurement are equal."""
    told = None if sides is None else sides.agree
    return "no formula" if told is None else "agrees" if told else "differs"
