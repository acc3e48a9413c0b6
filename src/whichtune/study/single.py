"""One trial by flags: the study of a single candidate and seed, made of a study file, of flags, or of both.

Nothing here needs torch: wrong flags are told before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from whichtune.errors import SpecError, did_you_mean
from whichtune.spec.flags import ANY_BACKBONE, ANY_METHOD, find_flag
from whichtune.spec.members import kinds, specs
from whichtune.spec.merge import alike_key
from whichtune.spec.method_base import BaselineBase, PrompterBase
from whichtune.spec.methods import MethodSpec
from whichtune.spec.read import load_stored_study, resolve_study
from whichtune.spec.shorthand import COLUMNS, TASKS, read_backbone_word, read_source_word
from whichtune.spec.study import Name, StudySpec
from whichtune.spec.tasks import TaskSpec
from whichtune.spec.write import write_scalar

SOURCE = "data.source."
IMAGE = "data.columns.image"
QUESTIONS = "visual-question-answering"
WHOLE = "data.source.all"
WANDB = "trackers.*."
"""Front of the settings of Weights & Biases, whatever the tracker is called."""
_OF_THE_TASK = {"style": "task.prompt.style", "wording": "task.prompt.wording", "scoring": "task.scoring"}
"""What a prompter says for itself and a task for all its tuners."""


@dataclass(frozen=True)
class Asked:
    """What the flags of `train` ask for."""

    out: Path
    """The study's folder."""
    method: str | None = None
    """A method entry of the study file, or a kind of method."""
    backbone: str | None = None
    """A backbone of the study file, or a word that stands for one."""
    task: str | None = None
    """A kind of task; that of the study file or of the data when left out."""
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Path in the study to value; `methods.*` is the chosen method."""
    overrides: tuple[str, ...] = ()
    """Further overrides, as `--set` takes them."""


def plan_single(asked: Asked, base: StudySpec | None = None) -> StudySpec:
    """Return the study of the one trial that is asked for; flags go over the study file."""
    # What the file leaves out stays out, since a default may hang on what a flag changes.
    tree: dict[str, Any] = {} if base is None else base.model_dump(exclude_unset=True)
    tree |= {"name": asked.out.name, "scales": {}, "reference": {}, "search": None}
    _choose_task(tree, asked.task)
    settings = _lay_data(tree, _name_tracker(tree, asked.settings))
    name, entry = _choose_method(tree.get("methods", {}), asked.method or _guess_method(tree, settings))
    settings = _place_prompt(settings, entry["kind"])
    _fix_grid(name, entry, settings)
    _choose_backbone(tree, entry, asked.backbone)
    settings = _place_backbone(tree["backbones"], settings)
    tree["methods"] = {name: {**entry, "on": None}}
    tree["seeds"] = [_choose_seed(asked.seed, base)]
    require_name(asked.out)
    require_room(asked.out, name)
    over = write_overrides(settings, name)
    with naming_flags(settings, name):
        return resolve_study(tree, overrides=[*over, *asked.overrides])


def write_overrides(settings: Mapping[str, Any], method: str) -> list[str]:
    """Write settings as overrides of a study, those of `methods.*` for one entry."""
    front = f"methods.{method}"
    return [f"{path.replace(ANY_METHOD, front, 1)}={write_scalar(value)}" for path, value in settings.items()]


@contextmanager
def naming_flags(settings: Mapping[str, Any], method: str) -> Generator[None]:
    """Let faults of settings name the flag that was typed, not the override that stands for it."""
    try:
        yield
    except SpecError as error:
        told = str(error)
        for (path, value), override in zip(settings.items(), write_overrides(settings, method), strict=True):
            flag = f"{find_flag(path)} {_show(value)}"
            whole = override.partition("=")[0]
            told = told.replace(f"--set {override}: {whole}: ", f"{flag}: ").replace(f"--set {override}: ", f"{flag}: ")
        raise SpecError(told) from None


def _show(value: Any) -> str:
    """Write a value as it is typed behind a flag."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def find_kind(word: str) -> str:
    """Return the kind of method that a word means, or say which there are."""
    known = [kind for member in specs(MethodSpec) for kind in kinds(member)]
    for kind in known:
        if alike_key(kind) == alike_key(word):
            return kind
    raise SpecError("--method", value=word, allowed=", ".join(known), remedy=did_you_mean(word, known))


def require_name(out: Path) -> None:
    """Refuse a folder whose name, which is the study's too, is no name."""
    try:
        TypeAdapter(Name).validate_python(out.name)
    except ValidationError:
        allowed = "a folder whose name has at most 80 letters, digits, `.`, `_` and `-`, a letter or digit first"
        raise SpecError("--out-dir", value=str(out), allowed=allowed) from None


def require_room(out: Path, name: str) -> None:
    """Refuse a folder that holds a study of several trials, or of another method: its comparison would be lost."""
    path = out / "study.yaml"
    if not path.is_file():
        return
    held, _ = load_stored_study(path)
    several = len(held.methods) > 1 or len(held.seeds) > 1 or len(held.backbones) > 1
    if several or name not in held.methods:
        what = "a study of several trials" if several else f"a trial of `{next(iter(held.methods))}`"
        raise SpecError(f"{out}: holds {what}", remedy="give another --out-dir")


def _choose_task(tree: dict[str, Any], word: str | None) -> None:
    """Take the kind of task that is asked for; settings of another kind go with it."""
    if word is None:
        return
    known = [kind for member in specs(TaskSpec) for kind in kinds(member)]
    found = next((kind for kind in known if alike_key(kind) == alike_key(word)), None)
    if found is None:
        raise SpecError("--task", value=word, allowed=", ".join(known), remedy=did_you_mean(word, known))
    if tree.get("task", {}).get("kind") != found:
        tree["task"] = {"kind": found}


def _lay_data(tree: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the source of the rows; return the settings that are left to be laid over the study."""
    settings = dict(given)
    named = {path for path in settings if path.startswith(SOURCE)}
    places = {f"{SOURCE}{part}" for part in ("all", "train", "validation", "test")} & named
    if places:
        word = read_source_word(str(settings[WHOLE])) if places == {WHOLE} else None
        if word is not None:
            del settings[WHOLE]
        folders = all(Path(str(settings.get(path, ""))).expanduser().is_dir() for path in places)
        source = word or {"kind": "image-folder" if folders and places != {WHOLE} else "files"}
        tree["data"] = {**tree.get("data", {}), "source": source}
        settings = {f"data.columns.{name}": own for name, own in COLUMNS.get(source["kind"], {}).items()} | settings
        if source["kind"] in TASKS and "task" not in tree:
            tree["task"] = {"kind": TASKS[source["kind"]]}
    if settings.get("data.columns.pair") and "task" not in tree:
        tree["task"] = {"kind": "pair-classification"}
    if IMAGE in settings and "task" not in tree:
        asked = "data.columns.text" in settings
        tree["task"] = {"kind": QUESTIONS if asked else "image-classification"}
    return settings


def _name_tracker(tree: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Let settings of Weights & Biases mean the study's own tracker of that kind, or a new one."""
    settings = dict(given)
    meant = [path for path in settings if path.startswith(WANDB)]
    if meant:
        trackers: dict[str, Any] = dict(tree.get("trackers", {}))
        own = next((name for name, entry in trackers.items() if entry["kind"] == "wandb"), "wandb")
        trackers.setdefault(own, {"kind": "wandb"})
        tree["trackers"] = trackers
        for path in meant:
            settings[path.replace(WANDB, f"trackers.{own}.", 1)] = settings.pop(path)
    return settings


def _guess_method(tree: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """Take a rank or an alpha without a method for LoRA's."""
    low = {f"{ANY_METHOD}.rank", f"{ANY_METHOD}.alpha"} & set(settings)
    return "lora" if low and not tree.get("methods") else None


def _place_prompt(settings: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Lay what says how is asked where it belongs: to the method where that asks, to the task where it is trained."""
    member = next(one for one in specs(MethodSpec) if kind in kinds(one))
    if issubclass(member, PrompterBase):
        front, method = "task.decoding.", f"{ANY_METHOD}.decoding."
        return {path.replace(front, method, 1) if path.startswith(front) else path: settings[path] for path in settings}
    own = {f"{ANY_METHOD}.{name}": path for name, path in _OF_THE_TASK.items() if name not in member.model_fields}
    return {own.get(path, path): value for path, value in settings.items()}


def _choose_method(methods: Mapping[str, Any], word: str | None) -> tuple[str, dict[str, Any]]:
    """Find the entry a word means: by its name, by its kind where one entry has it, or a new one of that kind."""
    if word is None:
        own = [name for name, entry in methods.items() if entry["kind"] not in _BASELINES]
        if len(own) == 1:
            return own[0], dict(methods[own[0]])
        allowed = ", ".join(own or [kind for member in specs(MethodSpec) for kind in kinds(member)])
        raise SpecError("--method: name the one to train", allowed=allowed, remedy="for example `--method lora`")
    named = [name for name in methods if alike_key(name) == alike_key(word)]
    alike = named or [name for name, entry in methods.items() if alike_key(entry["kind"]) == alike_key(word)]
    if len(alike) > 1:
        raise SpecError("--method: several entries are of this kind", value=word, allowed=", ".join(alike))
    if alike:
        return alike[0], dict(methods[alike[0]])
    try:
        kind = find_kind(word)
    except SpecError:
        known = [*methods, *(kind for member in specs(MethodSpec) for kind in kinds(member) if kind not in methods)]
        raise SpecError("--method", value=word, allowed=", ".join(known), remedy=did_you_mean(word, known)) from None
    return kind, {"kind": kind}


def _fix_grid(name: str, entry: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Take a grid's only value; of several, a flag must name one."""
    for setting, values in entry.pop("grid", {}).items():
        if f"{ANY_METHOD}.{setting}" in settings:
            continue
        if len(values) > 1:
            flag = f"--{setting.replace('_', '-')}"
            shown = ", ".join(map(str, values))
            raise SpecError(f"{flag}: `{name}` has a grid over it, and one trial has one value", allowed=shown)
        entry[setting] = values[0]


def _choose_backbone(tree: dict[str, Any], entry: Mapping[str, Any], word: str | None) -> None:
    known: dict[str, Any] = tree.get("backbones", {})
    if entry["kind"] in _BASELINES:
        tree["backbones"] = {}
        return
    if word is None:
        own = list(entry.get("on") or known)
        if len(own) != 1:
            told = "--backbone: name the model to train"
            raise SpecError(told, allowed=", ".join(own), remedy="for example `--backbone minilm`")
        tree["backbones"] = {own[0]: known[own[0]]}
    elif word in known:
        tree["backbones"] = {word: known[word]}
    else:
        made = read_backbone_word(word)
        if tree.get("task", {}).get("kind") == QUESTIONS and made["kind"] != "pair":
            remedy = "for example `--backbone dinov2-small+minilm`"
            raise SpecError("--backbone: image and question are read by an encoder each", value=word, remedy=remedy)
        tree["backbones"] = {"main": made}


def _place_backbone(backbones: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings of the model to the one that is trained; of a pair its size of images to what reads them.

    A baseline has no model, and no use for them.
    """
    settings = {path: value for path, value in given.items() if not path.startswith(ANY_BACKBONE)}
    meant = {path: value for path, value in given.items() if path.startswith(ANY_BACKBONE)}
    for path, value in meant.items() if backbones else ():
        name, spec = next(iter(backbones.items()))
        field = path.removeprefix(f"{ANY_BACKBONE}.")
        paired = spec["kind"] == "pair"
        if paired and field != "image_size":
            told = f"{find_flag(path)}: the model is two, an encoder of images and one of texts"
            raise SpecError(told, value=value, remedy=f"say whose: `--set backbones.{name}.image.{field}={value}`")
        settings[f"backbones.{name}.{'image.' * paired}{field}"] = value
    return settings


def _choose_seed(seed: int | None, base: StudySpec | None) -> int:
    if seed is not None:
        return seed
    return 1 if base is None else base.seeds[0]


_BASELINES = {kind for member in specs(MethodSpec) if issubclass(member, BaselineBase) for kind in kinds(member)}
