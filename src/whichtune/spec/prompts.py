"""How a model is asked: what a prompt is made of, which examples stand in it, and how its answer is read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from whichtune.spec.base import Spec, Steps, raise_misfit

StyleName = Literal[
    "zero-shot",
    "one-shot",
    "few-shot",
    "chain-of-thought",
    "zero-shot-chain-of-thought",
    "expert",
    "short-and-direct",
    "short-published",
]
WordingName = Literal["labels", "pairs", "multiple-choice", "statements", "inference", "problems", "summaries"]
ParserName = Literal["label", "true-false", "multiple-choice", "last-number", "text"]
Choice = Literal["fixed", "per-item", "nearest"]


class StyleSpec(Spec):
    """A way of asking, whatever is asked: three Jinja templates and how the completion is read.

    All may name the parts of the wording that are the same for every row (`ask`, `expert`, `lead_in`) and the labels'
    words (`labels`, `options`, `choices`). `example` and `query` may also name the row's columns and the wording's
    `item` and `short`; `example` the row's `answer`, and in worked examples its `reasoning`.
    """

    instruction: str = ""
    """What stands once in front; the same for every row, so it cannot name a column. Empty: nothing."""
    example: str = "{{ item }}\n{{ lead_in }} {{ answer }}"
    """One example with its answer."""
    query: str = Field(default="{{ item }}\n{{ lead_in }}", min_length=1)
    """The row that is asked about; the model goes on from its end."""
    separator: str = Field(default="\n\n", min_length=1)
    """What stands between instruction, examples and query."""
    examples: int = Field(default=0, ge=0)
    """Examples in front of the query."""
    worked: bool = False
    """Examples are the wording's worked ones, which hold a reasoning, and not rows of the training split."""
    cue: str = ""
    """Words after which a reasoned answer stands; what is read is what follows the last of them. Empty: all is read."""
    stop: tuple[str, ...] = ("\n\n",)
    """Texts at which a completion ends: what a model makes up after its answer is never read."""


class WorkedSpec(Spec):
    """An example with the way to its answer."""

    text: str = Field(min_length=1)
    """The text."""
    pair: str | None = None
    """The second text, where rows have two."""
    reasoning: str = Field(min_length=1)
    """The way to the answer, as whole sentences."""
    answer: str = Field(min_length=1)
    """The answer: a label where there are labels."""


class WordingSpec(Spec):
    """What is asked, whatever the style: Jinja templates over the labels' words and, in two of them, the columns."""

    ask: str = Field(min_length=1)
    """The question, without the row."""
    item: str = Field(default="Text: {{ text }}", min_length=1)
    """A row as it is shown; names columns."""
    short: str = Field(default="{{ item }}", min_length=1)
    """Question and row in one line; names columns, and `item`."""
    lead_in: str = "Answer:"
    """What the answer follows."""
    expert: str = "an expert in the matter"
    """Who the model is told to be."""
    parser: ParserName = "label"
    """How an answer is read."""
    worked: tuple[WorkedSpec, ...] = ()
    """Worked examples, none of which may be a row of the data."""


class ShotsSpec(Spec):
    """Which training rows stand in a prompt as examples."""

    count: int | None = Field(default=None, ge=0)
    """How many; as many as the style has when left out."""
    choice: Choice = "fixed"
    """`fixed`: the same for every row, so that their part of the prompt is run once. `per-item`: drawn for each row.
    `nearest`: the rows most like it by sentence embedding, the nearest last."""
    balanced: bool = True
    """As many of each label, to within one; by chance or by nearness alone otherwise."""


class PromptSpec(Spec):
    """A prompt: a style, a wording, words for labels and the choice of examples."""

    style: StyleName = "zero-shot"
    """A style by its name; `template` replaces it."""
    template: StyleSpec | None = None
    """A style of your own."""
    wording: WordingName | None = None
    """A wording by its name; `own_wording` replaces it. When left out, the task's: `labels`, `pairs` or `inference`
    where there are labels, `summaries` or `problems` where answers are texts."""
    own_wording: WordingSpec | None = None
    """A wording of your own."""
    words: dict[str, str] = Field(default_factory=dict)
    """Label to the word that stands for it; a label that is not named stands for itself."""
    shots: ShotsSpec = ShotsSpec()
    """Which training rows stand in a prompt as examples."""

    @model_validator(mode="after")
    def _words_differ(self) -> PromptSpec:
        seen: dict[str, str] = {}
        faults: list[tuple[Steps, str]] = []
        for label, word in self.words.items():
            twin = seen.setdefault(word.strip().casefold(), label)
            if twin != label:
                faults.append((("words", label), f"the word {word!r} stands for '{twin}' too"))
        raise_misfit(faults)
        return self
