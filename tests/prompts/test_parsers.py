import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from whichtune.prompts.parsers import PARSERS, AnswerReader, cut_at_stop, follow_cue
from whichtune.prompts.words import choose_words

SENTIMENT = {"0": "negative", "1": "positive"}
TRUTH = {"false": "false", "true": "true"}
LETTERS = {"red": "red", "blue": "blue", "green": "green"}


@pytest.mark.parametrize(
    ("completion", "label"),
    [
        (" positive", "1"),
        ("\n\n  Negative.", "0"),
        ("It's positive!", "1"),
        ("positive, not negative", "1"),
        ("negative positive", "0"),
        ("positively", None),
        ("unpositive", None),
        ("I would say positive", None),  # beyond the 16th character
        ("12345678positive", None),
        ("1234567 positive", "1"),  # ends on the 16th
        ("12345678 positive", None),  # ends on the 17th
        ("garbage", None),
        ("", None),
    ],
)
def test_a_label_stands_near_the_beginning_at_a_word_boundary(completion, label):
    assert PARSERS["label"](completion, SENTIMENT) == label


def test_a_label_longer_than_the_window_can_still_be_read():
    words = {"a": "a very long label indeed", "b": "short"}
    assert PARSERS["label"]("a very long label indeed", words) == "a"


@pytest.mark.parametrize(
    ("completion", "label"),
    [
        ("True", "true"),
        ("The statement is false, since true things are rare.", "false"),
        ("This is not true.", "false"),
        ("not false", "true"),
        ("untrue", None),
        ("truest", None),
        ("I cannot say.", None),
    ],
)
def test_true_and_false_are_read_wherever_they_stand(completion, label):
    assert PARSERS["true-false"](completion, TRUTH) == label
    assert PARSERS["true-false"](completion, {}) == label
    assert PARSERS["true-false"](completion, {"0": "False", "1": "True"}) == {"true": "1", "false": "0"}.get(label)


@pytest.mark.parametrize(
    ("completion", "label"),
    [
        ("B", "blue"),
        (" b) blue", "blue"),
        ("(C)", "green"),
        ("The answer is B.", "blue"),
        ("Answer: a", "red"),
        ("A", "red"),
        ("A color such as that: option C", "green"),
        ("I think (B) fits", "blue"),
        ("D", None),
        ("Blue", None),
        ("I do not know", None),
    ],
)
def test_a_letter_is_read_as_the_label_of_its_place(completion, label):
    assert PARSERS["multiple-choice"](completion, LETTERS) == label


def test_a_number_is_read_as_itself_or_as_a_label():
    assert PARSERS["last-number"]("3 + 4 = 7.", {}) == "7"
    assert PARSERS["last-number"]("4 stars", {"good": "4.0", "bad": "1"}) == "good"
    assert PARSERS["last-number"]("5 stars", {"good": "4", "bad": "1"}) is None


def test_a_text_is_taken_as_it_is():
    assert PARSERS["text"]("  a b \n", {}) == "a b"
    assert PARSERS["text"](" \n", {}) is None


def test_what_a_model_makes_up_after_its_answer_is_not_read():
    reader = AnswerReader("true-false", TRUTH, stop=("\n\n", "Statement:"))
    assert reader.read("\n\n maybe Statement: x\nAnswer: true") is None
    assert reader.read(" false\n\nStatement: Bats fly.\nAnswer: true") == "false"


def test_a_reasoned_answer_follows_the_last_cue():
    reader = AnswerReader("label", SENTIMENT, cue="the answer is")
    assert reader.read("The answer is not plain. It is good, so The Answer is: positive.") == "1"
    assert reader.read("It is a good film and so on.") is None
    assert AnswerReader("last-number", cue="the answer is").read("2 * 3 = 6. The answer is 6. (2 steps)") == "2"
    assert follow_cue("abc", "") == "abc"
    assert cut_at_stop("a\nb", ("", "x")) == "a\nb"


@given(st.text())
def test_no_completion_is_a_fault_and_answers_are_labels(completion):
    for name, words in (("label", SENTIMENT), ("true-false", TRUTH), ("multiple-choice", LETTERS)):
        assert PARSERS[name](completion, words) in {None, *words}


WORD = st.text("abcdefgh", min_size=1, max_size=12)


@given(st.lists(WORD, min_size=2, max_size=5, unique=True), st.data(), st.sampled_from(["", " ", "\n"]))
def test_each_label_reads_as_itself_whatever_the_others_are(names, data, space):
    assume(not any(a != b and b.startswith(a) for a in names for b in names))
    words = choose_words(tuple(names), {})
    chosen = data.draw(st.sampled_from(names))
    for said in (chosen, chosen.upper(), f"{chosen}. Then more {names[0]}"):
        assert PARSERS["label"](space + said, words) == chosen
    assert PARSERS["label"](f"x{chosen}x", words) is None


@given(st.sampled_from(["positive", "negative"]), st.text(max_size=30))
def test_text_behind_a_word_boundary_changes_nothing(word, rest):
    expected = "1" if word == "positive" else "0"
    assert PARSERS["label"](f"{word}. {rest}", SENTIMENT) == expected


@pytest.mark.parametrize(
    ("parser", "gold", "expected"),
    [
        ("true-false", "True", "true"),
        ("multiple-choice", "b)", "B"),
        ("last-number", "She has 4 + 5 = 9. #### 9", "9"),
        ("last-number", "1,000", "1000"),
        ("text", " As it is. ", "As it is."),
    ],
)
def test_gold_answers_go_through_the_parsers_own_form(parser, gold, expected):
    reader = AnswerReader(parser)
    assert reader.expect(gold) == expected == reader.read(gold)
    assert reader.knows(gold)


def test_a_gold_answer_that_no_completion_can_match_is_known():
    assert not AnswerReader("last-number").knows("five")
    assert not AnswerReader("true-false").knows("perhaps")
    assert AnswerReader("text").knows("five")


@pytest.mark.parametrize(
    ("said", "expected"), [("It isn't true.", "false"), ("That is not false", "true"), ("true", "true")]
)
def test_a_negated_truth_is_its_opposite(said, expected):
    assert AnswerReader("true-false").read(said) == expected


def test_words_of_scripts_without_spaces_stand_anywhere():
    words = {"1": "\u6b63\u9762", "0": "\u8d1f\u9762"}
    assert AnswerReader("label", words).read("\u7b54\u6848\u662f\u6b63\u9762\u7684") == "1"
    assert AnswerReader("label", {"1": "pos"}).read("positive") is None
