"""Command-line flags made from spec classes: their names, types, help and defaults are written once, in the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from whichtune.errors import SpecError, did_you_mean
from whichtune.spec.base import Spec
from whichtune.spec.members import choices, members
from whichtune.spec.merge import alike_key
from whichtune.spec.study import StudySpec


@dataclass(frozen=True)
class Flag:
    """One flag of a command."""

    name: str
    """As typed: `--learning-rate`."""
    field: str
    """Field of the spec: `learning_rate`."""
    type: type
    """`int`, `float`, `bool` or `str` (a path or a choice is a str)."""
    help: str
    default: Any
    required: bool
    choices: tuple[str, ...] = ()
    """What is allowed, where it is a fixed set of words."""


def list_flags(spec: type[Spec]) -> list[Flag]:
    """List a flag for every field of a spec that holds one number, word or switch; `kind` has none."""
    flags = (_make_flag(name, info) for name, info in spec.model_fields.items() if name != "kind")
    return [flag for flag in flags if flag is not None]


def expand_short(name: str, spec: StudySpec) -> str:
    """Return the path that a short override means: `--rank` is `methods.lora.rank` where only `lora` has a rank."""
    wanted = alike_key(name.lstrip("-"))
    paths = _list_paths(spec)
    found = [path for field, path in paths if field == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        remedy = f"write the one you mean, such as `--set {found[0]}=...`"
        raise SpecError(f"{name} could be several settings", allowed=", ".join(found), remedy=remedy)
    flags = sorted({"--" + field.replace("_", "-") for field, _ in paths})
    raise SpecError(
        f"{name}: no such setting", remedy=did_you_mean(name, flags) or "see the study file for its settings"
    )


def _list_paths(spec: StudySpec) -> list[tuple[str, str]]:
    parts: dict[str, Spec] = {"training": spec.training, "execution": spec.execution, "measure": spec.measure}
    parts |= {f"methods.{name}": method for name, method in spec.methods.items()}
    nested = [(flag.field, f"{path}.{flag.field}") for path, part in parts.items() for flag in list_flags(type(part))]
    return [(flag.field, flag.field) for flag in list_flags(StudySpec)] + nested


def _make_flag(name: str, info: FieldInfo) -> Flag | None:
    words = tuple(str(choice) for choice in choices(info.annotation))
    found = members(info.annotation)
    kind = str if words else found[0] if len(found) == 1 else None
    if kind is None or not (kind in {int, float, bool, str} or kind.__name__ == "Path"):
        return None
    required = info.is_required()
    return Flag(
        name="--" + name.replace("_", "-"),
        field=name,
        type=str if kind.__name__ == "Path" else kind,
        help=(info.description or "").replace("\n", " "),
        default=None if required else info.get_default(call_default_factory=True),
        required=required,
        choices=words,
    )
