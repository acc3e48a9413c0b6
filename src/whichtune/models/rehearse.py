"""Prove an anatomy that was found by structure: our way of running the trunk must give the family's own rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from whichtune.errors import ModelError
from whichtune.models.backbone import Backbone
from whichtune.models.batch import Batch, Encoded, collate
from whichtune.models.layout import Side
from whichtune.models.observe import choose_ids, run_ids
from whichtune.models.packing import find_window

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference that counts as equal, as a share of the rows' standard deviation."""


SIDES: tuple[Side, ...] = ("right", "left")
LONG_ROWS = 80
"""Rows of the longest text, where the model allows so many: more than one block of attention that works in blocks."""


def rehearse(backbone: Backbone) -> None:
    """Run three texts in every layout beside the family's own forward, or raise a `ModelError`."""
    texts = choose_texts(backbone)
    with torch.no_grad():
        own = [run_ids(backbone.trunk, ids[None])[0] for ids in texts]
        for ids, expected in zip(texts, own, strict=True):
            _compare(backbone, "without padding", expected, _run(backbone, [ids], "right")[0])
        for side in SIDES:
            for expected, rows in zip(own, _run(backbone, texts, side), strict=True):
                _compare(backbone, f"with padding on the {side}", expected, rows)


def why_padded(backbone: Backbone) -> str | None:
    """Say why a trunk cannot run without padding; None where it was tried and gives the rows it gives with padding."""
    window = find_window(backbone.config)
    if backbone.anatomy.reads != "text" or not backbone.takes_rows:
        return "its rows all have the same length, or it takes token ids alone"
    if window is not None:
        return f"its attention reaches only so far (`{window}`)"
    texts, packed = choose_texts(backbone), replace(backbone, unpads=True)
    with torch.no_grad():
        expected = _run(backbone, texts, "right")
        for side in SIDES:
            way = partial(_run, packed, texts, side, rowwise=True)
            reason = _why_other(expected, way, "its attention is not reached that way")
            if reason is not None:
                return reason
    return None


def why_wide(backbone: Backbone) -> str | None:
    """Say why the last block runs for all rows of a trunk without padding; None where it gives the same for some."""
    if backbone.anatomy.runs > 1:
        return "its last block is its first one, too"
    texts, narrow = choose_texts(backbone), replace(backbone, narrows=True)
    with torch.no_grad():
        expected = _run(backbone, texts, "right", rowwise=True)
        for step in (LONG_ROWS, 3):  # the first row of each text, as heads read it, and several
            way = partial(_run, narrow, texts, "right", rowwise=True, step=step)
            reason = _why_other(expected, way, "its last block cannot be broken off", step)
            if reason is not None:
                return reason
    return None


def _why_other(
    expected: Sequence[Tensor], run: Callable[[], list[Tensor]], unreached: str, step: int = 1
) -> str | None:
    """Say how a way of running texts fails, or how far the rows lie apart; None where it gives the same."""
    try:
        found = run()
    except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError) as error:
        return f"{unreached} ({type(error).__name__})"
    pairs = zip(expected, found, strict=True)
    away = max(_measure(own[::step], ours[::step], spread=own) for own, ours in pairs)
    if not away <= TOLERANCE[found[0].dtype]:
        return f"its rows would differ by {away:.1e} of their standard deviation"
    return None


def choose_texts(backbone: Backbone) -> list[Tensor]:
    """Return token ids of a few rows, of half as many, and of many."""
    few = choose_ids(backbone.trunk)[0]
    most = LONG_ROWS if backbone.anatomy.positions is None else min(LONG_ROWS, backbone.anatomy.positions)
    places = torch.arange(most, device=few.device)
    return [few, few[: max(1, len(few) // 2)], few[places * places % len(few)]]


def _run(
    backbone: Backbone, texts: list[Tensor], side: Side, *, rowwise: bool = False, step: int | None = None
) -> list[Tensor]:
    """Run texts as one batch; return the real rows of each. With a `step`, no row between every so many is wanted."""
    lengths = [len(text) for text in texts]
    encoded = Encoded(
        tokens=torch.cat(texts).numpy(force=True).astype(np.int32),
        offsets=np.cumsum([0, *lengths]),
        targets=np.full(len(texts), -1),
    )
    batch: Batch = collate(encoded, range(len(texts)), side=side).to(backbone.device)
    real = batch.layout.real
    wanted = None if step is None else real & (batch.layout.positions % step == 0)
    hidden = backbone.run(backbone.embed(batch), batch.layout, batch.segments, rowwise=rowwise, wanted=wanted)
    return [rows[own] for rows, own in zip(hidden, real, strict=True)]


def _measure(own: Tensor, ours: Tensor, spread: Tensor | None = None) -> float:
    """Return how far two tensors lie apart, as a share of the standard deviation of the first one, or of `spread`."""
    return float((own.float() - ours.float()).abs().max() / (own if spread is None else spread).float().std())


def _compare(backbone: Backbone, where: str, own: Tensor, ours: Tensor) -> None:
    away = _measure(own, ours)
    if not away <= TOLERANCE[own.dtype]:
        raise ModelError(
            f"{backbone.anatomy.family}: {where}, its hidden rows differ from the family's own forward "
            f"by {away:.1e} of their standard deviation",
            remedy="add the family to the table in `whichtune/models/families/`, or choose another backbone",
        )
