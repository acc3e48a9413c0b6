"""How a completion is written."""

from __future__ import annotations

from pydantic import Field, model_validator

from whichtune.spec.base import Spec, Steps, raise_misfit


class DecodingSpec(Spec):
    """How a completion is written: length, and how each token is chosen."""

    max_new_tokens: int | None = Field(default=None, ge=1)
    """Tokens of an answer at most; prompts leave so much room behind them. When left out 16, and 64 where answers are
    texts."""
    min_new_tokens: int = Field(default=0, ge=0)
    """Tokens of an answer at least: it cannot end before."""
    temperature: float = Field(default=0.0, ge=0)
    """What the scores are divided by before a token is drawn; 0 takes the best one."""
    top_k: int | None = Field(default=None, ge=1)
    """Draw among so many best tokens only."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw among the best tokens that hold this share of the probability together."""
    beams: int = Field(default=1, ge=1)
    """Beginnings that are followed at the same time (beam search); 1 is greedy, or sampled."""
    length_penalty: float = 1.0
    """Power of the length that a beam's score is divided by: above 1 favours longer answers."""
    no_repeat_ngram: int = Field(default=0, ge=0)
    """No sequence of so many tokens is written twice; 0 allows all."""

    @model_validator(mode="after")
    def _parts_fit(self) -> DecodingSpec:
        faults: list[tuple[Steps, str]] = []
        if self.max_new_tokens is not None and self.min_new_tokens > self.max_new_tokens:
            told = f"{self.min_new_tokens} is more than `max_new_tokens` ({self.max_new_tokens}); lower it"
            faults.append((("min_new_tokens",), told))
        if self.beams > 1 and self.temperature > 0:
            faults.append((("beams",), "beam search draws nothing; set `temperature: 0`, or `beams: 1`"))
        raise_misfit(faults)
        return self

    def settled(self, max_new_tokens: int) -> DecodingSpec:
        """Return it with the length filled in where it was left out."""
        filled = self.model_dump() | {"max_new_tokens": self.max_new_tokens or max_new_tokens}
        return DecodingSpec.model_validate(filled)

    @property
    def draws(self) -> bool:
        """Whether two seeds may write differently."""
        return self.temperature > 0
