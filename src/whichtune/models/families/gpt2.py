"""GPT-2 as `transformers` has it, its projections fused and stored [in, out], and the GPT of `models/gpt.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Part, Projection, Word, read_field
from whichtune.models.families.limits import require_field
from whichtune.models.families.sizes import size_norm, size_projections, size_table, square_attention

GPT_PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection("attention.query", "attention"),
    "key": Projection("attention.key", "attention"),
    "value": Projection("attention.value", "attention"),
    "output": Projection("attention.output", "context"),
    "mlp-in": Projection("mlp.widen", "mlp"),
    "mlp-out": Projection("mlp.narrow", "mlp-inner"),
}


def describe_gpt2(config: Config) -> Anatomy:
    """GPT-2 (Radford et al. 2019): the head reads the last row.

    A key bias has no true gradient, but it is part of a fused tensor here, so nothing can be named inert.
    """
    require_field(config, "add_cross_attention", default=False, allowed=(False,))
    return Anatomy(
        family="gpt2",
        tokens="wte",
        embeddings=("wte", "wpe"),
        blocks="h",
        projections=_locate_projections(_read_either(config, "n_embd", "hidden_size")),
        final_norm="ln_f",
        positions=_read_either(config, "n_positions", "max_position_embeddings"),
        pooling="last",
        measure=measure_gpt2,
    )


def describe_gpt(config: Config) -> Anatomy:
    """The GPT written here: GPT-2 with query, key and value apart."""
    return Anatomy(
        family="gpt",
        tokens="tokens",
        embeddings=("tokens", "positions"),
        blocks="blocks",
        projections=GPT_PROJECTIONS,
        final_norm="norm",
        inert=("attention.key.bias",),
        positions=_read_either(config, "n_positions", "max_position_embeddings"),
        pooling="last",
        measure=measure_gpt,
    )


def measure_gpt2(config: Config) -> Dimensions:
    """Sizes of GPT-2 by its configuration."""
    hidden = _read_either(config, "n_embd", "hidden_size")
    inner = int(config.get("n_inner") or config.get("intermediate_size") or 4 * hidden)
    positions = _read_either(config, "n_positions", "max_position_embeddings")
    projections = square_attention(hidden, inner)
    return Dimensions(
        hidden=hidden,
        blocks=_read_either(config, "n_layer", "num_hidden_layers"),
        embeddings=size_table(_read_either(config, "vocab_size") + positions, hidden),
        block=size_projections(projections) + size_norm(hidden).times(2),
        projections=projections,
        final_norm=size_norm(hidden),
    )


def measure_gpt(config: Config) -> Dimensions:
    """Sizes of the GPT written here: GPT-2's, with a key bias that softmax ignores."""
    sizes = measure_gpt2(config)
    return replace(sizes, block=sizes.block + Part(inert=sizes.hidden))


def _locate_projections(hidden: int) -> dict[Word, Projection]:
    fused = Projection("attn.c_attn", "attention", transposed=True)
    return {
        "query": replace(fused, rows=slice(0, hidden)),
        "key": replace(fused, rows=slice(hidden, 2 * hidden)),
        "value": replace(fused, rows=slice(2 * hidden, 3 * hidden)),
        "output": Projection("attn.c_proj", "context", transposed=True),
        "mlp-in": Projection("mlp.c_fc", "mlp", transposed=True),
        "mlp-out": Projection("mlp.c_proj", "mlp-inner", transposed=True),
    }


def _read_either(config: Config, *names: str) -> int:
    """Return the first of the fields that is there, or raise the error of the last."""
    there = next((name for name in names if config.get(name) is not None), names[-1])
    return int(read_field(config, there))
