"""Looking into annotations: the classes of a union, and what stands under `Annotated` and `| None`."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from whichtune.spec.base import Spec


def members(union: Any) -> tuple[type, ...]:
    """List the classes of a union (or the one class that stands alone), in order and without None."""
    inner, _ = strip(union)
    options = get_args(inner) if _is_union(inner) else (inner,)
    return tuple(option for option in options if isinstance(option, type) and option not in {NoneType, Any})


def specs(annotation: Any) -> tuple[type[Spec], ...]:
    """List the spec classes a value of this annotation can have; empty when it is no spec."""
    return tuple(member for member in members(annotation) if issubclass(member, Spec))


def kinds(member: type[Spec]) -> tuple[str, ...]:
    """List the words `kind` may have in a spec class; empty when it has no kind."""
    field = member.model_fields.get("kind")
    return () if field is None else choices(field.annotation)


def needs_settings(member: type[Spec]) -> bool:
    """Whether a spec class has a setting, beside its kind, that must be given."""
    return any(info.is_required() for name, info in member.model_fields.items() if name != "kind")


def choices(annotation: Any) -> tuple[Any, ...]:
    """List what a Literal allows; empty for anything else."""
    inner, _ = strip(annotation)
    return get_args(inner) if get_origin(inner) is Literal else ()


def strip(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take `Annotated` and `| None` off an annotation; return what is left and the marks that were on it."""
    marks: tuple[Any, ...] = ()
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *found = get_args(annotation)
            marks += tuple(found)
            continue
        options = [option for option in get_args(annotation) if option is not NoneType]
        if not (_is_union(annotation) and len(options) == 1):
            return annotation, marks
        annotation = options[0]


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in {Union, UnionType}
