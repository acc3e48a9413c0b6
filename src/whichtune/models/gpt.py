"""A GPT-2 in one file (Radford et al. 2019): learned positions, norms before each part, query, key and value apart.

Its forward takes what a causal trunk of `transformers` takes, so a `Backbone` runs it like any other: rows that are
embedded already, which of them are real, and their places. Nothing is inferred from pad ids. B sequences, W new rows,
P rows in the cache, H hidden.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whichtune.errors import ModelError
from whichtune.models.weights import WeightFiles, read_everything

FAMILY = "gpt"
"""The model type, beside those that `transformers` has."""


@dataclass
class GptConfig:
    """Sizes of a GPT; the defaults are those of the smallest released GPT-2."""

    vocab_size: int = 50257
    max_position_embeddings: int = 1024
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int | None = None
    """Width inside the MLP; four times the hidden size when left out."""
    layer_norm_epsilon: float = 1e-5
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    resid_pdrop: float = 0.1
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    tie_word_embeddings: bool = True
    """Whether the output head is the token table."""
    model_type: str = field(default=FAMILY, init=False)

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of {self.num_attention_heads} heads")
        self.intermediate_size = self.intermediate_size or 4 * self.hidden_size

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


class GptCache:
    """Keys and values of the rows that ran, block by block: two tensors [B, heads, P, H / heads] each."""

    def __init__(self) -> None:
        self.pairs: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, key: Tensor, value: Tensor, block: int) -> tuple[Tensor, Tensor]:
        """Append the new rows of one block; return all of its rows."""
        if block in self.pairs:
            old_key, old_value = self.pairs[block]
            key, value = torch.cat([old_key, key], dim=2), torch.cat([old_value, value], dim=2)
        self.pairs[block] = key, value
        return key, value

    def get_seq_length(self) -> int:
        """Return P."""
        return self.pairs[0][0].shape[2] if self.pairs else 0

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each sequence so many times."""
        for block, (key, value) in self.pairs.items():
            self.pairs[block] = key.repeat_interleave(repeats, dim=0), value.repeat_interleave(repeats, dim=0)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the given sequences, in that order."""
        for block, (key, value) in self.pairs.items():
            self.pairs[block] = key[indices], value[indices]


@dataclass
class GptOutput:
    """What one run gives."""

    last_hidden_state: Tensor
    """[B, W, H], after the final norm."""
    past_key_values: GptCache | None = None


class Attention(nn.Module):
    """Causal self-attention of several heads."""

    def __init__(self, config: GptConfig, block: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.block, self.heads, self.drop = block, config.num_attention_heads, config.attn_pdrop
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, rows: Tensor, mask: Tensor, cache: GptCache | None) -> Tensor:
        """[B, W, H] -> [B, W, H]; `mask` [B, 1, W, P + W] says which rows each row sees."""
        query, key, value = (self._split(one(rows)) for one in (self.query, self.key, self.value))
        if cache is not None:
            key, value = cache.update(key, value, self.block)
        drop = self.drop if self.training else 0.0
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=drop)
        return self.output(seen.transpose(1, 2).flatten(2))

    def _split(self, rows: Tensor) -> Tensor:
        """[B, W, H] -> [B, heads, W, H / heads]."""
        return rows.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear maps with a gelu (its tanh form) between them."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        inner = config.intermediate_size or 4 * config.hidden_size
        self.widen, self.narrow = nn.Linear(config.hidden_size, inner), nn.Linear(inner, config.hidden_size)

    def forward(self, rows: Tensor) -> Tensor:
        """[B, W, H] -> [B, W, H]."""
        return self.narrow(functional.gelu(self.widen(rows), approximate="tanh"))


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to the rows it read."""

    def __init__(self, config: GptConfig, index: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = _make_norm(config), _make_norm(config)
        self.attention, self.mlp = Attention(config, index), Mlp(config)
        self.drop = nn.Dropout(config.resid_pdrop)

    def forward(self, rows: Tensor, mask: Tensor, cache: GptCache | None = None) -> Tensor:
        """[B, W, H] -> [B, W, H]."""
        rows = rows + self.drop(self.attention(self.attention_norm(rows), mask, cache))
        return rows + self.drop(self.mlp(self.mlp_norm(rows)))


class Gpt(nn.Module):
    """The trunk: from embedded rows, or token ids, to hidden rows; its output head is the token table."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.num_hidden_layers))
        self.norm = _make_norm(config)

    @classmethod
    def _from_config(cls, config: GptConfig, dtype: torch.dtype, attn_implementation: str = "sdpa") -> Gpt:
        """Build with weights drawn from torch's random state; the name is the one `transformers` gives it."""
        require_attention(attn_implementation)
        trunk = cls(config)
        trunk.initialise()
        return trunk.to(dtype)

    def initialise(self) -> None:
        """Draw the weights as GPT-2 was initialised; the maps that add to the rows have a smaller spread."""
        spread = self.config.initializer_range
        shrunk = spread / math.sqrt(2 * self.config.num_hidden_layers)
        for name, tensor in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(tensor)
            elif tensor.ndim == 2:
                nn.init.normal_(tensor, std=shrunk if name.endswith(("output.weight", "narrow.weight")) else spread)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the token table."""
        return self.tokens

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: GptCache | None = None,
        use_cache: bool = False,
    ) -> GptOutput:
        """Run [B, W] ids or [B, W, H] embedded rows behind the P rows in the cache.

        `attention_mask` [B, P + W] says which rows are real, `position_ids` [B, W] where the new ones stand; left out,
        all are real and stand one after the other.
        """
        embedded = self.tokens(input_ids) if inputs_embeds is None else inputs_embeds
        cache = GptCache() if use_cache and past_key_values is None else past_key_values
        past = 0 if cache is None else cache.get_seq_length()
        if position_ids is None:
            position_ids = past + torch.arange(embedded.shape[1], device=embedded.device)[None]
        rows = self.drop(embedded + self.positions(position_ids))
        mask = make_mask(attention_mask, rows, past)
        for block in self.blocks:
            rows = block(rows, mask, cache)
        return GptOutput(self.norm(rows), cache if use_cache else None)


def make_mask(real: Tensor | None, rows: Tensor, past: int) -> Tensor:
    """Say which rows each new row sees, [B, 1, W, P + W]: the real ones up to itself, and always itself.

    A padding row would see nothing else, and a softmax over nothing is not a number.
    """
    width = rows.shape[1]
    columns = torch.arange(past + width, device=rows.device)
    own = columns[past:, None]
    if real is None:
        return (columns <= own).expand(len(rows), 1, width, past + width)
    return ((columns <= own) & real.bool()[:, None, :] | (columns == own))[:, None]


def unembed(trunk: Gpt, hidden: Tensor) -> Tensor:
    """Score every token for each hidden row, [..., H] -> [..., vocabulary], by the token table."""
    return functional.linear(hidden, trunk.tokens.weight)


def require_attention(name: str) -> None:
    """Refuse any attention function but the one that is built in."""
    if name != "sdpa":
        raise ModelError("attention of the family `gpt`", value=name, allowed="sdpa")


def read_gpt_config(told: Mapping[str, Any]) -> GptConfig:
    """Return the configuration of a GPT-2 checkpoint, or raise a `ModelError` for what this model does not do."""
    wanted = {"activation_function": "gelu_new", "scale_attn_weights": True, "add_cross_attention": False}
    wanted |= {"scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False, "model_type": "gpt2"}
    for name, value in wanted.items():
        if told.get(name, value) != value:
            raise ModelError(f"`{name}` of the GPT-2 model", value=told[name], allowed=str(value))
    sizes = {ours: told[theirs] for theirs, ours in SIZES.items() if told.get(theirs) is not None}
    kept = ("vocab_size", "layer_norm_epsilon", "embd_pdrop", "attn_pdrop", "resid_pdrop", "initializer_range")
    kept += ("bos_token_id", "eos_token_id", "tie_word_embeddings")
    return GptConfig(**sizes, **{name: told[name] for name in kept if name in told})


SIZES = {
    "n_positions": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
}
"""Fields of a GPT-2 checkpoint to ours."""
OUTSIDE = {"wte": "tokens", "wpe": "positions", "ln_f": "norm"}
INSIDE = {
    "ln_1": "attention_norm",
    "ln_2": "mlp_norm",
    "attn.c_proj": "attention.output",
    "mlp.c_fc": "mlp.widen",
    "mlp.c_proj": "mlp.narrow",
}
FUSED = "attn.c_attn"


def translate_gpt2(tensors: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Turn a GPT-2 checkpoint into this model's tensors, for so many blocks.

    Its maps are stored [in, out], query, key and value side by side in one; both are undone here. Masks that old
    files carry are left out.
    """
    plain = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    found: dict[str, Tensor] = {}
    for theirs, ours in OUTSIDE.items():
        found |= _take(plain, theirs, (ours,))
    for index in range(blocks):
        parts = {FUSED: tuple(f"attention.{word}" for word in ("query", "key", "value"))}
        parts |= {theirs: (ours,) for theirs, ours in INSIDE.items()}
        for theirs, names in parts.items():
            found |= _take(plain, f"h.{index}.{theirs}", tuple(f"blocks.{index}.{ours}" for ours in names))
    return found


def read_gpt(folder: Path, weights: WeightFiles, config: GptConfig, dtype: str, attention: str) -> Gpt:
    """Build the trunk with the weights of a GPT-2 folder; a missing tensor, or one of another shape, is an error."""
    require_attention(attention)
    tensors = translate_gpt2(read_everything(weights), config.num_hidden_layers)
    with torch.device("meta"):
        trunk = Gpt(config)
    shapes = {name: tensor.shape for name, tensor in trunk.state_dict().items()}
    odd = [name for name, shape in shapes.items() if name not in tensors or tensors[name].shape != shape]
    if odd:
        seen = ", ".join(odd[:8])
        raise ModelError(f"{folder}: tensors that are missing or of another shape: {seen}", remedy="fetch it again")
    cast = {name: tensors[name].to(getattr(torch, dtype)) for name in shapes}
    trunk.load_state_dict(cast, assign=True)
    return trunk.eval()


def _take(plain: Mapping[str, Tensor], theirs: str, ours: tuple[str, ...]) -> dict[str, Tensor]:
    """Take the tensors of one module, in as many parts as there are names."""
    found: dict[str, Tensor] = {}
    for side in ("weight", "bias"):
        tensor = plain.get(f"{theirs}.{side}")
        if tensor is None:
            continue
        stored = tensor.T if tensor.ndim == 2 and theirs.startswith("h.") else tensor
        found |= {f"{name}.{side}": part.contiguous() for name, part in zip(ours, stored.chunk(len(ours)), strict=True)}
    return found


def _make_norm(config: GptConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
