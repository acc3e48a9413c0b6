"""Ways of adapting a backbone: one file a method, and one line in the table below."""

from typing import Any

from whichtune.methods.contracts import Baseline, Prompter, Tuner
from whichtune.methods.lora import Lora
from whichtune.methods.majority import Majority
from whichtune.methods.whole_parts import Full, LastParts
from whichtune.spec.methods import FrozenFeaturesSpec, FullSpec, LastLayersSpec, LoraSpec, MajoritySpec

BASELINES: dict[type, Baseline] = {MajoritySpec: Majority()}
PROMPTERS: dict[type, Prompter] = {}
TUNERS: dict[type, Tuner] = {
    FullSpec: Full(),
    LastLayersSpec: LastParts(),
    FrozenFeaturesSpec: LastParts(),
    LoraSpec: Lora(),
}
BUILDERS: dict[type, Any] = BASELINES | PROMPTERS | TUNERS
"""Spec class to builder; a test holds its keys against the union's members."""
