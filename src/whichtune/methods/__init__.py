"""Ways of adapting a backbone: one file a method, and one line in the table below."""

from typing import Any

from whichtune.methods.contracts import Baseline, Prompter, Tuner
from whichtune.methods.hypothesis_only import HypothesisOnly
from whichtune.methods.lora import Lora
from whichtune.methods.majority import Majority
from whichtune.methods.peft_tuners import Peft
from whichtune.methods.soft_prompts import PromptTuning, PTuning
from whichtune.methods.whole_parts import Full, LastParts
from whichtune.spec.methods import (
    FrozenFeaturesSpec,
    FullSpec,
    HypothesisOnlySpec,
    LastLayersSpec,
    LoraSpec,
    MajoritySpec,
)
from whichtune.spec.peft import PeftSpec
from whichtune.spec.soft_prompts import PromptTuningSpec, PTuningSpec

BASELINES: dict[type, Baseline] = {MajoritySpec: Majority(), HypothesisOnlySpec: HypothesisOnly()}
PROMPTERS: dict[type, Prompter] = {}
TUNERS: dict[type, Tuner] = {
    FullSpec: Full(),
    LastLayersSpec: LastParts(),
    FrozenFeaturesSpec: LastParts(),
    PromptTuningSpec: PromptTuning(),
    PTuningSpec: PTuning(),
    LoraSpec: Lora(),
    PeftSpec: Peft(),
}
BUILDERS: dict[type, Any] = BASELINES | PROMPTERS | TUNERS
"""Spec class to builder; a test holds its keys against the union's members."""
