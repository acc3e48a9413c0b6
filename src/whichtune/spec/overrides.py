"""Overrides from the command line: `methods.lora.rank=16`, its value read as YAML."""

from __future__ import annotations

from whichtune.errors import SpecError, cut_value, sentence
from whichtune.spec.compose import compose
from whichtune.spec.faults import Fault
from whichtune.spec.nodes import Node, Place, nest_node


def read_override(text: str, base: Node) -> tuple[Node | None, list[Fault]]:
    """Turn `a.b.c=value` into a tree to lay over `base`, or list what is wrong with it.

    The value is YAML: `16`, `word`, `[1, 2]`, `{a: 1}`; nothing after `=` is null. Where a name in `base` holds dots
    (`v1.5`), the longest name that is there is taken.
    """
    place = Place(f"--set {cut_value(text)}")
    path, equals, value = text.partition("=")
    steps = _split(path.strip(), base)
    if not equals or not all(steps):
        told = sentence("not an override", allowed="path=value", remedy="for example `--set methods.lora.rank=16`")
        return None, [Fault(place, "", told)]
    if steps[0] == "scales":
        told = "a scale is not changed from here"
        return None, [Fault(place, "", sentence(told, remedy="choose one with --scale and set the setting itself"))]
    try:
        node, faults = compose(value, str(place), lines=False)
    except SpecError as error:
        return None, [Fault(place, "", str(error).removeprefix(f"{place}: "))]
    return nest_node(tuple(steps), node), faults


def _split(path: str, base: Node) -> list[str]:
    parts, steps, node = path.split("."), [], base
    while parts:
        joined = [(".".join(parts[:end]), end) for end in range(len(parts), 1, -1)]
        name, end = next(((name, end) for name, end in joined if name in node.fields()), (parts[0], 1))
        steps.append(name)
        parts = parts[end:]
        node = node.step(name) or Node(None, base.place)
    return steps
