"""A prompter's trial put together: the loaded backbone, the prompts, and what tells the nearest rows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial

from whichtune.engine.build import require_speaking
from whichtune.engine.embedding import How, embed_texts
from whichtune.engine.matching import MatchingTrial
from whichtune.engine.neighbours import make_neighbours
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.prompting import PrompterTrial, prepare_asking
from whichtune.engine.speaking import Speaker
from whichtune.engine.trial import EVALUATED, Material
from whichtune.errors import InputError, ReadingError, UnsupportedError
from whichtune.fetch.cache import cache_root
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.methods import PROMPTERS
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.models.pair import Pair
from whichtune.prompts.choosing import Neighbours, make_pool
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import LanguageTaskBase
from whichtune.spec.zero_shot import ZeroShotSpec
from whichtune.study.plan import Planned
from whichtune.study.sharing import Shared
from whichtune.tasks.asking import make_asking

EMBEDDED_TOKENS = 256
"""Tokens of a text that are embedded, as all-MiniLM-L6-v2 was published to be used."""


@contextmanager
def naming_method(planned: Planned) -> Generator[None]:
    """Say whose prompt it is that cannot be made."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"methods.{planned.method_name}: {error}") from error


def make_prompter(shared: Shared, planned: Planned, material: Material, request: LoadRequest) -> PrompterTrial:
    """Load what a prompter asks, and choose what stands in its prompts."""
    method, study = planned.method, shared.study
    assert isinstance(method, PromptingSpec)  # noqa: S101 - the plan tells prompters apart
    assert planned.backbone is not None  # noqa: S101
    backbone = shared.load(planned.backbone, request)
    require_speaking(backbone)
    neighbours = find_neighbours(shared, method, material)
    streams = Streams(planned.seed, method.stream)
    asking = prepare_asking(method, material, study.data.columns, streams, neighbours)
    speaker = Speaker(backbone, Arithmetic(study.training.precision, shared.device))
    return PrompterTrial(speaker, material, asking, streams, shared.evaluation_rows)


def make_matcher(shared: Shared, planned: Planned, material: Material, request: LoadRequest) -> MatchingTrial:
    """Load both towers of what a zero-shot method compares images and class names by."""
    method, study = planned.method, shared.study
    assert isinstance(method, ZeroShotSpec)  # noqa: S101 - the plan tells prompters apart
    assert planned.backbone is not None  # noqa: S101
    try:
        pair = shared.load(planned.backbone, request)
    except ReadingError as error:
        told = "zero-shot needs a model with a tower for images and one for texts (CLIP, SigLIP)"
        raise UnsupportedError(f"{told}, and `{planned.backbone}` has one of them") from error
    assert isinstance(pair, Pair)  # noqa: S101 - the request asks for both towers
    arithmetic = Arithmetic(study.training.precision, shared.device)
    return MatchingTrial(pair, material, method, shared.evaluation_rows, arithmetic)


def find_neighbours(shared: Shared, method: PromptingSpec, material: Material) -> Neighbours | None:
    """Embed all rows by the method's encoder, where its examples are the nearest ones; kept on disk by content."""
    recipe = make_asking(material.task.spec, material.task.labels, shared.study.data.columns, method).recipe
    if not PROMPTERS[type(method)].needs_neighbours(method, recipe):
        return None
    with shared.ledger.spending("embed", method.encoder.kind):
        encoder = load_backbone(method.encoder, LoadRequest())
        encoder.trunk.to(shared.device)
        examples = material.data.examples
        items = [one for split in EVALUATED for one in examples[split]]
        most = encoder.encoder.max_positions or EMBEDDED_TOKENS
        how = How(max_length=min(EMBEDDED_TOKENS, most))
        embed = partial(embed_texts, encoder, how=how, cache=cache_root())
        return make_neighbours(make_pool(examples["train"]), embed, items)


def fingerprint_prompts(shared: Shared, plan: Sequence[Planned]) -> dict[str, str]:
    """Fingerprint what no row decides of the prompts of each prompter, and of the task's own under no name."""
    task, labels, columns = shared.study.task, shared.data.labels, shared.study.data.columns
    found = {"": make_asking(task, labels, columns).recipe.fingerprint} if isinstance(task, LanguageTaskBase) else {}
    for planned in plan:
        method = planned.method
        if isinstance(method, PromptingSpec) and planned.candidate not in found:
            recipe = make_asking(task, labels, columns, method).recipe
            near = PROMPTERS[type(method)].needs_neighbours(method, recipe)
            encoder = load_backbone(method.encoder, LoadRequest()).fingerprint if near else ""
            found[planned.candidate] = fingerprint_texts([recipe.fingerprint, encoder])
    return found
