"""What the table's families refuse: variants whose tensors, masks or heads are not those that are described."""

from __future__ import annotations

from collections.abc import Collection

from whichtune.errors import ModelError
from whichtune.models.anatomy import Config
from whichtune.models.head_forms import HeadForm

DENSE: dict[str, HeadForm] = {"tanh": "dense-tanh", "gelu": "dense-gelu"}


def require_plain_encoder(config: Config) -> None:
    """Refuse variants whose tensors or masks differ from the family's encoder."""
    require_field(config, "position_embedding_type", "absolute", {"absolute"})
    for name in ("is_decoder", "add_cross_attention"):
        if config.get(name):
            raise ModelError(f"`{name}` of the model", value=True, allowed="False: classification reads an encoder")


def require_field(config: Config, name: str, default: object, allowed: Collection[object]) -> None:
    """Refuse a value of a field, or of its default where it is left out, that is not among the allowed ones."""
    value = config.get(name, default)
    if value not in allowed:
        raise ModelError(f"`{name}` of the model", value=value, allowed=", ".join(map(str, allowed)))


def choose_dense_head(config: Config, name: str) -> HeadForm:
    """Return the form of a head whose dense layer has the activation that a field names; gelu where it is left out."""
    require_field(config, name, "gelu", tuple(DENSE))
    return DENSE[str(config.get(name, "gelu"))]
