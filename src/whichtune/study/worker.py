"""The near side of one worker process: started, told what to do, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from whichtune.models.backbone import LoadRequest
from whichtune.study.hands import Job
from whichtune.study.messages import End, Order, Setup, Work

MODULE = "whichtune.study.working"
"""What a worker runs, as `python -m` names it."""
LEAVE_SECONDS = 15.0
"""For a worker to end what it holds (trackers, its checking process) once it is told to."""
DYING_SECONDS = 5.0
"""For a process whose end of the pipe is closed to be gone."""

Load = tuple[str, LoadRequest] | None
"""A backbone and how it is loaded; None where a trial needs none."""


@dataclass
class Worker:
    """One process, with what it is doing."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    ready: bool = False
    """It has said so."""
    load: Load = None
    """What it has loaded, or is about to."""
    jobs: dict[int, Job] = field(default_factory=dict)
    """What it was given and has not told the end of, by place."""
    since: str = ""
    """When it was given them, UTC."""

    def tell(self, order: Order) -> None:
        """Send an order; one that is dead already will be found so when it is listened to."""
        with suppress(OSError):
            self.pipe.send(order)

    def give(self, jobs: Sequence[Job], load: Load) -> None:
        """Let it run trials, all on one backbone."""
        self.jobs = {job.place: job for job in jobs}
        self.load = load or self.load
        self.since = datetime.now(UTC).isoformat(timespec="seconds")
        self.tell(Work(tuple(jobs)))

    def dismiss(self) -> None:
        """Tell it to end; where it is at work, as Ctrl-C would."""
        if self.ready and not self.jobs:
            self.tell(End())
        else:
            self.process.terminate()

    def bury(self, seconds: float = DYING_SECONDS) -> str:
        """Wait for its end, make sure of it, and say how it ended."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.pipe.close()
        return describe_end(self.process.returncode)


def start_worker(setup: Setup) -> Worker:
    """Start a process and tell it what it works on; Ctrl-C is for this process alone, which then ends it."""
    near, far = socket.socketpair()
    with far:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(far.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[far.fileno()],
            env=bound_threads(setup.threads),
            start_new_session=True,
        )
    worker = Worker(process, Connection(near.detach()))
    worker.tell(setup)
    return worker


def bound_threads(threads: int) -> Mapping[str, str]:
    """Return this process's environment, with other libraries' threads held to the worker's."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}


def describe_end(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    memory = "; the system may have run out of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code} ({name}{memory})"
