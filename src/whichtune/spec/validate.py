"""Validating a tree, and saying what pydantic found in our own words: line, what was given, what is allowed, remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from whichtune.errors import cut_value, did_you_mean, sentence
from whichtune.spec.base import Misfit, Spec, Steps
from whichtune.spec.faults import Fault, dotted
from whichtune.spec.members import choices, kinds, specs, strip
from whichtune.spec.nodes import Node, Place


def validate(node: Node, annotation: Any, at: Steps = ()) -> tuple[Any, list[Fault]]:
    """Build the value of an annotation (a spec class or a union of them) from a tree, or list its faults.

    Strict, so that no word passes for a number; `at` is the path of the tree in the study, for messages.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    try:
        return adapter.validate_json(json.dumps(node.plain(), default=str), strict=True), []
    except ValidationError as error:
        found = [fault for one in error.errors(include_url=False) for fault in _translate(one, node, annotation, at)]
        return None, _drop_echoes(found)


@dataclass
class Spot:
    """The end of pydantic's path to a fault, followed through the tree and the annotations side by side."""

    node: Node
    annotation: Any
    path: Steps = ()
    field: FieldInfo | None = None
    classes: tuple[type[Spec], ...] = ()
    """Spec classes the mapping of the last step can have."""
    siblings: tuple[str, ...] = ()
    """Names beside the last step, where users choose the names."""

    def go(self, step: str | int) -> None:
        """Take one step; one that names a union's member narrows the annotation and moves nowhere."""
        members = specs(self.annotation)
        chosen = [member for member in members if step in kinds(member)]
        if len(members) > 1 and chosen:
            self.annotation, self.classes = chosen[0], (chosen[0],)
            return
        inner, _ = strip(self.annotation)
        if members:
            self.classes = members
            self.field = next((m.model_fields[str(step)] for m in members if step in m.model_fields), None)
            self.annotation = self.field.annotation if self.field else None
        elif get_origin(inner) in {dict, tuple}:
            self.annotation = get_args(inner)[1 if get_origin(inner) is dict else 0]
            if get_origin(inner) is dict:
                self.field, self.siblings = None, tuple(name for name in self.node.fields() if name != step)
        elif not isinstance(self.node.content, dict | list):
            return  # a word that names one option of a union of scalars
        below = self.node.step(step)
        if below is None and self.annotation is None and not members:
            return
        self.node = self.node if below is None else below
        self.path += (step,)


def _translate(error: Mapping[str, Any], root: Node, annotation: Any, at: Steps) -> list[Fault]:
    spot = Spot(root, annotation)
    steps = [step for step in error["loc"] if step != "[key]"]
    for step in steps:
        spot.go(step)
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Misfit):
        return [_told_by_validator(root, annotation, (*steps, *more), text, at) for more, text in cause.faults]
    told = _WORDINGS.get(error["type"], _say_as_is)(error, spot)
    return [Fault(spot.node.place, dotted((*at, *spot.path)), told)]


def _told_by_validator(root: Node, annotation: Any, steps: Steps, text: str, at: Steps) -> Fault:
    spot = Spot(root, annotation)
    for step in steps:
        spot.go(step)
    return Fault(spot.node.place, dotted((*at, *spot.path)), text)


def _drop_echoes(faults: list[Fault]) -> list[Fault]:
    """Keep one fault a path, and none of a list ("too short") whose items are the fault."""
    kept: dict[tuple[Place, str], Fault] = {}
    for fault in faults:
        kept.setdefault((fault.place, fault.path), fault)
    paths = [fault.path for fault in kept.values()]
    return [f for f in kept.values() if not any(path.startswith(f"{f.path}[") for path in paths if f.path)]


def _got(spot: Spot, allowed: str, remedy: str = "") -> str:
    """Say what was given and what is allowed there."""
    content = spot.node.content
    if content is None:
        return sentence("nothing stands here", allowed=allowed, remedy=remedy or _example(spot) or _kind_example(spot))
    if isinstance(content, dict | list):
        return sentence(f"got a {'mapping' if isinstance(content, dict) else 'list'}", allowed=allowed, remedy=remedy)
    shown = json.dumps(content) if isinstance(content, bool) else cut_value(repr(content))
    return sentence(f"got {shown}", allowed=allowed, remedy=remedy)


def _say_type(allowed: str) -> Callable[[Mapping[str, Any], Spot], str]:
    def say(_error: Mapping[str, Any], spot: Spot) -> str:
        inner, _ = strip(spot.annotation)
        scalars = len(get_args(inner)) > 1 and get_origin(inner) not in {dict, tuple} and not specs(inner)
        if scalars:
            return _got(spot, "a number, a word, true or false")
        return _got(spot, allowed + (" or null" if _optional(spot) else ""), _quotes(spot))

    return say


def _quotes(spot: Spot) -> str:
    """Say how a null can stand for the word: only inside a list, where leaving it out is no way."""
    inside = spot.path and isinstance(spot.path[-1], int) and strip(spot.annotation)[0] is str
    return f'put the word in quotes: "{spot.node.written or "null"}"' if inside and spot.node.content is None else ""


def _say_bound(sign: str, key: str) -> Callable[[Mapping[str, Any], Spot], str]:
    def say(error: Mapping[str, Any], spot: Spot) -> str:
        bound = error["ctx"][key]
        shown = int(bound) if isinstance(bound, float) and bound.is_integer() else bound
        return _got(spot, f"{sign} {shown}")

    return say


def _say_missing(_error: Mapping[str, Any], spot: Spot) -> str:
    if spot.path and isinstance(spot.path[-1], int):
        return "a value is missing; " + _about(spot)
    return sentence("is required but missing", remedy=_example(spot))


def _say_extra(_error: Mapping[str, Any], spot: Spot) -> str:
    names = [name for member in spot.classes for name in member.model_fields]
    key = str(spot.path[-1])
    owner = " or ".join(kind for member in spot.classes for kind in kinds(member))
    thing = f"no such setting of {owner}" if owner else "no such setting"
    near = did_you_mean(key, names)
    return sentence(thing, allowed="" if near else ", ".join(names), remedy=near)


def _say_kind(_error: Mapping[str, Any], spot: Spot) -> str:
    known = [kind for member in specs(spot.annotation) for kind in kinds(member)]
    allowed = ", ".join(known)
    kind = spot.node.step("kind")
    if kind is None:
        near = did_you_mean(str(spot.path[-1]), spot.siblings) if spot.path else ""
        remedy = _kind_example(spot) + (f"; or {near}" if near else "")
        spot.path = (*spot.path, "kind")
        return sentence("is required but missing", allowed=allowed, remedy=remedy)
    spot.node, spot.path = kind, (*spot.path, "kind")
    return _got(spot, allowed, did_you_mean(str(kind.content), known))


def _say_choice(error: Mapping[str, Any], spot: Spot) -> str:
    options = [str(option) for option in choices(spot.annotation)]
    allowed = ", ".join(options) or str(error["ctx"]["expected"])
    return _got(spot, allowed, did_you_mean(str(spot.node.content), options))


def _say_pattern(error: Mapping[str, Any], spot: Spot) -> str:
    if "[key]" in error["loc"] or spot.path == ("name",):
        name = spot.path[-1] if "[key]" in error["loc"] else spot.node.content
        allowed = "at most 80 letters, digits, `.`, `_` and `-`, a letter or digit first"
        return sentence("not a name", value=name, allowed=allowed)
    return _got(spot, _about(spot).rstrip("."))


def _say_length(error: Mapping[str, Any], spot: Spot) -> str:
    context = error["ctx"]
    bound = f"at least {context['min_length']}" if "min_length" in context else f"at most {context['max_length']}"
    held = context.get("actual_length")
    told = f"holds {held} entries" if isinstance(held, int) else "has another number of entries"
    return sentence(told, allowed=bound, remedy=_about(spot))


def _say_as_is(error: Mapping[str, Any], spot: Spot) -> str:
    return _got(spot, "", str(error["msg"]).removeprefix("Value error, "))


def _about(spot: Spot) -> str:
    return "" if spot.field is None or spot.field.description is None else spot.field.description.replace("\n", " ")


def _example(spot: Spot) -> str:
    """Show how the field of a spot is written, with what it is for."""
    if spot.field is None or not spot.field.examples or not spot.path:
        return ""
    about = _about(spot).rstrip(".")
    return f"for example `{spot.path[-1]}: {spot.field.examples[0]}`" + (f" ({about})" if about else "")


def _kind_example(spot: Spot) -> str:
    """Show a kind for a mapping that needs one: the one its name suggests, where it does."""
    known = [kind for member in specs(spot.annotation) for kind in kinds(member)]
    near = [kind for kind in known if spot.path and kind == spot.path[-1]]
    return f"for example `kind: {(near or known)[0]}`" if known else ""


def _optional(spot: Spot) -> bool:
    return spot.field is not None and strip(spot.field.annotation)[0] is not spot.field.annotation


def _say_settings(_error: Mapping[str, Any], spot: Spot) -> str:
    """Say that settings are wanted, and name them."""
    members = specs(spot.annotation)
    named = f" with {', '.join(members[0].model_fields)}" if len(members) == 1 else ""
    return _got(spot, f"{_MAPPING}{named}" + (" or null" if _optional(spot) else ""), _quotes(spot))


_MAPPING = "a mapping (one `setting: value` a line, indented)"
_WORDINGS: dict[str, Callable[[Mapping[str, Any], Spot], str]] = {
    "missing": _say_missing,
    "extra_forbidden": _say_extra,
    "union_tag_invalid": _say_kind,
    "union_tag_not_found": _say_kind,
    "literal_error": _say_choice,
    "string_pattern_mismatch": _say_pattern,
    "string_too_long": _say_pattern,
    "too_short": _say_length,
    "too_long": _say_length,
    "int_type": _say_type("a whole number"),
    "int_from_float": _say_type("a whole number"),
    "float_type": _say_type("a number"),
    "finite_number": _say_type("a finite number"),
    "bool_type": _say_type("true or false"),
    "string_type": _say_type("a word or text"),
    "path_type": _say_type("a path"),
    "tuple_type": _say_type("a list, such as `[a, b]`"),
    "list_type": _say_type("a list, such as `[a, b]`"),
    "dict_type": _say_type(_MAPPING),
    "model_type": _say_settings,
    "model_attributes_type": _say_settings,
    "greater_than": _say_bound("above", "gt"),
    "greater_than_equal": _say_bound("at least", "ge"),
    "less_than": _say_bound("below", "lt"),
    "less_than_equal": _say_bound("at most", "le"),
}
