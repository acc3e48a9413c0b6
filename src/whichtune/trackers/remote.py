"""The near side of a tracker's process: starts it, asks it, waits no longer than it may."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whichtune.spec.trackers import TrackerSpec
from whichtune.trackers.contract import Ending, Opening

START_SECONDS = 120.0
"""For a library to be imported, and for a run to start: large libraries on slow disks."""
LOG_SECONDS = 10.0
"""For one row; whoever waits is a trial."""
END_SECONDS = 120.0
"""For a run to be written out, or uploaded."""
LEAVE_SECONDS = 10.0
"""For a process to end once nobody asks any more."""


class TrackerError(Exception):
    """What a tracker's process said, or that it said nothing."""

    def __init__(self, told: str, *, missing: bool = False) -> None:
        self.missing = missing
        super().__init__(told)


class RemoteTracker:
    """A tracker in a process of its own; asked one thing at a time, each with a time limit."""

    def __init__(self, spec: TrackerSpec, folder: Path, log: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "whichtune.trackers.child"],  # a `wandb` folder lies about in many places
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is ours to hear; it ends when we are gone
            )
        self._heard = b""
        try:
            self._ask({"do": "make", "spec": spec.model_dump(mode="json"), "folder": str(folder)})
        except BaseException:
            self.close(0)
            raise

    def wait_until_made(self) -> None:
        """Return when the library is there; raise TrackerError with `missing` where it cannot be imported."""
        self._hear(START_SECONDS)

    def open(self, opening: Opening) -> None:
        """Start a run."""
        self._call({"do": "open", **asdict(opening)}, START_SECONDS)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Log a row."""
        self._call({"do": "log", "step": step, "figures": dict(figures)}, LOG_SECONDS)

    def end(self, ending: Ending) -> None:
        """End the run."""
        self._call({"do": "end", **asdict(ending)}, END_SECONDS)

    def close(self, seconds: float = LEAVE_SECONDS) -> None:
        """Let the process end by itself, then end it with everything it started."""
        pipes = (self.process.stdin, self.process.stdout)
        with suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in pipes:
            if pipe is not None:
                pipe.close()

    def _call(self, request: Mapping[str, Any], seconds: float) -> None:
        self._ask(request)
        self._hear(seconds)

    def _ask(self, request: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None  # noqa: S101 - opened as a pipe
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise TrackerError(self._last_word()) from error

    def _hear(self, seconds: float) -> None:
        """Wait for the answer to one request."""
        assert self.process.stdout is not None  # noqa: S101
        until = time.monotonic() + seconds
        while b"\n" not in self._heard:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise TrackerError(f"no answer within {seconds:.0f} s")
            heard = os.read(self.process.stdout.fileno(), 65536)
            if not heard:
                raise TrackerError(self._last_word())
            self._heard += heard
        line, _, self._heard = self._heard.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise TrackerError(answer["error"], missing=answer["missing"])

    def _last_word(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        return f"its process ended with exit code {self.process.poll()}"
