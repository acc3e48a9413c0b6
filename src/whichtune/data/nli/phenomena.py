"""Six things a reader of two sentences must understand, each as templates and a table of what follows from what.

Every table is read in the logic stated beside it, and holds for any words put in. A hypothesis stands in three pairs,
once with each label, so that it alone says nothing about the label.

negation      Two objects, each handled or not. "or" is inclusive; "neither ... nor" denies both.
quantifiers   A group that is not empty. "some" is at least one and possibly all, "most" more than half.
hypernyms     A class has more members than are named. "a flower" is satisfied by any member, "no flower" by none.
numbers       Bounds on one count: "at least", "at most", "more than", "fewer than", "exactly".
roles         Who did it to whom; done one way, it may or may not have been done the other way too.
comparison    A strict order with ties, and "X is older than Y" says what "Y is younger than X" says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from whichtune.data.nli.words import Verb, Words

Slots = dict[str, str]
Templates = Mapping[str, tuple[str, ...]]
"""What a sentence means, by name, to the ways of saying it."""
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
"""The numbers from 2 on, as words."""
MANY = 100
"""Stands for no upper bound."""


@dataclass(frozen=True)
class Recipe:
    """A hypothesis, and the premises that entail it, contradict it and leave it open; each by its meaning's name."""

    hypothesis: str
    entailing: tuple[str, ...]
    contradicting: tuple[str, ...]
    neutral: tuple[str, ...]


@dataclass(frozen=True)
class Phenomenon:
    """Slots drawn from the words of a split, the logic, and two sets of templates: for training and for the test."""

    name: str
    draw: Callable[[Random, Words], Slots]
    recipes: tuple[Recipe, ...]
    seen: Templates
    unseen: Templates
    timeless: bool = False
    """Sentences say what is, and take no "yesterday"."""


def _name_verb(slots: Slots, verb: Verb) -> Slots:
    return slots | dict(zip(("base", "past", "part"), verb, strict=True))


def _draw_negation(draw: Random, words: Words) -> Slots:
    one, two = draw.sample(words.objects, 2)
    return _name_verb({"name": draw.choice(words.names), "one": one, "two": two}, draw.choice(words.handling))


NEGATION = Phenomenon(
    "negation",
    _draw_negation,
    (
        Recipe("did", ("both",), ("not", "neither"), ("or", "other", "not-other")),
        Recipe("not", ("neither",), ("did", "both"), ("or", "other", "not-other")),
    ),
    seen={
        "did": ("{name} {past} the {one}",),
        "not": ("{name} did not {base} the {one}",),
        "other": ("{name} {past} the {two}",),
        "not-other": ("{name} did not {base} the {two}",),
        "both": ("{name} {past} the {one} and the {two}", "{name} {past} the {two} and the {one}"),
        "neither": ("{name} {past} neither the {one} nor the {two}", "{name} {past} neither the {two} nor the {one}"),
        "or": ("{name} {past} the {one} or the {two}", "{name} {past} the {two} or the {one}"),
    },
    unseen={
        "did": ("{name} has {part} the {one}",),
        "not": ("{name} has not {part} the {one}",),
        "other": ("{name} has {part} the {two}",),
        "not-other": ("{name} has not {part} the {two}",),
        "both": ("{name} has {part} both the {one} and the {two}", "{name} has {part} both the {two} and the {one}"),
        "neither": (
            "{name} has {part} neither the {one} nor the {two}",
            "{name} has {part} neither the {two} nor the {one}",
        ),
        "or": ("{name} has {part} either the {one} or the {two}", "{name} has {part} either the {two} or the {one}"),
    },
)


def _draw_quantifiers(draw: Random, words: Words) -> Slots:
    one, many = draw.choice(words.groups)
    return {"one": one, "many": many, "past": draw.choice(words.doing)}


QUANTIFIERS = Phenomenon(
    "quantifiers",
    _draw_quantifiers,
    (
        Recipe("some", ("all", "each", "most"), ("none",), ("not-all",)),
        Recipe("all", ("each",), ("none", "not-all"), ("some", "most")),
        Recipe("none", ("not-one",), ("all", "some", "most"), ("not-all",)),
        Recipe("not-all", ("none", "not-one"), ("all", "each"), ("some", "most")),
        Recipe("most", ("all", "each"), ("none", "not-one"), ("some", "not-all")),
    ),
    seen={
        "all": ("all of the {many} {past}",),
        "each": ("each of the {many} {past}", "every one of the {many} {past}"),
        "most": ("most of the {many} {past}",),
        "some": ("some of the {many} {past}",),
        "none": ("none of the {many} {past}",),
        "not-one": ("not one of the {many} {past}",),
        "not-all": ("not all of the {many} {past}",),
    },
    unseen={
        "all": ("all the {many} {past}",),
        "each": ("every {one} {past}",),
        "most": ("most {many} {past}",),
        "some": ("some {many} {past}",),
        "none": ("no {one} {past}",),
        "not-one": ("not a single {one} {past}",),
        "not-all": ("not every {one} {past}",),
    },
)


def _draw_hypernyms(draw: Random, words: Words) -> Slots:
    kind, other = draw.sample(sorted(words.taxonomy), 2)
    one, two = draw.sample(words.taxonomy[kind], 2)
    third = draw.choice(words.taxonomy[other])
    nouns = {"kind": kind, "other": other, "one": one, "two": two, "third": third}
    articles = {f"a_{slot}": f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}" for slot, noun in nouns.items()}
    return _name_verb({"name": draw.choice(words.names), **nouns, **articles}, draw.choice(words.obtaining))


HYPERNYMS = Phenomenon(
    "hypernyms",
    _draw_hypernyms,
    (
        Recipe("kind", ("one", "both"), ("no-kind", "nothing"), ("no-one", "third", "other")),
        Recipe("one", ("both",), ("no-kind", "no-one"), ("kind", "two", "no-two")),
        Recipe("no-one", ("no-kind", "nothing"), ("one", "both"), ("kind", "two", "no-two", "third")),
        Recipe("no-kind", ("nothing",), ("one", "kind", "both"), ("no-one", "third", "no-other")),
    ),
    seen={
        "kind": ("{name} {past} {a_kind}",),
        "one": ("{name} {past} {a_one}",),
        "two": ("{name} {past} {a_two}",),
        "third": ("{name} {past} {a_third}",),
        "other": ("{name} {past} {a_other}",),
        "both": ("{name} {past} {a_one} and {a_two}",),
        "no-kind": ("{name} did not {base} any {kind}",),
        "no-one": ("{name} did not {base} any {one}",),
        "no-two": ("{name} did not {base} any {two}",),
        "no-other": ("{name} did not {base} any {other}",),
        "nothing": ("{name} did not {base} anything",),
    },
    unseen={
        "kind": ("{name} has {part} {a_kind}",),
        "one": ("{name} has {part} {a_one}",),
        "two": ("{name} has {part} {a_two}",),
        "third": ("{name} has {part} {a_third}",),
        "other": ("{name} has {part} {a_other}",),
        "both": ("{name} has {part} both {a_one} and {a_two}",),
        "no-kind": ("{name} has {part} no {kind}",),
        "no-one": ("{name} has {part} no {one}",),
        "no-two": ("{name} has {part} no {two}",),
        "no-other": ("{name} has {part} no {other}",),
        "nothing": ("{name} has {part} nothing at all",),
    },
)


def bounds(operator: str, number: int) -> tuple[int, int]:
    """Return the least and the greatest count that a bound allows."""
    table = {
        "at least": (number, MANY),
        "at most": (0, number),
        "more than": (number + 1, MANY),
        "fewer than": (0, number - 1),
        "exactly": (number, number),
    }
    return table[operator]


def relate(premise: tuple[int, int], hypothesis: tuple[int, int]) -> str:
    """Return what a range of counts says about another: `entailing`, `contradicting` or `neutral`."""
    if hypothesis[0] <= premise[0] and premise[1] <= hypothesis[1]:
        return "entailing"
    apart = premise[1] < hypothesis[0] or hypothesis[1] < premise[0]
    return "contradicting" if apart else "neutral"


def _draw_numbers(draw: Random, words: Words) -> Slots:
    one, many = draw.choice(words.groups)
    asked = draw.choice(("at least", "at most", "more than", "fewer than")), draw.randrange(4, 10)
    slots = {"one": one, "many": many, "past": draw.choice(words.doing), "asked": _say_bound(*asked)}
    for label in ("entailing", "contradicting", "neutral"):
        fitting = [
            (operator, number)
            for operator in ("at least", "at most", "more than", "fewer than", "exactly")
            for number in range(3, 2 + len(NUMBERS))
            if (operator, number) != asked and relate(bounds(operator, number), bounds(*asked)) == label
        ]
        operator = draw.choice(sorted({operator for operator, _ in fitting}))
        slots[label] = _say_bound(*draw.choice([each for each in fitting if each[0] == operator]))
    return slots


def _say_bound(operator: str, number: int) -> str:
    return f"{operator} {NUMBERS[number - 2]}"


COUNTED = ("asked", "entailing", "contradicting", "neutral")
NUMBERED = Phenomenon(
    "numbers",
    _draw_numbers,
    (Recipe("asked", ("entailing",), ("contradicting",), ("neutral",)),),
    seen={each: (f"{{{each}}} {{many}} {{past}}",) for each in COUNTED},
    unseen={each: (f"there were {{{each}}} {{many}} who {{past}}",) for each in COUNTED},
)


def _draw_roles(draw: Random, words: Words) -> Slots:
    one, two = draw.sample(words.names, 2)
    return _name_verb({"a": one, "b": two}, draw.choice(words.social))


REVERSED = ("back", "back-passive", "not-back", "not-back-passive")
ROLES = Phenomenon(
    "roles",
    _draw_roles,
    (
        Recipe("did", ("passive",), ("not", "not-passive"), REVERSED),
        Recipe("passive", ("did",), ("not", "not-passive"), REVERSED),
        Recipe("not", ("not-passive",), ("did", "passive"), REVERSED),
        Recipe("not-passive", ("not",), ("did", "passive"), REVERSED),
    ),
    seen={
        "did": ("{a} {past} {b}",),
        "not": ("{a} did not {base} {b}",),
        "passive": ("{b} was {part} by {a}",),
        "not-passive": ("{b} was not {part} by {a}",),
        "back": ("{b} {past} {a}",),
        "not-back": ("{b} did not {base} {a}",),
        "back-passive": ("{a} was {part} by {b}",),
        "not-back-passive": ("{a} was not {part} by {b}",),
    },
    unseen={
        "did": ("{a} has {part} {b}",),
        "not": ("{a} has not {part} {b}",),
        "passive": ("{b} has been {part} by {a}",),
        "not-passive": ("{b} has not been {part} by {a}",),
        "back": ("{b} has {part} {a}",),
        "not-back": ("{b} has not {part} {a}",),
        "back-passive": ("{a} has been {part} by {b}",),
        "not-back-passive": ("{a} has not been {part} by {b}",),
    },
)


def _draw_comparison(draw: Random, words: Words) -> Slots:
    a, b, c = draw.sample(words.names, 3)
    more, less, plain = draw.choice(words.comparatives)
    if draw.random() < 0.5:
        return {"a": a, "b": b, "c": c, "more": more, "less": less, "plain": plain}
    return {"a": a, "b": b, "c": c, "more": less, "less": more, "plain": plain}


COMPARISON = Phenomenon(
    "comparison",
    _draw_comparison,
    (Recipe("more", ("converse", "chain"), ("back", "back-converse", "equal"), ("third", "past-third", "both-third")),),
    seen={
        "more": ("{a} is {more} than {b}",),
        "converse": ("{b} is {less} than {a}",),
        "chain": ("{a} is {more} than {c}, and {c} is {more} than {b}",),
        "back": ("{b} is {more} than {a}",),
        "back-converse": ("{a} is {less} than {b}",),
        "equal": ("{a} and {b} are equally {plain}",),
        "third": ("{a} is {more} than {c}", "{c} is {more} than {b}"),
        "past-third": ("{b} is {less} than {c}", "{c} is {less} than {a}"),
        "both-third": ("{a} is {more} than {c}, and {b} is {more} than {c}",),
    },
    unseen={
        "more": ("compared with {b}, {a} is {more}",),
        "converse": ("compared with {a}, {b} is {less}",),
        "chain": ("compared with {c}, {a} is {more} and {b} is {less}",),
        "back": ("compared with {a}, {b} is {more}",),
        "back-converse": ("compared with {b}, {a} is {less}",),
        "equal": ("{a} is exactly as {plain} as {b}",),
        "third": ("compared with {c}, {a} is {more}", "compared with {b}, {c} is {more}"),
        "past-third": ("compared with {c}, {b} is {less}", "compared with {a}, {c} is {less}"),
        "both-third": ("compared with {c}, {a} and {b} are {more}",),
    },
    timeless=True,
)

PHENOMENA = (NEGATION, QUANTIFIERS, HYPERNYMS, NUMBERED, ROLES, COMPARISON)
FRAMES = ("", "", "yesterday ", "last week ", "in the morning ")
"""What stands before premise and hypothesis alike, in training."""
UNSEEN_FRAMES = ("", "", "so far ", "according to the report, ")
"""The same for the test."""
