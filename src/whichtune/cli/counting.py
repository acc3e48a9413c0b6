"""`count`: parameters of a method on a model, before anything is loaded or trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from whichtune.cli.made import MethodCommand, given_settings

if TYPE_CHECKING:
    from whichtune.spec.methods import MethodSpec

__all__ = ["MethodCommand", "count"]


def count(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A shipped name (roberta-base), a folder, a name on the hub, minilm, or random:bert.")
    ],
    *,
    method: Annotated[str | None, typer.Option(help="A kind of method; all of them when left out.")] = None,
    outputs: Annotated[int, typer.Option(min=1, help="Outputs of the head: one a label.")] = 2,
    keep_blocks: Annotated[int | None, typer.Option(min=1, help="Keep only the first n blocks.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method, such as rank=4.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count the parameters of a method on a model, by theory and by measurement, from its configuration alone."""
    methods = choose_methods(method, given_settings(ctx), settings or [])
    from rich.console import Console

    from whichtune.inspect.count import count_methods
    from whichtune.inspect.count_tables import render_count

    found = count_methods(model, methods, outputs, keep_blocks)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        render_count(found, Console(), alone=method is not None)


def choose_methods(kind: str | None, given: dict[str, Any], settings: list[str]) -> dict[str, MethodSpec]:
    """Return the method that is asked for, or every one with its defaults."""
    from whichtune.errors import SpecError
    from whichtune.spec.members import kinds, specs
    from whichtune.spec.methods import MethodSpec
    from whichtune.study.single import find_kind, write_overrides

    if kind is None and (given or settings):
        raise SpecError("settings without a method", remedy="say which with `--method`, such as `--method lora`")
    if kind is None:
        every = [word for member in specs(MethodSpec) for word in kinds(member)]
        found: dict[str, Any] = {}
        for word in every:
            try:
                found |= read_methods({word: {"kind": word}}, [])
            except SpecError:  # it has a setting that must be given
                continue
        return found
    name = find_kind(kind)
    own = [f"methods.{name}.{text}" for text in settings]
    return read_methods({name: {"kind": name}}, [*write_overrides(given, name), *own])


def read_methods(entries: dict[str, Any], overrides: list[str]) -> dict[str, MethodSpec]:
    """Validate method entries as those of a study."""
    from whichtune.spec.read import resolve_study

    study = {
        "name": "count",
        "data": {"source": {"kind": "tweets"}},
        "backbones": {"main": {"kind": "random"}},
        "methods": entries,
    }
    return dict(resolve_study(study, overrides=overrides).methods)
