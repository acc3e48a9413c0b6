"""Any tuner of Hugging Face PEFT, put into the trunk by PEFT's own classes; the head stays outside and is ours.

PEFT replaces modules inside the trunk, which remains the same object, so the engine runs it as ever. Taking it off
gives the same modules, storages and values back; PEFT's own unloading is not used, since it adds and subtracts.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whichtune.layers.heads import Head, HeadRequest
from whichtune.layers.masks import StepKey
from whichtune.methods.contracts import Attachment, Openings
from whichtune.methods.peft_config import find_classes, make_config, quiet, seed_of, telling
from whichtune.methods.peft_hooks import Hooks, make_hooks
from whichtune.methods.peft_merging import make_merge
from whichtune.methods.peft_prompts import attach_keys, attach_rows
from whichtune.methods.peft_state import ModuleState
from whichtune.methods.peft_table import KNOWN, reason_against, reason_on_filled, reason_on_images
from whichtune.methods.peft_theory import count_peft
from whichtune.methods.targets import find_lacking
from whichtune.methods.whole_parts import still
from whichtune.models.anatomy import WORDS, Anatomy
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.count import count_elements
from whichtune.models.pristine import Keepsake
from whichtune.spec.peft import PeftSpec

ADAPTER = "default"
"""The one adapter's name inside PEFT."""


class Peft:
    """Hand the trunk to a tuner of PEFT; train what it opens, and the head."""

    def supports(self, spec: PeftSpec, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Say why a tuner cannot run on any encoder, or which projections this one lacks for what it adapts."""
        reason, notes = reason_against(spec.tuner), KNOWN.get(spec.tuner)
        if reason is None:
            judge = reason_on_images if anatomy.reads == "image" else reason_on_filled
            reason = judge(spec.tuner, anatomy)
        if reason is not None or notes is None or notes.place != "modules" or spec.config.get("target_modules"):
            return reason
        words = [word for word in notes.targets if word in WORDS]
        return find_lacking(anatomy, words) if words else None

    def needs(self, spec: PeftSpec) -> LoadRequest:
        """No special loading."""
        return LoadRequest()

    def attach(self, backbone: Backbone, head: Head, spec: PeftSpec, key: StepKey) -> Attachment:
        """Inject, or put rows, keys and values in front; everything PEFT draws comes from the trial's streams."""
        attach = {"modules": attach_modules, "rows": attach_rows, "keys": attach_keys}[KNOWN[spec.tuner].place]
        with quiet(spec), drawing(backbone, seed_of(key, spec)):
            return attach(backbone, head, spec, key)


@contextmanager
def drawing(backbone: Backbone, seed: int) -> Generator[None]:
    """Let PEFT draw from torch's, NumPy's and Python's global generators, seeded; all are put back as they were."""
    pythons, numpys = random.getstate(), np.random.get_state()
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(pythons)
            np.random.set_state(numpys)


@dataclass(frozen=True)
class Injection:
    """A tuner inside a trunk, and what the trunk was before."""

    backbone: Backbone
    tuner: Any
    """PEFT's tuner; its `model` is the trunk."""
    own: dict[int, str]
    """Tensors of the trunk by identity, with their names from before."""
    fixed: frozenset[str]
    """Names of those that cannot learn."""
    state: ModuleState
    values: tuple[Keepsake, Keepsake]
    """On disk: what the adapted modules held before, since some initialisations write into them, and what the trunk's
    opened tensors held before they trained."""

    @property
    def layers(self) -> dict[str, Any]:
        """PEFT's layers in the trunk by path: the modules it put in the place of others."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        modules = self.backbone.trunk.named_modules()
        return {path: module for path, module in modules if isinstance(module, BaseTunerLayer)}

    def list_added(self) -> dict[str, Tensor]:
        """Return what stands beside the trunk by name: parameters, and the buffers PEFT would save."""
        kept = set(self.tuner.state_dict())
        parameters, buffers = self.tuner.named_parameters(), self.tuner.named_buffers()
        found = {_short(name): one for name, one in parameters if id(one) not in self.own}
        return found | {_short(name): one for name, one in buffers if id(one) not in self.own and name in kept}

    def detach(self) -> None:
        """Give the trunk back: structure, storages, values."""
        before, opened = self.values
        opened.restore()
        self.state.restore()
        before.restore()
        for tensor in self.backbone.trunk.parameters():
            tensor.grad = None


def attach_modules(backbone: Backbone, head: Head, spec: PeftSpec, key: StepKey) -> Attachment:
    """Replace the targeted modules by PEFT's layers around them."""
    injection = inject(backbone, spec, seed_of(key, spec))
    try:
        return _describe(injection, head, spec, key)
    except BaseException:
        injection.detach()
        raise


def inject(backbone: Backbone, spec: PeftSpec, seed: int) -> Injection:
    """Let PEFT build its tuner on the trunk; a refusal leaves the trunk as it was."""
    config = make_config(backbone, spec, seed)
    _, tuner_class = find_classes(spec.tuner)
    trunk = backbone.trunk
    own = {id(tensor): name for name, tensor in [*trunk.named_parameters(), *trunk.named_buffers()]}
    fixed, state = still(backbone, spec.pooling), ModuleState(trunk)
    fronts = tuple(f"{path}." for path in config.target_modules or ())
    before = Keepsake(trunk, [name for name, _ in trunk.named_parameters() if name.startswith(fronts)])
    try:
        with telling(spec):
            tuner = tuner_class(trunk, config, ADAPTER)
            tuner._cast_adapter_dtype(ADAPTER)  # what trains is kept in float32, whatever the trunk is kept in
    except BaseException:
        state.restore()
        before.restore()
        raise
    opened = [name for name, one in trunk.named_parameters() if one.requires_grad and id(one) in own]
    return Injection(backbone, tuner, own, fixed, state, (before, Keepsake(trunk, opened)))


def _describe(injection: Injection, head: Head, spec: PeftSpec, key: StepKey) -> Attachment:
    """Open what PEFT opened, and say what stands where."""
    backbone, layers = injection.backbone, list(injection.layers.values())
    added = injection.list_added()
    openings = _open(injection, added, head, spec)
    merge, unmerge, why_not = make_merge(layers, spec)
    hooks: Hooks = make_hooks(injection.tuner, spec)
    return Attachment(
        trained=openings.trained,
        inert=openings.inert,
        saved=openings.trained | {f"added.{name}": tensor for name, tensor in added.items()},
        active=(*layers, head),
        theory=count_peft(backbone, head, spec),
        detach=injection.detach,
        pooling=spec.pooling,
        merge=merge,
        unmerge=unmerge,
        merge_reason=why_not,
        plan=hooks.plan,
        penalty=hooks.penalty,
        after_step=hooks.after_step,
        key=key,
        matched=tuple(dict.fromkeys(injection.tuner.targeted_module_names)),
        added=count_elements(tensor for tensor in added.values() if isinstance(tensor, nn.Parameter)),
    )


def _open(injection: Injection, added: dict[str, Tensor], head: Head, spec: PeftSpec) -> Openings:
    """Sort what PEFT opened into trained and inert tensors; the latter are held still."""
    backbone, openings = injection.backbone, Openings()
    opened = [one for one in backbone.trunk.parameters() if one.requires_grad and id(one) in injection.own]
    openings.open("trunk", {injection.own[id(one)]: one for one in opened}, injection.fixed)
    beside = {name: one for name, one in added.items() if isinstance(one, nn.Parameter) and one.requires_grad}
    openings.open("added", beside, frozenset(_list_dead(beside, injection, spec)))
    openings.open("head", dict(head.named_parameters()))
    head.requires_grad_(True)
    for tensor in openings.inert.values():
        tensor.requires_grad_(False)
    return openings


def _list_dead(beside: dict[str, nn.Parameter], injection: Injection, spec: PeftSpec) -> Iterator[str]:
    """Name added tensors whose true gradient is zero, or that the head does not reach."""
    notes = KNOWN[spec.tuner]
    fronts: list[str] = []
    for path, layer in injection.layers.items():
        tensors = [name for name in injection.own.values() if name.startswith(f"{path}.")]
        if tensors and injection.fixed.issuperset(tensors):
            fronts.append(f"{path}.")
        if f"{path}.bias" in injection.fixed:
            fronts += [f"{path}.{start}" for start in notes.shifts]
        bias = getattr(layer.get_base_layer(), "bias", None)
        if bias is None or not bool(bias.any()):
            fronts += [f"{path}.{start}" for start in notes.bias_scales]
    yield from (name for name in beside if name.startswith(tuple(fronts)))


def _short(name: str) -> str:
    """Take PEFT's own words out of a tensor's name: its `model` and the adapter's name."""
    return ".".join(part for part in name.removeprefix("model.").split(".") if part != ADAPTER)
