"""What a verdict weighs: limits that a candidate must keep, and what counts as its cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whichtune.spec.base import Spec


class LimitsSpec(Spec):
    """What you can afford; a candidate beyond a limit, or whose figure was not measured, is shown but not compared."""

    peak_gb: float | None = Field(default=None, gt=0)
    """Greatest peak memory of a training step, of asking for a method that trains nothing, in GB (1e9 bytes)."""
    latency_ms: float | None = Field(default=None, gt=0)
    """Longest time of one answer, in milliseconds."""
    adapter_mb: float | None = Field(default=None, gt=0)
    """Greatest size of what a method saves, in MB (1e6 bytes)."""
    train_minutes: float | None = Field(default=None, gt=0)
    """Longest time of one training, in minutes; the search for its settings does not count."""

    def given(self) -> dict[str, float]:
        """Return the limits that were set, by name."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class CostSpec(Spec):
    """By what the cheapest candidate is chosen."""

    axis: Literal["seconds", "peak_bytes", "flops"] = "seconds"
    """`seconds` of training, search included, and of all predictions; `peak_bytes` of memory; `flops`, operations of
    the same as `seconds`."""
    predictions: int = Field(default=100_000, ge=0)
    """Answers that you expect to ask for; their cost is added to that of training."""
