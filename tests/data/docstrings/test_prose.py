import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.data.docstrings.prose import LEAST_BODY_WORDS, read_prose, strip_markup

BODY = "The values are read once and kept in the order in which they came, word for word and line for line. " * 3


def read(body, summary="Return the mean of the values."):
    return read_prose(f"{summary}\n\n{body}")


def prose_of(body):
    return read(f"{BODY}\n\n{body}").text.removeprefix(BODY.strip()).strip()


def test_a_body_and_its_summary_come_out_as_they_are():
    prose = read(BODY)
    assert (prose.text, prose.summary) == (BODY.strip(), "Return the mean of the values.")


def test_the_body_has_forty_words_at_least():
    words = ["word"] * LEAST_BODY_WORDS
    assert read(" ".join(words)) is not None
    assert read(" ".join(words[1:])) is None


@pytest.mark.parametrize(
    "summary",
    [
        "Too short.",
        "mean(x, y) -> float",
        "One sentence. Another one follows it.",
        "A title that ends with a colon:",
        ".. deprecated:: 1.0",
        "See https://example.org for all of it",
        "x = compute the mean of the values",
        "Three lines of\nsummary are\ntoo many.",
        " ".join(["word"] * 31),
    ],
)
def test_what_is_no_summary_is_left_out(summary):
    assert read(BODY, summary) is None


def test_a_summary_on_two_lines_is_joined_and_loses_its_marks():
    assert read(BODY, "Return the ``mean`` of\nthe *values*.").summary == "Return the mean of the values."


def test_a_body_must_follow_an_empty_line():
    assert read_prose("Return the mean of the values.") is None
    assert read_prose("") is None


@pytest.mark.parametrize(
    "left_out",
    [
        "Parameters\n----------\nx : int\n    The value.\n\nReturns\n-------\nint\n",
        "Args:\n    x: the value\n\n    y: another",
        "Arguments (all optional):\n\nx: the value\n\ny: another",
        ":param x: the value\n:returns: another",
        ">>> mean([1])\n1.0",
        "$ mean 1\n1.0",
        "```python\nmean([1])\n\nmean([2])\n```",
        ".. math::\n\n    x = y\n\n    y = z",
        ".. note:: words\n    more words",
        "::\n\n    x = mean([1])",
        "    x = mean([1])",
        "%(before_notes)s\n{and_more}",
        "=====  =====\n-----  -----",
        "+---+---+\n| a | b |\n+---+---+",
    ],
)
def test_what_is_no_prose_is_taken_out(left_out):
    assert prose_of(left_out) == ""
    if "param" not in left_out.lower() and "Arg" not in left_out:
        assert prose_of(f"{left_out}\n\nMore words.") == "More words."


def test_prose_goes_on_after_indented_sections_and_in_notes():
    assert prose_of("Args:\n    x: the value\n\nMore words.") == "More words."
    assert prose_of("Parameters\n----------\nx : int\n\nNotes\n-----\nMore words.") == "More words."
    assert prose_of("Note:\n    More words.") == "More words."


def test_the_line_before_a_block_of_code_stays():
    assert prose_of("It is called so::\n\n    mean([1])\n\nMore words.") == "It is called so:\n\nMore words."


def test_lists_stay_and_each_item_is_a_paragraph():
    assert (
        prose_of("- one\n  item\n- another\n\n1. first\n2) second")
        == "- one item\n\n- another\n\n1. first\n\n2) second"
    )


@pytest.mark.parametrize(
    ("line", "bare"),
    [
        ("see :func:`numpy.mean` and :class:`~a.B`", "see numpy.mean and a.B"),
        ("the :ref:`User Guide <guide>` tells", "the User Guide tells"),
        ("`a link <https://x.org>`_ here", "a link here"),
        ("``code`` and `name` and **bold** and *soft*", "code and name and bold and soft"),
        ("as shown [1]_ and [Knuth1998]_.", "as shown and."),
        ("as told in `the paper`_ and", "as told in the paper and"),
        ("2 * 3 and x**2 * y**2", "2 * 3 and x**2 * y**2"),
        ("f(*args, **kwargs)", "f(*args, **kwargs)"),
    ],
)
def test_marks_of_markup_go_and_what_they_mark_stays(line, bare):
    assert strip_markup(line) == bare


@given(st.text(alphabet="ab .:`*\n-=>_|", max_size=300))
def test_no_docstring_is_a_fault(text):
    prose = read_prose(f"Return the mean of the values.\n\n{text}\n\n{BODY}")
    assert prose is None or len(prose.text.split()) >= LEAST_BODY_WORDS
