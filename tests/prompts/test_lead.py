import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.prompts.lead import first_sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One. Two.", "One."),
        ("  One\nand more! Two.", "One and more!"),
        ("Dr. Smith met J. Doe, e.g. Jane. Then left.", "Dr. Smith met J. Doe, e.g. Jane."),
        ('He said "stop." Then left.', 'He said "stop."'),
        ("It costs 3.50 dollars in all. More.", "It costs 3.50 dollars in all."),
        ("see foo.bar now. `x` is it.", "see foo.bar now."),
        ("no end\n\nNext paragraph.", "no end"),
        ("no end at all", "no end at all"),
        ("What? Yes.", "What?"),
        ("", ""),
    ],
)
def test_the_first_sentence_ends_where_a_reader_ends_it(text, sentence):
    assert first_sentence(text) == sentence


@given(st.text())
def test_it_is_always_a_beginning_of_the_text(text):
    assert " ".join(text.split()).startswith(first_sentence(text))
