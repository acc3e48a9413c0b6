"""What kind of question a question about an image is, by rules over its words and those of its answer.

Two taxonomies: the four types of COCO-QA (Ren, Kiros & Zemel 2015) and the twelve of TDIUC (Kafle & Kanan 2017). Both
data sets carry their types as annotations; other sets have none, so here words decide. Rules stand in order, the first
that holds gives the type, and the last always holds. docs/question-types.md tells them with examples and limits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from whichtune.stats import question_words as words

CocoQaType = Literal["object", "number", "colour", "location"]
TdiucType = Literal[
    "scene recognition",
    "sport recognition",
    "color attributes",
    "other attributes",
    "activity recognition",
    "positional reasoning",
    "object presence",
    "object recognition",
    "counting",
    "sentiment understanding",
    "utility/affordance",
    "absurd",
]

COCO_QA_TYPES: tuple[CocoQaType, ...] = ("object", "number", "colour", "location")
TDIUC_TYPES: tuple[TdiucType, ...] = (
    "scene recognition",
    "sport recognition",
    "color attributes",
    "other attributes",
    "activity recognition",
    "positional reasoning",
    "object presence",
    "object recognition",
    "counting",
    "sentiment understanding",
    "utility/affordance",
    "absurd",
)

_WORD = re.compile(r"\w+")
_APOSTROPHES = re.compile("['\u2019\u02bc\u2032`]")
_CONTRACTED = re.compile(r"\b(what|where|who|how|there|it|that|he|she)s\b")
_NOT = re.compile(r"\b(is|are|was|were|do|does|did|has|have|can|could|would|should)nt\b")


@dataclass(frozen=True)
class Asked:
    """A question and its answer as plain words: lower case, no accents, no punctuation, one blank between two."""

    question: str
    answer: str

    def says(self, pattern: re.Pattern[str]) -> bool:
        """Whether the question holds a pattern."""
        return pattern.search(self.question) is not None

    @cached_property
    def closed(self) -> bool:
        """Whether it is to be answered by yes or no, by how it begins or by the answer."""
        return self.answer in words.YES_OR_NO or (
            self.says(words.CLOSED) and not self.says(words.CHOICE) and self.answer not in words.COLOURS
        )

    @cached_property
    def counts(self) -> bool:
        """Whether it asks how many there are."""
        return self.says(words.COUNT) or (self.says(words.AMOUNT) and self.numeral)

    @cached_property
    def numeral(self) -> bool:
        """Whether the answer is one number, in digits or as a word."""
        return self.answer.isdigit() or self.answer in words.NUMBERS

    @cached_property
    def colours(self) -> bool:
        """Whether the answer is colours alone, by words that mean little else."""
        found = set(self.answer.split()) - words.BETWEEN_COLOURS
        return bool(found) and found <= words.PLAIN_COLOURS


def coco_qa_type(question: str, answer: str = "") -> CocoQaType:
    """Return the type of a question by COCO-QA's four; what none of the rules knows asks for an object."""
    asked = read_question(question, answer)
    for kind, holds in _COCO_QA_RULES:
        if holds(asked):
            return kind
    return "object"


def tdiuc_type(question: str, answer: str = "") -> TdiucType:
    """Return the type of a question by TDIUC's twelve; what none of the rules knows asks which object it is."""
    asked = read_question(question, answer)
    for kind, holds in _TDIUC_RULES:
        if holds(asked):
            return kind
    return "object recognition"


def read_question(question: str, answer: str = "") -> Asked:
    """Bring a question and its answer into the form that rules read."""
    return Asked(simplify(question), simplify(answer))


def simplify(text: str) -> str:
    """Return the words of a text in lower case, without accents and punctuation, contractions written out."""
    joined = _APOSTROPHES.sub("", unicodedata.normalize("NFKD", text))
    bare = "".join(each for each in joined if not unicodedata.combining(each)).casefold()
    plain = " ".join(_WORD.findall(bare.replace("_", " ")))
    return _NOT.sub(r"\1 not", _CONTRACTED.sub(r"\1 is", plain))


def _asks_amount(asked: Asked) -> bool:
    if asked.counts:
        return True
    if asked.closed:
        return asked.says(words.NUMBER_OF_THINGS)
    return asked.numeral and not asked.says(words.WHERE) and not asked.says(words.COLOUR)


def _asks_place(asked: Asked) -> bool:
    if asked.says(words.WHERE) or asked.says(words.WHICH_PLACE):
        return True
    return asked.closed and not asked.says(words.THERE) and asked.says(words.RELATION)


def _asks_colour(asked: Asked) -> bool:
    return asked.says(words.COLOUR) or (asked.says(words.COLOUR_NAMED) if asked.closed else asked.colours)


def _asks_feeling(asked: Asked) -> bool:
    return asked.says(words.FEELING)


def _asks_sport(asked: Asked) -> bool:
    if asked.says(words.SPORT):
        return True
    named = asked.says(words.SPORT_NAMED) if asked.closed else asked.answer in words.SPORTS
    return named and asked.says(words.PLAYING)


def _asks_scene(asked: Asked) -> bool:
    return asked.says(words.SCENE) or (asked.closed and asked.says(words.THIS_SCENE))


def _asks_colour_alone(asked: Asked) -> bool:
    """As for COCO-QA, but `is there a red circle?` asks whether an object is there."""
    return _asks_colour(asked) and not (_asks_presence(asked) and not asked.says(words.COLOUR))


def _asks_activity(asked: Asked) -> bool:
    return asked.says(words.ACTIVITY) or (
        asked.closed and not asked.says(words.THERE) and asked.says(words.ACTIVITY_NAMED)
    )


def _asks_presence(asked: Asked) -> bool:
    return asked.closed and (asked.says(words.THERE) or asked.says(words.THIS_THING))


def _asks_position(asked: Asked) -> bool:
    if asked.closed:
        return asked.says(words.RELATION)
    relation = asked.says(words.RELATION) or asked.says(words.WHAT_IS_ON)
    return relation or asked.says(words.WHERE) or asked.says(words.WHICH_PLACE) or asked.answer in words.SIDES


_COCO_QA_RULES: tuple[tuple[CocoQaType, Callable[[Asked], bool]], ...] = (
    ("number", _asks_amount),
    ("location", _asks_place),
    ("colour", _asks_colour),
)
_TDIUC_RULES: tuple[tuple[TdiucType, Callable[[Asked], bool]], ...] = (
    ("absurd", lambda asked: asked.answer in words.DOES_NOT_APPLY),
    ("counting", lambda asked: asked.counts),
    ("color attributes", lambda asked: asked.says(words.COLOUR)),
    ("sentiment understanding", _asks_feeling),
    ("sport recognition", _asks_sport),
    ("scene recognition", _asks_scene),
    ("utility/affordance", lambda asked: asked.says(words.USE)),
    ("object presence", _asks_presence),
    ("color attributes", _asks_colour_alone),
    ("activity recognition", _asks_activity),
    ("other attributes", lambda asked: asked.says(words.ATTRIBUTE)),
    ("positional reasoning", _asks_position),
    ("other attributes", lambda asked: asked.closed),
)

TAXONOMIES: Mapping[str, tuple[tuple[str, ...], Callable[[str, str], str]]] = MappingProxyType(
    {"coco-qa": (COCO_QA_TYPES, coco_qa_type), "tdiuc": (TDIUC_TYPES, tdiuc_type)}
)
"""Name to the types in their order and the rule that gives one."""
