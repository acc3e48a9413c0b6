"""The study file that `whichtune init` writes: every setting with what it does, from the spec's own docstrings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from whichtune.cli.sniff import Sniffed, sniff, sniff_images
from whichtune.errors import DataError, ModelError, SpecError
from whichtune.fetch.atomic import write_text
from whichtune.spec.backbones import BackboneSpec
from whichtune.spec.base import Spec
from whichtune.spec.members import choices, kinds, specs
from whichtune.spec.method_base import BaselineBase, MethodBase, PrompterBase
from whichtune.spec.methods import (
    FrozenFeaturesSpec,
    FullSpec,
    HypothesisOnlySpec,
    LastLayersSpec,
    LeadSpec,
    LoraSpec,
    MajoritySpec,
    MethodSpec,
    QuestionOnlySpec,
)
from whichtune.spec.peft import PeftSpec
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.search import SearchSpec
from whichtune.spec.shorthand import read_backbone_word
from whichtune.spec.soft_prompts import PromptTuningSpec
from whichtune.spec.sources import DataSpec, FilesSource, ImageFolderSource, SplitSpec
from whichtune.spec.study import StudySpec
from whichtune.spec.training import ExecutionSpec, TrainingSpec
from whichtune.spec.write import write_scalar
from whichtune.spec.zero_shot import ZeroShotSpec

_WIDTH_CHARS = 110
_MOST_LABELS_SHOWN = 12
_SMALL_SIZES = {"train": 200, "validation": 100, "test": 100}
_LANGUAGE_SIZES = {"train": 40, "validation": 10, "test": 10}
_LANGUAGE_TRAINING = {"batch_size": 4, "max_length": 512}
_CONVOLUTIONS = re.compile(r"resnet|convnext|efficientnet", re.IGNORECASE)
"""Names of models of images without attention: there is no query for LoRA to adapt."""
_MAPS = re.compile(rf"{_CONVOLUTIONS.pattern}|swin", re.IGNORECASE)
"""Names of models whose images pass as maps: there is no place for rows of a prompt."""
_TEXTS_ALONE = {"minilm", "smollm2"}
_IMAGES_ALONE = {"dinov2-small", "efficientnet-lite0"}
_LIMITS = {"peak_gb": 8, "latency_ms": 20, "adapter_mb": 10, "train_minutes": 30}
"""An example of limits; a study has none unless it says so."""
_EXECUTION = ("device", "threads", "check")


def write_starter(
    data_file: Path,
    model: str | None,
    out: Path,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    image: str | None = None,
    overwrite: bool = False,
) -> str:
    """Write a commented study file for a data file and a model, and return its text.

    The columns are guessed from the rows unless `text`, `label` and `pair` (a second text) name them; answers that
    are summaries or numbers make a study of a language model. A folder of images, or a file with a column of their
    paths (`image` names it), makes one of images.
    `model` is an existing folder, a built-in one, or else a repository name on the hub; left out, it is the built-in
    one that goes with the rows: `minilm`, `smollm2`, `dinov2-small`. Raises an InputError when a column cannot be told,
    all rows have one label, the model is no name or a built-in one that cannot read the rows, or `out` is there
    already.
    """
    if out.exists() and not overwrite:
        raise SpecError(f"{out}: is there already", remedy="give another name, or move it away")
    backbone = None if model is None else _describe_model(model, out.parent)
    shown = sniff_images(data_file, image=image, label=label) if text is None and pair is None else None
    seen = shown or sniff(data_file, text=text, label=label, pair=pair, in_words=True)
    _require_labels(data_file, seen)
    backbone = _choose_model(data_file, seen, backbone)
    written = "\n".join(_lines(data_file, seen, backbone, out)) + "\n"
    write_text(out, written)
    return written


def _require_labels(data_file: Path, seen: Sniffed) -> None:
    """Refuse rows that say nothing to learn: a study of them would be refused when it runs."""
    if seen.answers == "labels" and seen.whole and len(seen.labels) < 2:
        place = "class folder" if seen.source is not None else f"label in `{seen.label}`"
        remedy = "give each class a folder of its own" if seen.source is not None else "name the column with --label"
        found = ", ".join(seen.labels) or "none"
        raise DataError(f"{data_file}: one {place} only", value=found, allowed="two or more", remedy=remedy)


def _choose_model(data_file: Path, seen: Sniffed, asked: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the model that was named, or the built-in one that goes with the rows where none was."""
    images, words = seen.image is not None, seen.answers != "labels"
    fitting = "dinov2-small" if images else "smollm2" if words else "minilm"
    if asked is None:
        return {"kind": fitting}
    kind = str(asked["kind"])
    if images and kind in _TEXTS_ALONE:
        fault = "reads texts, and the rows are images"
    elif not images and kind in _IMAGES_ALONE:
        fault = "reads images, and the rows are texts"
    elif words and kind == "minilm":
        fault = f"writes nothing, and the answers in `{seen.label}` are {seen.answers}"
    else:
        return asked
    raise ModelError(f"{data_file}: {kind} {fault}", remedy=f"leave the model out, or name `{fitting}`")


def _lines(data_file: Path, seen: Sniffed, backbone: Mapping[str, Any], out: Path) -> Iterator[str]:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", data_file.stem).strip("-._")[:80] or "study"
    yield from _head(data_file, seen, out)
    yield from _section("name", name, StudySpec)
    yield ""
    task = _task_of(seen)
    if task is not None:
        yield from _section("task", {"kind": task}, StudySpec)
        yield ""
    yield from _data_lines(_name_source(data_file, seen, out.parent), seen)
    yield ""
    yield from _opening("backbones", StudySpec)
    yield "  main:"
    member = next(one for one in specs(BackboneSpec) if backbone["kind"] in kinds(one))
    sized = {} if seen.image is None else {"image_size": None}
    yield from _settings(member, {**backbone, **sized}, "    ")
    yield ""
    yield from _opening("methods", StudySpec)
    for method in _methods_for(seen, backbone):
        yield from _method_lines(method)
    yield ""
    yield from _opening("training", StudySpec)
    held = TrainingSpec().model_dump() | ({} if seen.answers == "labels" else _LANGUAGE_TRAINING)
    if seen.image is not None:
        del held["max_length"]
    yield from _settings(TrainingSpec, held, "  ")
    yield ""
    yield from _section("seeds", [1, 2, 3], StudySpec)
    yield ""
    searched = SearchSpec()
    yield from _offer("search", {name: getattr(searched, name) for name in ("trials", "best", "repeats")})
    yield ""
    yield from _section("margin", 2.0, StudySpec)
    yield from _offer("limits", _LIMITS)
    yield ""
    yield from _opening("execution", StudySpec)
    yield from _settings(ExecutionSpec, {key: getattr(ExecutionSpec(), key) for key in _EXECUTION}, "  ")
    yield ""
    yield from _scale_lines(seen)


def _task_of(seen: Sniffed) -> str | None:
    """Return the kind of the task; None for the default one."""
    if seen.answers != "labels":
        return {"texts": "summarization", "numbers": "question-answering-by-prompt"}[seen.answers]
    if seen.image is not None:
        return "image-classification"
    return None if seen.pair is None else "pair-classification"


def _methods_for(seen: Sniffed, backbone: Mapping[str, Any]) -> list[type[Spec]]:
    """Return the methods that go with these rows and answers; `peft` needs an extra, and names one of its tuners."""
    if seen.image is not None:
        return _methods_on_images(backbone)
    if seen.answers != "labels":
        return [LeadSpec if seen.answers == "texts" else MajoritySpec, PromptingSpec, LoraSpec]
    left_out = {PeftSpec, LeadSpec, PromptingSpec, QuestionOnlySpec, ZeroShotSpec} | (
        {HypothesisOnlySpec} if seen.pair is None else set[type[Spec]]()
    )
    return [method for method in specs(MethodSpec) if method not in left_out]


def _methods_on_images(backbone: Mapping[str, Any]) -> list[type[Spec]]:
    """Return the methods that go with images, as far as the model's name tells what it is made of."""
    about = " ".join(str(value) for value in backbone.values())
    config = Path(str(backbone.get("path", ""))) / "config.json"
    about += config.read_text(encoding="utf-8") if config.is_file() else ""
    chosen: list[type[Spec]] = [MajoritySpec, FrozenFeaturesSpec, LastLayersSpec, LoraSpec, PromptTuningSpec, FullSpec]
    left_out = {LoraSpec} if _CONVOLUTIONS.search(about) else set[type[Spec]]()
    left_out |= {PromptTuningSpec} if _MAPS.search(about) else set[type[Spec]]()
    return [method for method in chosen if method not in left_out]


def _head(data_file: Path, seen: Sniffed, out: Path) -> Iterator[str]:
    some = "" if seen.whole else "the first "
    shown = [f"{label} ({count:,})" for label, count in list(seen.labels.items())[:_MOST_LABELS_SHOWN]]
    more = len(seen.labels) - len(shown)
    listed = ", ".join(shown) + (f" and {more:,} more" if more else "")
    place = f" in `{seen.label}`" if seen.source is None else ", a folder each"
    labels = f"{len(seen.labels):,} labels{place}: {listed}"
    if seen.answers != "labels":
        labels = f"the answers to `{seen.text}` are {seen.answers} in `{seen.label}`"
    what = "rows" if seen.image is None else "images"
    yield from _comment(f"A study of {data_file.name}: {some}{seen.rows:,} {what}; {' '.join(labels.split())}.", "")
    yield from _comment(f"Run it: whichtune run {out.name}   (small and quick first: --scale small)", "")
    yield from _comment("What a line says is the default unless it names your data; most lines can be left out.", "")
    yield ""


def _name_source(data_file: Path, seen: Sniffed, folder: Path) -> dict[str, Any]:
    """Return the source of the rows, its paths as they are found from the study's folder."""
    if seen.source is None:
        return {"kind": "files", "all": _relative(data_file, folder)}
    return {name: word if name == "kind" else _relative(Path(word), folder) for name, word in seen.source.items()}


def _data_lines(source: Mapping[str, Any], seen: Sniffed) -> Iterator[str]:
    yield from _opening("data", StudySpec)
    yield from _comment(_about(DataSpec, "source"), "  ")
    yield "  source:"
    yield from _settings(FilesSource if source["kind"] == "files" else ImageFolderSource, source, "    ")
    if seen.source is None:
        yield from _comment(_about(DataSpec, "columns"), "  ")
        named = {"text": seen.text, "pair": seen.pair, "image": seen.image, "label": seen.label}
        yield f"  columns: {write_scalar({name: column for name, column in named.items() if column})}"
    yield from _comment(_about(DataSpec, "split"), "  ")
    yield "  split:"
    yield from _settings(SplitSpec, SplitSpec().model_dump(), "    ")
    yield from _comment(_about(DataSpec, "duplicates"), "  ")
    yield "  duplicates: keep"


def _method_lines(method: type[Spec]) -> Iterator[str]:
    kind = kinds(method)[0]
    values = method.model_validate({"kind": kind}).model_dump()
    own = {"kind": kind, **{name: value for name, value in values.items() if name not in MethodBase.model_fields}}
    yield from _comment(_first_sentence(method), "  ")
    yield f"  {kind}:"
    if issubclass(method, BaselineBase | PrompterBase):
        own = {"kind": kind}
    for name in ("training", "fusion", "fusion_width"):  # the last two are of images with questions
        own.pop(name, None)
    yield from _settings(method, own, "    ")


def _scale_lines(seen: Sniffed) -> Iterator[str]:
    yield from _opening("scales", StudySpec)
    yield "  small:"
    yield "    data:"
    half = {"train": 0.3, "validation": SplitSpec().validation / 2, "test": SplitSpec().test / 2}
    most_rows = _SMALL_SIZES if seen.answers == "labels" else _LANGUAGE_SIZES
    sizes = {name: max(1, min(most, int(seen.rows * half[name]))) for name, most in most_rows.items()}
    yield f"      sizes: {write_scalar(sizes)}"
    yield "    training: {epochs: 1}"
    yield "    seeds: [1]"


def _settings(spec: type[Spec], values: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Write fields with what they are for, behind the value where that fits, above it where not."""
    for name, value in values.items():
        line = f"{indent}{name}: {write_scalar(value)}"
        about = _about(spec, name)
        if not about:
            yield line
        elif len(line) + len(about) + 4 <= _WIDTH_CHARS:
            yield f"{line}  # {about}"
        else:
            yield from _comment(about, indent)
            yield line


def _section(name: str, value: Any, spec: type[Spec]) -> Iterator[str]:
    yield from _comment(_about(spec, name), "")
    yield f"{name}: {write_scalar(value)}"


def _offer(name: str, value: Mapping[str, Any]) -> Iterator[str]:
    """Write a part that a study may have, as a comment: it changes what runs or what the verdict says."""
    yield from _comment(f"{_about(StudySpec, name)} To ask for it, take the `#` away:", "")
    yield f"# {name}: {write_scalar(value)}"


def _opening(name: str, spec: type[Spec]) -> Iterator[str]:
    yield from _comment(_about(spec, name), "")
    yield f"{name}:"


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in wrap(text, _WIDTH_CHARS - len(indent) - 2, break_on_hyphens=False):
        yield f"{indent}# {line}"


def _about(spec: type[Spec], name: str) -> str:
    info = spec.model_fields[name]
    about = " ".join((info.description or "").split())
    options = [str(option) for option in choices(info.annotation)]
    if len(options) < 2 or all(f"`{option}`" in about for option in options):
        return about
    return f"{about} One of: {', '.join(options)}."


def _first_sentence(spec: type[Spec]) -> str:
    return " ".join((spec.__doc__ or "").split("\n\n")[0].split())


def _describe_model(model: str, folder: Path) -> dict[str, Any]:
    described = read_backbone_word(model)
    found = described.get("path")
    return described if found is None else {**described, "path": _relative(Path(found), folder)}


def _relative(path: Path, folder: Path) -> str:
    """Write a path so that it is found from the study's folder; absolute where no relative one leads there."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()
