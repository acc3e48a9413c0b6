"""Two encoders that read one row together, an image and a text: to the engine one backbone like any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from torch import nn

from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.models.backbone import Backbone
from whichtune.models.encoder import TextEncoder
from whichtune.models.image_encoder import ImageEncoder
from whichtune.models.pair_reader import PairReader

Role = Literal["image", "text"]
ROLES: tuple[Role, ...] = ("image", "text")


@dataclass(frozen=True)
class Pair(Backbone):
    """An encoder of images and one of texts. Its trunk holds both under their roles."""

    parts: Mapping[Role, Backbone] = field(default_factory=dict)

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks of both, those of the image first."""
        return nn.ModuleList([block for role in ROLES for block in self.parts[role].blocks])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.parts["image"].device

    @cached_property
    def pooling(self) -> Mapping[Role, str]:
        """How each half becomes one row where a method leaves it open.

        An encoder of texts gives the mean of its rows, as sentence encoders do, unless it has an embedding of its own
        (CLIP, SigLIP); images keep their family's way.
        """
        own = self.parts["text"].anatomy
        embeds = own.shared_space is not None or own.pooler_reads == "rows" or own.pooling != "first"
        return {"image": "default", "text": "default" if embeds else "mean"}

    def pooling_of(self, role: Role, pooling: str) -> str:
        """Return how one half becomes one row under a method's pooling."""
        return self.pooling[role] if pooling == "default" else pooling


def make_pair(image: Backbone, text: Backbone) -> Pair:
    """Put two loaded encoders together."""
    trunk = nn.ModuleDict({"image": image.trunk, "text": text.trunk})
    assert isinstance(image.reader, ImageEncoder)  # noqa: S101 - each was loaded for what it reads
    assert isinstance(text.reader, TextEncoder)  # noqa: S101
    return Pair(
        trunk=trunk,
        anatomy=replace(image.anatomy, family=f"{image.anatomy.family} + {text.anatomy.family}", measure=None),
        config={"image": image.config, "text": text.config},
        reader=PairReader(image.reader, text.reader),
        fingerprint=fingerprint_texts([image.fingerprint, text.fingerprint]),
        origin=f"{image.origin}; {text.origin}",
        notes=(*(f"image: {note}" for note in image.notes), *(f"text: {note}" for note in text.notes)),
        parts={"image": image, "text": text},
    )
