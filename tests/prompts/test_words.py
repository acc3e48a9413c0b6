import pytest

from whichtune.errors import SpecError
from whichtune.prompts.words import choose_words, join_options, letter_choices


def test_a_label_stands_for_itself_unless_a_word_is_given():
    words = choose_words(("0", "1", "2"), {"1": " neutral "})
    assert words == {"0": "0", "1": "neutral", "2": "2"}
    assert join_options(words) == "0, neutral or 2"
    assert letter_choices(words) == [("A", "0"), ("B", "neutral"), ("C", "2")]
    assert (join_options({}), join_options({"a": "b"})) == ("", "b")


@pytest.mark.parametrize(
    ("labels", "given", "told"),
    [
        (("0", "1"), {"0": "good", "1": "Good"}, "'0' and '1' have the same word"),
        (("0", "1"), {"0": "good", "1": "Goodish"}, "the word of the label '0' is the beginning of the word of '1'"),
        (("1", "10"), {}, "the beginning of the word of '10'"),
        (("0", "1"), {"0": " "}, "the label '0' is empty"),
        (("positive", "negative"), {"positve": "x"}, "did you mean 'positive'"),
    ],
)
def test_words_that_cannot_be_told_apart_are_refused(labels, given, told):
    with pytest.raises(SpecError, match=told):
        choose_words(labels, given)
