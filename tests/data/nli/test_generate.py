"""The labels against a checker of our own: sentences are read back into formulas, and small worlds enumerated."""

import re
from collections import Counter
from dataclasses import fields
from itertools import permutations, product

import pytest

from whichtune.data.nli.generate import LABELS, SPLIT_WORDS, generate_splits
from whichtune.data.nli.phenomena import NUMBERS, PHENOMENA
from whichtune.data.nli.words import verbs

FRAME = re.compile(r"^(yesterday |last week |in the morning |so far |according to the report, )")
FUNCTION_WORDS = {
    *NUMBERS, "a", "an", "all", "and", "any", "are", "as", "at", "by", "each", "equally", "exactly", "every", "fewer",
    "is", "least", "more", "most", "neither", "no", "nor", "not", "of", "one", "or", "single", "some", "than", "the",
    "there", "were", "who",
}  # fmt: skip
NUMBER = {word: place for place, word in enumerate(NUMBERS, start=2)}


@pytest.fixture(scope="module")
def splits():
    return generate_splits(4800, 0)


def read(sentence):
    """Lower the first letter of what is no name, and take off the frame and the full stop."""
    plain = sentence[0].lower() + sentence[1:].removesuffix(".")
    framed = FRAME.sub("", plain)
    return framed if framed != plain else sentence.removesuffix(".")


def frame_of(sentence):
    found = FRAME.match(sentence[0].lower() + sentence[1:])
    return found and found[0]


# Each reader turns a pair of sentences into (worlds, premise, hypothesis): worlds are what could be the case.


def handled(sentence):
    """(name, things affirmed, things denied, things of which one is affirmed)."""
    for pattern, kind in (
        (r"(\w+) (?:has )?\w+ neither the (\w+) nor the (\w+)", "neither"),
        (r"(\w+) (?:did not|has not) \w+ the (\w+)", "not"),
        (r"(\w+) (?:has )?\w+ (?:both )?the (\w+) and the (\w+)", "both"),
        (r"(\w+) (?:has )?\w+ (?:either )?the (\w+) or the (\w+)", "or"),
        (r"(\w+) (?:has )?\w+ the (\w+)", "both"),
    ):
        found = re.fullmatch(pattern, sentence)
        if found:
            return found[1], kind, found.groups()[1:]
    raise AssertionError(sentence)


def read_negation(premise, hypothesis):
    (one, *left), (other, *right) = handled(premise), handled(hypothesis)
    assert one == other
    things = sorted({*left[1], *right[1]})
    worlds = [dict(zip(things, each, strict=True)) for each in product([True, False], repeat=len(things))]
    hold = {"both": all, "or": any, "neither": lambda held: not any(held), "not": lambda held: not any(held)}
    return worlds, *(lambda world, s=side: hold[s[0]]([world[thing] for thing in s[1]]) for side in (left, right))


QUANTIFIERS = (
    (r"(?:not all of the|not every) (\w+?)s? \w+", lambda n, k: k < n),
    (r"(?:none of the|not one of the|not a single|no) (\w+?)s? \w+", lambda n, k: k == 0),
    (r"(?:all of the|each of the|every one of the|all the|every) (\w+?)s? \w+", lambda n, k: k == n),
    (r"(?:most of the|most) (\w+?)s? \w+", lambda n, k: 2 * k > n),
    (r"(?:some of the|some) (\w+?)s? \w+", lambda n, k: k > 0),
)


def read_quantifiers(premise, hypothesis):
    def meaning(sentence):
        sentence = sentence[0].lower() + sentence[1:]
        found = next(((re.fullmatch(p, sentence), holds) for p, holds in QUANTIFIERS if re.fullmatch(p, sentence)))
        return found[0][1], sentence.split()[-1], lambda world: found[1](*world)

    (group, did, left), (other, done, right) = meaning(premise), meaning(hypothesis)
    assert (group, did) == (other, done)
    return [(n, k) for n in range(2, 7) for k in range(n + 1)], left, right


KINDS = {member: kind for words in SPLIT_WORDS.values() for kind, own in words.taxonomy.items() for member in own}


def read_hypernyms(premise, hypothesis):
    def meaning(sentence):
        found = re.fullmatch(r"(\w+) .*?(?:not \w+ anything|nothing at all)", sentence)
        if found:
            return found[1], "no", ("anything",)
        found = re.fullmatch(r"(\w+) (?:did not \w+ any|has \w+ no) (\w+)", sentence)
        if found:
            return found[1], "no", (found[2],)
        found = re.fullmatch(r"(\w+) (?:has )?\w+ (?:both )?an? (\w+)(?: and an? (\w+))?", sentence)
        return found[1], "yes", tuple(filter(None, found.groups()[1:]))

    def holds(kind, things):
        def below(thing, had):
            return thing == "anything" or thing in (had, KINDS.get(had), had.removeprefix("another "))

        def judge(world):
            met = [any(below(thing, had) for had in world) for thing in things]
            return all(met) if kind == "yes" else not any(met)

        return judge

    (one, *left), (other, *right) = meaning(premise), meaning(hypothesis)
    assert one == other
    named = {thing for side in (left, right) for thing in side[1]} - {"anything"}
    kinds = {KINDS.get(thing, thing) for thing in named}
    items = sorted({thing for thing in named if thing in KINDS} | {f"another {kind}" for kind in kinds})
    worlds = [
        [item for item, had in zip(items, each, strict=True) if had] for each in product([0, 1], repeat=len(items))
    ]
    return worlds, holds(*left), holds(*right)


BOUNDS = {
    "at least": lambda count, n: count >= n,
    "at most": lambda count, n: count <= n,
    "more than": lambda count, n: count > n,
    "fewer than": lambda count, n: count < n,
    "exactly": lambda count, n: count == n,
}


def read_numbers(premise, hypothesis):
    def meaning(sentence):
        found = re.search(
            r"(at least|at most|more than|fewer than|exactly) (\w+) (\w+) (?:who )?(\w+)$", sentence.lower()
        )
        return found[3], found[4], lambda count: BOUNDS[found[1]](count, NUMBER[found[2]])

    (group, did, left), (other, done, right) = meaning(premise), meaning(hypothesis)
    assert (group, did) == (other, done)
    return range(30), left, right


def read_roles(premise, hypothesis):
    def meaning(sentence):
        found = re.fullmatch(r"(\w+) (?:was|has) (not )?(?:been )?(\w+) by (\w+)", sentence)
        if found:
            return found[4], found[1], not found[2]
        found = re.fullmatch(r"(\w+) (?:(did not|has not) |has )?(\w+) (\w+)", sentence)
        return found[1], found[4], not found[2]

    sides = [meaning(premise), meaning(hypothesis)]
    assert {*sides[0][:2]} == {*sides[1][:2]}
    a, b, _ = sides[0]
    worlds = [{(a, b): there, (b, a): back} for there, back in product([True, False], repeat=2)]
    return worlds, *(lambda world, s=side: world[s[:2]] == s[2] for side in sides)


UP = {more: (plain, 1) for words in SPLIT_WORDS.values() for more, less, plain in words.comparatives}
UP |= {less: (plain, -1) for words in SPLIT_WORDS.values() for more, less, plain in words.comparatives}


def read_comparison(premise, hypothesis):
    """A sentence is a list of (greater, smaller, sign); 0 is a tie."""

    def meaning(sentence):
        found = re.fullmatch(r"(\w+) and (\w+) are equally \w+|(\w+) is exactly as \w+ as (\w+)", sentence)
        if found:
            return [(*filter(None, found.groups()), 0)]
        against = re.fullmatch(r"[Cc]ompared with (\w+), (.*)", sentence)
        if against is None:
            return [(a, b, UP[more][1]) for a, more, b in re.findall(r"(\w+) is (\w+) than (\w+)", sentence)]
        both = re.fullmatch(r"(\w+) and (\w+) are (\w+)", against[2])
        if both:
            return [(each, against[1], UP[both[3]][1]) for each in both.groups()[:2]]
        return [(each, against[1], UP[more][1]) for each, more in re.findall(r"(\w+) is (\w+)", against[2])]

    def holds(facts):
        assert facts
        return lambda world: all(((world[a] > world[b]) - (world[a] < world[b])) == sign for a, b, sign in facts)

    left, right = meaning(premise), meaning(hypothesis)
    names = sorted({name for fact in (*left, *right) for name in fact[:2]})
    worlds = [dict(zip(names, each, strict=True)) for each in product(range(3), repeat=len(names))]
    return worlds, holds(left), holds(right)


READERS = {
    "negation": read_negation, "quantifiers": read_quantifiers, "hypernyms": read_hypernyms,
    "numbers": read_numbers, "roles": read_roles, "comparison": read_comparison,
}  # fmt: skip


def judge(worlds, premise, hypothesis):
    """The label by enumeration: what the hypothesis is in every world in which the premise holds."""
    answers = {bool(hypothesis(world)) for world in worlds if premise(world)}
    assert answers, "a premise that no world satisfies"
    return "neutral" if len(answers) == 2 else "entailment" if answers == {True} else "contradiction"


@pytest.mark.parametrize("phenomenon", [one.name for one in PHENOMENA])
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_label_is_true_in_all_small_worlds(splits, split, phenomenon):
    pairs = [pair for pair in splits[split] if pair.phenomenon == phenomenon]
    assert len(pairs) >= 150
    for pair in pairs:
        assert frame_of(pair.premise) == frame_of(pair.hypothesis)
        assert judge(*READERS[phenomenon](read(pair.premise), read(pair.hypothesis))) == pair.label, pair


def test_a_sentence_entails_itself_in_the_checker(splits):
    for pair in splits["test"][:90]:
        itself = judge(*READERS[pair.phenomenon](read(pair.hypothesis), read(pair.hypothesis)))
        assert itself == "entailment"


def test_each_hypothesis_stands_once_with_each_label(splits):
    for pairs in splits.values():
        triples = [pairs[start : start + 3] for start in range(0, len(pairs), 3)]
        assert all(len({pair.hypothesis for pair in triple}) == 1 for triple in triples)
        assert all(tuple(pair.label for pair in triple) == LABELS for triple in triples)
        cells = Counter((pair.phenomenon, pair.label) for pair in pairs)
        assert len(cells) == 18
        assert len(set(cells.values())) == 1


def test_no_pair_stands_twice_and_none_is_its_own_premise(splits):
    pairs = [pair for own in splits.values() for pair in own]
    assert len({(pair.premise, pair.hypothesis) for pair in pairs}) == len(pairs)
    assert all(pair.premise != pair.hypothesis for pair in pairs)


def content(words):
    """Every form of every content word."""
    found = set()
    for field in fields(words):
        value = getattr(words, field.name)
        flat = [*value, *value.values()] if isinstance(value, dict) else value
        found |= {form for each in flat for form in ([each] if isinstance(each, str) else each)}
    return {form.lower() for form in found}


def test_no_content_word_stands_in_two_splits(splits):
    own = {split: content(words) for split, words in SPLIT_WORDS.items()}
    for left, right in permutations(own, 2):
        assert not own[left] & own[right]
    used = {split: {word for pair in splits[split] for text in (pair.premise, pair.hypothesis)
                    for word in re.findall(r"\w+", text.lower())} for split in splits}  # fmt: skip
    shared = used["train"] & used["test"]
    assert shared <= FUNCTION_WORDS


def test_no_template_of_the_test_is_one_of_training():
    for phenomenon in PHENOMENA:
        seen, unseen = (
            {line for lines in table.values() for line in lines} for table in (phenomenon.seen, phenomenon.unseen)
        )
        assert set(phenomenon.seen) == set(phenomenon.unseen)
        assert not seen & unseen


def test_a_seed_decides_everything_and_the_size_is_met():
    one, same, other = generate_splits(600, 3), generate_splits(600, 3), generate_splits(600, 4)
    assert one == same
    assert one != other
    assert abs(sum(map(len, one.values())) - 600) <= 18
    assert all(len(pairs) for pairs in generate_splits(300, 0).values())
    most = generate_splits(12_000, 1)
    assert abs(sum(map(len, most.values())) - 12_000) <= 18


def test_verbs_are_read_with_their_forms():
    assert verbs("open move/moved hide/hid/hidden") == (
        ("open", "opened", "opened"), ("move", "moved", "moved"), ("hide", "hid", "hidden"),
    )  # fmt: skip
