"""Soft prompts: trained rows in front of every text or image, as they are or made by an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from whichtune.spec.base import Steps, raise_misfit
from whichtune.spec.method_base import TunerBase

DEEP_RATE = 3e-2
"""Peak learning rate of keys and values that no encoder makes; the search is in docs/decisions/0011."""


ENCODER_RATES = (1e-4, 3e-2)
"""Ends between which a search looks for the rate of an encoder that makes rows."""


class SoftPromptBase(TunerBase):
    """What every soft prompt may say."""

    patience: ClassVar[int] = 4
    rates: ClassVar[tuple[float, float]] = (1e-3, 0.3)

    virtual_tokens: int = Field(default=20, ge=1)
    """Rows in front of every text or image; in front of a text each takes one of the model's positions."""
    initialise: Literal["random", "vocabulary", "phrase"] = "vocabulary"
    """What the rows start from: random numbers as wide as the token table's, random words, or a phrase's tokens. Images
    have no words: `random` and `vocabulary` both mean uniform numbers, as wide as a patch's projection would start
    from (Jia et al. 2022, VPT)."""
    phrase: str | None = Field(default=None, min_length=1)
    """Text the rows start from with `initialise: phrase`; repeated or cut to their number."""
    read: Literal["token", "virtual"] = "token"
    """Row the head reads: the text's or image's own, or the first virtual row (as Hugging Face PEFT does)."""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> SoftPromptBase:
        raise_misfit(self.misfits())
        return self

    def misfits(self) -> Iterator[tuple[Steps, str]]:
        """Say which settings contradict each other."""
        if self.initialise == "phrase" and self.phrase is None:
            yield ("phrase",), "is missing; `initialise: phrase` needs one, such as `phrase: Classify the sentiment`"
        if self.initialise != "phrase" and self.phrase is not None:
            yield ("phrase",), f"has no use with `initialise: {self.initialise}`; set `initialise: phrase`"


class PromptTuningSpec(SoftPromptBase):
    """Trained rows before every text (Lester et al. 2021) or image (Jia et al. 2022); trunk frozen, head trained."""

    kind: Literal["prompt-tuning"]
    learning_rate: float = Field(default=1e-2, gt=0)
    """Peak learning rate of the rows."""
    head_learning_rate: float | None = Field(default=5e-3, gt=0)
    """Peak learning rate of the head; the rows' own when null."""
    deep: bool = False
    """Give every block rows of its own in place of those that come out of the block before, which is the deep form of
    visual prompts (Jia et al. 2022, VPT) and works in front of texts too; rows in front of the first block alone
    otherwise. In front of texts they start from what reaches each block when the trunk reads words or the phrase."""


class PTuningSpec(SoftPromptBase):
    """Rows made by a small trained encoder (Liu et al. 2021), or keys and values of every block (Liu et al. 2022)."""

    kind: Literal["p-tuning"]
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of rows and encoder; of deep prompts without an encoder 3e-2, when left out."""
    head_learning_rate: float | None = Field(default=5e-3, gt=0)
    """Peak learning rate of the head; the rows' own when null."""
    initialise: Literal["random", "vocabulary", "phrase"] = "random"
    """What the rows start from: random numbers, random words, or a phrase's tokens (deep: what the trunk makes of
    them); random numbers in any case in front of images."""
    encoder: Literal["mlp", "lstm", "none"] = "mlp"
    """What makes the rows: three linear maps, a bidirectional LSTM, or nothing (with `deep` alone)."""
    encoder_width: int | None = Field(default=None, ge=1)
    """Inner width of the encoder; the token table's when left out."""
    encoder_layers: int = Field(default=2, ge=1)
    """Layers of the LSTM."""
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout between the LSTM's layers."""
    deep: bool = False
    """Give every block keys and values of its own (prefix tuning, P-tuning v2) instead of rows at the input."""

    def rate_range(self) -> tuple[float, float]:
        """Return lower rates for an encoder than for rows: it is a network of its own."""
        return self.rates if self.encoder == "none" else ENCODER_RATES

    @model_validator(mode="after")
    def _rate_fits_the_encoder(self) -> PTuningSpec:
        if self.encoder == "none" and "learning_rate" not in self.model_fields_set:
            # The class is frozen for its users; a default that hangs on another field can be filled in only here.
            vars(self).update({"learning_rate": DEEP_RATE})
        return self

    def misfits(self) -> Iterator[tuple[Steps, str]]:
        """Say which settings contradict each other."""
        yield from super().misfits()
        if self.encoder == "none" and not self.deep:
            yield ("encoder",), "none needs `deep: true`; rows at the input without an encoder are `prompt-tuning`"
        if self.encoder == "lstm" and self.deep:
            yield ("encoder",), "lstm makes rows at the input only; with `deep: true` use mlp or none"
        for name, used in (
            ("encoder_width", self.encoder != "none"),
            ("encoder_layers", self.encoder == "lstm"),
            ("encoder_dropout", self.encoder == "lstm" and self.encoder_layers > 1),
        ):
            if not used and getattr(self, name) != type(self).model_fields[name].default:
                layers = " of one layer" if self.encoder == "lstm" else ""
                yield (name,), f"has no use with `encoder: {self.encoder}`{layers}; leave it out"
        if self.deep and self.read == "virtual":
            yield ("read",), "virtual has nothing to read with `deep: true`; its rows are keys and values alone"
