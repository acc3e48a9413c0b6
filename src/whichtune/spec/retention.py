"""What a model should still be good at after tuning: measured before and after, and never used to choose by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from whichtune.spec.base import Spec
from whichtune.spec.prompts import PromptSpec
from whichtune.spec.sources import (
    DataSpec,
    DocstringsSource,
    FilesSource,
    HubSource,
    MovieReviewsSource,
    NliGrammarSource,
    PackageSource,
    StatementsSource,
    TweetsSource,
)

MeasureName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]


class TextFileSource(Spec):
    """A plain text file of the user's own; its paragraphs, with blank lines between them, are the rows."""

    kind: Literal["text-file"]
    path: Path
    """The file; a relative path starts at the folder of the study file."""
    encoding: str | None = None
    """Text encoding; UTF-8 is tried first, then detected and reported, when left out."""


TextSourceSpec = Annotated[
    TextFileSource
    | FilesSource
    | HubSource
    | PackageSource
    | MovieReviewsSource
    | TweetsSource
    | NliGrammarSource
    | DocstringsSource
    | StatementsSource,
    Field(discriminator="kind"),
]


class TextLossSpec(Spec):
    """Loss of held-out general text: nats a token under the model's own output head, and the perplexity.

    Each row is read by itself, from its first token on, which is scored by nothing.
    """

    kind: Literal["text-loss"]
    source: TextSourceSpec = Field(examples=["{kind: text-file, path: general.txt}"])
    """Where the text comes from; of a source that is split the test rows are read, or else the last part there is."""
    column: str = "text"
    """Column of the text, where rows have columns."""
    rows: int | None = Field(default=200, ge=2)
    """Rows drawn, by the hash of their places; all when null."""
    max_length: int = Field(default=256, ge=4)
    """Tokens a row at most; what is longer is cut and counted."""
    seed: int = 0
    """Seed of the drawing."""


class OtherLabelsSpec(Spec):
    """Accuracy on another labelled task, asked by a prompt; the likeliest label word is the answer."""

    kind: Literal["labels"]
    data: DataSpec = Field(examples=["{source: {kind: statements}}"])
    """The other task's rows; those of its test split are asked about."""
    prompt: PromptSpec = PromptSpec()
    """How a row becomes a prompt, without examples and without a reasoning."""
    chat: Literal["auto", "never"] = "auto"
    """`auto`: a prompt is the user's turn of a conversation where the tokenizer has a chat template."""
    rows: int | None = Field(default=200, ge=2)
    """Test rows asked about, drawn by the split's seed; all when null."""
    max_length: int = Field(default=256, ge=4)
    """Tokens of a prompt and its answer at most; a text that is longer is cut and counted."""


RetentionSpec = Annotated[TextLossSpec | OtherLabelsSpec, Field(discriminator="kind")]
