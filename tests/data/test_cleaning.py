import pytest

from whichtune.data.cleaning import Sieve, judge_text, read_answer, read_gold, read_label
from whichtune.data.needs import Needs
from whichtune.data.tables import Table
from whichtune.errors import DataError
from whichtune.spec.sources import Columns


def make_table(rows, columns=("text", "label")):
    values = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
    return Table("t.csv", columns, values, range(2, 2 + len(rows)))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("fine", None), ("0", None), ("?", None), ("\u4f60\u597d", None),
        ("", "empty"), (" \t\n", "empty"), ("\u200b\ufeff", "empty"), (None, "empty"), (float("nan"), "empty"),
        (3, "not-text"), (["a"], "not-text"), (b"a", "not-text"), ("a\0b", "not-text"),
    ],
)  # fmt: skip
def test_what_is_text(value, reason):
    assert judge_text(value) == reason


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("pos", "pos"), (" pos ", "pos"), (1, "1"), (1.0, "1"), (-1, "-1"), (0, "0"), (2.5, "2.5"), (True, "true"),
        (False, "false"), ("0", "0"), ("no", "no"), ("", None), ("  ", None), (None, None), (float("nan"), None),
    ],
)  # fmt: skip
def test_labels_become_words(value, label):
    assert read_label(value, "t.csv:2") == label


def test_words_for_no_label_give_way_to_labels():
    assert [read_gold(value, "t.csv:2", {"-", "-1"}, ()) for value in ("-", -1, "a", "")] == [None, None, "a", None]
    assert [read_gold(value, "t.csv:2", {"-", "-1"}, ("+", "-")) for value in ("-", -1)] == ["-", None]
    kept = Sieve(Needs(Columns()), frozenset({"-"}), ("+", "-")).sift("train", make_table([("x", "-"), ("y", "+")]))
    assert [one.gold for one in kept] == ["-", "+"]


def test_several_labels_a_row_are_refused():
    with pytest.raises(DataError, match=r"t\.csv:2: a label must be a word or a number"):
        read_label(["a", "b"], "t.csv:2")


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("  It rained.\nThen not. \n", "It rained.\nThen not."), ("-", "-"), ("-1", "-1"), (-1, "-1"), (5, "5"),
        (5.0, "5"), ("5.0", "5.0"), (2.5, "2.5"), (True, "true"), ("no", "no"), ("", None), (" \n", None),
        ("\u200b", None), (None, None), (float("nan"), None), ("x" * 9000, "x" * 9000),
    ],
)  # fmt: skip
def test_answers_are_texts_or_numbers(value, answer):
    assert read_answer(value, "t.csv:2") == answer


@pytest.mark.parametrize("value", [["a", "b"], {"text": ["a"]}, b"a"])
def test_several_answers_a_row_are_refused(value):
    with pytest.raises(DataError, match=r"t\.csv:2: an answer must be a text or a number: got '(list|dict|bytes)'"):
        read_answer(value, "t.csv:2")


def test_dropped_rows_are_counted_by_reason_and_named():
    rows = [("fine", "a"), ("", "a"), *[("x", None)] * 7, (5, "b")]
    sieve = Sieve(Needs(Columns()))
    kept = sieve.sift("train", make_table(rows))
    assert [(example.id, example.text, example.gold, example.origin) for example in kept] == [
        ("train:2", "fine", "a", "t.csv:2")
    ]
    told = {one.reason: (one.split, one.count, one.origins) for one in sieve.tell()}
    assert told["empty"] == ("train", 1, ("t.csv:3",))
    assert told["unlabeled"] == ("train", 7, tuple(f"t.csv:{line}" for line in range(4, 9)))
    assert told["not-text"] == ("train", 1, ("t.csv:11",))


def test_a_second_text_is_judged_like_the_first():
    rows = [("fine", "good", "a", "g"), ("fine", " ", "a", "g"), ("fine", 3, "a", "g"), ("", "fine", "a", None)]
    rows += [("fine", "good", "-", "g"), ("fine", "good", "b", None)]
    sieve = Sieve(Needs(Columns(pair="second", group="kind")), frozenset({"-"}))
    kept = sieve.sift("train", make_table(rows, ("text", "second", "label", "kind")))
    assert [(one.text, one.pair, one.gold, one.group) for one in kept] == [
        ("fine", "good", "a", "g"),
        ("fine", "good", "b", None),
    ]
    assert {(one.reason, one.count) for one in sieve.tell()} == {("empty", 2), ("not-text", 1), ("unlabeled", 1)}


def test_too_many_dropped_rows_are_refused_with_their_places():
    table = make_table([("fine", "a")] * 9 + [("", "a")])
    sieve = Sieve(Needs(Columns()))
    sieve.sift("test", table)
    sieve.require_usable("test", table, 0.1)
    with pytest.raises(DataError, match=r"10\.0% of the 10 rows of t\.csv cannot be used: 1 empty \(t\.csv:11\)"):
        sieve.require_usable("test", table, 0.09)
    sieve.require_usable("train", table, 0)


def test_own_ids_are_used_and_must_be_unique():
    table = make_table([("x", "a", 7), ("y", "b", "8")], ("text", "label", "key"))
    sieve = Sieve(Needs(Columns(id="key")))
    assert [example.id for example in sieve.sift("train", table)] == ["7", "8"]
    with pytest.raises(DataError, match=r"t\.csv:2 and t\.csv:2 have the same id: got '7'"):
        sieve.sift("test", table)


def test_a_missing_id_is_refused():
    table = make_table([("x", "a", None)], ("text", "label", "key"))
    with pytest.raises(DataError, match=r"t\.csv:2 has no id"):
        Sieve(Needs(Columns(id="key"))).sift("train", table)
