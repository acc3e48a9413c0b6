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
    """Build the prompt of a row within a budget, cutting the end off its text where it is too long.

    The budget is what the model's context leaves beside the answer. `shots` are the row's examples and the fixed ones.
    A prompt that is too long without any of the row's text is refused: only fewer or shorter examples help.
    """
    prompt = build_prompt(recipe, item, *shots)
    tokens = ruler.count_tokens(prompt.text)
    whole = ruler.count_tokens(item.text) if tokens > budget_tokens else 0
    if tokens <= budget_tokens:
        return Fitted(prompt, tokens)
    kept, text = whole, item.text
    while tokens > budget_tokens:
        if not text:
            raise _too_long(item, tokens, budget_tokens)
        # Tokens join across the text's ends, and a template may show it twice, so one cut may not do.
        kept = max(0, kept - (tokens - budget_tokens))
        text = ruler.cut(item.text, kept) if kept else ""
        prompt = build_prompt(recipe, cut_text(item, text), *shots)
        tokens = ruler.count_tokens(prompt.text)
    return Fitted(prompt, tokens, Cut(item.id, item.origin, whole, ruler.count_tokens(text)))


def tell_cuts(cuts: Sequence[Cut], rows: int) -> str | None:
    """Say how many rows were cut and by how much; None where none was."""
    if not cuts:
        return None
    lost = sum(one.tokens - one.kept_tokens for one in cuts)
    named = ", ".join(one.origin for one in cuts[:5]) + (", ..." if len(cuts) > 5 else "")
    return f"{len(cuts):,} of {rows:,} texts are cut to fit, by {lost / len(cuts):,.0f} tokens on average ({named})"


def _too_long(item: Example, tokens: int, budget_tokens: int) -> DataError:
    return DataError(
        f"{item.origin}: the prompt is too long even without the row's text",
        value=f"{tokens:,} tokens",
        allowed=f"up to {budget_tokens:,}",
        remedy="take fewer examples or a shorter style, raise `training.max_length`, or choose a longer context",
    )
