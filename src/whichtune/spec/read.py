"""Reading a study file: scale and overrides laid over it, every fault told at once with its line.

In field names and kinds `_` and `-` are the same; names that you chose are kept as they are. A relative path starts at
the folder of the study file, in a scale too; in `--set` it starts at the folder the command runs in, as in a shell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from whichtune.errors import SpecError, did_you_mean, sentence
from whichtune.spec.base import Spec, Steps
from whichtune.spec.compose import compose
from whichtune.spec.conform import Conformer
from whichtune.spec.decoding import DecodingSpec
from whichtune.spec.faults import Fault, dotted, raise_faults
from whichtune.spec.grids import check_grid
from whichtune.spec.members import kinds, specs
from whichtune.spec.method_base import MethodBase, PrompterBase, TunerBase
from whichtune.spec.methods import MethodSpec
from whichtune.spec.nodes import Node, Place, lay, make_node
from whichtune.spec.overrides import read_override
from whichtune.spec.study import StudySpec, crossing_faults
from whichtune.spec.training import TrainingSpec
from whichtune.spec.validate import validate

DECISIONS = "decisions"
"""Key of a stored study under which what was decided by measurement stands; no part of the spec."""


def read_study(path: Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> StudySpec:
    """Read a study file, lay a scale and then overrides (`methods.lora.rank=16`) over it, and validate all of it.

    Raises one SpecError that lists every fault, a line each. A study stored by a run is read like any other; the
    decisions in it are passed over.
    """
    root, faults = _read_nodes(path)
    return _Reading(path.parent, faults).resolve(root.without(DECISIONS), scale, overrides)


def resolve_study(
    raw: Mapping[str, Any], *, scale: str | None = None, overrides: Sequence[str] = (), folder: Path | None = None
) -> StudySpec:
    """Do the same with a mapping made in Python; relative paths start at `folder`, the current one when left out."""
    return _Reading(folder or Path()).resolve(make_node(raw, Place("study")), scale, overrides)


def load_stored_study(path: Path) -> tuple[StudySpec, dict[str, Any]]:
    """Read a study that `dump_study` wrote: the spec, and the decisions taken by measurement."""
    root, faults = _read_nodes(path)
    decisions = root.step(DECISIONS)
    spec = _Reading(path.parent, faults).resolve(root.without(DECISIONS), None, ())
    return spec, {} if decisions is None else dict(decisions.plain() or {})


def _read_nodes(path: Path) -> tuple[Node, list[Fault]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        remedy = "`whichtune init DATA MODEL` writes a study file to start from"
        raise SpecError(f"{path}: no such study file", remedy=remedy) from error
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path}: not UTF-8 text (byte {error.start})", remedy="save the study file as UTF-8"
        ) from error
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})", remedy="give the path of a study file") from error
    return compose(text, str(path))


@dataclass
class _Reading:
    """One reading of one study: its trees, and the faults found so far."""

    folder: Path
    faults: list[Fault] = field(default_factory=list)

    def resolve(self, root: Node, scale: str | None, overrides: Sequence[str]) -> StudySpec:
        if not isinstance(root.content, dict):
            told = sentence("not a study", allowed="a mapping with name, data and methods")
            raise_faults([*self.faults, Fault(root.place, "", told)])
        base, scales = self._split_scales(root)
        chosen = base if scale is None else lay(base, self._choose(scale, scales))
        for text in overrides:
            over, faults = read_override(text, chosen)
            self.faults += faults
            chosen = chosen if over is None else lay(chosen, self._conform(over, Path(), chosen))
        spec, faults = _check(chosen)
        self.faults += faults
        for name, tree in scales.items():
            if name != scale:
                own = set(tree.places())
                self.faults += [fault for fault in _check(lay(base, tree))[1] if fault.place in own]
        raise_faults(self.faults)
        assert spec is not None  # noqa: S101 - no spec without a fault
        return spec

    def _conform(self, node: Node, folder: Path, under: Node | None = None) -> Node:
        conformer = Conformer(folder.absolute())
        conformed = conformer.conform(node, StudySpec, under)
        self.faults += conformer.faults
        return conformed

    def _split_scales(self, root: Node) -> tuple[Node, dict[str, Node]]:
        """Return the study and its scales, each brought to our spelling on top of the study."""
        held = root.step("scales")
        if held is None:
            return self._conform(root, self.folder), {}
        base = self._conform(root.without("scales"), self.folder)
        scales: dict[str, Node] = {}
        for name, tree in held.fields().items():
            if "scales" in tree.fields():
                place = tree.fields()["scales"].place
                self.faults.append(Fault(place, f"scales.{name}.scales", "a scale cannot hold scales; move it out"))
            scales[name] = self._conform(tree.without("scales"), self.folder, base)
        trees = {name: tree for name, tree in scales.items() if isinstance(tree.content, dict)}
        put = replace(held, content={**held.fields(), **trees}) if isinstance(held.content, dict) else held
        return base.put("scales", put), trees

    def _choose(self, scale: str, scales: Mapping[str, Node]) -> Node:
        if scale in scales:
            return scales[scale]
        near = did_you_mean(scale, scales)
        told = sentence("no such scale", allowed=", ".join(scales) or "none: this study has no scales", remedy=near)
        place = Place(f"--scale {scale}")
        self.faults.append(Fault(place, "", told))
        return Node({}, place)


def _check(root: Node) -> tuple[StudySpec | None, list[Fault]]:
    """Validate a whole tree; parts that pydantic looks at only when the rest is sound are looked at in any case."""
    root = _say_default_kinds(root)
    faults = [fault for name, node in _methods(root) for fault in _check_method(name, node, root)]
    spec, found = validate(root, StudySpec)
    faults += found
    if spec is None:
        faults += _check_crossings(root)
    first = {(fault.place, fault.path): fault for fault in reversed(faults)}
    return spec, [fault for fault in dict.fromkeys(faults) if first[fault.place, fault.path] == fault]


def _say_default_kinds(root: Node) -> Node:
    """Write the kind of a default spec into a mapping that lays values over it, as `task: {metric: loss}` does."""
    for name, info in StudySpec.model_fields.items():
        node, default = root.step(name), info.default
        if node is not None and isinstance(default, Spec) and isinstance(node.content, dict):
            kind = getattr(default, "kind", None)
            if kind is not None and "kind" not in node.content:
                root = root.put(name, node.put("kind", Node(kind, node.place)))
    return root


def _methods(root: Node) -> list[tuple[str, Node]]:
    methods = root.step("methods")
    return [] if methods is None else list(methods.fields().items())


def _check_method(name: str, node: Node, root: Node) -> list[Fault]:
    kind = node.at("kind")
    found = [member for member in specs(MethodSpec) if kind is not None and kind.content in kinds(member)]
    if not found or not issubclass(found[0], MethodBase):
        return []
    faults = check_grid(name, node, found[0])
    if issubclass(found[0], TunerBase):
        faults += _check_part(("methods", name, "training"), root.step("training"), root, TrainingSpec)
    if issubclass(found[0], PrompterBase):
        faults += _check_part(("methods", name, "decoding"), root.at("task", "decoding"), root, DecodingSpec)
    return faults


def _check_part(steps: Steps, held: Node | None, root: Node, spec: type[Spec]) -> list[Fault]:
    """Check what a method lays over settings of the study; faults that are the study's own are told elsewhere."""
    part = root.at(*steps)
    if part is None or not isinstance(part.content, dict):
        return []
    own = set(part.places())
    return [fault for fault in validate(lay(held or Node({}, part.place), part), spec, steps)[1] if fault.place in own]


def _check_crossings(root: Node) -> list[Fault]:
    """Compare names across a study that pydantic refused for another reason.

    A part of the wrong shape counts as empty.
    """
    methods = {name: (_content(node.step("kind")), _words(node.step("on"))) for name, node in _methods(root)}
    found = crossing_faults(
        backbones=_entries(root, "backbones"),
        methods=methods,
        seeds=_words(root.step("seeds")),
        reference=_entries(root, "reference"),
    )
    faults: list[Fault] = []
    for steps, text in found:
        node = root.at(*steps)
        faults.append(Fault(root.place if node is None else node.place, dotted(steps), text))
    return faults


def _entries(root: Node, key: str) -> list[str]:
    node = root.step(key)
    return [] if node is None else list(node.fields())


def _words(node: Node | None) -> list[Any]:
    return [] if node is None else [item.plain() for item in node.items()]


def _content(node: Node | None) -> Any:
    return None if node is None else node.content
