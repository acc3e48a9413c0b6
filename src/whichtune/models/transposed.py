"""Linear maps that keep their weight the other way round."""

from __future__ import annotations

from torch import nn


def is_transposed(module: nn.Module) -> bool:
    """Whether a module keeps its weight as [in, out], as GPT-2 in `transformers` does."""
    return type(module).__name__ == "Conv1D"
