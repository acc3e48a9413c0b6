"""A worker: `python -m whichtune.study.working FD` runs the trials it is handed over a pipe, and tells how they go.

It loads each backbone once, checks its adapters in a checking process of its own and tells the trackers itself, as the
study's process does where it works alone. When the other end of the pipe is gone it ends at once: the trial it was in
belongs to whoever runs the study next.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread

from whichtune.data.storing import read_examples
from whichtune.engine.fit import StepFigures
from whichtune.engine.optimizing import warm_up_optimizer
from whichtune.measure.device import pick_device, set_threads
from whichtune.records.folder import StudyFolder
from whichtune.study.execute import Desk
from whichtune.study.hands import OwnHands
from whichtune.study.messages import (
    Done,
    End,
    Fault,
    Go,
    Laid,
    Lay,
    Note,
    Order,
    Ready,
    Setup,
    Stepped,
    Timed,
    Validated,
    Work,
)
from whichtune.study.plan import Planned
from whichtune.study.sharing import Ledger, Shared
from whichtune.study.signals import stopping_on_signals
from whichtune.study.subprocesses import Checker
from whichtune.study.timing import Timer
from whichtune.tasks import build_task
from whichtune.trackers.crew import tracking

QUIET_SECONDS = 0.2
"""Between two steps that are told; the last one always is."""


def main(handle: str) -> None:
    """Work until told to end."""
    pipe = Connection(int(handle))
    os.dup2(2, 1)  # whatever a library prints belongs beside the study's own lines, not among its results
    orders: SimpleQueue[Order | Exception] = SimpleQueue()
    Thread(target=_listen, args=(pipe, orders), daemon=True).start()
    try:
        with stopping_on_signals(), ExitStack() as stack:
            setup = _next(orders)
            assert isinstance(setup, Setup)  # noqa: S101 - the first word
            worker = Worker(setup, pipe, stack)
            pipe.send(Ready())
            while not isinstance(order := _next(orders), End):
                worker.obey(order)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        pipe.send(Fault(f"{type(error).__name__}: {error}"))
        raise


def _next(orders: SimpleQueue[Order | Exception]) -> Order:
    """Return the next order, or raise what came in the place of one."""
    order = orders.get()
    if isinstance(order, Exception):
        raise order
    return order


def _listen(pipe: Connection, orders: SimpleQueue[Order | Exception]) -> None:
    while True:
        try:
            orders.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(1)  # nobody is left who wants the rest
        except Exception as error:  # an order that cannot be read, told by the thread that also tells the rest
            orders.put(error)
            return


class Worker:
    """What a worker has at hand, and what it does with an order."""

    def __init__(self, setup: Setup, pipe: Connection, stack: ExitStack) -> None:
        folder, study = StudyFolder(setup.folder), setup.study
        ledger, self.pipe, self.reporter = Ledger(folder.costs(setup.name)), pipe, Reporter(pipe)
        device = pick_device(setup.device)
        set_threads(setup.threads)
        crew = stack.enter_context(tracking(study.trackers, folder.path, self.reporter.on_note))
        with ledger.spending("read data"):
            data = read_examples(folder.examples)
        with ledger.spending("warm-up"):
            warm_up_optimizer()
        shared = Shared(study, data, build_task(study.task, data.labels, study.data.columns), device, ledger)
        checker = Checker(folder.path, str(device), setup.threads) if study.execution.check else None
        if checker is not None:
            stack.callback(checker.close)
        desk = Desk(folder, shared, checker, setup.threads, (self.reporter, crew), crew, setup.workers)
        self.shared, self.hands = shared, OwnHands(desk, self.reporter)
        self.timer: Timer | None = None

    def obey(self, order: Order) -> None:
        """Do what is asked, and say so."""
        if isinstance(order, Work):
            for job, record in self.hands.run(order.jobs):
                self.pipe.send(Done(job.place, record))
        elif isinstance(order, Lay):
            self.timer = Timer(self.shared, order.planned)
            self.pipe.send(Laid())
        elif isinstance(order, Go) and self.timer is not None:
            try:
                self.pipe.send(Timed(tuple(self.timer.take(order.steps))))
            finally:
                self.timer.close()


class Reporter:
    """Tells the other side how the trial at hand goes: steps now and then, everything else as it comes."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.place = 0
        self.told = 0.0

    def on_trial(self, planned: Planned, place: int, total: int) -> None:
        """Remember which trial it is."""
        self.place = place

    def on_step(self, figures: StepFigures, total: int) -> None:
        """Tell a step, unless another was told just now."""
        now = time.monotonic()
        if figures.step == total or now - self.told > QUIET_SECONDS:
            self.told = now
            self.pipe.send(Stepped(self.place, figures, total))

    def on_validation(self, step: int, score: float, metrics: Mapping[str, float | None]) -> None:
        """Tell a validation."""
        self.pipe.send(Validated(self.place, step, score, dict(metrics)))

    def on_note(self, text: str) -> None:
        """Tell a line."""
        self.pipe.send(Note(text))


if __name__ == "__main__":
    main(*sys.argv[1:])
