"""Trainable elements of PEFT's LoRA by arithmetic on the configuration; the other tuners are measured alone."""

from __future__ import annotations

from whichtune.layers.heads import Head
from whichtune.methods.contracts import Theory
from whichtune.methods.peft_table import KNOWN
from whichtune.methods.targets import GROUPS
from whichtune.methods.whole_parts import no_formula, size_of
from whichtune.models.anatomy import Word
from whichtune.models.backbone import Backbone
from whichtune.spec.peft import PeftSpec

PLAIN = frozenset({"r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "init_lora_weights", "target_modules"})
"""Fields of LoRA's configuration that the formula knows, or that do not change a count."""


def count_peft(backbone: Backbone, head: Head, spec: PeftSpec) -> Theory:
    """Count rank * (in + out) a target, DoRA's magnitudes (one an output) and the head."""
    if spec.tuner != "lora":
        return Theory(None, f"no counting formula for PEFT's {spec.tuner}")
    odd = sorted(set(spec.config) - PLAIN)
    if odd:
        return Theory(None, f"the counting formula of LoRA does not know `{odd[0]}`")
    sizes = backbone.dimensions
    if sizes is None:
        return Theory(None, no_formula(backbone))
    asked = spec.config.get("target_modules") or KNOWN["lora"].targets
    words = [one for word in ([asked] if isinstance(asked, str) else asked) for one in GROUPS.get(word, (word,))]
    known: dict[str, Word] = {str(word): word for word in sizes.projections}
    unknown = [word for word in words if word not in known or backbone.anatomy.find(word).rows is not None]
    if unknown:
        return Theory(None, f"{unknown[0]} is no projection with a module of its own")
    rank = int(spec.config.get("r", 8))
    blocks = [sizes.extents(index) for index in range(sizes.blocks)]
    extents = [block[known[word]] for block in blocks for word in dict.fromkeys(words)]
    dora = sum(one.outputs for one in extents) if spec.config.get("use_dora") else 0
    return Theory(sum(rank * (one.inputs + one.outputs) for one in extents) + dora + size_of(head))
