"""Asking a language model that is not trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from whichtune.spec.backbones import BackboneSpec, MiniLMBackbone
from whichtune.spec.base import Misfit, Partial
from whichtune.spec.decoding import DecodingSpec
from whichtune.spec.merge import deep_merge
from whichtune.spec.method_base import PrompterBase
from whichtune.spec.prompts import PromptSpec, ShotsSpec, StyleName, StyleSpec, WordingName, WordingSpec
from whichtune.spec.tasks import Scoring


class PromptingSpec(PrompterBase):
    """Ask the untouched model, with or without examples in the prompt; nothing is trained.

    What is left out is as the task has it: with nothing given, this is the model before any tuning.
    """

    kind: Literal["prompting"]
    style: StyleName | None = None
    """A style by its name: how is asked."""
    template: StyleSpec | None = None
    """A style of your own."""
    wording: WordingName | None = None
    """A wording by its name: what is asked."""
    own_wording: WordingSpec | None = None
    """A wording of your own."""
    words: dict[str, str] = Field(default_factory=dict)
    """Label to the word that stands for it; a label that is not named stands for itself."""
    shots: ShotsSpec = ShotsSpec()
    """Which training rows stand in a prompt as examples."""
    scoring: Scoring | None = None
    """Which answer counts where there are labels: `generation` or `likelihood`."""
    decoding: Annotated[dict[str, Any], Partial(lambda: DecodingSpec)] = Field(default_factory=dict)
    """Settings of decoding this method overrides, such as `{max_new_tokens: 200}` for a chain of thought."""
    encoder: BackboneSpec = MiniLMBackbone(kind="minilm")
    """Which model tells the nearest rows, by the mean of its hidden rows, for `shots.choice: nearest`."""

    @field_validator("decoding")
    @classmethod
    def _decoding_is_part_of_one(cls, decoding: dict[str, Any]) -> dict[str, Any]:
        try:
            DecodingSpec.model_validate(deep_merge(DecodingSpec().model_dump(), decoding))
        except ValidationError as error:
            raise Misfit((one["loc"], one["msg"]) for one in error.errors()) from error
        return decoding

    def lay_over(self, prompt: PromptSpec) -> PromptSpec:
        """Return a task's prompt with what this method says laid over it."""
        given: dict[str, Any] = {}
        if self.style is not None or self.template is not None:
            given |= {"style": self.style or prompt.style, "template": self.template}
        if self.wording is not None or self.own_wording is not None:
            given |= {"wording": self.wording or prompt.wording, "own_wording": self.own_wording}
        if self.words:
            given["words"] = self.words
        if "shots" in self.model_fields_set:
            given["shots"] = self.shots
        return prompt.model_copy(update=given)
