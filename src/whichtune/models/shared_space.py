"""What belongs to both towers of a model that reads images and texts: how alike two rows of theirs are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SharedSpace:
    """The learned similarity of CLIP (Radford et al. 2021) and SigLIP (Zhai et al. 2023).

    Two rows of length one are as alike as `scale` times their product plus `bias`.
    """

    scale: float
    """Factor on the cosine: the exponential of what the file holds."""
    bias: float = 0.0
    """SigLIP's offset; CLIP has none."""
