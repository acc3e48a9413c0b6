"""Grids: a method entry that stands for several candidates, one for each combination of values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from pydantic import ValidationError

from whichtune.errors import SpecError
from whichtune.spec.faults import Fault
from whichtune.spec.method_base import MethodBase, grid_faults, search_faults
from whichtune.spec.methods import MethodSpec
from whichtune.spec.nodes import Node
from whichtune.spec.validate import validate


def expand_grid(name: str, spec: MethodSpec) -> list[tuple[str, MethodSpec]]:
    """List the candidates of a method entry with their names, such as `lora[learning_rate=0.001,rank=8]`.

    Settings stand in the order of the spec's fields, whatever the order in the file; values vary from the last setting
    on. Without a grid it is the entry alone under its own name.
    """
    fields = [field for field in type(spec).model_fields if field in spec.grid]
    plain = {**spec.model_dump(exclude_unset=True), "grid": {}}  # a default may hang on what a grid varies
    candidates: dict[str, MethodSpec] = {}
    for values in product(*(spec.grid[field] for field in fields)):
        candidate = _build(name, spec, {**plain, **dict(zip(fields, values, strict=True))})
        settings = ",".join(f"{field}={_shown(getattr(candidate, field))}" for field in fields)
        full = f"{name}[{settings}]" if fields else name
        if full in candidates:
            raise SpecError(f"methods.{name}.grid: {full} comes out twice", remedy="give each value once")
        candidates[full] = candidate
    return list(candidates.items())


def with_setting(spec: MethodSpec, setting: Mapping[str, Any]) -> MethodSpec:
    """Return a method with some of its settings replaced; the class checks them and fills in what hangs on them."""
    plain = spec.model_dump(exclude_unset=True)
    return _build(spec.kind, spec, {**plain, **setting})


def check_grid(name: str, node: Node, method: type[MethodBase]) -> list[Fault]:
    """List the faults of a grid and of what a search tries, in a tree.

    They are unknown settings, and every value that the method would not take.
    """
    faults = _check_values(name, node, method, "grid")
    return faults + (_check_values(name, node, method, "search") if "search" in method.model_fields else [])


def _check_values(name: str, node: Node, method: type[MethodBase], part: str) -> list[Fault]:
    grid = node.step(part)
    if grid is None or not grid.fields():
        return []
    at = f"methods.{name}.{part}"
    lists = {key: [one.plain() for one in values.items()] for key, values in grid.fields().items()}
    if part == "search":
        found = search_faults(method, lists)
    else:
        found = grid_faults(method, {key: values or [None] for key, values in lists.items()})
    faults = [Fault(grid.fields()[str(steps[0])].place, f"{at}.{steps[0]}", text) for steps, text in found]
    for field, values in grid.fields().items():
        if field in method.model_fields:
            seen: list[Any] = []
            for index, value in enumerate(values.items()):
                path = f"{at}.{field}[{index}]"
                faults += _check_value(node.without("grid", "search").put(field, value), field, path, method)
                if value.plain() in seen:
                    faults.append(Fault(value.place, path, f"{value.plain()!r} stands twice; give each value once"))
                seen.append(value.plain())
    return faults


def _check_value(node: Node, field: str, path: str, method: type[MethodBase]) -> list[Fault]:
    _, faults = validate(node, method)
    own = [fault for fault in faults if fault.path.partition("[")[0] == field]
    return [Fault(fault.place, path, fault.text) for fault in own]


def _build(name: str, spec: MethodSpec, fields: dict[str, Any]) -> MethodSpec:
    try:
        return type(spec).model_validate(fields)
    except ValidationError as error:
        told = "; ".join(f"{one['loc'][0] if one['loc'] else name}: {one['msg']}" for one in error.errors())
        raise SpecError(f"methods.{name}.grid: {told}", remedy="give values the setting takes by itself") from error


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, tuple):
        return "+".join(str(item) for item in value)
    return str(value)
