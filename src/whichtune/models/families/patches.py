"""What image families share: patches, rows of a square image, and the block of a vision transformer by its sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichtune.errors import ModelError
from whichtune.models.anatomy import Config, Extent, Part, Projection, Word, read_field, read_size
from whichtune.models.families.sizes import size_norm, size_projections, square_attention

JOINED: Mapping[Word, Projection] = {
    "query": Projection("attention.q_proj", "attention"),
    "key": Projection("attention.k_proj", "attention"),
    "value": Projection("attention.v_proj", "attention"),
    "output": Projection("attention.o_proj", "context"),
    "mlp-in": Projection("mlp.fc1", "mlp"),
    "mlp-out": Projection("mlp.fc2", "mlp-inner"),
}
"""Projections of ViT, DeiT, DINOv2 and Swin."""
TOWER: Mapping[Word, Projection] = {
    "query": Projection("self_attn.q_proj", "attention"),
    "key": Projection("self_attn.k_proj", "attention"),
    "value": Projection("self_attn.v_proj", "attention"),
    "output": Projection("self_attn.out_proj", "context"),
    "mlp-in": Projection("mlp.fc1", "mlp"),
    "mlp-out": Projection("mlp.fc2", "mlp-inner"),
}
"""Projections of both towers of CLIP and SigLIP."""
TOWER_INERT = ("self_attn.k_proj.bias",)


def read_side(config: Config, name: str) -> int:
    """Return a size of images or patches; a pair of unequal numbers is refused, since only squares are read."""
    value = read_field(config, name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(set(value)) != 1:
            raise ModelError(f"`{name}` of the model", value=list(value), allowed="one size: images are square here")
        value = value[0]
    return int(value)


def read_sizes(config: Config, name: str) -> tuple[int, ...]:
    """Return a field that has one number a stage."""
    return tuple(int(one) for one in read_field(config, name))


def count_patches(config: Config, side: int) -> int:
    """Patches of an image; what is left at its edges is not looked at."""
    return (side // read_side(config, "patch_size")) ** 2


def key_inert(config: Config) -> tuple[str, ...]:
    """Name the key's bias, which softmax ignores, where there is one."""
    return ("attention.k_proj.bias",) if config.get("qkv_bias", True) else ()


def size_convolution(inputs: int, outputs: int, side: int, *, groups: int = 1, bias: bool = True) -> Part:
    """A convolution with a square kernel."""
    own = outputs if bias else 0
    return Part(inputs // groups * outputs * side * side + own, own)


def size_patches(config: Config, width: int, *, bias: bool = True) -> Part:
    """The convolution that turns patches into rows."""
    return size_convolution(read_size(config, "num_channels"), width, read_side(config, "patch_size"), bias=bias)


def joined_attention(config: Config, hidden: int, inner: int) -> dict[Word, Extent]:
    """Square maps of the attention, of which query, key and value may lack a bias, and an MLP of two."""
    bias = bool(config.get("qkv_bias", True))
    inputs: dict[Word, Extent] = {word: Extent(hidden, hidden, bias) for word in ("query", "key", "value")}
    return square_attention(hidden, inner) | inputs


def size_pre_norm_block(projections: Mapping[Word, Extent], hidden: int) -> Part:
    """A block with a norm before attention and MLP each; a key bias is inert."""
    inert = projections["key"].outputs if projections["key"].bias else 0
    return size_projections(projections) + size_norm(hidden).times(2) + Part(inert=inert)
