"""Jinja templates in its sandbox: a template of a user's may name columns and print them, and do nothing else.

Undefined names are faults, found before any row is read. What a row holds is inserted as it is and never read as a
template. Nothing can be loaded, called from outside or taken from an object's inside.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from whichtune.errors import SpecError, did_you_mean

LONGEST_CHARACTERS = 10_000
"""Length of a template from which on it is taken for a mistake, such as a file's content."""


@dataclass(frozen=True)
class Template:
    """A template that names only what there is."""

    name: str
    """What messages call it, such as `template.query`."""
    source: str
    used: frozenset[str] = field(repr=False)
    """The names it uses."""

    @cached_property
    def _compiled(self) -> Any:
        return _environment().from_string(self.source)

    def render(self, values: Mapping[str, object]) -> str:
        """Fill in the values; a fault of the template's own is told with its name."""
        try:
            return str(self._compiled.render({name: values[name] for name in self.used}))
        except Exception as error:  # a template is a program of the user's: it fails in any way a program can
            raise _refuse(self.name, error) from error


def compile_template(name: str, source: str, allowed: Collection[str]) -> Template:
    """Read a template; one that does not parse, or that names something else, is refused."""
    if len(source) > LONGEST_CHARACTERS:
        raise SpecError(
            f"{name}: a template of {len(source):,} characters",
            allowed=f"up to {LONGEST_CHARACTERS:,}",
            remedy="name columns in it instead of writing out rows",
        )
    from jinja2 import TemplateError, meta

    environment = _environment()
    try:
        used = meta.find_undeclared_variables(environment.parse(source)) - set(environment.globals)
        environment.from_string(source)
    except TemplateError as error:
        raise _refuse(name, error) from error
    for missing in sorted(used - set(allowed)):
        raise SpecError(
            f"{name} names something that is not there",
            value=missing,
            allowed=", ".join(sorted(allowed)),
            remedy=did_you_mean(missing, allowed) or "correct the name, or set `data.columns`",
        )
    return Template(name, source, frozenset(used))


@lru_cache(maxsize=1)
def _environment() -> Any:
    """Make the sandbox: no loader, no attributes, no repetition that could fill the memory."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """Refuse the operators by which a short template makes a long text."""
            raise SecurityError(f"the operator {operator} is not allowed in a template")

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            """Allow what a loop says of itself and the plain methods of texts and lists; the rest is internal."""
            return attr in _ALLOWED_ATTRIBUTES

        def wrap_str_format(self, value: Any) -> None:
            """Leave `format` to the rule above: its fields reach into objects and its widths fill the memory."""

    made = Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals = {}
    for name in ("format", "center", "indent", "wordwrap", "random", "pprint", "xmlattr", "attr", "map"):
        made.filters.pop(name, None)
    return made


_ALLOWED_ATTRIBUTES = frozenset(
    {"index", "index0", "first", "last", "length", "revindex", "cycle", "upper", "lower", "title", "capitalize"}
    | {"strip", "lstrip", "rstrip", "split", "replace", "startswith", "endswith", "items", "keys", "values", "join"}
)


def _refuse(name: str, error: Exception) -> SpecError:
    line = getattr(error, "lineno", None)
    where = f"{name}, line {line}" if line else name
    said = " ".join(str(error).split())[:200]
    return SpecError(
        f"{where}: not a template that can be used ({said})",
        remedy="a template holds text, `{{ column }}`, `{% if %}` and `{% for %}`",
    )
