"""Numbers as people write them, read exactly: `1,234.5`, `-$3`, `3/4`, `1 1/2`, `2.5e3`."""

from __future__ import annotations

import re
from fractions import Fraction

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"""
    (?<![\w.])                                            # not inside a word, nor the decimals of another number
    (?P<minus>(?<![)\]]) (?<![\d)\]][ ]) [-\u2212])?      # a sign; between two terms it is an operation
    (?:[$\u20ac\u00a3](?P<inner>[-\u2212])?)?              # $5, -$5 and $-5
    (?:(?P<whole>\d+)[ ](?=\d+/\d))?                      # 1 1/2
    (?P<number>{_PLAIN})
    (?:[eE](?P<power>[+-]?\d{{1,2}})(?!\w))?
    (?:/(?P<below>\d+))?
    """,
    re.VERBOSE | re.ASCII,
)


def read_last_number(text: str) -> str | None:
    """Return the last number of a text in its canonical form, or None where there is none."""
    numbers = [value for value in map(_value_of, _NUMBER.finditer(text)) if value is not None]
    return write_number(numbers[-1]) if numbers else None


def canonical_number(text: str) -> str | None:
    """Return a text that is one number, units and currency signs apart, in its canonical form; None otherwise."""
    numbers = [value for value in map(_value_of, _NUMBER.finditer(text)) if value is not None]
    return write_number(numbers[0]) if len(numbers) == 1 else None


def write_number(value: Fraction) -> str:
    """Write a number in the one form in which equal numbers are equal texts: decimal where it ends, else a fraction."""
    below = value.denominator
    twos, fives = _count_factor(below, 2), _count_factor(below, 5)
    if below != 2**twos * 5**fives:
        return f"{value.numerator}/{below}"
    places = max(twos, fives)
    if places == 0:
        return str(value.numerator)
    digits = str(abs(value.numerator) * 10**places // below).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _value_of(match: re.Match[str]) -> Fraction | None:
    value = Fraction(match["number"].replace(",", ""))
    if match["power"]:
        value *= Fraction(10) ** int(match["power"])
    if match["below"]:
        below = Fraction(match["below"])
        if below == 0:
            return None
        value /= below
    if match["whole"]:
        value += int(match["whole"])
    return -value if match["minus"] or match["inner"] else value


def _count_factor(number: int, factor: int) -> int:
    count = 0
    while number % factor == 0:
        number //= factor
        count += 1
    return count
