"""A study before it is validated: plain values that know where they were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from whichtune.spec.base import Steps
from whichtune.spec.merge import same_kind


@dataclass(frozen=True)
class Place:
    """Where something was written: a file and its line, or a flag."""

    origin: str
    line: int | None = None

    def __str__(self) -> str:
        return self.origin if self.line is None else f"{self.origin}:{self.line}"


@dataclass(frozen=True)
class Node:
    """A mapping or list of nodes, or a scalar; `written` is the scalar's own text before it became a number."""

    content: Any
    place: Place
    written: str | None = None

    def fields(self) -> dict[str, Node]:
        """Return the entries of a mapping; empty for anything else."""
        return self.content if isinstance(self.content, dict) else {}

    def items(self) -> list[Node]:
        """Return the items of a list; empty for anything else."""
        return self.content if isinstance(self.content, list) else []

    def at(self, *steps: str | int) -> Node | None:
        """Return what stands at the end of the steps, or None."""
        node: Node | None = self
        for step in steps:
            node = node.step(step) if node is not None else None
        return node

    def step(self, step: str | int) -> Node | None:
        """Return one entry or item, or None."""
        if isinstance(step, int):
            items = self.items()
            return items[step] if -len(items) <= step < len(items) else None
        return self.fields().get(step)

    def plain(self) -> Any:
        """Return the value without its places."""
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.fields().items()}
        if isinstance(self.content, list):
            return [node.plain() for node in self.items()]
        return self.content

    def put(self, key: str, node: Node) -> Node:
        """Return the mapping with one entry replaced or added; anything but a mapping becomes one."""
        return replace(self, content={**self.fields(), key: node})

    def without(self, *keys: str) -> Node:
        """Return the mapping without some entries; anything else is returned as it is."""
        if not isinstance(self.content, dict):
            return self
        return replace(self, content={key: node for key, node in self.fields().items() if key not in keys})

    def places(self) -> Iterator[Place]:
        """Go through the places of this node and of everything in it."""
        yield self.place
        for node in (*self.fields().values(), *self.items()):
            yield from node.places()


def make_node(value: Any, place: Place) -> Node:
    """Make nodes of a plain value, all at one place."""
    if isinstance(value, Mapping):
        return Node({str(key): make_node(item, place) for key, item in value.items()}, place)
    if isinstance(value, list | tuple):
        return Node([make_node(item, place) for item in value], place)
    return Node(value, place)


def nest_node(steps: Steps, node: Node) -> Node:
    """Wrap a node in one mapping per step."""
    for step in reversed(steps):
        node = Node({str(step): node}, node.place)
    return node


def lay(base: Node, over: Node) -> Node:
    """Lay one tree over another by the rule of `deep_merge`; every value keeps the place it came from."""
    if not (isinstance(base.content, dict) and isinstance(over.content, dict)):
        return over
    if not same_kind(_kind(base), _kind(over)):
        return over
    merged = base
    for key, node in over.fields().items():
        old = base.fields().get(key)
        merged = merged.put(key, node if old is None else lay(old, node))
    return merged


def _kind(node: Node) -> Any:
    kind = node.fields().get("kind")
    return None if kind is None else kind.content
