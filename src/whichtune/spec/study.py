"""A study: one task and data set, backbones, methods, one protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from whichtune.errors import did_you_mean, sentence
from whichtune.spec.backbones import BackboneSpec, PairBackbone
from whichtune.spec.base import Partial, Spec, Steps, raise_misfit
from whichtune.spec.engine import EngineSpec
from whichtune.spec.members import kinds, specs
from whichtune.spec.merge import deep_merge
from whichtune.spec.method_base import BaselineBase, PairOn, TunerBase
from whichtune.spec.methods import HypothesisOnlySpec, LeadSpec, MajoritySpec, MethodSpec, QuestionOnlySpec
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.search import SearchSpec, search_faults
from whichtune.spec.sizes import Size, sizes_faults
from whichtune.spec.sources import DataSpec
from whichtune.spec.tasks import (
    ImageClassificationSpec,
    LanguageTaskBase,
    SummarizationSpec,
    TaskSpec,
    TextClassificationSpec,
)
from whichtune.spec.trackers import TrackerSpec
from whichtune.spec.training import ExecutionSpec, MeasureSpec, TrainingSpec
from whichtune.spec.verdict import CostSpec, LimitsSpec
from whichtune.spec.zero_shot import ZeroShotSpec

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]


class ReferenceSpec(Spec):
    """Published figures of a candidate, printed beside ours and never tuned to."""

    values: dict[str, float] = Field(examples=["{accuracy: 0.91}"])
    """Metric or cost name to the published value, in our units."""
    source: str = Field(examples=["Hu et al. 2021, table 2"], min_length=1)
    """Where it was published."""


class StudySpec(Spec):
    """Everything a study asks for; a resolved one is stored beside its records."""

    name: Name = Field(examples=["reviews"])
    """Name of the study and, with the scale, of its folder."""
    task: TaskSpec = TextClassificationSpec(kind="text-classification")
    """What is predicted from what."""
    data: DataSpec = Field(examples=["{source: {kind: files, all: reviews.csv}}"])
    """Rows, columns, splits."""
    backbones: dict[Name, BackboneSpec] = Field(default_factory=dict)
    """Your name for each backbone."""
    methods: dict[Name, MethodSpec] = Field(min_length=1, examples=["{lora: {kind: lora}}"])
    """Your name for each method entry; one method can stand twice with different settings."""
    training: TrainingSpec = TrainingSpec()
    """Held settings."""
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)
    """One trial per candidate and seed; a candidate without randomness runs once."""
    contender_seeds: int = Field(default=8, ge=0, le=100)
    """After three `seeds` or more, candidates that could be the best by their validation scores are trained until they
    have so many; 0 for none."""
    sizes: tuple[Size, ...] = ()
    """Data-size curves: numbers of labelled rows, training and validation together in the study's own shares, at which
    every candidate is trained too, such as `[32, 128, 512, all]`. Each seed draws its own chain of subsets."""
    sizes_hold: Literal["steps", "epochs"] = "steps"
    """What stays as it is on all rows where there are fewer: the optimizer steps of a training, or its epochs."""
    search: SearchSpec | None = None
    """How settings are chosen for each method, with equal budgets; as the entries say when left out."""
    margin: float = Field(default=2.0, ge=0)
    """Differences below this do not matter to you, in points (hundredths of the metric; per cent of the best loss)."""
    limits: LimitsSpec = LimitsSpec()
    """What a candidate may need at most; none when left out."""
    cost: CostSpec = CostSpec()
    """What the cheapest is the cheapest by."""
    execution: ExecutionSpec = ExecutionSpec()
    """Device, threads, kernels."""
    engine: EngineSpec = EngineSpec()
    """What saves work without changing results; each can be switched off, such as `{unpad: false}`."""
    measure: MeasureSpec = MeasureSpec()
    """Probes and latency."""
    trackers: dict[Name, TrackerSpec] = Field(default_factory=dict)
    """Your name for each tracker that gets the figures as well; none decides an outcome."""
    reference: dict[str, ReferenceSpec] = Field(default_factory=dict)
    """Candidate name (`method` or `method@backbone`) to published figures."""
    scales: dict[Name, Annotated[dict[str, Any], Partial(lambda: StudySpec)]] = Field(default_factory=dict)
    """Named sets of overrides, chosen by `--scale`."""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> StudySpec:
        raise_misfit(
            crossing_faults(
                backbones=self.backbones,
                methods={name: (method.kind, named_backbones(method.on)) for name, method in self.methods.items()},
                seeds=self.seeds,
                reference=self.reference,
            )
        )
        raise_misfit([*_text_faults(self), *_answer_faults(self), *_image_faults(self), *_search_faults(self)])
        raise_misfit(sizes_faults(self.sizes, self.seeds))
        return self

    def backbone(self, name: str) -> BackboneSpec:
        """Return a backbone by its name, or by two names joined by `+`: what reads images, and what reads texts."""
        image, plus, text = name.partition("+")
        if not plus:
            return self.backbones[name]
        return PairBackbone.model_validate(
            {"kind": "pair", "image": self.backbones[image], "text": self.backbones[text]}
        )

    def runs_on(self, method: MethodSpec) -> tuple[str, ...]:
        """Return the names of what a method runs on: as it says itself, else all; pairs where they are read."""
        if method.on is not None:
            return tuple(dict.fromkeys(str(one) for one in method.on))
        pairs = self.task.reads == "pair"
        return tuple(name for name, spec in self.backbones.items() if isinstance(spec, PairBackbone) == pairs)

    def training_of(self, method: MethodSpec) -> TrainingSpec:
        """Return the held settings with this method's overrides laid over them, validated, its patience filled in."""
        if not isinstance(method, TunerBase):
            return self.training
        merged = TrainingSpec.model_validate(deep_merge(self.training.model_dump(), method.training))
        if merged.stopping is None or merged.stopping.patience is not None:
            return merged
        return merged.model_copy(update={"stopping": merged.stopping.model_copy(update={"patience": method.patience})})


def crossing_faults(
    *,
    backbones: Iterable[str],
    methods: Mapping[str, tuple[object, Sequence[object]]],
    seeds: Sequence[object],
    reference: Iterable[str],
) -> Iterator[tuple[Steps, str]]:
    """Say where parts of a study do not fit together, from names alone, so that it can be asked of a faulty study.

    `methods` maps each name to its kind and the backbones it runs on.
    """
    known = list(backbones)
    for name, (kind, on) in methods.items():
        for at, backbone in enumerate(on):
            yield from ((("methods", name, "on", at), told) for told in _unknown_backbones(str(backbone), known))
        if not known and kind in _TUNERS:
            yield ("methods", name), f"{kind} needs a backbone; add one under `backbones`"
    for at, seed in enumerate(seeds):
        if seed in seeds[:at]:
            yield ("seeds", at), f"seed {seed} stands twice; each may stand once"
    for candidate in reference:
        method, _, backbone = candidate.partition("@")
        if method.partition("[")[0] not in methods:
            yield ("reference", candidate), _unknown("method", method, methods)
        yield from ((("reference", candidate), told) for told in _unknown_backbones(backbone, known))


def _text_faults(study: StudySpec) -> Iterator[tuple[Steps, str]]:
    """Say where the task, the columns and the methods do not mean the same number of texts."""
    kind, pair = study.task.kind, study.data.columns.pair
    if study.task.texts == 2 and pair is None:
        yield ("data", "columns"), f"{kind} reads two texts: name the column of the second with `pair`"
    if study.task.texts in (0, 1) and pair is not None:
        remedy = "leave `pair` out, or set `task: {kind: pair-classification}`"
        read = "one text" if study.task.texts else "images alone"
        yield ("data", "columns", "pair"), f"{kind} reads {read}; {remedy}"
    for name, method in study.methods.items():
        if isinstance(method, HypothesisOnlySpec) and pair is None:
            remedy = "leave it out, or set `task: {kind: pair-classification}`"
            yield ("methods", name), f"{method.kind} reads the second text alone, and {kind} has none; {remedy}"


def _answer_faults(study: StudySpec) -> Iterator[tuple[Steps, str]]:
    """Say where methods and held settings do not go with the kind of answers that the task has."""
    kind, training = study.task.kind, study.training
    texts = study.task.answers == "texts"
    if texts and study.data.labels is not None:
        yield ("data", "labels"), f"{kind} has no labels, its answers are texts; leave it out"
    for name, method in study.methods.items():
        if isinstance(method, LeadSpec) and not isinstance(study.task, SummarizationSpec):
            yield ("methods", name), f"lead writes summaries, and {kind} asks for none; leave it out"
        if texts and isinstance(method, HypothesisOnlySpec):
            yield ("methods", name), f"{method.kind} guesses labels, and {kind} has none; leave it out"
        if isinstance(study.task, SummarizationSpec) and isinstance(method, MajoritySpec):
            yield ("methods", name), f"majority guesses the most frequent answer, and {kind} has none; use `lead`"
    if isinstance(study.task, LanguageTaskBase) and training.class_weights != "none":
        yield ("training", "class_weights"), f"{kind} learns words and has no classes to weigh; leave it out"
    if texts and training.sampling != "shuffled":
        yield ("training", "sampling"), f"{kind} has no classes to draw by; leave it out"


def _image_faults(study: StudySpec) -> Iterator[tuple[Steps, str]]:
    """Say where methods and backbones do not go with what the task gives: texts, images, or both."""
    kind, reads = study.task.kind, study.task.reads
    for name, spec in study.backbones.items():
        if isinstance(spec, PairBackbone) and reads != "pair":
            yield ("backbones", name), f"a pair reads an image and a text, and {kind} gives {reads}s alone"
    for name, method in study.methods.items():
        told = _say_misread(method, study.task)
        if told:
            yield ("methods", name), told
        if isinstance(method, TunerBase) and reads != "pair":
            told = f"puts an image and a text together, and {kind} has one of them; leave it out"
            yield from ((("methods", name, *at), told) for at in _find_fusion(method))
        if not isinstance(method, BaselineBase):
            yield from ((("methods", name, *at), told) for at, told in _pair_faults(study, method))


def _find_fusion(method: TunerBase) -> Iterator[Steps]:
    """Find where a method says how image and text are put together."""
    if method.fusion != "concat":
        yield ("fusion",)
    yield from (("grid", name) for name in ("fusion", "fusion_width") if name in method.grid)


def _say_misread(method: MethodSpec, task: TaskSpec) -> str:
    """Say why a method has nothing to read in a task; nothing where it has."""
    if isinstance(method, QuestionOnlySpec) and task.reads != "pair":
        return f"question-only reads the question about an image, and {task.kind} has none; leave it out"
    if isinstance(method, PromptingSpec) and task.reads != "text":
        return f"prompting asks a language model, which reads no images; use another method for {task.kind}"
    if isinstance(method, ZeroShotSpec) and not isinstance(task, ImageClassificationSpec):
        return f"zero-shot compares images with class names; it answers image-classification, not {task.kind}"
    return ""


def _pair_faults(study: StudySpec, method: MethodSpec) -> Iterator[tuple[Steps, str]]:
    """Say where a method runs on a pair and the task is read by one, or the other way round."""
    kind, reads = study.task.kind, study.task.reads
    for place, one in enumerate(method.on or ()):
        if isinstance(one, PairOn):
            ends = ((role, name) for role, name in (("image", one.image), ("text", one.text)))
            twice = ((role, name) for role, name in ends if isinstance(study.backbones.get(name), PairBackbone))
            yield from ((("on", place, role), f"'{name}' is a pair itself; name one encoder") for role, name in twice)
        paired = isinstance(one, PairOn) or isinstance(study.backbones.get(str(one)), PairBackbone)
        if paired and reads != "pair":
            yield ("on", place), f"is a pair, and {kind} gives {reads}s alone; name one backbone"
        if not paired and reads == "pair":
            yield ("on", place), f"{kind} is read by two: `on: [{{image: {one}, text: ...}}]`"
    if reads == "pair" and not study.runs_on(method):
        yield (), f"{kind} is read by a pair: give `on: [{{image: ..., text: ...}}]`, or a backbone of `kind: pair`"


def _search_faults(study: StudySpec) -> Iterator[tuple[Steps, str]]:
    """Say where a search does not go with the seeds or with a method."""
    if study.search is None:
        return
    for at, seed in enumerate(study.seeds):
        if seed in study.search.seeds:
            yield ("seeds", at), f"{seed} is a seed of the search, and final seeds are new; give another"
    yield from search_faults(study.search, study.methods)


def named_backbones(on: Iterable[str | PairOn] | None) -> tuple[str, ...]:
    """Return what a method names that it runs on; the two of a pair joined by `+`."""
    return tuple(str(one) for one in on or ())


_TUNERS = {kind for member in specs(MethodSpec) if not issubclass(member, BaselineBase) for kind in kinds(member)}


def _unknown_backbones(named: str, known: Sequence[str]) -> Iterator[str]:
    """Name the backbones that a study does not have; the two of a pair are joined by `+`."""
    return (_unknown("backbone", one, known) for one in named.split("+") if one and one not in known)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = did_you_mean(name, known)
    return sentence(
        f"'{name}' is no {what} of this study", allowed="" if near else ", ".join(known) or "none", remedy=near
    )
