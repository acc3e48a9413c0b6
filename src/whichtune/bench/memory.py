"""Memory of a LoRA step on SmolLM2, summaries of docstrings, against Hugging Face Trainer + PEFT.

Both sides train the same adapters, filled with the same numbers, on the same padded batch, with labels on the summaries
alone; each side runs in a process of its own. Compared are the bytes that forward pass and loss keep for the backward
pass (each storage once, weights left out), and how far the resident set rises in a step. Neither depends on what else
the machine does; the optimizer's states are as large on both sides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whichtune.data.load import load_data
from whichtune.errors import TrialError
from whichtune.measure.device import mkl_lags
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.batch import Encoded
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import SmolLM2Backbone
from whichtune.spec.engine import EngineSpec
from whichtune.spec.sources import DataSpec
from whichtune.spec.tasks import SummarizationSpec
from whichtune.tasks import build_task
from whichtune.tasks.language import Summarization

SIDES = ("whichtune", "trainer")
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
COLUMNS = ("tokens", "offsets", "targets", "starts")


@dataclass(frozen=True)
class Step:
    """The step that is measured."""

    length: int = 512
    """Most tokens of a row."""
    batch: int = 4
    rows: int = 1500
    """Docstrings among which the longest are sought."""
    targets: tuple[str, ...] = ("all-linear",)


@dataclass
class MemoryFound:
    """What the two sides kept."""

    ratio: float
    """Bytes kept for the backward pass, ours over the peer's; the greatest over the dropouts."""
    told: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    sides: dict[str, dict[str, Any]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)


def load_smollm2() -> Backbone:
    """Load SmolLM2 in float32; on our side a pass keeps what it keeps in a study."""
    engine = EngineSpec()
    widen = engine.onednn and mkl_lags(torch.device("cpu"))
    request = LoadRequest(dtype="float32", spare=engine.recompute, widen=widen)
    return load_backbone(SmolLM2Backbone(kind="smollm2"), request)


def make_task() -> Summarization:
    """Make the task of both sides."""
    task = build_task(SummarizationSpec(kind="summarization"), ())
    assert isinstance(task, Summarization)  # noqa: S101 - by its spec
    return task


def choose_rows(step: Step) -> Encoded:
    """Encode docstrings and keep the longest rows that are not above the length."""
    sizes = {"train": step.rows, "validation": 20, "test": 20}
    told = {"source": {"kind": "docstrings"}, "columns": {"label": "summary"}, "sizes": sizes}
    examples = load_data(DataSpec.model_validate(told), "texts").examples["train"]
    encoded = make_task().encode(examples, load_smollm2().encoder, 2 * step.length)
    assert encoded.starts is not None  # noqa: S101 - answers stand behind prompts
    fitting = np.flatnonzero(encoded.lengths <= step.length)
    chosen = fitting[np.argsort(-encoded.lengths[fitting], kind="stable")[: step.batch]]
    lengths = encoded.lengths[chosen]
    return Encoded(
        tokens=np.concatenate([encoded.row(row) for row in chosen]),
        offsets=np.concatenate([np.zeros(1, np.int64), lengths.cumsum()]),
        targets=encoded.targets[chosen],
        starts=encoded.starts[chosen],
    )


def compare_memory(
    tell: Callable[[str], None], step: Step | None = None, dropouts: Sequence[float] = (0.0, 0.1)
) -> MemoryFound:
    """Measure both sides, once a dropout; without dropout losses and gradients must agree."""
    step = step or Step()
    encoded = choose_rows(step)
    found = MemoryFound(0.0, lengths=encoded.lengths.tolist())
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "rows.npz"
        np.savez(stored, **{name: getattr(encoded, name) for name in COLUMNS})  # type: ignore[arg-type]
        for dropout in dropouts:
            own, other = (_run_apart(side, stored, dropout, step.targets) for side in SIDES)
            tell(f"memory: dropout {dropout:g} measured")
            found.sides[f"dropout {dropout:g}"] = {"whichtune": own, "trainer": other}
            found.ratio = max(found.ratio, own["saved_bytes"] / other["saved_bytes"])
            found.told.append(_tell(dropout, own, other))
            found.faults += find_faults(own, other, alike=dropout == 0)
    return found


def _run_apart(side: str, stored: Path, dropout: float, targets: Sequence[str]) -> dict[str, Any]:
    """Measure one side in a process of its own."""
    told = json.dumps({"side": side, "stored": str(stored), "dropout": dropout, "targets": list(targets)})
    command = [sys.executable, "-m", "whichtune.bench.memory_step", told]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise TrialError(f"memory of {side}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _tell(dropout: float, own: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    kept = f"{own['saved_bytes'] / 1e6:,.0f} MB kept against {other['saved_bytes'] / 1e6:,.0f} MB"
    if own["resident_bytes"] is None or other["resident_bytes"] is None:
        risen = f"resident set not known ({own['why_no_resident_bytes'] or other['why_no_resident_bytes']})"
    else:
        ratio = own["resident_bytes"] / other["resident_bytes"]
        risen = f"resident set rises {ratio:.2f} times as far"
    return f"dropout {dropout:g}: {kept}, {risen}"


def find_faults(own: Mapping[str, Any], other: Mapping[str, Any], *, alike: bool) -> list[str]:
    """Say where the two sides did not do the same."""
    faults: list[str] = []
    if own["trained"] != other["trained"]:
        faults.append(f"{own['trained']:,} numbers trained against {other['trained']:,}")
    if alike:
        for name, tolerance in (("loss", LOSS_TOLERANCE), ("gradient_norm", GRADIENT_TOLERANCE)):
            apart = abs(own[name] - other[name]) / abs(other[name])
            if not apart <= tolerance:
                faults.append(f"{name.replace('_', ' ')}: {apart:.1e} apart, {tolerance:g} allowed")
    return faults
