"""From a completion to an answer: named pure functions that answer None where they cannot read one.

An answer that cannot be read is wrong, and its share is shown; no parser guesses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from string import ascii_uppercase
from types import MappingProxyType

from whichtune.prompts.numbers import canonical_number, read_last_number
from whichtune.spec.prompts import ParserName

Parser = Callable[[str, Mapping[str, str]], str | None]
"""Takes a completion and label -> word; returns a label, or a text of its own where there are no labels."""

WINDOW_CHARACTERS = 16
"""A label stands within so many characters of a completion's beginning, or in as many as the longest label has."""

_TRUTH = re.compile(r"(?<!\w)(not\s+|\w+n['\u2019]t\s+)?(true|false)(?!\w)", re.IGNORECASE)
_LETTERS = (
    re.compile(r"^\W*([A-Z])(?=[^\w\s'\u2019]|\s*$|\s+[^a-z\s])"),
    re.compile(r"^\W*([a-z])(?=[).:]|\W*$)"),
    re.compile(r"(?<!\w)\(([A-Za-z])\)"),
    re.compile(r"(?<!\w)(?:answer|option|choice)(?:\s+is)?\s*:?\s*([A-Z])(?!\w)", re.IGNORECASE),
)
"""Where a letter is a choice and no word: alone in front, in brackets, after "answer"."""

_FORMS = ("true-false", "multiple-choice", "last-number")
"""Parsers that give an answer back in a form of their own: `True` as `true`, `b)` as `B`, `1,000` as `1000`."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
"""Letters of scripts that set no spaces between words, or add to their ends: a word stands whole anywhere in them."""


@dataclass(frozen=True)
class AnswerReader:
    """How the completions of one prompt are read."""

    parser: ParserName
    words: Mapping[str, str] = field(default_factory=dict)
    """Label to word; empty where there are no labels."""
    stop: tuple[str, ...] = ()
    cue: str = ""

    def read(self, completion: str) -> str | None:
        """Return the answer, or None where it cannot be read."""
        kept = cut_at_stop(completion, self.stop)
        return PARSERS[self.parser](follow_cue(kept, self.cue), self.words)

    def expect(self, gold: str) -> str:
        """Return a gold answer in the form in which `read` gives it, so that equal answers are equal texts."""
        if self.words:
            return gold
        return PARSERS[self.parser](gold, {}) or gold.strip() if self.parser in _FORMS else gold.strip()

    def knows(self, gold: str) -> bool:
        """Whether a completion could ever be read as this gold answer."""
        return bool(self.words) or self.parser not in _FORMS or PARSERS[self.parser](gold, {}) is not None


def cut_at_stop(completion: str, stop: tuple[str, ...]) -> str:
    """Return a completion up to the first stop text; white space at its beginning does not count as one."""
    kept = completion.lstrip()
    places = [kept.find(text) for text in stop if text]
    return kept[: min((place for place in places if place >= 0), default=len(kept))]


def follow_cue(completion: str, cue: str) -> str:
    """Return what follows the last cue, whatever its case; all of the completion where there is none."""
    if not cue:
        return completion
    found = list(re.finditer(re.escape(cue), completion, re.IGNORECASE))
    return completion[found[-1].end() :].lstrip(" :\n\t") if found else completion


def parse_label(completion: str, words: Mapping[str, str]) -> str | None:
    """Read the earliest label word that stands whole within the first 16 characters, whatever its case."""
    text = completion.strip()
    window = max(WINDOW_CHARACTERS, *(len(word) for word in words.values())) if words else 0
    found: list[tuple[int, str]] = []
    for label, word in words.items():
        match = re.search(_whole(word), text, re.IGNORECASE)
        if match and match.end() <= window:
            found.append((match.start(), label))
    return min(found)[1] if found else None


def _whole(word: str) -> str:
    """Return the pattern of a word that stands whole, as far as its script parts words."""
    before = "" if _UNSPACED.match(word[0]) else r"(?<!\w)"
    behind = "" if _UNSPACED.match(word[-1]) else r"(?!\w)"
    return f"{before}{re.escape(word)}{behind}"


def parse_true_false(completion: str, words: Mapping[str, str]) -> str | None:
    """Read the earliest `true` or `false`; one after "not" is its opposite."""
    match = _TRUTH.search(completion)
    if match is None:
        return None
    said = (match[2].lower() == "true") != bool(match[1])
    return _label_of("true" if said else "false", words)


def parse_multiple_choice(completion: str, words: Mapping[str, str]) -> str | None:
    """Read a letter: in front of all else (`B`, `b)`), in brackets, or after "answer"; A is the first label.

    Without labels the answer is the letter itself: the choices stand in the row.
    """
    letters = dict(zip(ascii_uppercase, words or ascii_uppercase, strict=False))
    found = (form.search(completion) for form in _LETTERS)
    said = (letters.get(match[1].upper()) for match in found if match)
    return next(filter(None, said), None)


def parse_last_number(completion: str, words: Mapping[str, str]) -> str | None:
    """Read the last number in its canonical form, or the label that is this number."""
    number = read_last_number(completion)
    if number is None or not words:
        return number
    return next((label for label, word in words.items() if canonical_number(word) == number), None)


def parse_text(completion: str, words: Mapping[str, str]) -> str | None:
    """Take the completion as it is, without white space around it; None where nothing is left."""
    del words
    return completion.strip() or None


def _label_of(word: str, words: Mapping[str, str]) -> str | None:
    """Return the label whose word this is; the word itself where there are no labels."""
    if not words:
        return word
    return next((label for label, own in words.items() if own.casefold() == word), None)


PARSERS: Mapping[ParserName, Parser] = MappingProxyType(
    {
        "label": parse_label,
        "true-false": parse_true_false,
        "multiple-choice": parse_multiple_choice,
        "last-number": parse_last_number,
        "text": parse_text,
    }
)
