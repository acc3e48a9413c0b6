"""A few training steps of one candidate, timed, to see how fast this machine is in one process and in several."""

from __future__ import annotations

from time import perf_counter

from whichtune.engine.features import trains_head_alone
from whichtune.engine.fit import advance
from whichtune.engine.gauging import prepare_alone
from whichtune.study.plan import Planned
from whichtune.study.probing import assemble_trial
from whichtune.study.sharing import Shared

WARM_UP_STEPS = 2
LEAST_STEPS, MOST_STEPS, MOST_SECONDS = 3, 12, 10.0
"""Timed steps: as many as fit into the seconds, within these bounds."""


class Timer:
    """One candidate put together and warmed up; nothing it does is kept."""

    def __init__(self, shared: Shared, planned: Planned) -> None:
        self.trial = assemble_trial(shared, planned)
        try:
            self.head_alone = trains_head_alone(self.trial.assembly)
            self.run = prepare_alone(self.trial)
            for _ in range(WARM_UP_STEPS):
                advance(self.run)
        except BaseException:
            self.close()
            raise

    def take(self, steps: int | None = None) -> list[float]:
        """Return the seconds of some steps, the same batches whoever takes them; without a number, of a fair few."""
        taken: list[float] = []
        while len(taken) < (steps or LEAST_STEPS) or (
            steps is None and len(taken) < MOST_STEPS and sum(taken) < MOST_SECONDS
        ):
            start = perf_counter()
            advance(self.run)
            taken.append(perf_counter() - start)
        return taken

    def close(self) -> None:
        """Give the backbone back as it was."""
        self.trial.assembly.attachment.detach()
