"""How rows become prompts with answers behind them, as token ids, and how completions become predictions.

What a method trains on and what it is asked are the same ids: the prompt of a row, then its answer, then the token
that ends it. The text of a row is cut until all fits; never the instruction, an example or the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from pydantic import ValidationError

from whichtune.data.examples import Example
from whichtune.errors import DataError, ModelError, SpecError
from whichtune.models.batch import Encoded
from whichtune.models.encoder import TextEncoder
from whichtune.models.prompt_tokens import encode_answer, encode_prompt
from whichtune.prompts.fitting import Fitted, Ruler, fit_prompt
from whichtune.prompts.parsers import AnswerReader
from whichtune.prompts.prompt import Recipe, make_recipe
from whichtune.prompts.styles import choose_wording
from whichtune.spec.decoding import DecodingSpec
from whichtune.spec.merge import deep_merge
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.prompts import PromptSpec
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import LanguageTaskBase, Scoring, TaskSpec

Shots = Callable[[Example], tuple[Example, ...]]
"""Returns the examples that stand in a row's prompt."""
UNBOUNDED_TOKENS = 4096
"""Length of a row where the model sets no limit."""


def no_shots(item: Example) -> tuple[Example, ...]:
    """Put no examples into the prompt."""
    del item
    return ()


@dataclass(frozen=True)
class Asking:
    """One way of asking: the recipe of the prompt, and how its completions are written and read."""

    recipe: Recipe
    labels: tuple[str, ...]
    """Empty where answers are texts."""
    decoding: DecodingSpec
    """With its length filled in."""
    chat: bool
    """Whether a prompt is a turn of a conversation, where the tokenizer knows of any."""
    scoring: Scoring = "generation"
    shots: Shots = field(default=no_shots, repr=False)
    fixed: tuple[Example, ...] = ()
    """The examples that every prompt has."""

    @property
    def reader(self) -> AnswerReader:
        """How completions are read."""
        return self.recipe.reader

    @property
    def room(self) -> int:
        """Tokens that are kept free for the answer."""
        return self.decoding.max_new_tokens or 1

    @property
    def by_labels(self) -> bool:
        """Whether the likelihood of each label says something: not where a reasoning stands before the answer."""
        return bool(self.labels) and not self.recipe.style.cue

    def words(self) -> list[str]:
        """Return what a model is to say for each label, in label order."""
        return [self.recipe.answer_of(label) for label in self.labels]

    def expect(self, gold: str | None) -> str | None:
        """Return a gold answer in the form in which answers are read."""
        return None if gold is None else self.reader.expect(gold)


def make_asking(
    task: TaskSpec, labels: tuple[str, ...], columns: Columns, method: PromptingSpec | None = None
) -> Asking:
    """Put together how a task's rows are asked about, by the task's own prompt or by a method's."""
    prompt = task.prompt if isinstance(task, LanguageTaskBase) else PromptSpec()
    decoding = task.decoding if isinstance(task, LanguageTaskBase) else DecodingSpec()
    chat = not isinstance(task, LanguageTaskBase) or task.chat == "auto"
    scoring: Scoring | None = getattr(task, "scoring", None)
    if method is not None:
        prompt, scoring = method.lay_over(prompt), method.scoring or scoring
    if prompt.wording is None:
        prompt = prompt.model_copy(update={"wording": choose_wording(task, labels, columns)})
    room = task.room if isinstance(task, LanguageTaskBase) else 16
    recipe = make_recipe(prompt, labels, columns)
    if method is not None and method.scoring == "likelihood" and (not labels or recipe.style.cue):
        why = "a reasoning stands before the answer" if labels else f"the answers of {task.kind} are texts"
        raise SpecError(f"`scoring: likelihood` compares labels, but {why}", remedy="leave `scoring` out")
    if not labels and recipe.wording.parser == "label":
        remedy = "name another wording, or another parser: `own_wording: {parser: last-number, ...}`"
        raise SpecError("the wording's answers are labels, and the task has none", value="label", remedy=remedy)
    settled = _settle(decoding, {} if method is None else method.decoding, room)
    return Asking(recipe, labels, settled, chat, scoring or "generation")


def _settle(decoding: DecodingSpec, changes: Mapping[str, Any], room: int) -> DecodingSpec:
    """Lay a method's settings over the task's and fill the length in; together they may not fit."""
    try:
        return DecodingSpec.model_validate(deep_merge(decoding.model_dump(), changes)).settled(room)
    except ValidationError as error:
        raise SpecError(f"decoding.{error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def encode_asked(
    asking: Asking, examples: Sequence[Example], encoder: TextEncoder, max_length: int | None = None
) -> Encoded:
    """Encode prompts with their answers, where these are known; a row has at most `max_length` tokens.

    So much room as an answer may take is kept free behind every prompt, whatever the row's own answer, so that a
    prompt does not depend on it; only where a given answer is longer than that does it take more.
    """
    longest = _longest(encoder, max_length)
    if asking.room >= longest:
        raise ModelError(
            "decoding.max_new_tokens", value=asking.room, allowed=f"below {longest}, the tokens of a row",
            remedy="lower it, or raise `training.max_length`",
        )  # fmt: skip
    rows = [_encode_row(asking, one, encoder, longest) for one in examples]
    index = {label: place for place, label in enumerate(asking.labels)}
    targets = np.array([index.get(one.gold or "", -1) for one in examples], np.int64)
    lengths = [len(prompt) + len(answer) for prompt, answer, _ in rows]
    tokens = np.fromiter((token for prompt, answer, _ in rows for token in (*prompt, *answer)), np.int32, sum(lengths))
    encoder.require_known(tokens)
    return Encoded(
        tokens=tokens,
        offsets=np.concatenate([np.zeros(1, np.int64), np.array(lengths, np.int64).cumsum()]),
        targets=targets,
        over_long=tuple(place for place, (_, _, cut) in enumerate(rows) if cut),
        starts=np.array([len(prompt) for prompt, _, _ in rows], np.int64),
    )


def encode_words(asking: Asking, encoder: TextEncoder, item: Example) -> list[list[int]]:
    """Return the ids of each label's word behind a prompt, without the token that ends an answer."""
    prompt = fit_row(asking, item, encoder, _longest(encoder, None) - asking.room).prompt.text
    return [encode_answer(encoder, prompt, word, chat=asking.chat) for word in asking.words()]


def fit_row(asking: Asking, item: Example, encoder: TextEncoder, budget_tokens: int) -> Fitted:
    """Build the prompt of a row within a budget."""
    ruler = Ruler(partial(_count, encoder, chat=asking.chat), partial(_cut, encoder))
    return fit_prompt(asking.recipe, item, budget_tokens, ruler, (asking.shots(item), asking.fixed))


def _encode_row(asking: Asking, item: Example, encoder: TextEncoder, longest: int) -> tuple[list[int], list[int], bool]:
    fitted = fit_row(asking, item, encoder, longest - asking.room)
    answer: list[int] = []
    if item.gold is not None:
        _require_readable(asking, item)
        told = asking.recipe.answer_of(item.gold)
        answer = [*encode_answer(encoder, fitted.prompt.text, told, chat=asking.chat), *encoder.ends[:1]]
        if fitted.tokens + len(answer) > longest:
            _require_answer_fits(item, len(answer), longest)
            fitted = fit_row(asking, item, encoder, longest - len(answer))
    prompt = encode_prompt(encoder, fitted.prompt.text, chat=asking.chat)
    if not prompt:
        raise DataError(f"{item.origin}: the tokenizer makes no token of the prompt", remedy="give the row a text")
    return prompt, answer, fitted.cut is not None


def _require_readable(asking: Asking, item: Example) -> None:
    """Refuse a gold answer that no completion could ever be read as: every answer would count as wrong."""
    if item.gold is not None and not asking.reader.knows(item.gold):
        parser = asking.recipe.wording.parser
        raise DataError(
            f"{item.origin}: the parser `{parser}` reads no answer off the gold answer", value=item.gold[:60],
            remedy="correct the row or `data.columns.label`, or name another wording or parser (`task.prompt`)",
        )  # fmt: skip


def _require_answer_fits(item: Example, tokens: int, longest: int) -> None:
    if tokens >= longest:
        raise DataError(
            f"{item.origin}: the answer alone fills the row", value=f"{tokens:,} tokens", allowed=f"below {longest:,}",
            remedy="raise `training.max_length`, take a model with a longer context, or leave the row out",
        )  # fmt: skip


def _longest(encoder: TextEncoder, max_length: int | None) -> int:
    most = encoder.max_positions or UNBOUNDED_TOKENS
    if max_length is not None and encoder.max_positions is not None and max_length > most:
        allowed = f"at most {most}, the positions of the model"
        raise ModelError("max_length", value=max_length, allowed=allowed, remedy="lower `max_length`")
    return most if max_length is None else max_length


def _count(encoder: TextEncoder, text: str, *, chat: bool) -> int:
    return len(encode_prompt(encoder, text, chat=chat))


def _cut(encoder: TextEncoder, text: str, tokens: int) -> str:
    """Return the beginning of a text that has at most so many tokens."""
    row = encoder.tokenizer.encode(text, add_special_tokens=False)
    return text if len(row.ids) <= tokens else text[: row.offsets[tokens - 1][1]]
