"""One row of many: how the hidden rows of a sequence become what a head reads. B sequences, W rows each, H hidden."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from whichtune.models.anatomy import Anatomy
from whichtune.models.layout import Layout

POOLINGS = ("default", "first", "mean", "last")


def find_read(anatomy: Anatomy, layout: Layout, pooling: str) -> Tensor:
    """Return the rows that a way of pooling reads, [B, W] bool; `default` is the family's own way."""
    own = pooling == "default"
    way = anatomy.pooling if own else pooling
    if way == "mean" or (own and _pools_rows(anatomy)):
        return layout.read
    place = layout.first if way == "first" else layout.last
    return functional.one_hot(place, layout.real.shape[1]).bool()


def pool_own(trunk: nn.Module, anatomy: Anatomy, hidden: Tensor, layout: Layout) -> Tensor:
    """Pool as the family does, through the trunk's pooler and into a shared space where there are such: [B, F]."""
    if anatomy.pooler is not None and _pools_rows(anatomy):
        rows = hidden if bool(layout.read.all()) else hidden[layout.read].reshape(len(hidden), -1, hidden.shape[2])
        pooled = trunk.get_submodule(anatomy.pooler)(rows)  # images have equally many rows to read
    else:
        pooled = _pass_pooler(trunk, anatomy, pick(hidden, layout, anatomy.pooling))
    return pooled if anatomy.shared_space is None else trunk.get_submodule(anatomy.shared_space)(pooled)


def _pools_rows(anatomy: Anatomy) -> bool:
    """Tell whether the family's pooler is given all rows, and makes one of them itself."""
    return anatomy.pooler is not None and anatomy.pooler_reads == "rows"


def _pass_pooler(trunk: nn.Module, anatomy: Anatomy, rows: Tensor) -> Tensor:
    """Pass one row a sequence through the trunk's pooler, where there is one."""
    path, activation = anatomy.pooler, anatomy.pooler_activation
    if path is None:
        return rows
    pooler = trunk.get_submodule(path)
    if anatomy.pooler_reads == "pooled":
        return pooler(rows)
    return pooler(rows[:, None]) if activation is None else trunk.get_submodule(activation)(pooler(rows))


def pick(hidden: Tensor, layout: Layout, way: str) -> Tensor:
    """Return the first or the last of the rows that are read, or their mean, [B, H]."""
    if way == "mean":
        return _average(hidden, layout.read)
    places = layout.first if way == "first" else layout.last
    return hidden[torch.arange(len(hidden), device=hidden.device), places]


def _average(hidden: Tensor, read: Tensor) -> Tensor:
    """Average the read rows in float32; what stands in other rows, even NaN, does not enter."""
    rows = hidden.float().masked_fill(~read[:, :, None], 0.0)
    return (rows.sum(dim=1) / read.sum(dim=1)[:, None]).to(hidden.dtype)
