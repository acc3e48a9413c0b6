"""Ways of adapting a backbone: one file a method, and one line in the table below."""

from typing import Any

from whichtune.methods.contracts import Baseline, Prompter, Tuner
from whichtune.methods.hypothesis_only import HypothesisOnly
from whichtune.methods.lead import Lead
from whichtune.methods.lora import Lora
from whichtune.methods.majority import Majority
from whichtune.methods.peft_tuners import Peft
from whichtune.methods.prompting import Prompting
from whichtune.methods.qlora import Qlora
from whichtune.methods.question_only import QuestionOnly
from whichtune.methods.soft_prompts import PromptTuning, PTuning
from whichtune.methods.whole_parts import Full, LastParts
from whichtune.methods.zero_shot import ZeroShot
from whichtune.spec.lora import LoraSpec, QloraSpec
from whichtune.spec.methods import (
    FrozenFeaturesSpec,
    FullSpec,
    HypothesisOnlySpec,
    LastLayersSpec,
    LeadSpec,
    MajoritySpec,
    QuestionOnlySpec,
)
from whichtune.spec.peft import PeftSpec
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.soft_prompts import PromptTuningSpec, PTuningSpec
from whichtune.spec.zero_shot import ZeroShotSpec

BASELINES: dict[type, Baseline] = {
    MajoritySpec: Majority(),
    HypothesisOnlySpec: HypothesisOnly(),
    QuestionOnlySpec: QuestionOnly(),
    LeadSpec: Lead(),
}
PROMPTERS: dict[type, Prompter] = {PromptingSpec: Prompting(), ZeroShotSpec: ZeroShot()}
TUNERS: dict[type, Tuner] = {
    FullSpec: Full(),
    LastLayersSpec: LastParts(),
    FrozenFeaturesSpec: LastParts(),
    PromptTuningSpec: PromptTuning(),
    PTuningSpec: PTuning(),
    LoraSpec: Lora(),
    QloraSpec: Qlora(),
    PeftSpec: Peft(),
}
BUILDERS: dict[type, Any] = BASELINES | PROMPTERS | TUNERS
"""Spec class to builder; a test holds its keys against the union's members."""
