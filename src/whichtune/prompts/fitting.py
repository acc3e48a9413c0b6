"""Long rows: the row's text is cut until the prompt fits, never the instruction, an example or the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whichtune.data.examples import Example
from whichtune.errors import DataError
from whichtune.prompts.prompt import Prompt, Recipe, build_prompt, cut_text


@dataclass(frozen=True)
class Ruler:
    """Counts and cuts texts in tokens, as the model's tokenizer does."""

    count_tokens: Callable[[str], int]
    cut: Callable[[str, int], str]
    """Takes a text and a number of tokens; returns the text's beginning of at most so many."""


@dataclass(frozen=True)
class Cut:
    """What was cut off one row."""

    id: str
    origin: str
    tokens: int
    """Tokens of the row's text."""
    kept_tokens: int


@dataclass(frozen=True)
class Fitted:
    """A prompt within its budget."""

    prompt: Prompt
    tokens: int
    """Tokens of the prompt."""
    cut: Cut | None = None
    """What was cut off, where anything was."""


def fit_prompt(
    recipe: Recipe,
    item: Example,
    budget_tokens: int,
    ruler: Ruler,
    shots: tuple[Sequence[Example], Sequence[Example]] = ((), ()),
) -> Fitted:
    """Build the prompt of a row within a budget, cutting the end off its text, or off the longer of two.

    The budget is what the model's context leaves beside the answer. `shots` are the row's examples and the fixed ones.
    A prompt that is too long without any of the row's text is refused: only fewer or shorter examples help.
    """
    prompt = build_prompt(recipe, item, *shots)
    tokens = ruler.count_tokens(prompt.text)
    if tokens <= budget_tokens:
        return Fitted(prompt, tokens)
    second = ruler.count_tokens(item.pair or "") > ruler.count_tokens(item.text)
    told = str(item.pair) if second else item.text
    kept = whole = ruler.count_tokens(told)
    text = told
    while tokens > budget_tokens:
        if not text:
            raise _too_long(item, (tokens, budget_tokens), ruler, shots[0])
        # Tokens join across the text's ends, and a template may show it twice, so one cut may not do.
        kept = max(0, kept - (tokens - budget_tokens))
        text = ruler.cut(told, kept) if kept else ""
        prompt = build_prompt(recipe, cut_text(item, text, second=second), *shots)
        tokens = ruler.count_tokens(prompt.text)
    return Fitted(prompt, tokens, Cut(item.id, item.origin, whole, ruler.count_tokens(text)))


def _too_long(item: Example, sizes: tuple[int, int], ruler: Ruler, examples: Sequence[Example]) -> DataError:
    tokens, budget_tokens = sizes
    longest = max(examples, key=lambda one: ruler.count_tokens(one.text), default=None)
    named = "" if longest is None else f" (the longest of its examples is {longest.origin})"
    return DataError(
        f"{item.origin}: the prompt is too long even without the row's text{named}",
        value=f"{tokens:,} tokens",
        allowed=f"up to {budget_tokens:,}",
        remedy="take fewer or shorter examples, a shorter style or a longer context; for tuners `training.max_length`",
    )
