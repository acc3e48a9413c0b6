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
        str | None,
        typer.Argument(help="A shipped name (roberta-base), a folder, a name on the hub, minilm, or random:vit."),
    ] = None,
    *,
    method: Annotated[str | None, typer.Option(help="A kind of method; all of them when left out.")] = None,
    outputs: Annotated[int, typer.Option(min=0, help="Outputs of the head, one a label; 0 for words.")] = 2,
    keep_blocks: Annotated[int | None, typer.Option(min=1, help="Keep only the first n blocks.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method, such as rank=4.")
    ] = None,
    peft_tuners: Annotated[
        bool, typer.Option("--peft-tuners", help="List the tuners of `--method peft` instead, and count nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count the parameters of a method on a model, by theory and by measurement, from its configuration alone."""
    if peft_tuners:
        list_tuners(alone=model is None and method is None and not as_json)
        return
    from whichtune.errors import SpecError

    if model is None:
        raise SpecError("no model to count on", remedy="for example `whichtune count roberta-base`")
    methods = choose_methods(method, given_settings(ctx), settings or [])
    from rich.console import Console

    from whichtune.inspect.count import count_methods
    from whichtune.inspect.count_tables import render_count

    found = count_methods(model, methods, outputs, keep_blocks)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        render_count(found, Console(), alone=method is not None)


def list_tuners(*, alone: bool) -> None:
    """Print which tuners of PEFT run, what each adapts, and why the others do not."""
    from rich.console import Console

    from whichtune.errors import SpecError
    from whichtune.inspect.count_tables import render_tuners
    from whichtune.methods.peft_listing import describe_tuners

    if not alone:
        raise SpecError("--peft-tuners stands alone", remedy="leave out the model, `--method` and `--json`")
    render_tuners(describe_tuners(), Console())


def choose_methods(kind: str | None, given: dict[str, Any], settings: list[str]) -> dict[str, MethodSpec]:
    """Return the method that is asked for, or every one that needs no setting, with its defaults."""
    from whichtune.errors import SpecError
    from whichtune.spec.members import kinds, needs_settings, specs
    from whichtune.spec.methods import MethodSpec
    from whichtune.study.single import find_kind, naming_flags, write_overrides

    if kind is None and (given or settings):
        raise SpecError("settings without a method", remedy="say which with `--method`, such as `--method lora`")
    if kind is None:
        complete = [member for member in specs(MethodSpec) if not needs_settings(member)]
        made: list[Any] = [member.model_validate({"kind": word}) for member in complete for word in kinds(member)]
        return {method.kind: method for method in made}
    name = find_kind(kind)
    own = [f"methods.{name}.{text}" for text in settings]
    with naming_flags(given, name):
        return read_method(name, [*write_overrides(given, name), *own])


def read_method(kind: str, overrides: list[str]) -> dict[str, MethodSpec]:
    """Validate a method as the entry of a study, of two texts a row: such a study takes every method."""
    from whichtune.spec.read import resolve_study

    study = {
        "name": "count",
        "task": {"kind": "pair-classification"},
        "data": {"source": {"kind": "nli-grammar"}, "columns": {"text": "premise", "pair": "hypothesis"}},
        "backbones": {"main": {"kind": "random"}},
        "methods": {kind: {"kind": kind}},
    }
    return dict(resolve_study(study, overrides=overrides).methods)
