"""Which trials a study consists of, and the identity of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from whichtune.errors import SpecError
from whichtune.methods import BASELINES, PROMPTERS
from whichtune.records.trial import PROTOCOL_VERSION, Purpose, Role
from whichtune.spec.backbones import BackboneSpec, PairBackbone
from whichtune.spec.digest import canonical, digest
from whichtune.spec.grids import expand_grid
from whichtune.spec.merge import deep_merge
from whichtune.spec.method_base import PrompterBase, TunerBase
from whichtune.spec.methods import LeadSpec, MajoritySpec, MethodSpec
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.study import StudySpec
from whichtune.spec.tasks import LanguageTaskBase, Reads, SummarizationSpec
from whichtune.spec.training import PATIENCE

Family = Literal["baseline", "prompter", "tuner"]
NOT_IDENTITY = {"on", "grid", "training", "stream", "search"}
"""Fields of a method entry that say where it runs, or are in the identity under another name."""
FUSING = {"fusion", "fusion_width"}
"""Fields that decide something only where a head reads an image and a text."""
RATES = {"learning_rate", "head_learning_rate"}
AUTO_ROWS = 64
"""What stands in a probe's identity for `evaluation_batch: auto`, which comes to the same rows on the same device."""
SAME_ANSWERS = {"gradient_checkpointing"}
"""Held settings that change the cost and not the mathematics: the record lists them, the identity leaves them out."""


@dataclass(frozen=True)
class Planned:
    """One trial to be run: a candidate and a seed."""

    candidate: str
    method_name: str
    method: MethodSpec
    backbone: str | None
    seed: int
    deterministic: bool
    role: Role = "final"
    tuned: Mapping[str, Any] = field(default_factory=dict)
    """What a search varies, with the values that stand in `method`."""
    purpose: Purpose | None = None
    """Why a search tries it."""
    labels: int | None = None
    """Labelled rows that it may use; None for all of them."""

    @property
    def key(self) -> str:
        """Name the trial among all that a study may ask for."""
        return canonical([self.role, self.candidate, self.seed, self.tuned, self.labels])

    def label(self) -> str:
        """Name the trial as a person reads it."""
        setting = ", ".join(f"{name} {value}" for name, value in self.tuned.items())
        again = ", again" if self.purpose == "repeat" else ""
        searched = f"{self.candidate} search ({setting}{again})"
        some = "" if self.labels is None else f" on {self.labels:,} labelled rows"
        return searched if self.role == "search" else f"{self.candidate} seed {self.seed}{some}"


@dataclass(frozen=True)
class Fingerprints:
    """What the outcome rests on beside the settings."""

    data: str
    weights: dict[str, str]
    tokenizers: dict[str, str]
    prompts: dict[str, str] = field(default_factory=dict)
    """Of everything in a prompt that no row decides, by the prompter's candidate; the task's own under no name. A
    shipped style that a new version words otherwise makes other trials."""
    manners: dict[str, str] = field(default_factory=dict)
    """Of the chat template and of the tokens that end an answer, by backbone."""


def plan_study(study: StudySpec) -> list[Planned]:
    """List every trial: baselines first, then backbone by backbone, so that each is loaded once.

    The majority baseline is always one of them, asked for or not: a method stuck at one class looks trained without it.
    For summaries it is the text's first sentence.
    """
    return [trial for one in list_candidates(study) for trial in _seeds(study, one)]


def list_candidates(study: StudySpec) -> list[Planned]:
    """List every candidate in the order of the plan, with the settings of its entry and no seed yet."""
    methods = study.methods
    bar = LeadSpec(kind="lead") if isinstance(study.task, SummarizationSpec) else MajoritySpec(kind="majority")
    if not any(type(method) is type(bar) for method in methods.values()):
        methods = {_free_name(bar.kind, methods): bar} | methods
    candidates = [one for name, method in methods.items() for one in _candidates(study, name, method)]
    names = dict.fromkeys([*study.backbones, *(one.backbone for one in candidates if one.backbone is not None)])
    places = {name: place for place, name in enumerate(names)}
    return sorted(candidates, key=lambda one: -1 if one.backbone is None else places[one.backbone])


def identity_of(planned: Planned, study: StudySpec, known: Fingerprints) -> dict[str, Any]:
    """Return exactly what decides a trial's outcome, and nothing else: no device, workers, folders, trackers."""
    method = planned.method
    identity: dict[str, Any] = {
        "protocol": PROTOCOL_VERSION,
        "task": study.task.model_dump(mode="json"),
        "method": settings_of(method, study.task.reads),
        "stream": method.stream,
        "seed": None if planned.deterministic else planned.seed,
        "data": known.data,
    }
    if planned.role == "search":  # final trials keep the identity that they have without a search
        pruner = None if study.search is None else study.search.pruner
        identity |= {"role": "search"} | ({} if pruner is None else {"pruner": pruner.model_dump(mode="json")})
    if planned.role == "size":
        identity |= {"role": "size", "labels": planned.labels, "hold": study.sizes_hold}
    if isinstance(study.task, LanguageTaskBase) or isinstance(method, PromptingSpec):
        identity["columns"] = study.data.columns.model_dump(mode="json")
    if isinstance(method, PrompterBase):
        identity["precision"] = study.training.precision
    if isinstance(method, PromptingSpec):
        identity["prompt"] = known.prompts[planned.candidate]
    elif isinstance(study.task, LanguageTaskBase):
        identity["prompt"] = known.prompts[""]
    if planned.backbone is not None:
        spec, loaded = study.backbone(planned.backbone), name_load(planned)
        if "prompt" in identity:
            identity["manners"] = known.manners[loaded]
        if isinstance(method, TunerBase):
            identity["training"] = study.training_of(method).model_dump(mode="json", exclude=SAME_ANSWERS)
        identity["backbone"] = {
            "weights": known.weights[loaded],
            **_loaded_as(spec),
        }
        identity["tokenizer"] = known.tokenizers[loaded]
    return identity


def name_load(planned: Planned) -> str:
    """Return the name under which a backbone's fingerprints stand: another where a method needs more of it (both
    towers).
    """
    asked = "" if planned.method.reads is None else f" ({planned.method.reads})"
    return f"{planned.backbone}{asked}"


def trial_id(identity: dict[str, Any]) -> str:
    """Hash an identity."""
    return digest(identity)


def settings_of(method: MethodSpec, reads: Reads = "text") -> dict[str, Any]:
    """Return the settings that decide an outcome; the order of targets does not, nor how what is not there is fused."""
    settings = method.model_dump(mode="json", exclude=NOT_IDENTITY | (set() if reads == "pair" else FUSING))
    for place in (settings, settings.get("config")):
        for name in ("targets", "target_modules", "feedforward_modules"):
            if isinstance(place, dict) and isinstance(place.get(name), list):
                place[name] = sorted(set(place[name]))
    return settings


def probe_id(planned: Planned, study: StudySpec, identity: dict[str, Any], place: dict[str, Any]) -> str:
    """Hash what changes a candidate's cost alone: not the learning rate, not the seed, but where and how it runs."""
    method = {key: value for key, value in identity["method"].items() if key not in RATES}
    costly = {key: identity[key] for key in ("task", "data", "backbone", "tokenizer") if key in identity}
    how = [
        study.training_of(planned.method),
        study.execution.attention,
        AUTO_ROWS if study.execution.evaluation_batch == "auto" else study.execution.evaluation_batch,
        study.measure.model_dump(mode="json", exclude={"retention"}),  # no cost of the candidate's own
    ]
    return digest([method, costly, how, place])


def require_distinct(plan: Sequence[Planned], identifiers: Sequence[str]) -> None:
    """Refuse two entries that are one and the same trial: each would take the other's record."""
    first: dict[str, Planned] = {}
    for planned, identifier in zip(plan, identifiers, strict=True):
        other = first.setdefault(identifier, planned)
        if other is not planned:
            raise SpecError(
                f"methods: {other.candidate} and {planned.candidate} have the same settings, weights and seed",
                remedy="leave one out, or give it `stream: 1`, which makes a second, independent entry",
            )


def family_of(method: MethodSpec) -> Family:
    """Return which family a method belongs to: those that need no backbone, those that train nothing, and tuners."""
    if type(method) in BASELINES:
        return "baseline"
    return "prompter" if type(method) in PROMPTERS else "tuner"


def overrides_of(method: MethodSpec, study: StudySpec) -> dict[str, Any]:
    """Return the held settings a method changes, and a patience of early stopping that is its own by default."""
    if not isinstance(method, TunerBase):
        return {}
    stopping = study.training_of(method).stopping
    own = stopping is not None and method.patience != PATIENCE and stopping.patience == method.patience
    given = study.training.stopping is not None and study.training.stopping.patience is not None
    if not own or given:
        return dict(method.training)
    return deep_merge({"stopping": {"patience": method.patience}}, method.training)


def _candidates(study: StudySpec, name: str, method: MethodSpec) -> list[Planned]:
    expanded = expand_grid(name, method)
    if type(method) in BASELINES:
        fixed = BASELINES[type(method)].deterministic
        return [Planned(label, name, spec, None, 0, fixed) for label, spec in expanded]
    backbones = study.runs_on(method)
    return [
        Planned(f"{label}@{backbone}", name, spec, backbone, 0, deterministic=not _draws(spec, study))
        for backbone in backbones
        for label, spec in expanded
    ]


def learns_from_rows(method: MethodSpec, study: StudySpec) -> bool:
    """Whether other training rows may make another answer: of every tuner, and of others as they say."""
    if type(method) in BASELINES:
        return BASELINES[type(method)].learns
    prompter = PROMPTERS.get(type(method))
    return prompter is None or prompter.learns(method, study.task)


def _draws(method: MethodSpec, study: StudySpec) -> bool:
    """Whether seeds matter: to every tuner, and to a prompter that draws examples or tokens."""
    prompter = PROMPTERS.get(type(method))
    return True if prompter is None else prompter.draws(method, study.task)


def _loaded_as(spec: BackboneSpec) -> dict[str, Any]:
    """Return what of a backbone's spec decides its numbers beside the weights; the size of images only where given."""
    if isinstance(spec, PairBackbone):
        return {"image": _loaded_as(spec.image), "text": _loaded_as(spec.text)}
    size = {} if spec.image_size is None else {"image_size": spec.image_size}
    return {"dtype": spec.dtype, "keep_blocks": spec.keep_blocks, **size}


def _free_name(name: str, taken: Mapping[str, MethodSpec]) -> str:
    return name if name not in taken else f"{name}-baseline"


def _seeds(study: StudySpec, one: Planned) -> list[Planned]:
    seeds = study.seeds[:1] if one.deterministic else study.seeds
    return [replace(one, seed=seed) for seed in seeds]
