"""PEFT's own merging, with an exact way back: the tensors that stood in the layers are put there again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from whichtune.errors import TrialError
from whichtune.methods.peft_config import quiet
from whichtune.methods.peft_state import ModuleState
from whichtune.methods.peft_table import KNOWN
from whichtune.spec.peft import PeftSpec

Act = Callable[[], None]


class Merger:
    """Merges every layer of a tuner; unmerging restores what was there, bit for bit."""

    def __init__(self, layers: Sequence[Any], spec: PeftSpec) -> None:
        self.layers = layers
        self.spec = spec
        self._before: ModuleState | None = None

    def merge(self) -> None:
        """Let PEFT write copies of the trunk's weights, never the weights themselves."""
        if self._before is not None:
            raise TrialError("these layers are already merged; unmerge them first")
        before = ModuleState(*self.layers)
        try:
            with quiet(self.spec):
                for layer in self.layers:
                    _copy_weights(layer.get_base_layer())
                    layer.merge()
        except BaseException:
            before.restore()
            raise
        self._before = before

    def unmerge(self) -> None:
        """Put the original tensors back."""
        if self._before is None:
            raise TrialError("these layers are not merged")
        self._before.restore()
        self._before = None


def _copy_weights(base: nn.Module) -> None:
    for tensor in base.parameters():
        tensor.data = tensor.data.clone()


def make_merge(layers: Sequence[Any], spec: PeftSpec) -> tuple[Act | None, Act | None, str]:
    """Return merge and unmerge, or None and why not; PEFT's merge is tried once before it is promised."""
    reason = KNOWN[spec.tuner].no_merge
    if reason:
        return None, None, reason
    merger = Merger(layers, spec)
    try:
        merger.merge()
    except Exception as error:  # whatever a tuner refuses is a reason
        return None, None, f"PEFT does not merge it: {' '.join(str(error).split()) or type(error).__name__}"
    merger.unmerge()
    return merger.merge, merger.unmerge, ""
