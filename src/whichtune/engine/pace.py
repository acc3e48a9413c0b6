"""Whether trials step together or one after another: found out by steps that have to be taken anyway."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

WARM_STEPS = 1
"""Steps of each way that are not counted: the first pays for allocation."""
COUNTED_STEPS = 3
"""Steps of each way that are."""
LEAST_GAIN = 1.1
"""How much faster a shared pass must be: less is not worth its memory."""


@dataclass
class Pace:
    """The two ways in turn, until it is known which is faster; both give the same results (T1)."""

    together: bool | None = None
    """What was decided, or is decided beforehand; None while it is open."""
    reason: str = ""
    """Why, in words."""
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    """Seconds a token of each counted step, by whether it was taken together."""

    def choose(self, members: int) -> bool:
        """Return whether the next step is taken together."""
        if members < 2:
            return False
        return len(self.seconds[True]) < len(self.seconds[False]) if self.together is None else self.together

    def note(self, seconds: float, tokens: int, *, together: bool) -> None:
        """Take in how long a step of all members took, whichever way it was taken."""
        if self.together is not None:
            return
        self.seconds[together].append(seconds / max(tokens, 1))
        if all(len(one) >= WARM_STEPS + COUNTED_STEPS for one in self.seconds.values()):
            gain = self.gain
            assert gain is not None  # noqa: S101 - both ways were counted
            self.together = gain >= LEAST_GAIN
            self.reason = f"a shared pass takes 1/{gain:.2f} of the time of passes one after another"

    def refuse(self, reason: str) -> None:
        """Go on one after another from here."""
        self.together, self.reason = False, reason

    @property
    def gain(self) -> float | None:
        """How many times faster a shared pass is; None where it was not measured."""
        apart, together = (self.seconds[way][WARM_STEPS:] for way in (False, True))
        if not apart or not together:
            return None
        return statistics.median(apart) / statistics.median(together)
