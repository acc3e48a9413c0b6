"""Watch a trunk run once on a few tokens: which module was called when, on what, with what result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from whichtune.errors import ModelError

ROWS = 6
"""Tokens of the run."""


@dataclass(frozen=True)
class Call:
    """One call of one module; tensors are kept alive, so that their addresses stay their own."""

    order: int
    """Place among all calls, counted when they end."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def feeds(self, later: Call) -> bool:
        """Whether an output of this call is an input of a later one."""
        return any(_is_same(mine, theirs) for mine in self.outputs for theirs in later.inputs)

    def shares_input(self, other: Call) -> bool:
        """Whether both calls read the same tensor first."""
        return bool(self.inputs and other.inputs) and _is_same(self.inputs[0], other.inputs[0])

    def gives(self, tensor: Tensor) -> bool:
        """Whether the tensor is what this call returned."""
        return any(_is_same(own, tensor) for own in self.outputs)


@dataclass
class Trace:
    """What happened in one run."""

    ids: Tensor
    """[1, W] int64."""
    hidden: Tensor = field(default_factory=lambda: torch.empty(0))
    """[1, W, H]: the hidden rows it ended with."""
    calls: dict[str, list[Call]] = field(default_factory=dict)
    """Module path to its calls."""

    def once(self, path: str) -> Call | None:
        """Return the call of a module that was called exactly once."""
        calls = self.calls.get(path, [])
        return calls[0] if len(calls) == 1 else None


def observe(trunk: Any) -> Trace:
    """Run a trunk on its first few tokens other than padding, in evaluation mode, and write every call down."""
    trace = Trace(choose_ids(trunk))
    handles = [
        module.register_forward_hook(_writer(trace, path), with_kwargs=True)
        for path, module in trunk.named_modules()
        if path
    ]
    try:
        with torch.no_grad():
            trace.hidden = run_ids(trunk, trace.ids)
    except Exception as error:  # whatever a family raises that needs more than token ids
        why = " ".join(str(error).split())[:300]
        raise ModelError(f"{type(trunk).__name__}: cannot be run on token ids alone ({why})") from error
    finally:
        for handle in handles:
            handle.remove()
    return trace


def find_table(trunk: Any) -> nn.Embedding:
    """Return the token table, or raise a `ModelError` where the trunk has no plain one."""
    try:
        table = trunk.get_input_embeddings()
    except NotImplementedError:
        table = None
    if not isinstance(table, nn.Embedding):
        seen = "none" if table is None else type(table).__name__
        raise ModelError(f"{type(trunk).__name__}: the trunk has no plain token table", value=seen)
    return table


def choose_ids(trunk: Any) -> Tensor:
    """Return [1, W] token ids, none of them padding."""
    pad = getattr(trunk.config, "pad_token_id", None)
    table = find_table(trunk)
    ids = [index for index in range(min(table.num_embeddings, ROWS + 1)) if index != pad][:ROWS]
    return torch.tensor([ids], device=table.weight.device)


def run_ids(trunk: Any, ids: Tensor) -> Tensor:
    """Run the family's own forward on token ids; return its hidden rows."""
    return trunk(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state


def _writer(trace: Trace, path: str) -> Any:
    def write(_: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any], result: Any) -> None:
        order = sum(map(len, trace.calls.values()))
        call = Call(order, _tensors((*args, *named.values())), _tensors(_values(result)))
        trace.calls.setdefault(path, []).append(call)

    return write


def _values(result: Any) -> tuple[Any, ...]:
    if isinstance(result, Tensor):
        return (result,)
    if isinstance(result, Mapping):
        return tuple(result.values())
    return tuple(result) if isinstance(result, tuple | list) else ()


def _tensors(values: tuple[Any, ...]) -> tuple[Tensor, ...]:
    return tuple(value for value in values if isinstance(value, Tensor))


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape
