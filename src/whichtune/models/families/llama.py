"""Llama and those that share its block: Mistral, Qwen2, Qwen3, Gemma and Gemma 2.

Norms without a mean, rotary positions, a gated MLP, and fewer heads of keys and values than of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Extent, Projection, Word, read_size
from whichtune.models.families.limits import require_field
from whichtune.models.families.sizes import size_norm, size_projections, size_table

PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection("self_attn.q_proj", "attention"),
    "key": Projection("self_attn.k_proj", "attention"),
    "value": Projection("self_attn.v_proj", "attention"),
    "output": Projection("self_attn.o_proj", "context"),
    "mlp-in": Projection("mlp.up_proj", "mlp"),
    "mlp-out": Projection("mlp.down_proj", "mlp-inner"),
    "mlp-gate": Projection("mlp.gate_proj", "mlp"),
}


@dataclass(frozen=True)
class Variant:
    """In what a family's block differs from the others."""

    norms: int = 2
    """Norms of a block as wide as the hidden rows."""
    head_norms: bool = False
    """Whether queries and keys have a norm as wide as a head."""
    head_dim: int | None = None
    """Width of a head where the configuration leaves it out; None for the hidden size over the heads."""


@dataclass(frozen=True)
class Biases:
    """Which maps of a block have a bias."""

    inputs: bool = False
    """Query, key and value."""
    output: bool = False
    mlp: bool = False


def describe_llama(config: Config) -> Anatomy:
    """Llama (Touvron et al. 2023); rotation makes a key bias matter, so nothing is inert."""
    return _describe(config, measure_llama)


def describe_mistral(config: Config) -> Anatomy:
    """Mistral (Jiang et al. 2023): Llama's tensors, attention over a window of rows."""
    return _describe(config, measure_mistral, config.get("sliding_window"))


def describe_qwen2(config: Config) -> Anatomy:
    """Qwen2 (Yang et al. 2024): query, key and value have biases."""
    return _describe(config, measure_qwen2, _read_qwen_window(config))


def describe_qwen3(config: Config) -> Anatomy:
    """Qwen3 (Yang et al. 2025): queries and keys have norms of a head's width."""
    return _describe(config, measure_qwen3, _read_qwen_window(config))


def describe_gemma(config: Config) -> Anatomy:
    """Gemma (Gemma Team 2024): token rows are scaled where they are looked up."""
    _require_causal(config)
    return _describe(config, measure_gemma)


def describe_gemma2(config: Config) -> Anatomy:
    """Gemma 2 (Gemma Team 2024): four norms a block, a window in every second one."""
    _require_causal(config)
    return _describe(config, measure_gemma2, config.get("sliding_window", 4096))


def measure_llama(config: Config) -> Dimensions:
    """Sizes of Llama."""
    bias = bool(config.get("attention_bias"))
    return _measure(config, Variant(), Biases(bias, bias, bool(config.get("mlp_bias"))))


def measure_mistral(config: Config) -> Dimensions:
    """Sizes of Mistral."""
    return _measure(config, Variant(), Biases())


def measure_qwen2(config: Config) -> Dimensions:
    """Sizes of Qwen2."""
    return _measure(config, Variant(), Biases(inputs=True))


def measure_qwen3(config: Config) -> Dimensions:
    """Sizes of Qwen3."""
    bias = bool(config.get("attention_bias"))
    return _measure(config, Variant(head_norms=True, head_dim=128), Biases(bias, bias))


def measure_gemma(config: Config) -> Dimensions:
    """Sizes of Gemma."""
    bias = bool(config.get("attention_bias"))
    return _measure(config, Variant(head_dim=256), Biases(bias, bias))


def measure_gemma2(config: Config) -> Dimensions:
    """Sizes of Gemma 2."""
    bias = bool(config.get("attention_bias"))
    return _measure(config, Variant(norms=4, head_dim=256), Biases(bias, bias))


def _require_causal(config: Config) -> None:
    require_field(config, "use_bidirectional_attention", default=None, allowed=(None, False))


def _read_qwen_window(config: Config) -> int | None:
    """Return the window, which stands in the configuration even where it is not used."""
    return config.get("sliding_window", 4096) if config.get("use_sliding_window") else None


def _describe(config: Config, measure: Callable[[Config], Dimensions], window: int | None = None) -> Anatomy:
    """Describe Llama's block; a row sees no more than `window` rows back in some blocks, or all of them."""
    positions = read_size(config, "max_position_embeddings")
    return Anatomy(
        family=str(config["model_type"]),
        tokens="embed_tokens",
        embeddings=("embed_tokens",),
        blocks="layers",
        projections=PROJECTIONS,
        final_norm="norm",
        positions=positions,
        pooling="last",
        local=window is not None and window < positions,
        measure=measure,
    )


def _measure(config: Config, variant: Variant, biases: Biases) -> Dimensions:
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    heads = read_size(config, "num_attention_heads")
    width = int(config.get("head_dim") or variant.head_dim or hidden // heads)
    queries, keys = heads * width, int(config.get("num_key_value_heads") or heads) * width
    projections: dict[Word, Extent] = {
        "query": Extent(hidden, queries, biases.inputs),
        "key": Extent(hidden, keys, biases.inputs),
        "value": Extent(hidden, keys, biases.inputs),
        "output": Extent(queries, hidden, biases.output),
        "mlp-in": Extent(hidden, inner, biases.mlp),
        "mlp-out": Extent(inner, hidden, biases.mlp),
        "mlp-gate": Extent(hidden, inner, biases.mlp),
    }
    norm = size_norm(hidden, bias=False)
    block = size_projections(projections) + norm.times(variant.norms)
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_table(read_size(config, "vocab_size"), hidden),
        block=block + size_norm(width, bias=False).times(2 * variant.head_norms),
        projections=projections,
        final_norm=norm,
    )
