"""Any tuner of Hugging Face PEFT, by that tuner's own configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from whichtune.errors import did_you_mean, sentence
from whichtune.spec.base import Steps, raise_misfit
from whichtune.spec.method_base import TunerBase


@dataclass(frozen=True)
class Start:
    """Rates a search starts from; they come from the tuners' papers and PEFT's examples, not from a search of ours."""

    learning_rate: float
    head_learning_rate: float | None = None
    range: tuple[float, float] = (1e-4, 3e-3)
    """Ends between which a search looks for the learning rate."""


_MATRICES = Start(1e-3)
"""Low-rank and other matrices beside the weights, as LoRA's."""
_ROTATIONS = Start(1e-3)
"""Orthogonal factors in front of the weights."""
_SCALES = Start(5e-3, range=(5e-4, 5e-2))
"""Vectors that scale or shift rows: few numbers, each with much to do."""
_SPECTRA = Start(3e-2, range=(1e-3, 0.3))
"""Coefficients in another basis, scaled down before they reach the weights."""
_ROWS = Start(1e-2, head_learning_rate=5e-3, range=(1e-3, 0.3))
"""Rows in front of the text."""
_ENCODERS = Start(1e-3, head_learning_rate=5e-3, range=(1e-4, 3e-2))
"""Small networks that make such rows."""
_WEIGHTS = Start(1e-4, range=(1e-5, 1e-3))
"""Factors or entries of the trunk's own weights."""

STARTS: Mapping[str, Start] = {
    "adalora": _MATRICES,
    "adamss": _MATRICES,
    "adaption_prompt": _ROWS,
    "beft": _SCALES,
    "boft": _ROTATIONS,
    "c3a": _SPECTRA,
    "cartridge": _ROWS,
    "cpt": _ROWS,
    "deft": _MATRICES,
    "delora": _SCALES,
    "fourierft": _SPECTRA,
    "frod": _SCALES,
    "glora": _MATRICES,
    "gralora": _MATRICES,
    "hira": _MATRICES,
    "hra": _ROTATIONS,
    "ia3": _SCALES,
    "lily": _MATRICES,
    "ln_tuning": _MATRICES,
    "loha": _MATRICES,
    "lokr": _MATRICES,
    "lora": _MATRICES,
    "miss": _MATRICES,
    "multitask_prompt_tuning": _ROWS,
    "oft": _ROTATIONS,
    "osf": _WEIGHTS,
    "p_tuning": _ENCODERS,
    "peanut": _MATRICES,
    "poly": _MATRICES,
    "prefix_tuning": _ROWS,
    "prompt_tuning": _ROWS,
    "psoft": _ROTATIONS,
    "pvera": _SCALES,
    "randlora": _MATRICES,
    "road": _SCALES,
    "shadow": _MATRICES,
    "shira": _MATRICES,
    "supertuning": _MATRICES,
    "tinylora": _SCALES,
    "trainable_tokens": _SCALES,
    "unilora": _SCALES,
    "vblora": _SCALES,
    "vera": _SCALES,
    "waveft": _SPECTRA,
    "xlora": _MATRICES,
}
"""Tuner, as PEFT names its type in small letters, to the rates a search starts from."""
OPTIONS = {
    "dora": "lora with `config: {use_dora: true}`",
    "rslora": "lora with `config: {use_rslora: true}`",
    "pissa": "lora with `config: {init_lora_weights: pissa}`",
    "olora": "lora with `config: {init_lora_weights: olora}`",
    "kasa": "lora",
    "qalora": "lora",
    "bone": "miss with `config: {init_weights: bat}`",
}
"""Methods that are an option of a tuner and no type of their own."""
PROMPTS = frozenset({"prompt_tuning", "p_tuning"})
"""Tuners that put rows in front of the text, which a head may read."""


class PeftSpec(TunerBase):
    """Any tuner of Hugging Face PEFT, wrapped around the frozen trunk; the head is whichtune's own and is trained too.

    It needs `pip install 'whichtune[peft]'`. What each tuner trains by default, and why a few cannot run, stands in
    `docs/peft.md`.
    """

    kind: Literal["peft"]
    tuner: str = "lora"
    """Type of the tuner as PEFT names it, in small letters: `lora`, `adalora`, `ia3`, `vera`, `oft`, ..."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Fields of that tuner's own configuration class, such as `{r: 8, use_dora: true}`; `target_modules` may hold
    anatomy words (`query`, `mlp-in`, ..., `attention`, `all-linear`) beside module names."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate; when left out, a starting point for the kind of tuner."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the head; when left out, a starting point for the kind of tuner (null: the same)."""
    read: Literal["token", "virtual"] = "token"
    """With rows in front of the text, the row the head reads: the text's own first, or the first virtual (as PEFT)."""

    @field_validator("tuner", mode="before")
    @classmethod
    def _tuner_is_known(cls, tuner: Any) -> Any:
        word = spell(tuner)
        if word in STARTS or not isinstance(tuner, str):
            return word
        near = f"it is {OPTIONS[word]}" if word in OPTIONS else did_you_mean(word, STARTS)
        raise ValueError(sentence("no tuner of PEFT", value=tuner, allowed=", ".join(STARTS), remedy=near))

    def rate_range(self) -> tuple[float, float]:
        """Return the range of the kind of tuner."""
        return STARTS[self.tuner].range

    @model_validator(mode="after")
    def _rates_fit_the_tuner(self) -> PeftSpec:
        start = STARTS[self.tuner]
        rates = {"learning_rate": start.learning_rate, "head_learning_rate": start.head_learning_rate}
        # The class is frozen for its users; a default that hangs on another field can be filled in only here.
        vars(self).update({name: rate for name, rate in rates.items() if name not in self.model_fields_set})
        return self

    @model_validator(mode="after")
    def _parts_fit_together(self) -> PeftSpec:
        raise_misfit(self.misfits())
        return self

    def misfits(self) -> Iterator[tuple[Steps, str]]:
        """Say which settings contradict each other."""
        if self.read == "virtual" and self.tuner not in PROMPTS:
            yield ("read",), f"virtual has nothing to read: {self.tuner} puts no rows in front of the text"


def spell(tuner: Any) -> Any:
    """Bring the name of a tuner to PEFT's spelling in small letters."""
    return tuner.lower().replace("-", "_") if isinstance(tuner, str) else tuner
