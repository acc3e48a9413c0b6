"""Command-line flags made from spec classes: their names, types, help and defaults are written once, in the class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from whichtune.errors import SpecError, did_you_mean
from whichtune.spec.backbones import BackboneBase
from whichtune.spec.base import Spec
from whichtune.spec.compose import read_word
from whichtune.spec.decoding import DecodingSpec
from whichtune.spec.members import choices, kinds, members, specs, strip
from whichtune.spec.merge import alike_key
from whichtune.spec.methods import MethodSpec
from whichtune.spec.nodes import Place, make_node
from whichtune.spec.prompts import ShotsSpec
from whichtune.spec.sources import Columns, DataSpec, FilesSource, SizesSpec, SplitSpec
from whichtune.spec.study import StudySpec
from whichtune.spec.tasks import TaskSpec
from whichtune.spec.training import ExecutionSpec, MeasureSpec, StoppingSpec, TrainingSpec
from whichtune.spec.validate import validate

Laid = TypeVar("Laid", bound=Spec)

ANY_METHOD = "methods.*"
"""Front of the paths of method flags: the star stands for the name of the entry that is meant."""
ANY_BACKBONE = "backbones.*"
"""The same for settings of the model."""
ALIASES: Mapping[str, tuple[str, ...]] = {
    "learning_rate": ("--lr",),
    "max_steps": ("--max-iters",),
    "all": ("--data",),
    "accumulate": ("--gradient-accumulation-steps",),
    "clip_norm": ("--grad-clip",),
    "validate_every": ("--eval-interval",),
}
"""Field to the other names of its flag, as users of other tools know them."""
MOST_NAMED = 4
"""Methods named in a flag's help; where more have one default, it stands there alone."""
_NO_FLAG = {"kind", "on"}
_NOT_OF_ONE_TRIAL = {"--name", "--seeds", "--contender-seeds", "--stream", "--workers"}


@dataclass(frozen=True)
class Flag:
    """One flag of a command."""

    name: str
    """As typed: `--learning-rate`."""
    field: str
    """Field of the spec: `learning_rate`."""
    type: type
    """`int`, `float`, `bool` or `str` (a path or a choice is a str); `object` where methods differ in it, or where a
    word may stand in place of a number."""
    help: str
    default: Any
    required: bool
    choices: tuple[str, ...] = ()
    """What is allowed, where it is a fixed set of words."""
    many: bool = False
    """Whether it takes several values, with commas between them; `type` is that of one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name and the aliases."""
        return (self.name, *ALIASES.get(self.field, ()))

    def read(self, value: Any) -> Any:
        """Turn what was typed into the setting's value; a word stays a word, whatever it looks like."""
        if self.many:
            return [self._read_word(word.strip()) for word in str(value).split(",") if word.strip()]
        return self._read_word(value) if isinstance(value, str) else value

    def _read_word(self, word: str) -> Any:
        return word if self.type is str else read_word(word)


@dataclass(frozen=True)
class Placed:
    """A flag and the setting of a study that it stands for."""

    flag: Flag
    path: str
    """Path in the study; `methods.*` for the one method that is meant."""


def list_flags(spec: type[Spec]) -> list[Flag]:
    """List a flag for every field of a spec that holds numbers, words or a switch; `kind` and `on` have none."""
    flags = (_make_flag(name, info) for name, info in spec.model_fields.items() if name not in _NO_FLAG)
    return [flag for flag in flags if flag is not None]


def list_method_flags() -> list[Placed]:
    """List one flag for every field that a method has; its help says which methods, and their defaults."""
    return _join_members(f"{ANY_METHOD}.", MethodSpec)


def group_flags() -> dict[str, list[Placed]]:
    """List the flags of one trial by group, each name once: method, training, data, task, execution."""
    tables: dict[str, tuple[tuple[str, Iterable[type[Spec]], str], ...]] = {
        "Model": ((f"{ANY_BACKBONE}.", [BackboneBase], ""),),
        "Training": (("training.", [TrainingSpec], ""), ("training.stopping.", [StoppingSpec], "")),
        "Data": (
            ("data.source.", [FilesSource], ""),
            ("data.columns.", [Columns], ""),
            ("data.", [DataSpec], ""),
            ("data.split.", [SplitSpec], "split-"),
            ("data.sizes.", [SizesSpec], "sizes-"),
        ),
        "Task": (("task.decoding.", [DecodingSpec], ""), ("", [StudySpec], "")),
        "Execution and measuring": (("execution.", [ExecutionSpec], ""), ("measure.", [MeasureSpec], "")),
    }
    shots = [_prefix(placed, "shots-") for placed in _place(f"{ANY_METHOD}.shots.", [ShotsSpec])]
    groups = {"Method": [one for one in [*list_method_flags(), *shots] if one.flag.name not in _NOT_OF_ONE_TRIAL]}
    taken = {placed.flag.name for placed in groups["Method"]} | _NOT_OF_ONE_TRIAL
    for title, parts in tables.items():
        own = [_prefix(placed, prefix) for front, owners, prefix in parts for placed in _place(front, owners)]
        own = [*_join_members("task.", TaskSpec), *own] if title == "Task" else own
        groups[title] = []
        for placed in own:
            if placed.flag.name not in taken:
                taken.add(placed.flag.name)
                groups[title].append(placed)
    return groups


def list_decoding_flags() -> list[Placed]:
    """List the flags that say how a completion is written."""
    return _place("decoding.", [DecodingSpec])


def lay_flags(base: Laid, given: Mapping[str, Any]) -> Laid:
    """Lay values over a spec, by field; a fault names the flag."""
    made, faults = validate(make_node({**base.model_dump(mode="json"), **given}, Place("")), type(base))
    if faults:
        raise SpecError("\n".join(f"--{alike_flag(fault.path)}: {fault.text}" for fault in faults))
    return made


def alike_flag(field: str) -> str:
    """Return a field as flags are spelled."""
    return field.replace("_", "-")


def find_flag(path: str) -> str:
    """Return the flag that stands for a setting; `path` as in `Placed`."""
    every = [*list_method_flags(), *(placed for group in group_flags().values() for placed in group)]
    names = {placed.path: placed.flag.name for placed in every}
    if path.startswith("trackers."):
        return "--wandb-" + path.rpartition(".")[2].replace("_", "-")
    return names.get(path, "--" + path.rpartition(".")[2].replace("_", "-"))


def expand_short(name: str, spec: StudySpec) -> str:
    """Return the path that a short override means: `--rank` is `methods.lora.rank` where only `lora` has a rank."""
    wanted = alike_key(name.lstrip("-"))
    paths = _list_paths(spec)
    wanted = {alias: field for field, names in ALIASES.items() for alias in map(_bare, names)}.get(wanted, wanted)
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


def _bare(name: str) -> str:
    return alike_key(name.lstrip("-"))


def _place(front: str, owners: Iterable[type[Spec]]) -> list[Placed]:
    return [Placed(flag, f"{front}{flag.field}") for owner in owners for flag in list_flags(owner)]


def _join_members(front: str, union: Any) -> list[Placed]:
    """List one flag for every field that a member of a union has."""
    owners: dict[str, list[tuple[str, Flag]]] = {}
    for member in specs(union):
        for flag in list_flags(member):
            owners.setdefault(flag.field, []).extend((kind, flag) for kind in kinds(member))
    return [Placed(_join(found), f"{front}{field}") for field, found in owners.items()]


def _prefix(placed: Placed, prefix: str) -> Placed:
    """Put a word before the name of a flag whose field alone would not say enough (`--split-seed`)."""
    if not prefix:
        return placed
    return replace(placed, flag=replace(placed.flag, name=f"--{prefix}{placed.flag.name[2:]}"))


def _join(found: list[tuple[str, Flag]]) -> Flag:
    """Make one flag of those that several methods have under one name."""
    flags = [flag for _, flag in found]
    defaults: dict[str, list[str]] = {}
    for kind, flag in found:
        defaults.setdefault(_show(flag.default), []).append(kind)
    told = "; ".join(f"{value} for {', '.join(methods)}" for value, methods in defaults.items())
    if len(defaults) == 1 and len(found) > MOST_NAMED:
        told = next(iter(defaults))
    same = len({(flag.type, flag.many) for flag in flags}) == 1
    words = dict.fromkeys(word for flag in flags for word in flag.choices)
    fixed = same and all(flag.choices for flag in flags)
    return replace(
        flags[0],
        type=flags[0].type if same else object,
        many=flags[0].many and same,
        help=f"{flags[0].help} (default {told})",
        default=None,
        choices=tuple(words) if fixed else (),
    )


def _show(default: Any) -> str:
    if isinstance(default, list | tuple):
        return ",".join(map(str, default))
    if default is None:
        return "none"
    return ("on" if default else "off") if isinstance(default, bool) else str(default)


def _make_flag(name: str, info: FieldInfo) -> Flag | None:
    annotation, many = _item(info.annotation)
    words = _words(annotation)
    found = members(annotation)
    kind = str if words else found[0] if len(found) == 1 else None
    if kind is None or not (kind in {int, float, bool, str} or kind.__name__ == "Path"):
        return None
    required = info.is_required()
    return Flag(
        name="--" + name.replace("_", "-"),
        field=name,
        type=object if _mixes(annotation) else str if kind.__name__ == "Path" else kind,
        help=(info.description or "").replace("\n", " "),
        default=None if required else info.get_default(call_default_factory=True),
        required=required,
        choices=() if many else words,
        many=many,
    )


def _words(annotation: Any) -> tuple[str, ...]:
    """List the words a flag takes: those of a Literal, or of one beside a mapping, which only a file can write."""
    inner, _ = strip(annotation)
    if get_origin(inner) in {Union, UnionType}:
        options = [option for option in get_args(inner) if get_origin(strip(option)[0]) is not dict]
        annotation = options[0] if len(options) == 1 else None
    return tuple(str(choice) for choice in choices(annotation))


def _mixes(annotation: Any) -> bool:
    """Whether a setting takes words beside numbers, such as a number of rows or `auto`."""
    inner, _ = strip(annotation)
    if get_origin(inner) not in {Union, UnionType}:
        return False
    options = [choices(option) for option in get_args(inner)]
    return any(options) and int in members(inner)


def _item(annotation: Any) -> tuple[Any, bool]:
    """Return what one value of a field is, and whether the field holds a list of such values."""
    inner, _ = strip(annotation)
    if get_origin(inner) is not tuple:
        return annotation, False
    return get_args(inner)[0], True
