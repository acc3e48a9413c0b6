"""Words for labels: what a model is to say for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from string import ascii_uppercase

from whichtune.errors import SpecError, did_you_mean


def choose_words(labels: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the word of each label, in label order: the one given, or the label itself.

    Two words alike (whatever their case), and a word that another begins with, are refused: a completion, or the
    likelihood of its first tokens, could not tell them apart.
    """
    for label in given:
        if label not in labels:
            raise SpecError(
                "`words` names a label that the data do not have", value=label, allowed=", ".join(labels[:20]),
                remedy=did_you_mean(label, labels),
            )  # fmt: skip
    words = {label: given.get(label, label).strip() for label in labels}
    for label, word in words.items():
        if not word:
            raise SpecError(f"the word of the label '{label}' is empty", remedy=f"name one: `words: {{{label}: ...}}`")
    for (first, one), (second, other) in combinations(words.items(), 2):
        _refuse_alike((first, one), (second, other))
    return words


def letter_choices(words: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (letter, word) of each label for a multiple choice: A for the first label, up to Z."""
    return list(zip(ascii_uppercase, words.values(), strict=False))


def join_options(words: Mapping[str, str]) -> str:
    """Return the words as a sentence lists them: `a, b or c`."""
    listed = list(words.values())
    return " or ".join(filter(None, [", ".join(listed[:-1]), *listed[-1:]]))


def _refuse_alike(first: tuple[str, str], second: tuple[str, str]) -> None:
    (shorter, short), (longer, long) = sorted((first, second), key=lambda one: len(one[1]))
    if not long.casefold().startswith(short.casefold()):
        return
    remedy = f"give other words: `words: {{{shorter}: ..., {longer}: ...}}`"
    if long.casefold() == short.casefold():
        raise SpecError(f"the labels '{first[0]}' and '{second[0]}' have the same word", value=short, remedy=remedy)
    raise SpecError(
        f"the word of the label '{shorter}' is the beginning of the word of '{longer}' ({long!r})",
        value=short,
        remedy=remedy,
    )
