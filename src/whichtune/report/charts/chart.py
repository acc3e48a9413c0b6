"""A chart before it is drawn: specifications for every choice a reader has, and the table that says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whichtune.report.sections import TableSection

Spec = dict[str, Any]
"""A Vega-Lite specification; its data are a name among the chart's datasets."""
Rows = Sequence[Mapping[str, Any]]
SEPARATOR = "|"


@dataclass(frozen=True)
class Choice:
    """What a reader may choose of a chart, such as its cost axis; the first option is shown at first."""

    name: str
    label: str
    options: tuple[tuple[str, str], ...]
    """Value and what a person reads."""


@dataclass(frozen=True)
class Chart:
    """A chart with its choices, its data and its table."""

    name: str
    title: str
    said: str
    """What is drawn, in a sentence or two."""
    base: Spec
    """What all choices share."""
    specs: Mapping[str, Spec]
    """Values of all choices, joined by `SEPARATOR`, to what is put over the base."""
    datasets: Mapping[str, Rows]
    choices: tuple[Choice, ...] = ()
    tables: tuple[TableSection, ...] = ()
    """The chart's text alternative."""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What a specification cannot show and why, by the same keys."""

    @property
    def first(self) -> str:
        """The key of the specification that is shown at first."""
        return SEPARATOR.join(choice.options[0][0] for choice in self.choices)

    def whole(self, key: str) -> Spec:
        """Return one specification with its data inside, for a file of its own."""
        name = self.specs[key]["data"]["name"]
        return self.base | self.specs[key] | {"datasets": {name: list(self.datasets[name])}}
