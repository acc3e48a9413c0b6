"""Tuners that open whole parts of the trunk: all of it, its last blocks, or nothing but the head."""

from __future__ import annotations

from torch import nn

from whichtune.errors import ModelError
from whichtune.layers.heads import Head, HeadRequest, TokenHead
from whichtune.layers.masks import StepKey
from whichtune.methods.contracts import Attachment, Openings, Theory
from whichtune.methods.freezing import open_only, trunk_buffers, trunk_parameters
from whichtune.models.anatomy import Anatomy
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.spec.methods import FrozenFeaturesSpec, FullSpec, LastLayersSpec

APART = "the backbone's output head is a matrix of its own, beside the trunk: it stays as it was"
NOT_MERGED = "nothing stands beside the trunk: the trained tensors are the trunk's own"


class Full:
    """Train every parameter of trunk and head."""

    def supports(self, spec: FullSpec, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Any trunk can be trained whole."""
        return None

    def needs(self, spec: FullSpec) -> LoadRequest:
        """No special loading."""
        return LoadRequest()

    def attach(self, backbone: Backbone, head: Head, spec: FullSpec, key: StepKey) -> Attachment:
        """Open everything but the tensors that cannot learn."""
        openings = Openings()
        openings.open("trunk", trunk_parameters(backbone), still(backbone, spec.pooling))
        openings.buffers |= trunk_buffers(backbone)
        openings.open("head", dict(head.named_parameters()))
        sizes = backbone.dimensions
        theory = Theory(None, no_formula(backbone)) if sizes is None else Theory(sizes.trunk.parameters + size_of(head))
        attachment = opened((backbone, head), openings, theory, (backbone.trunk, head), spec.pooling, key)
        apart = isinstance(head, TokenHead) and backbone.output is not None and not backbone.output.tied
        attachment.notes = (APART,) if apart else ()
        return attachment


class LastParts:
    """Train the last blocks (or none), the norm and the pooler above them, and the head."""

    def supports(self, spec: LastLayersSpec | FrozenFeaturesSpec, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Refuse a norm that is not there, and to train nothing at all."""
        if isinstance(spec, FrozenFeaturesSpec) and request.tokens and not spec.final_norm:
            return "answers are written through the backbone's own output head: with the trunk frozen nothing is left"
        if spec.final_norm and anatomy.final_norm is None:
            return f"`final_norm` is asked for, but a {anatomy.family} trunk has no norm after its last block"
        return None

    def needs(self, spec: LastLayersSpec | FrozenFeaturesSpec) -> LoadRequest:
        """No special loading."""
        return LoadRequest()

    def attach(
        self, backbone: Backbone, head: Head, spec: LastLayersSpec | FrozenFeaturesSpec, key: StepKey
    ) -> Attachment:
        """Open the parts above the frozen prefix."""
        count = spec.blocks if isinstance(spec, LastLayersSpec) else 0
        paths = last_parts(backbone, spec, count)
        openings = Openings()
        if paths:
            openings.open("trunk", trunk_parameters(backbone, paths), still(backbone, spec.pooling))
            openings.buffers |= trunk_buffers(backbone, paths)
        openings.open("head", dict(head.named_parameters()))
        active = (*(backbone.module(path) for path in paths), head)
        return opened((backbone, head), openings, self._theory(backbone, head, spec, count), active, spec.pooling, key)

    def _theory(self, backbone: Backbone, head: Head, spec: LastLayersSpec | FrozenFeaturesSpec, count: int) -> Theory:
        if not last_parts(backbone, spec, count):
            return Theory(size_of(head))
        sizes = backbone.dimensions
        if sizes is None:
            return Theory(None, no_formula(backbone))
        norm = sizes.final_norm.parameters if spec.final_norm else 0
        pooler = sizes.pooler.parameters if spec.pooler and spec.pooling == "default" else 0
        return Theory(sizes.last_blocks(count).parameters + norm + pooler + size_of(head))


def last_parts(backbone: Backbone, spec: LastLayersSpec | FrozenFeaturesSpec, count: int) -> list[str]:
    """List the module paths a method opens, from the last blocks upwards."""
    total = len(backbone.blocks)
    if count > total:
        raise ModelError("last-layers: `blocks` is more than the backbone has", value=count, allowed=f"1 to {total}")
    paths = [backbone.block_path(index) for index in range(max(0, total - count), total)]
    anatomy = backbone.anatomy
    if spec.final_norm and anatomy.final_norm is not None:
        paths.append(anatomy.final_norm)
    if spec.pooler and spec.pooling == "default":
        paths += [path for path in (anatomy.pooler, anatomy.shared_space) if path is not None]
    return paths


def opened(
    built: tuple[Backbone, Head],
    openings: Openings,
    theory: Theory,
    active: tuple[nn.Module, ...],
    pooling: str,
    key: StepKey,
) -> Attachment:
    """Make the attachment of a method that adds nothing beside the trunk."""
    return Attachment(
        trained=openings.trained,
        inert=openings.inert,
        saved=openings.saved,
        active=active,
        theory=theory,
        detach=open_only(*built, openings),
        pooling=pooling,
        rowwise=True,
        merge_reason=NOT_MERGED,
        key=key,
    )


def still(backbone: Backbone, pooling: str) -> frozenset[str]:
    """Name the trunk's tensors that cannot learn: zero true gradient, or not reached by the head."""
    return frozenset(backbone.inert) | frozenset(backbone.unreached(pooling))


def size_of(head: Head) -> int:
    """Count a head by its sizes."""
    return head.size


def no_formula(backbone: Backbone) -> str:
    """Say why there is no theory."""
    return f"no counting formula is known for the family '{backbone.anatomy.family}'"
