from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.prompts.numbers import canonical_number, read_last_number, write_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 1,234.5.", "1234.5"),
        ("42.", "42"),
        ("so $0.20", "0.2"),
        ("-$3", "-3"),
        ("$-3", "-3"),
        ("it is -7 degrees", "-7"),
        ("it is \u22127", "-7"),
        ("10 - 3", "3"),
        ("10 -3", "3"),
        ("10-3", "3"),
        ("(4)-3", "3"),
        ("10 - 3 = 7", "7"),
        ("x=-5", "-5"),
        ("3/4", "0.75"),
        ("1/3 of it", "1/3"),
        ("-2/6", "-1/3"),
        ("1 1/2 cups", "1.5"),
        ("5/0", None),
        ("2.5e3", "2500"),
        ("1,2,3", "3"),
        ("12,345,678", "12345678"),
        ("007", "7"),
        (".5", "0.5"),
        ("20%", "20"),
        ("5cm", "5"),
        ("cost$5", "5"),
        ("GPT2", None),
        ("no number", None),
        ("", None),
        ("3.0", "3"),
        ("1.50 dollars.", "1.5"),
        ("0.1 and then 0.30", "0.3"),
        ("-0", "0"),
    ],
)
def test_the_last_number_is_read_exactly(text, number):
    assert read_last_number(text) == number


def test_one_number_with_its_unit_has_a_canonical_form():
    assert canonical_number(" $1,000.00 ") == "1000"
    assert canonical_number("0.20 dollars") == "0.2"
    assert canonical_number("2 and 3") is None
    assert canonical_number("none") is None


@given(st.fractions(max_denominator=2000))
def test_equal_numbers_are_equal_texts_and_come_back(value):
    assert Fraction(write_number(value)) == value
    assert canonical_number(write_number(value)) == write_number(value)


@given(st.integers(-(10**12), 10**12), st.integers(0, 99))
def test_thousands_and_decimals_are_read_as_written(whole, cents):
    sign = -1 if whole < 0 else 1
    expected = Fraction(whole) + sign * Fraction(cents, 100)
    assert read_last_number(f"That makes {whole:,}.{cents:02d}.") == write_number(expected)


@given(st.text())
def test_any_text_is_read_without_a_fault(text):
    number = read_last_number(text)
    assert number is None or canonical_number(number) == number
