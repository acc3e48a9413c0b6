"""`search.json`: what the search of each candidate chose, and from what; its trials have records of their own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from whichtune.records.trial import Record

End = Literal["low", "high"]


class CandidateSearch(Record):
    """The search of one candidate."""

    candidate: str
    method: str
    backbone: str | None = None
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Rate to the ends between which it was searched."""
    choices: dict[str, list[Any]] = Field(default_factory=dict)
    """Any other setting to the values that could be tried."""
    own: dict[str, Any] = Field(default_factory=dict)
    """What the entry itself says of the settings that are varied."""
    chosen: dict[str, Any] = Field(default_factory=dict)
    """The setting that final trials have."""
    score: float | None = None
    """Mean validation score of the chosen setting, higher being better: a selection score, which flatters; None where
    no search trial finished."""
    ends: dict[str, End] = Field(default_factory=dict)
    """Settings of the chosen one that lie at the end of everything that was tried."""
    extended: bool = False
    """One more rate beyond the end was tried, since the best one lay there."""
    shared_with: list[str] = Field(default_factory=list)
    """Candidates that had no search of their own and take what this one chose: they differ in their rank alone."""
    rank: int | None = None
    """The rank that was searched for all of them; None where each candidate has its own search."""
    trials: list[str] = Field(default_factory=list)
    """Ids of its search trials, in the order in which they were asked for."""


class SearchLog(Record):
    """The searches of a study."""

    settings: dict[str, Any]
    """The study's `search`, resolved."""
    metric: str | None = None
    """The metric that choices are made by; None before the first score."""
    direction: Literal["higher", "lower", "neither"] = "higher"
    """Which way of that metric is better."""
    candidates: list[CandidateSearch] = Field(default_factory=list)
    """Candidates whose search is over."""
    untuned: list[str] = Field(default_factory=list)
    """Candidates with nothing to tune: they got no search trials."""
