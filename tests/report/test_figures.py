"""Numbers as people read them."""

from __future__ import annotations

import pytest

from whichtune.report import figures


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "–"), (0.0000123, "12.3 µs"), (0.0456, "45.6 ms"), (1.0, "1.0 s"), (99.94, "99.9 s"), (123.4, "123 s"),
        (870, "14 min"), (4582, "76 min"), (9000, "2 h 30 min"), (7199.9, "2 h 00 min"),
    ],
)  # fmt: skip
def test_seconds(seconds, told) -> None:
    assert figures.format_seconds(seconds) == told


@pytest.mark.parametrize(
    ("value", "told"), [(None, "–"), (0, "0 B"), (999, "999 B"), (999.9, "1 kB"), (8.82e9, "8.82 GB"), (10**15, "1 PB")]
)
def test_bytes(value, told) -> None:
    assert figures.format_bytes(value) == told


def test_scores() -> None:
    assert figures.format_score(0.70649, "share") == "70.6"
    assert figures.format_score(0.65449, "nats") == "0.654"
    assert figures.format_score(None, "share") == "–"
    assert figures.format_interval(0.1, 0.25, "share") == "10.0..25.0"
    assert figures.format_interval(None, 0.25, "share") == "–"
    assert figures.format_amount(0.031, "share") == "3.1 points"
    assert figures.format_percent(0.000711) == "0.0711 %"
    assert figures.format_percent(1.0) == "100.0 %"
    assert figures.format_operations(2.5e11) == "250 G"


def test_texts() -> None:
    assert figures.plain("a\tb\r\nc\x00\x1b\u2028d") == "a b c\ufffd\ufffd d"
    assert figures.plain("שלום 🙂") == "שלום 🙂"
    assert figures.plain("lora\u202e collapsed\u2066") == "lora\ufffd collapsed\ufffd"
    assert figures.enumerate_words("abc", 2) == "a, b and 1 more"
    assert figures.count_of(1, "row") == "1 row"
    assert figures.count_of(2000, "row") == "2,000 rows"
