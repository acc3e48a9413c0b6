"""The rule by which a docstring becomes a text and its summary.

1. The summary is the first paragraph: one sentence on one line or two, an empty line behind it. It has 3 to 30 words,
   at least two letters in three characters, and no mark of markup, signature or code.
2. The body is what follows and the section of notes. Other sections (a title underlined with dashes, `Args:` and its
   like) and field lists are left out, and so are doctests with their output, code blocks, directives, tables,
   formulas and names to be filled in. Lists stay.
3. Inline markup loses its marks, and lines are joined to paragraphs.
4. The body has 40 words at least.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from inspect import cleandoc

RULE_VERSION = 1
"""Raised when the same docstring would give another text."""
LEAST_BODY_WORDS = 40
SUMMARY_WORDS = (3, 30)

_UNDERLINE = re.compile(r"[-=~^]{3,}")
_SECTION = re.compile(
    r"(?P<title>args|arguments|parameters?|params|keyword arguments|keyword args|returns?|yields?|raises|attributes"
    r"|examples?|notes?|references|see also|warnings?|warns|shape|inputs?|outputs?|(?:example )?usage|usage patterns?"
    r"|methods|todo|since|requirements|options)(?:\s*\([^)]*\))?\s*::?",
    re.IGNORECASE,
)
_PROSE_TITLES = frozenset({"note", "notes", "description"})
_FIELD = re.compile(r"[:@](?:param|type|returns?|rtype|raises|arg|keyword|kwarg|var|ivar|cvar)\b")
_DIRECTIVE = re.compile(r"\.\. ")
_PROMPT = re.compile(r"(?:>>>|\$|In \[\d+\]:|\.\.\.)(?:\s|$)")
_TABLE = re.compile(r"[-=+|\s]{3,}$|[+|].*[+|]$")
_PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}")
_ITEM = re.compile(r"[-*\u2022]\s|\(?\d+[.)]\s")
_CODE = re.compile(r"^\s*(?:import|from|def|class|return|for|if|with)\b.*[:)\w]$|=|\)$")
_ROLE = re.compile(r":(?:[a-z]+:)?[a-z]+:`~?([^`<]+?)(?:\s*<[^>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^>]*>`__?")
_QUOTED = re.compile(r"``?([^`]*)``?_{0,2}")
_FOOTNOTE = re.compile(r"\s*\[(?:\d+|#\w*|[A-Z]\w*\d+)\]_")
_STRONG = re.compile(r"(?<![\w*])\*{1,2}([^*\s](?:[^*]*[^*\s])?)\*{1,2}(?![\w*])")
_NO_SUMMARY = re.compile(r"->|::|\||^[.:\[{<(#*]|:$|[{}\\=]|\w\(.*\)\s*$|https?:|[.!?]\s+[A-Z]")


@dataclass(frozen=True)
class Prose:
    """A body and its summary, on one line."""

    text: str
    summary: str


def read_prose(docstring: str) -> Prose | None:
    """Read a docstring by the rule, or return None where it has no summary or too little prose."""
    lines = cleandoc(docstring).splitlines()
    length = next((place for place, line in enumerate(lines) if not line.strip()), len(lines))
    summary = strip_markup(" ".join(line.strip() for line in lines[:length]))
    if length > 2 or not _is_summary(summary):
        return None
    body = "\n\n".join(_join_paragraphs(_take_prose(lines[length:])))
    return Prose(body, summary) if len(body.split()) >= LEAST_BODY_WORDS else None


def strip_markup(line: str) -> str:
    """Take the marks of inline markup away and keep what they mark."""
    for pattern in (_ROLE, _LINK, _QUOTED, _STRONG):
        line = pattern.sub(r"\1", line)
    return _FOOTNOTE.sub("", line)


def _is_summary(line: str) -> bool:
    letters = sum(character.isalpha() for character in line)
    words = len(line.split())
    fits = SUMMARY_WORDS[0] <= words <= SUMMARY_WORDS[1] and 3 * letters >= 2 * len(line)
    return fits and not _NO_SUMMARY.search(line)


def _take_prose(lines: list[str]) -> list[str]:
    """Return the lines of the body that are prose; an empty line stands where something was taken out."""
    kept: list[str] = []
    place = 0
    while place < len(lines):
        after = _pass_over(lines, place)
        if after is None:
            bare = lines[place].strip()
            blank = _TABLE.match(bare) or _PLACEHOLDER.fullmatch(bare) or _is_code(lines[place], kept)
            kept.append("" if blank else bare)
            place += 1
            continue
        bare = lines[place].strip()
        # The line that introduces a block of code is prose where it says something.
        said = bare.removesuffix("::").rstrip() if not _DIRECTIVE.match(bare) and bare.endswith("::") else ""
        kept += [f"{said}:" if said else "", ""]
        place = after
    return kept


def _pass_over(lines: list[str], place: int) -> int | None:
    """Return the line after what begins here and is no prose; None where prose goes on."""
    bare = lines[place].strip()
    if _is_title(lines, place):
        return place + 2 if bare.lower() in _PROSE_TITLES else _next_title(lines, place + 2)
    section = _SECTION.fullmatch(bare)
    if section is not None:
        return place + 1 if section["title"].lower() in _PROSE_TITLES else _end_of_section(lines, place)
    if _FIELD.match(bare):
        return len(lines)
    return _pass_over_code(lines, place)


def _pass_over_code(lines: list[str], place: int) -> int | None:
    """Return the line after a block, a fence or a doctest that begins here; None where none does."""
    bare, later = lines[place].strip(), range(place + 1, len(lines))
    if bare.endswith("::") or _DIRECTIVE.match(bare):
        return _end_of_block(lines, place)
    if bare.startswith("```"):
        return next((at + 1 for at in later if lines[at].strip().startswith("```")), len(lines))
    if _PROMPT.match(bare):
        return next((at for at in later if not lines[at].strip()), len(lines))
    return None


def _is_title(lines: list[str], place: int) -> bool:
    """Tell a title underlined with dashes or the like."""
    bare = lines[place].strip()
    under = lines[place + 1].strip() if place + 1 < len(lines) else ""
    return bool(bare) and len(bare.split()) <= 6 and bool(_UNDERLINE.fullmatch(under))


def _next_title(lines: list[str], place: int) -> int:
    return next((at for at in range(place, len(lines)) if _is_title(lines, at)), len(lines))


def _end_of_section(lines: list[str], place: int) -> int:
    """Return the line after an indented section; the end where what follows the title is not indented."""
    end = _end_of_block(lines, place)
    indented = any(line.strip() for line in lines[place + 1 : end])
    return end if indented else len(lines)


def _end_of_block(lines: list[str], place: int) -> int:
    """Return the first line after a block: one that is indented no more than the line that opens it."""
    depth = _depth(lines[place])
    later = range(place + 1, len(lines))
    return next((at for at in later if lines[at].strip() and _depth(lines[at]) <= depth), len(lines))


def _is_code(line: str, before: list[str]) -> bool:
    """Tell an indented line at the beginning of a paragraph that reads as code."""
    return _depth(line) >= 4 and (not before or not before[-1]) and bool(_CODE.search(line))


def _join_paragraphs(lines: list[str]) -> list[str]:
    """Join lines to paragraphs; an item of a list begins one of its own."""
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if not line or _ITEM.match(line):
            paragraphs.append([])
        if line:
            paragraphs[-1].append(line)
    return [strip_markup(" ".join(one)) for one in paragraphs if one]


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())
