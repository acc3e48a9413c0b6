"""What is known of each tuner of PEFT: whether it runs here, what it adapts by default, why not where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from whichtune.models.anatomy import Anatomy

Place = Literal["modules", "rows", "keys"]


@dataclass(frozen=True)
class Notes:
    """One tuner."""

    targets: tuple[str, ...] = ("query", "value")
    """Anatomy words it adapts unless told otherwise; `norms` and `tokens` are words of this table alone."""
    place: Place = "modules"
    """Inside modules of the trunk, as rows in front of the text, or as keys and values of every block."""
    cannot: str = ""
    """Why it cannot run; empty where it does."""
    no_merge: str = ""
    """Why its merged form is not used; empty where PEFT's own merge is tried."""
    shifts: tuple[str, ...] = ()
    """Starts of names of tensors that shift a projection's rows by a constant; on keys their true gradient is zero."""
    bias_scales: tuple[str, ...] = ()
    """Starts of names of tensors that multiply a module's bias; where that is zero, so is their gradient."""
    remark: str = ""
    """What a user should know."""


TASKS = "it reads a task number with every row to share its parameters between tasks; a trial has one task"
OWN_PROMPTS = "`prompt-tuning` has visual prompts"
ROWS = Notes(targets=(), place="rows", no_merge="rows in front of the text are no weights of the trunk")
KEYS = Notes(
    targets=(),
    place="keys",
    no_merge="keys and values in front of the text are no weights of the trunk",
    remark="needs a trunk that takes `past_key_values` (BERT, RoBERTa, ELECTRA, XLM-R)",
)
KNOWN: Mapping[str, Notes] = {
    "adalora": Notes(remark="budget moves after every step; `total_step` is the trial's own"),
    "adamss": Notes(),
    "adaption_prompt": Notes(cannot="PEFT wraps the attention of Llama, Mistral and GPT-2 with it, and of no encoder"),
    "beft": Notes(targets=("value",), shifts=("beft_bias",)),
    "boft": Notes(),
    "c3a": Notes(remark="`block_size` must divide the widths"),
    "cartridge": KEYS,
    "cpt": Notes(targets=(), cannot="PEFT defines it for causal language models alone"),
    "deft": Notes(),
    "delora": Notes(),
    "fourierft": Notes(),
    "frod": Notes(),
    "glora": Notes(shifts=("glora_C", "glora_D", "glora_E"), bias_scales=("glora_D",)),
    "gralora": Notes(),
    "hira": Notes(),
    "hra": Notes(),
    "ia3": Notes(targets=("key", "value", "mlp-out")),
    "lily": Notes(),
    "ln_tuning": Notes(targets=("norms",)),
    "loha": Notes(),
    "lokr": Notes(),
    "lora": Notes(shifts=("lora_B.bias",)),
    "miss": Notes(remark="`r` is at most the width"),
    "multitask_prompt_tuning": Notes(targets=(), cannot=TASKS),
    "oft": Notes(),
    "osf": Notes(),
    "p_tuning": ROWS,
    "peanut": Notes(),
    "poly": Notes(cannot=TASKS),
    "prefix_tuning": KEYS,
    "prompt_tuning": ROWS,
    "psoft": Notes(),
    "pvera": Notes(),
    "randlora": Notes(),
    "road": Notes(remark="`group_size` must divide the widths"),
    "shadow": Notes(cannot="its second model runs inside PEFT's own forward, which replaces the trunk's"),
    "shira": Notes(),
    "supertuning": Notes(),
    "tinylora": Notes(),
    "trainable_tokens": Notes(targets=("tokens",), remark="needs `token_indices`: the tokens to train"),
    "unilora": Notes(),
    "vblora": Notes(remark="`vector_length` must divide the widths"),
    "vera": Notes(),
    "waveft": Notes(),
    "xlora": Notes(targets=(), cannot="it mixes LoRA adapters that were trained before; a trial starts from none"),
}
"""Tuner to what is known of it; a test holds the keys against PEFT's own list."""

REFUSED: Mapping[str, str] = {
    "alora_invocation_tokens": "it needs the token ids of every row, which the trunk is not given",
    "arrow_config": "it mixes LoRA adapters that were trained before",
    "corda_config": "it looks at a sample of data before training",
    "eva_config": "it looks at a sample of data before training",
    "kasa_config": "its regulariser is part of PEFT's own training loop",
    "layer_replication": "it changes the number of blocks",
    "layers_pattern": "the backbone's anatomy says where its blocks are",
    "loftq_config": "it starts from quantised weights, and this trunk is not quantised",
    "lora_ga_config": "it looks at gradients of a sample of data before training",
    "megatron_config": "it is for models split by Megatron",
    "modules_to_save": "whichtune's own head is always trained and saved; open parts of the trunk by another method",
    "monteclora_config": "its regulariser is part of PEFT's own training loop",
    "runtime_config": "it is for models whose weights live elsewhere",
    "target_parameters": "tensors are adapted through their modules; name those in `target_modules`",
    "total_step": "it is the trial's own number of optimizer steps",
    "trainable_token_indices": "the tuner `trainable_tokens` does that",
}
"""Fields of a configuration that cannot be kept, and why."""
OWN = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
    "token_dim",
)
"""Fields that are the backbone's or PEFT's own business and never a setting."""
STARTS_REFUSED = ("eva", "corda", "lora_ga", "loftq")
"""Values of `init_lora_weights` that need data or quantised weights."""


def reason_against(tuner: str) -> str | None:
    """Return why a tuner cannot run on any backbone, or None where it can."""
    notes = KNOWN.get(tuner)
    if notes is None:
        return f"{tuner}: this version of whichtune does not know it"
    return f"{tuner}: {notes.cannot}" if notes.cannot else None


def reason_on_filled(tuner: str, anatomy: Anatomy) -> str | None:
    """Return why a tuner cannot run on a trunk whose texts take all its positions, or None where it can."""
    if KNOWN[tuner].place == "modules" or not anatomy.filled:
        return None
    return f"{tuner}: the family '{anatomy.family}' fills every text up to all its positions: none is left in front"


def reason_on_images(tuner: str, anatomy: Anatomy) -> str | None:
    """Return why a tuner cannot run on a trunk that reads images, or None where it can."""
    notes = KNOWN[tuner]
    if notes.place != "modules" and anatomy.form == "maps":
        return f"{tuner}: an image passes a {anatomy.family} trunk as maps, and nothing can stand in front of those"
    if tuner == "prompt_tuning" or notes.targets == ("tokens",):
        return (
            f"{tuner}: it starts from a table of tokens, and the family '{anatomy.family}' reads images; {OWN_PROMPTS}"
        )
    if notes.place == "keys":
        return f"{tuner}: {anatomy.family} trunks take no `past_key_values`; try `p-tuning` with `deep`"
    return None
