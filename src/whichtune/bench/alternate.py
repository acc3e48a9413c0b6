"""Run the sides of a comparison in turn, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Comparison:
    """Seconds of each side by round; the last side is the reference."""

    seconds: Mapping[str, list[float]]

    @property
    def reference(self) -> str:
        """The side that the others are divided by."""
        return list(self.seconds)[-1]

    def ratios(self, side: str) -> list[float]:
        """The side's seconds over the reference's, round by round."""
        pairs = zip(self.seconds[side], self.seconds[self.reference], strict=True)
        return [own / other for own, other in pairs]

    def ratio(self, side: str) -> float:
        """Median of the ratios within a round: a slow spell that covers a round cancels out."""
        return median(self.ratios(side))

    def __str__(self) -> str:
        width = max(map(len, self.seconds))
        lines = [f"{'':{width}}  {'median s':>9}  {'ratio':>6}  ratios of the rounds"]
        for side, seconds in self.seconds.items():
            rounds = sorted(self.ratios(side))
            spread = "reference" if side == self.reference else f"{rounds[0]:.2f} to {rounds[-1]:.2f}"
            lines.append(f"{side:{width}}  {median(seconds):9.3f}  {self.ratio(side):6.2f}  {spread}")
        return "\n".join(lines)


def alternate(sides: Mapping[str, Callable[[], float]], rounds: int) -> Comparison:
    """Call every side once a round, in the opposite order in every second round.

    A side does its work once and returns the seconds it wants counted; warming up is its own business, before the
    first round.
    """
    if len(sides) < 2 or rounds < 1:
        raise ValueError(f"alternate: got {len(sides)} sides and {rounds} rounds; at least two sides and one round")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(rounds):
        order = list(sides) if index % 2 == 0 else list(sides)[::-1]
        for name in order:
            seconds[name].append(sides[name]())
    return Comparison(seconds)
