"""The baseline of every summary: the text's own first sentence."""

from __future__ import annotations

import re

_END = re.compile(r"[.!?][\"')\]\u201d\u2019]*(?=\s+[\"'(\[\u201c\u2018]*[A-Z0-9`_]|\s*$)|\n\s*\n")
_ABBREVIATIONS = re.compile(
    r"(?:e\.g|i\.e|u\.s|u\.k|etc|vs|cf|al|mrs?|ms|dr|prof|st|no|fig|eq|sec|ch|vol|pp?|jr|sr|approx|[a-z])\."
)
"""Words that end with a full stop and not their sentence; an initial is one."""


def first_sentence(text: str) -> str:
    """Return the first sentence of a text, on one line.

    It ends at a full stop, question or exclamation mark before a capital, a digit or the end (abbreviations and
    initials apart), or at an empty line.
    """
    stripped = text.strip()
    for match in _END.finditer(stripped):
        before = stripped[: match.end()]
        word = before.split()[-1].lower().lstrip("\"'([")
        if match[0].startswith(".") and _ABBREVIATIONS.fullmatch(word):
            continue
        return " ".join(before.split())
    return " ".join(stripped.split())
