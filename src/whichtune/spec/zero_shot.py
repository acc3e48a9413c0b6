"""Asking a model with two towers which class name an image is nearest to."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from whichtune.spec.method_base import PrompterBase
from whichtune.spec.tasks import Reads


class ZeroShotSpec(PrompterBase):
    """Images against class names in templates, by the similarity of their embeddings (CLIP: Radford et al. 2021).

    Nothing is trained. Of several templates the embeddings of a class are averaged (section 3.1.4 there).
    """

    reads: ClassVar[Reads | None] = "pair"
    kind: Literal["zero-shot"]
    templates: tuple[str, ...] = Field(default=("a photo of a {{ label }}.",), min_length=1)
    """Jinja templates over `label`, the class name."""
    words: dict[str, str] = Field(default_factory=dict)
    """Label to the class name that stands for it; a label that is not named stands for itself, `_` as a space."""
