"""Numbers and texts as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

DASH = "–"
TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Kinds of characters that turn the direction of all that follows them, words of ours included."""


def format_score(value: float | None, unit: str, decimals: int | None = None) -> str:
    """Write a score in its reader's unit: shares in hundredths, losses in nats."""
    if value is None:
        return DASH
    if unit == "share":
        return f"{100 * value:.{1 if decimals is None else decimals}f}"
    return f"{value:.{3 if decimals is None else decimals}f}" if unit == "nats" else f"{value:,.1f}"


def format_interval(low: float | None, high: float | None, unit: str, decimals: int | None = None) -> str:
    """Write both ends of an interval."""
    if low is None or high is None:
        return DASH
    return f"{format_score(low, unit, decimals)}..{format_score(high, unit, decimals)}"


def format_amount(value: float, unit: str, decimals: int | None = None) -> str:
    """Write a difference or a margin with its unit."""
    told = format_score(value, unit, decimals)
    return f"{told} {'points' if unit in {'share', 'points'} else unit}"


def format_seconds(value: float | None) -> str:
    """Write a time with three digits: micro- and milliseconds, seconds, then hours and minutes."""
    if value is None:
        return DASH
    if value < 1:
        return f"{value * 1e6:.3g} µs" if value < 1e-3 else f"{value * 1e3:.3g} ms"
    if value < 600:
        return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_bytes(value: float | None) -> str:
    """Write a size in decimal units."""
    return DASH if value is None else f"{_scaled(value, ('B', 'kB', 'MB', 'GB', 'TB', 'PB'))}"


def format_operations(value: float | None) -> str:
    """Write floating-point operations."""
    return DASH if value is None else _scaled(value, ("", "k", "M", "G", "T", "P", "E"))


def format_count(value: float | None) -> str:
    """Write a whole number in full."""
    return DASH if value is None else f"{value:,.0f}"


def format_mean(value: float | None) -> str:
    """Write a mean count with one digit behind the point."""
    return DASH if value is None else f"{value:,.1f}"


def format_percent(value: float | None) -> str:
    """Write a share as per cent, with two digits at least."""
    if value is None:
        return DASH
    return f"{100 * value:.3g} %" if value < 0.1 else f"{100 * value:.1f} %"


def plain(text: object) -> str:
    """Return a text on one line without characters that could move a terminal's cursor or turn words around."""
    told = str(text)
    if told.isascii() and told.isprintable():  # as nearly all are: no need to look at each character
        return told
    return "".join(map(_plain_character, " ".join(told.splitlines())))


def enumerate_words(words: Iterable[str], limit: int = 8) -> str:
    """Join words with commas; beyond a limit the rest is counted."""
    listed = list(words)
    rest = len(listed) - limit
    return ", ".join(listed) if rest <= 0 else f"{', '.join(listed[:limit])} and {rest} more"


def count_of(number: int, word: str, plural: str = "") -> str:
    """Write a number and its noun."""
    return f"{number:,} {word if number == 1 else plural or word + 's'}"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    place = 0
    while abs(value) >= 999.5 and place < len(units) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.3g} {units[place]}".strip()


def _plain_character(character: str) -> str:
    if character == "\t":
        return " "
    harmful = unicodedata.category(character) == "Cc" or unicodedata.bidirectional(character) in TURNS
    return "\ufffd" if harmful else character
