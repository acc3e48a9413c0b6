"""YAML 1.2 text to nodes: every value with its line, every word as it was written.

`ruamel.yaml` splits the text; which plain words are numbers is decided here, by the core schema of YAML 1.2: `1e-3`
and `1E5` are numbers, `no`, `on`, `yes` and `off` are words. In one point we are stricter: `010` stays the word it is,
since a number would silently lose its zero (`0o10` is the octal way to write 8). A number keeps its text, so that a
label `1e-3` in a list of words is still `1e-3`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from whichtune.errors import SpecError, sentence
from whichtune.spec.faults import Fault
from whichtune.spec.nodes import Node, Place

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TEXT_TAGS = {"tag:yaml.org,2002:str", "!"}


def compose(text: str, origin: str, *, lines: bool = True) -> tuple[Node, list[Fault]]:
    """Turn YAML text into nodes and list its faults; raise SpecError where the text is no YAML at all.

    `origin` names the file or flag in messages; without `lines` every place is the origin alone.
    """
    composer = _Composer(text, origin, lines)
    return composer.compose(), composer.faults


def read_word(word: str) -> Any:
    """Return the value of a plain (unquoted) word: None, a boolean, a number, or the word itself."""
    if word in _WORDS:
        return _WORDS[word]
    if _WHOLE.fullmatch(word):
        return int(word)
    if _BASED.fullmatch(word):
        return int(word, 0)
    if _DECIMAL.fullmatch(word):
        return float(word)
    if endless := _ENDLESS.fullmatch(word):
        return float("nan") if endless[3] else float(endless[1] + "inf")
    return word


class _Composer:
    """Reads parser events into nodes; one use each."""

    def __init__(self, text: str, origin: str, lines: bool) -> None:
        self._origin = origin
        self._lines = lines
        self._anchors: dict[str, Node] = {}
        self._events = self._parse(text)
        self.faults: list[Fault] = []

    def compose(self) -> Node:
        """Return the one document of the text; None stands for an empty one."""
        next(self._events)
        start = next(self._events)
        if type(start).__name__ == "StreamEndEvent":
            return Node(None, self._place(None))
        root = self._node(next(self._events))
        next(self._events)
        after = next(self._events)
        if type(after).__name__ != "StreamEndEvent":
            self._fault(after, "a second document starts here", remedy="keep one document in a file")
        return root

    def _parse(self, text: str) -> Iterator[Any]:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except MarkedYAMLError as error:
            place = Place(self._origin, error.problem_mark.line + 1 if self._lines and error.problem_mark else None)
            raise SpecError(f"{place}: not YAML: {error.problem}", remedy=_remedy(str(error.problem))) from error
        except YAMLError as error:
            first = str(error).splitlines()[0]
            raise SpecError(f"{self._origin}: not YAML: {first}", remedy="save the file as plain UTF-8 text") from error

    def _node(self, event: Any) -> Node:
        name = type(event).__name__
        if name == "AliasEvent":
            return self._alias(event)
        self._check_tag(event)
        if name == "MappingStartEvent":
            node = self._mapping(event)
        elif name == "SequenceStartEvent":
            node = self._sequence(event)
        else:
            node = self._scalar(event)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _mapping(self, start: Any) -> Node:
        entries: dict[str, Node] = {}
        for event in self._until("MappingEndEvent"):
            key = self._key(event)
            node = self._node(next(self._events))
            if key is None:
                continue
            if key in entries:
                told = f"`{key}` stands twice in one mapping, first at {entries[key].place}"
                self._fault(event, told, remedy="keep one of the two")
            entries[key] = replace(node, place=self._place(event))
        return Node(entries, self._place(start))

    def _sequence(self, start: Any) -> Node:
        return Node([self._node(event) for event in self._until("SequenceEndEvent")], self._place(start))

    def _scalar(self, event: Any) -> Node:
        plain = event.implicit[0] and event.style is None and event.tag is None
        return Node(read_word(event.value) if plain else event.value, self._place(event), event.value)

    def _alias(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            self._fault(event, f"`*{event.anchor}` has no anchor above it", remedy=f"write `&{event.anchor}` there")
            return Node(None, self._place(event))
        return replace(node, place=self._place(event))

    def _key(self, event: Any) -> str | None:
        if type(event).__name__ != "ScalarEvent":
            self._node(event)
            self._fault(event, "a key must be a single word")
            return None
        self._check_tag(event)
        return str(event.value)

    def _until(self, end: str) -> Iterator[Any]:
        while type(event := next(self._events)).__name__ != end:
            yield event

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None and str(event.tag) not in _TEXT_TAGS:
            self._fault(event, f"the tag {event.tag} is not understood", remedy="leave it out")

    def _fault(self, event: Any, told: str, remedy: str = "") -> None:
        self.faults.append(Fault(self._place(event), "", sentence(told, remedy=remedy)))

    def _place(self, event: Any) -> Place:
        if not self._lines:
            return Place(self._origin)
        return Place(self._origin, 1 if event is None else event.start_mark.line + 1)


def _remedy(problem: str) -> str:
    if "\\t" in problem:
        return "indent with spaces, not with tabs"
    if "mapping values" in problem:
        return "put a value that holds `: ` in quotes"
    return "check indentation, quotes and brackets around this line"
