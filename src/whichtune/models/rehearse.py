"""Prove an anatomy that was found by structure: our way of running the trunk must give the family's own rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whichtune.errors import ModelError
from whichtune.models.backbone import Backbone
from whichtune.models.batch import Batch, Encoded, collate
from whichtune.models.layout import Side
from whichtune.models.observe import choose_ids, run_ids

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference that counts as equal, as a share of the rows' standard deviation."""


def rehearse(backbone: Backbone) -> None:
    """Run two short texts in every layout beside the family's own forward, or raise a `ModelError`."""
    whole = choose_ids(backbone.trunk)[0]
    part = whole[: max(1, len(whole) // 2)]
    with torch.no_grad():
        own = [run_ids(backbone.trunk, ids[None])[0] for ids in (whole, part)]
        _compare(backbone, "without padding", own[0], _run(backbone, [whole], "right")[0])
        for side in ("right", "left"):
            for expected, rows in zip(own, _run(backbone, [whole, part], side), strict=True):
                _compare(backbone, f"with padding on the {side}", expected, rows)


def _run(backbone: Backbone, texts: list[Tensor], side: Side) -> list[Tensor]:
    """Run texts as one batch; return the real rows of each."""
    lengths = [len(text) for text in texts]
    encoded = Encoded(
        tokens=torch.cat(texts).numpy(force=True).astype(np.int32),
        offsets=np.cumsum([0, *lengths]),
        targets=np.full(len(texts), -1),
    )
    batch: Batch = collate(encoded, range(len(texts)), side=side).to(backbone.device)
    hidden = backbone.run(backbone.embed(batch), batch.layout, batch.segments)
    return [rows[real] for rows, real in zip(hidden, batch.layout.real, strict=True)]


def _compare(backbone: Backbone, where: str, own: Tensor, ours: Tensor) -> None:
    away = float((own.float() - ours.float()).abs().max() / own.float().std())
    if not away <= TOLERANCE[own.dtype]:
        raise ModelError(
            f"{backbone.anatomy.family}: {where}, its hidden rows differ from the family's own forward "
            f"by {away:.1e} of their standard deviation",
            remedy="add the family to the table in `whichtune/models/families.py`, or choose another backbone",
        )
