"""ModernBERT: rotary positions, local attention in most blocks, fused projections, a gated MLP."""

from __future__ import annotations

from dataclasses import replace

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Extent, Pooling, Projection, Word, read_size
from whichtune.models.families.limits import require_field
from whichtune.models.families.sizes import size_norm, size_projections, size_table


def describe_modernbert(config: Config) -> Anatomy:
    """ModernBERT (Warner et al. 2024): no position table and no segments; the head is dense, gelu, norm.

    Query, key and value are rows of one matrix. Rotation makes a key bias matter, so nothing is inert.
    """
    require_field(config, "classifier_activation", "gelu", ("gelu",))
    require_field(config, "classifier_bias", default=False, allowed=(False,))
    pooling: Pooling = "mean" if config.get("classifier_pooling") == "mean" else "first"
    return Anatomy(
        family="modernbert",
        tokens="embeddings.tok_embeddings",
        embeddings=("embeddings",),
        blocks="layers",
        projections=_locate_projections(read_size(config, "hidden_size")),
        final_norm="final_norm",
        head="dense-gelu-norm",
        positions=read_size(config, "max_position_embeddings"),
        pooling=pooling,
        local=bool(config.get("local_attention")) and int(config.get("global_attn_every_n_layers") or 3) > 1,
        measure=measure_modernbert,
    )


def measure_modernbert(config: Config) -> Dimensions:
    """Sizes of ModernBERT: its maps and norms have biases only where the configuration says so."""
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    attention_bias, mlp_bias = bool(config.get("attention_bias")), bool(config.get("mlp_bias"))
    square = Extent(hidden, hidden, attention_bias)
    projections: dict[Word, Extent] = {
        "query": square,
        "key": square,
        "value": square,
        "output": square,
        "mlp-in": Extent(hidden, 2 * inner, mlp_bias),
        "mlp-out": Extent(inner, hidden, mlp_bias),
    }
    norm = size_norm(hidden, bias=bool(config.get("norm_bias")))
    first = size_projections(projections) + norm
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_table(read_size(config, "vocab_size"), hidden) + norm,
        block=first + norm,
        first_block=first,
        projections=projections,
        final_norm=norm,
        head_form="dense-gelu-norm",
    )


def _locate_projections(hidden: int) -> dict[Word, Projection]:
    fused = Projection("attn.Wqkv", "attention")
    return {
        "query": replace(fused, rows=slice(0, hidden)),
        "key": replace(fused, rows=slice(hidden, 2 * hidden)),
        "value": replace(fused, rows=slice(2 * hidden, 3 * hidden)),
        "output": Projection("attn.Wo", "context"),
        "mlp-in": Projection("mlp.Wi", "mlp"),
        "mlp-out": Projection("mlp.Wo", "mlp-inner"),
    }
