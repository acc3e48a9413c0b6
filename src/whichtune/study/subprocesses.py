"""Clean processes beside the study: one that proves saved adapters, and one per probe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from whichtune.errors import AdapterError, TrialError


class Checker:
    """One process that reloads adapters and compares their logits; started at the first check.

    Whoever asks waits for the answer, so the checking never runs beside a trial's clocks.
    """

    def __init__(self, study: Path, device: str, threads: int) -> None:
        self.command = [sys.executable, "-m", "whichtune.study.checking", str(study), device, str(threads)]
        self.process: subprocess.Popen[str] | None = None

    def check(self, adapter: Path, backbone: str) -> None:
        """Return when the adapter gave its logits again; otherwise say how far it was off."""
        reply = self._ask({"adapter": str(adapter), "backbone": backbone})
        if "error" in reply:
            raise AdapterError(f"the saved adapter could not be loaded in a clean process: {reply['error']}")
        if not reply["ok"]:
            raise AdapterError(
                f"the saved adapter gives other logits in a clean process: {reply['distance']:.2g} of their standard "
                f"deviation apart, allowed {reply['allowed']:.0e}"
            )

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process = None

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if self.process is None:
            # A session of its own: Ctrl-C stops the study, which then ends this process.
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        assert self.process.stdin is not None  # noqa: S101 - both are pipes
        assert self.process.stdout is not None  # noqa: S101
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.close()
            return {"error": "the checking process ended without an answer"}
        return json.loads(line)


def run_probe(study: Path, request: dict[str, Any]) -> None:
    """Measure one candidate alone in a fresh process; its record is written by that process."""
    command = [sys.executable, "-m", "whichtune.study.probing", str(study), json.dumps(request)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        last = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
        raise TrialError(f"the probe of {request['candidate']} failed: {last[0]}")
