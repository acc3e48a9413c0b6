"""Spelling made one: field names, kinds and words of a tree brought to the form the spec classes know.

Done before trees are merged, since only equal spellings meet. Names that users chose (backbones, methods, scales,
reference) are left as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from whichtune.errors import sentence
from whichtune.spec.base import Partial, Settings, Spec
from whichtune.spec.faults import Fault
from whichtune.spec.members import choices, kinds, specs, strip
from whichtune.spec.merge import alike_key
from whichtune.spec.nodes import Node


@dataclass
class Conformer:
    """Brings trees that were written in one folder to our spelling, and collects what cannot be."""

    folder: Path
    """Relative paths of the tree start here."""
    faults: list[Fault] = field(default_factory=list)

    def conform(self, node: Node, annotation: Any, under: Node | None = None) -> Node:
        """Return the tree in our spelling; `under` is the tree it will be laid over, which may say the `kind`."""
        inner, marks = strip(annotation)
        partial = next((mark for mark in marks if isinstance(mark, Partial)), None)
        if partial is not None:
            inner = partial.of()
        if isinstance(node.content, dict):
            return self._mapping(node, inner, under)
        if isinstance(node.content, list):
            return self._list(node, inner)
        return self._scalar(node, inner)

    def _mapping(self, node: Node, annotation: Any, under: Node | None) -> Node:
        classes = specs(annotation)
        if classes:
            return self._spec(node, _narrow(classes, node, under), under)
        if get_origin(annotation) is not dict:
            return node
        value = get_args(annotation)[1]
        entries = {key: self.conform(entry, value, _below(under, key)) for key, entry in node.fields().items()}
        return replace(node, content=entries)

    def _spec(self, node: Node, classes: Sequence[type[Spec]], under: Node | None) -> Node:
        known = fields_of(classes)
        entries: dict[str, Node] = {}
        for key, entry in node.fields().items():
            name = key if key in known else alike_key(key)
            name = name if name in known else key
            if name in entries:
                told = f"`{key}` stands twice in one mapping (`_` and `-` are the same), first at {entries[name].place}"
                self.faults.append(Fault(entry.place, "", sentence(told, remedy="keep one of the two")))
            entries[name] = self._field(entry, name, known, _below(under, name), classes)
        return replace(node, content=entries)

    def _field(
        self, node: Node, name: str, known: Mapping[str, FieldInfo], under: Node | None, classes: Sequence[type[Spec]]
    ) -> Node:
        if name == "kind":
            return _match(node, [kind for member in classes for kind in kinds(member)])
        if name not in known:
            return node
        if any(isinstance(mark, Settings) for mark in known[name].metadata):
            return self._settings(node, known)
        return self.conform(node, annotation_of(known[name]), under)

    def _settings(self, node: Node, known: Mapping[str, FieldInfo]) -> Node:
        entries: dict[str, Node] = {}
        for key, values in node.fields().items():
            name = alike_key(key) if alike_key(key) in known else key
            items = values.items()
            if name in known and items:
                annotation = annotation_of(known[name])
                values = replace(values, content=[self.conform(item, annotation) for item in items])  # noqa: PLW2901
            entries[name] = values
        return replace(node, content=entries) if isinstance(node.content, dict) else node

    def _list(self, node: Node, annotation: Any) -> Node:
        if get_origin(annotation) is not tuple:
            return node
        shapes = [shape for shape in get_args(annotation) if shape is not Ellipsis]
        items = [self.conform(item, shapes[min(at, len(shapes) - 1)]) for at, item in enumerate(node.items())]
        return replace(node, content=items)

    def _scalar(self, node: Node, annotation: Any) -> Node:
        if options := choices(annotation):
            return _match(node, options)
        if annotation is int and isinstance(node.content, float) and node.content.is_integer():
            return replace(node, content=int(node.content))
        if annotation not in {str, Path} or node.content is None:
            return node
        text = node.content if isinstance(node.content, str) else node.written
        if text is None:
            return node
        return replace(node, content=self._absolute(text) if annotation is Path else text)

    def _absolute(self, text: str) -> str:
        return os.path.abspath(self.folder / Path(text).expanduser())  # noqa: PTH100 - links stay as written


def fields_of(classes: Sequence[type[Spec]]) -> dict[str, FieldInfo]:
    """Return the fields of some spec classes together; the first class that has a name decides."""
    return {name: info for member in reversed(classes) for name, info in member.model_fields.items()}


def annotation_of(info: FieldInfo) -> Any:
    """Return a field's annotation with its own marks put back on."""
    partial = next((mark for mark in info.metadata if isinstance(mark, Partial)), None)
    return info.annotation if partial is None else partial.of()


def _narrow(classes: Sequence[type[Spec]], node: Node, under: Node | None) -> Sequence[type[Spec]]:
    for tree in (node, under):
        kind = None if tree is None else tree.at("kind")
        if kind is not None:
            word = alike_key(str(kind.content))
            return [one for one in classes if word in map(alike_key, kinds(one))] or classes
    return classes


def _below(under: Node | None, key: str) -> Node | None:
    return None if under is None else under.step(key)


def _match(node: Node, options: Sequence[Any]) -> Node:
    if isinstance(node.content, str) and node.content not in options:
        alike = [option for option in options if alike_key(str(option)) == alike_key(node.content)]
        return replace(node, content=alike[0]) if alike else node
    return node
