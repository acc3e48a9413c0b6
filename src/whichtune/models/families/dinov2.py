"""DINOv2: ViT's rows, with a factor a channel behind attention and MLP and, in its largest size, a gated MLP."""

from __future__ import annotations

from collections.abc import Mapping

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Extent, Part, Projection, Word, read_size
from whichtune.models.families.patches import (
    JOINED,
    count_patches,
    joined_attention,
    key_inert,
    read_side,
    size_patches,
    size_pre_norm_block,
)
from whichtune.models.families.sizes import size_norm

GATED: Mapping[Word, Projection] = {
    **JOINED,
    "mlp-in": Projection("mlp.up_proj", "mlp"),
    "mlp-out": Projection("mlp.down_proj", "mlp-inner"),
    "mlp-gate": Projection("mlp.gate_proj", "mlp"),
}


def describe_dinov2(config: Config) -> Anatomy:
    """DINOv2 (Oquab et al. 2023): its head here reads the class row; nothing reads the mask token."""
    return Anatomy(
        family="dinov2",
        tokens="",
        embeddings=("embeddings",),
        blocks="encoder.layer",
        projections=GATED if config.get("use_swiglu_ffn") else JOINED,
        reads="image",
        final_norm="layernorm",
        inert=key_inert(config),
        unread=("embeddings.mask_token",) if config.get("use_mask_token", True) else (),
        count_rows=count_dinov2_rows,
        measure=measure_dinov2,
    )


def count_dinov2_rows(config: Config, side: int) -> int:
    """Patches and the class row."""
    patches = count_patches(config, side)
    return patches + 1 if patches else 0


def measure_dinov2(config: Config) -> Dimensions:
    """Sizes of DINOv2."""
    hidden = read_size(config, "hidden_size")
    inner = int(hidden * config.get("mlp_ratio", 4))
    projections: dict[Word, Extent] = joined_attention(config, hidden, inner)
    if config.get("use_swiglu_ffn"):
        narrow = (int(inner * 2 / 3) + 7) // 8 * 8
        wide = Extent(hidden, narrow)
        projections |= {"mlp-in": wide, "mlp-out": Extent(narrow, hidden), "mlp-gate": wide}
    rows = count_patches(config, read_side(config, "image_size")) + 1
    mask = 1 if config.get("use_mask_token", True) else 0
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_patches(config, hidden) + Part((1 + mask + rows) * hidden, inert=mask * hidden),
        block=size_pre_norm_block(projections, hidden) + Part(2 * hidden),
        projections=projections,
        final_norm=size_norm(hidden),
    )
