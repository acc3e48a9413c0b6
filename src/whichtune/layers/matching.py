"""How alike an image and the names of classes are, where one model has a tower for each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from whichtune.layers.heads import Head
from whichtune.models.backbone import Backbone
from whichtune.models.layout import Layout
from whichtune.models.shared_space import SharedSpace


class MatchingHead(Head):
    """Cosines between an image's row and those of L classes, in the model's own scale: [B, F] -> [B, L].

    Nothing in it is a parameter. Products are in float32 whatever runs around: the scale (100 in CLIP) would make the
    rounding of half precision decide between classes.
    """

    def __init__(self, classes: Tensor, space: SharedSpace) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("classes", classes, persistent=False)
        self.classes: Tensor
        """[L, F] float32, each of length one."""

    @property
    def size(self) -> int:
        """Nothing is added."""
        return 0

    def initialise(self, seed: int) -> None:
        """Nothing is drawn."""

    def answer(self, backbone: Backbone, hidden: Tensor, layout: Layout, pooling: str) -> Tensor:
        """Pool each image as its tower does, and compare it: [B, L]."""
        return self(backbone.pool(hidden, layout, pooling))

    def forward(self, features: Tensor) -> Tensor:
        """Return scale times cosine plus bias."""
        with torch.autocast(features.device.type, enabled=False):
            rows = normalize(features.float(), dim=1)
            return self.space.scale * (rows @ self.classes.T) + self.space.bias
