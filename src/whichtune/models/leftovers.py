"""What is neither block, final norm nor pooler: embeddings, tables that several blocks share, tensors nobody reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from whichtune.models.observe import Trace, find_table, run_ids


@dataclass(frozen=True)
class Leftovers:
    """The parts around the blocks; paths and names from the trunk."""

    tokens: str
    embeddings: tuple[str, ...]
    shared: tuple[str, ...]
    unread: tuple[str, ...]
    position_offset: int
    positions: int | None


def sort_leftovers(trunk: Any, owned: tuple[str, ...], trace: Trace) -> Leftovers:
    """Sort every tensor outside the owned parts by what its module does in the observed run."""
    tokens = find_tokens(trunk)
    home = widest_home(tokens, owned)
    names = [name for name, _ in trunk.named_parameters() if not _inside(name, (*owned, home))]
    unread = find_unread(trunk, names, trace)
    owners = dict.fromkeys(name.rpartition(".")[0] for name in names if name not in unread)
    before = [path for path in owners if _makes_rows(path, trace)]
    offset, positions = find_positions(trunk, (home, *before), trace)
    return Leftovers(
        tokens=tokens,
        embeddings=(home, *before),
        shared=tuple(path for path in owners if path not in before),
        unread=unread,
        position_offset=offset,
        positions=positions,
    )


def find_tokens(trunk: Any) -> str:
    """Return the path of the token table."""
    table = find_table(trunk)
    return next(path for path, module in trunk.named_modules() if module is table)


def widest_home(tokens: str, owned: tuple[str, ...]) -> str:
    """Return the outermost module around the token table that holds none of the owned parts."""
    parts = tokens.split(".")
    for size in range(1, len(parts)):
        home = ".".join(parts[:size])
        if not any(path.startswith(f"{home}.") for path in owned):
            return home
    return tokens


def find_unread(trunk: Any, names: list[str], trace: Trace) -> tuple[str, ...]:
    """Name the tensors from which no path leads to the hidden rows."""
    if not names:
        return ()
    tensors = [trunk.get_parameter(name) for name in names]
    asked = [tensor.requires_grad for tensor in tensors]
    try:
        with torch.enable_grad():
            for tensor in tensors:
                tensor.requires_grad_(True)
            gradients: Any = torch.autograd.grad(run_ids(trunk, trace.ids).sum(), tensors, allow_unused=True)
    finally:
        for tensor, before in zip(tensors, asked, strict=True):
            tensor.requires_grad_(before)
    return tuple(name for name, gradient in zip(names, gradients, strict=True) if gradient is None)


def find_positions(trunk: Any, places: tuple[str, ...], trace: Trace) -> tuple[int, int | None]:
    """Return what a family adds to a row's place, and the rows a sequence may have, by its table of positions.

    Where the configuration allows fewer rows, its word is taken.
    """
    limit = getattr(trunk.config, "max_position_embeddings", None)
    limit = limit if isinstance(limit, int) and limit > 0 else None
    for path, module in trunk.named_modules():
        if not _inside(path, places) or not isinstance(module, nn.Embedding):
            continue
        last = path.rpartition(".")[2]
        if "pos" in last or last == "wpe":
            offset = _find_offset(path, module, trace)
            rows = module.num_embeddings - offset
            return offset, rows if limit is None else min(rows, limit)
    return 0, limit


def _find_offset(path: str, table: nn.Embedding, trace: Trace) -> int:
    """Return the row that the first token looked up; a table that adds on its own is asked from its padding row."""
    call = trace.once(path)
    if type(table) is nn.Embedding and call is not None and call.inputs:
        return int(call.inputs[0].min())
    return 0 if table.padding_idx is None else table.padding_idx + 1


def _inside(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _makes_rows(path: str, trace: Trace) -> bool:
    """Whether a module gave one row a token, as embeddings, projections and norms of rows do."""
    call = trace.once(path)
    width = trace.ids.shape[1]
    return call is not None and any(one.ndim == 3 and one.shape[:2] == (1, width) for one in call.outputs)
