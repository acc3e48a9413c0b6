"""Commands whose options are made from spec classes: names, types, help and defaults stand in the class alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

if TYPE_CHECKING:
    from whichtune.spec.flags import Flag, Placed

GIVEN = "whichtune.given"


def spell_alike(name: str) -> str:
    """Make `--batch_size` the same as `--batch-size`."""
    return name.replace("_", "-")


SETTINGS: dict[str, Any] = {"token_normalize_func": spell_alike}
"""Context settings of the commands made here."""


class MadeCommand(TyperCommand):
    """A command with further options, made when it runs and not when the program starts: `--help` stays quick."""

    made: list[Any] | None = None

    def groups(self) -> Mapping[str, list[Placed]]:
        """Return the options to add, by the title of their group."""
        raise NotImplementedError

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options written by hand and those made from specs."""
        if self.made is None:
            self.made = [param for title, placed in self.groups().items() for param in _make_params(title, placed)]
        return [*super().get_params(ctx), *self.made]

    def invoke(self, ctx: Any) -> Any:
        """Put what the made options were given aside, as path and value, and run the command."""
        placed = {_variable(one): one for own in self.groups().values() for one in own}
        found = {name: ctx.params.pop(name) for name in placed if name in ctx.params}
        ctx.meta[GIVEN] = {
            placed[name].path: placed[name].flag.read(value) for name, value in found.items() if value is not None
        }
        return super().invoke(ctx)


class MethodCommand(MadeCommand):
    """Adds the settings of all methods."""

    def groups(self) -> Mapping[str, list[Placed]]:
        """Return the methods' settings."""
        from whichtune.spec.flags import list_method_flags

        return {"Method": list_method_flags()}


class TrialCommand(MadeCommand):
    """Adds every setting of one trial."""

    def groups(self) -> Mapping[str, list[Placed]]:
        """Return the settings of a study that concern one trial."""
        from whichtune.spec.flags import group_flags

        return group_flags()


def given_settings(ctx: typer.Context) -> dict[str, Any]:
    """Return the settings that made options were given: path in the study to value."""
    return dict(ctx.meta[GIVEN])


def _make_params(title: str, placed: list[Placed]) -> list[Any]:
    """Make the options of one group, by writing a function with such parameters: the form that typer reads."""

    def function() -> None: ...

    parameters = [
        inspect.Parameter(
            _variable(one), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotate(one, title)
        )
        for one in placed
    ]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {one.name: one.annotation for one in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return list(get_command(app).params)


def _annotate(placed: Placed, title: str) -> Any:
    flag = placed.flag
    kind: Any = str if flag.many or flag.type is object else flag.type
    if flag.choices:
        kind = StrEnum("Choice", {word: word for word in flag.choices})
    names = flag.names
    if flag.type is bool:
        names = (f"{flag.name}/--no-{flag.name[2:]}", *names[1:])
    metavar = "<word>" if flag.choices else None
    option = typer.Option(*names, help=_help(flag), rich_help_panel=title, show_default=False, metavar=metavar)
    return Annotated[kind | None, option]


def _help(flag: Flag) -> str:
    """Say what a flag is for; the default too, where the flag has one of its own."""
    words = f" One of: {', '.join(flag.choices)}." if flag.choices else ""
    separated = " Several with commas between them." if flag.many else ""
    default = "" if flag.default is None else f" (default {_show(flag.default)})"
    also = f" Also {', '.join(flag.names[1:])}." if flag.names[1:] else ""
    return f"{flag.help}{words}{separated}{also}{default}"


def _show(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return ("on" if default else "off") if isinstance(default, bool) else str(default)


def _variable(placed: Placed) -> str:
    return f"made_{placed.flag.name[2:].replace('-', '_')}"
