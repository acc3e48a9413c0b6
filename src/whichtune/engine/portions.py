"""Rows of like length in batches that fit: one that does not is halved, and so are those after it.

Predictions do not depend on their batch beyond rounding, so an evaluation need not fail for being asked about too many
rows at a time. A training batch is never cut in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from whichtune.engine.guards import fitting_in_memory
from whichtune.errors import DoesNotFitError
from whichtune.measure.device import read_free_bytes
from whichtune.models.backbone import Backbone
from whichtune.models.pair import Pair

MOST_TOKENS = 16_384
"""Tokens of a batch at most where keys and values are kept, so that long prompts come in smaller batches."""
MOST_PASSED = 65_536
"""Tokens of a batch at most that pass through a trunk and leave one row each; a GPU has enough to do with them."""
FREE_SHARE = 0.5
"""Of a GPU's free memory that a batch may need."""
TOKEN_BYTES = 96
"""Bytes that a token needs at the widest place of a block, for each number of its hidden row: that row and those of the
attention and of the wide layer beside it, 24 numbers of 4 bytes."""
ROWS = {"cpu": 64, "cuda": 512}
"""Rows of a batch that `auto` stands for: on a CPU more of them only fill its caches (docs/engine.md)."""


def count_rows(asked: int | str, device: torch.device) -> int:
    """Return the rows of an evaluation's batch: as asked, or what `auto` stands for on a device."""
    return ROWS.get(device.type, ROWS["cpu"]) if isinstance(asked, str) else asked


def count_passed(backbone: Backbone, device: torch.device) -> int:
    """Return the tokens of a batch that pass through a trunk at most, by its width and the memory that is free."""
    if device.type != "cuda":
        return MOST_PASSED
    trunks = backbone.parts.values() if isinstance(backbone, Pair) else (backbone,)
    room = FREE_SHARE * (read_free_bytes(device) or 0) / (max(one.hidden for one in trunks) * TOKEN_BYTES)
    return int(min(MOST_PASSED, max(1, room)))


def group_rows(lengths: np.ndarray, size: int, most_tokens: int = MOST_TOKENS) -> Iterator[np.ndarray]:
    """Yield rows of like length, longest first; long ones fewer at a time."""
    order = np.argsort(-lengths, kind="stable")
    place = 0
    while place < len(order):
        count = max(1, min(size, most_tokens // max(1, int(lengths[order[place]]))))
        yield order[place : place + count]
        place += count


def go_through(groups: Iterable[np.ndarray], answer: Callable[[np.ndarray], None], device: torch.device) -> int | None:
    """Answer group by group, those that do not fit in halves; return how many rows fitted at last, None for all.

    `answer` keeps what it found at its very end, so that a group which did not fit leaves nothing behind. Raises
    `DoesNotFitError` where a single row does not fit.
    """
    most: int | None = None
    for group in groups:
        rows = group
        while len(rows):
            some = rows[:most]
            if _fits(answer, some, device):
                rows = rows[len(some) :]
                continue
            most = len(some) // 2
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return most


def _fits(answer: Callable[[np.ndarray], None], rows: np.ndarray, device: torch.device) -> bool:
    """Answer some rows; return whether there was memory for it. What did not fit is let go with this call."""
    try:
        with fitting_in_memory(device):
            answer(rows)
    except DoesNotFitError:
        if len(rows) == 1:
            raise
        return False
    return True
