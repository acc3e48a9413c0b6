"""Prompts from a style, a wording, a row and its examples: the whole text, its parts, and the head all rows share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from whichtune.data.examples import Example
from whichtune.errors import DataError, SpecError
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.prompts.parsers import AnswerReader
from whichtune.prompts.styles import find_style, find_wording
from whichtune.prompts.templates import Template, compile_template
from whichtune.prompts.words import choose_words, join_options, letter_choices
from whichtune.spec.prompts import PromptSpec, ShotsSpec, StyleSpec, WordingSpec
from whichtune.spec.sources import Columns

PartKind = Literal["instruction", "example", "query"]
_SHARED = ("ask", "expert", "lead_in", "labels", "options", "choices")


@dataclass(frozen=True)
class Part:
    """One part of a prompt, without the separator."""

    kind: PartKind
    text: str
    id: str = ""
    """Id of the row it was made from; empty where there is none."""


@dataclass(frozen=True)
class Prompt:
    """What a model is given for one row."""

    text: str
    parts: tuple[Part, ...]
    shared_prefix: str
    """The head that all rows of the recipe have in common (instruction and fixed examples): `text` begins with it and
    goes on with the separator. A tokenizer may join characters across its end, so a cache of keys and values is good
    as far as the tokens of `text` agree with those of the prefix."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the text, as predictions keep it (`prompt_hash`)."""
        return fingerprint_texts([self.text])


@dataclass(frozen=True)
class Recipe:
    """Everything of a prompt that no row decides: templates that were checked, words, worked examples."""

    style: StyleSpec
    wording: WordingSpec
    words: Mapping[str, str]
    """Label to word; empty where answers are texts or numbers."""
    answers: Mapping[str, str]
    """Label to what a model is to say: its word, or its letter in a multiple choice."""
    columns: Columns
    constants: Mapping[str, object]
    templates: Mapping[str, Template] = field(repr=False)
    instruction: str
    choosing: ShotsSpec
    """How the training rows in a prompt are chosen; how many is the style's number."""

    @property
    def shots(self) -> int:
        """How many training rows stand in a prompt; none where the style has worked examples."""
        return 0 if self.style.worked else self.style.examples

    @property
    def reader(self) -> AnswerReader:
        """How completions are read."""
        return AnswerReader(self.wording.parser, self.words, self.style.stop, self.style.cue)

    def answer_of(self, gold: str | None) -> str:
        """Return what a model is to say for a gold answer: the label's word, or the text itself."""
        return self.answers.get(gold or "", gold or "")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all of it: a shipped style that a new version words otherwise is another recipe."""
        parts = (self.style.model_dump_json(), self.wording.model_dump_json(), self.columns.model_dump_json())
        return fingerprint_texts([*parts, *(part for pair in self.answers.items() for part in pair)])

    def completion_of(self, item: Example) -> str:
        """Return the text a model is trained to go on with after the query; a space parts the two."""
        return f" {self.answer_of(item.gold)}"


def make_recipe(spec: PromptSpec, labels: Sequence[str], columns: Columns) -> Recipe:
    """Check the templates of a prompt against the columns there are and render what is the same for every row.

    `labels` is empty where answers are texts or numbers. Columns go by `text` and `pair` and by their own names.
    """
    style, wording = find_style(spec), find_wording(spec)
    if spec.shots.count is not None:
        style = style.model_copy(update={"examples": spec.shots.count})
    elif style.worked and wording.worked:
        style = style.model_copy(update={"examples": min(style.examples, len(wording.worked))})
    words = choose_words(labels, spec.words)
    constants: dict[str, object] = {
        "labels": list(words.values()),
        "options": join_options(words),
        "choices": letter_choices(words),
    }
    for name in ("ask", "expert", "lead_in"):
        constants[name] = compile_template(f"wording.{name}", getattr(wording, name), constants).render(constants)
    named = {*constants, *_names_of(columns)}
    answered = {*named, "item", "short", "answer", *(["reasoning"] if style.worked else [])}
    templates = {
        "item": compile_template("wording.item", wording.item, named),
        "short": compile_template("wording.short", wording.short, {*named, "item"}),
        "query": compile_template("template.query", style.query, {*named, "item", "short"}),
        "example": compile_template("template.example", style.example, answered),
    }
    instruction = _compile_instruction(style, named).render(constants).rstrip()
    if style.worked:
        _require_worked(style, wording, words)
    letters = {label: letter for label, (letter, _) in zip(words, letter_choices(words), strict=False)}
    answers = letters if wording.parser == "multiple-choice" else words
    return Recipe(style, wording, words, answers, columns, constants, templates, instruction, spec.shots)


def build_prompt(
    recipe: Recipe, item: Example, examples: Sequence[Example] = (), fixed: Sequence[Example] = ()
) -> Prompt:
    """Put a prompt together: instruction, examples, query.

    `fixed` names the examples that every row of the recipe has, so that the shared head ends after the last of them
    that this row has too. Where the style has worked examples, these stand instead, and are shared.
    """
    shots = _render_worked(recipe) if recipe.style.worked else [_render_example(recipe, one) for one in examples]
    head = [Part("instruction", recipe.instruction)] if recipe.instruction else []
    query = Part("query", _render(recipe, "query", _values_of(recipe, item)), item.id)
    parts = (*head, *shots, query)
    shared = len(head) + (len(shots) if recipe.style.worked else _count_shared(examples, fixed))
    separator = recipe.style.separator
    return Prompt(
        text=separator.join(part.text for part in parts),
        parts=parts,
        shared_prefix=separator.join(part.text for part in parts[:shared]),
    )


def cut_text(item: Example, text: str, *, second: bool = False) -> Example:
    """Return the row with a shorter text, or second text."""
    return replace(item, pair=text) if second else replace(item, text=text)


def _names_of(columns: Columns) -> set[str]:
    pair = {"pair", columns.pair} if columns.pair is not None else set()
    return {"text", columns.text, *filter(None, pair)}


def _compile_instruction(style: StyleSpec, named: set[str]) -> Template:
    try:
        return compile_template("template.instruction", style.instruction, _SHARED)
    except SpecError as error:
        if error.value not in named:
            raise
        raise SpecError(
            "template.instruction names a column, but is the same for every row",
            value=error.value,
            allowed=", ".join(sorted(_SHARED)),
            remedy="name columns in `query` and `example`",
        ) from error


def _require_worked(style: StyleSpec, wording: WordingSpec, words: Mapping[str, str]) -> None:
    if style.examples > len(wording.worked):
        raise SpecError(
            "worked examples", value=style.examples, allowed=f"as many as the wording has ({len(wording.worked)})",
            remedy="take the wording `statements`, `inference` or `problems`, or write your own: "
            "`own_wording: {worked: [{text, reasoning, answer}, ...]}`",
        )  # fmt: skip
    for worked in wording.worked[: style.examples]:
        if words and _label_of(words, worked.answer) not in words:
            raise SpecError(
                f"the answer of the worked example {worked.text[:60]!r} is no label", value=worked.answer,
                allowed=", ".join(words), remedy="answer by label; its word is put in its place",
            )  # fmt: skip


def _label_of(words: Mapping[str, str], answer: str) -> str:
    """Return the label that an answer is, or whose word it is; the answer itself where there is none."""
    return answer if answer in words else next((label for label, word in words.items() if word == answer), answer)


def _render_worked(recipe: Recipe) -> list[Part]:
    parts: list[Part] = []
    for worked in recipe.wording.worked[: recipe.style.examples]:
        row = Example("", "", worked.text, _label_of(recipe.words, worked.answer), "a worked example", worked.pair)
        values = {**_values_of(recipe, row), "answer": recipe.answer_of(row.gold), "reasoning": worked.reasoning}
        parts.append(Part("example", _render(recipe, "example", values)))
    return parts


def _render_example(recipe: Recipe, one: Example) -> Part:
    values = _values_of(recipe, one) | {"answer": recipe.answer_of(one.gold)}
    return Part("example", _render(recipe, "example", values), one.id)


def _values_of(recipe: Recipe, item: Example) -> dict[str, object]:
    """Return every name a template of rows may use, `item` and `short` rendered."""
    values: dict[str, object] = {**recipe.constants, "text": item.text, recipe.columns.text: item.text}
    if recipe.columns.pair is not None:
        if item.pair is None:
            raise DataError(f"{item.origin} has no second text", remedy="name its column: `data.columns.pair`")
        values |= {"pair": item.pair, recipe.columns.pair: item.pair}
    values["item"] = _render(recipe, "item", values)
    values["short"] = _render(recipe, "short", values)
    return values


def _render(recipe: Recipe, name: str, values: Mapping[str, object]) -> str:
    # A prompt that ends with a space makes a model begin its answer with an unusual token.
    return recipe.templates[name].render(values).rstrip()


def _count_shared(examples: Sequence[Example], fixed: Sequence[Example]) -> int:
    count = 0
    for one, other in zip(examples, fixed, strict=False):
        if one.id != other.id:
            break
        count += 1
    return count
