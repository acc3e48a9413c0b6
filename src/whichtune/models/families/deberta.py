"""DeBERTa-v2 and v3: attention to content and to relative positions apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whichtune.errors import ModelError
from whichtune.models.anatomy import Anatomy, Config, Dimensions, Part, Projection, Word, read_size
from whichtune.models.families.limits import choose_dense_head
from whichtune.models.families.sizes import size_linear, size_norm, size_projections, size_table, square_attention

PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection("attention.self.query_proj", "attention"),
    "key": Projection("attention.self.key_proj", "attention"),
    "value": Projection("attention.self.value_proj", "attention"),
    "output": Projection("attention.output.dense", "context"),
    "mlp-in": Projection("intermediate.dense", "mlp"),
    "mlp-out": Projection("output.dense", "mlp-inner"),
}
TABLE, NORM, CONVOLUTION = "encoder.rel_embeddings", "encoder.LayerNorm", "encoder.conv"


@dataclass(frozen=True)
class Relations:
    """How a configuration says that blocks attend to relative positions."""

    on: bool
    """Whether there is a table of relative positions."""
    kinds: frozenset[str]
    """Those in use: `c2p` (content looks at positions), `p2c` (positions look at content)."""
    tied: bool
    """Whether positions pass through the same maps as content."""
    norm: bool
    """Whether the family makes a norm for the table, needed or not."""
    rows: int
    """Rows of the table."""

    @property
    def used(self) -> bool:
        """Whether the hidden rows depend on the table."""
        return self.on and bool(self.kinds)

    @property
    def inert(self) -> tuple[str, ...]:
        """Biases that add one number to all scores of a query, which softmax ignores.

        A key's bias is such, unless relative positions look at the key; a position key's bias always is.
        """
        key = () if self.on and "p2c" in self.kinds else ("attention.self.key_proj.bias",)
        position_key = ("attention.self.pos_key_proj.bias",) if self._owns("c2p") else ()
        return (*key, *position_key)

    @property
    def norm_inert(self) -> tuple[str, ...]:
        """The bias of the table's norm, where it only moves all positions a query looks at together."""
        return (f"{NORM}.bias",) if self.norm and "p2c" not in self.kinds and self.used else ()

    @property
    def maps(self) -> int:
        """Square maps of their own that positions have in a block."""
        return int(self._owns("c2p")) + int(self._owns("p2c"))

    def _owns(self, kind: str) -> bool:
        return self.on and not self.tied and kind in self.kinds


def describe_deberta(config: Config) -> Anatomy:
    """DeBERTa (He et al. 2021, 2023): the pooler stands outside the trunk, so its dense layer and gelu are head.

    Blocks share a table of relative positions; v2 has a convolution behind the first block as well.
    """
    _require_described(config)
    relations = read_relations(config)
    tables = ((TABLE,) if relations.on else ()) + ((NORM,) if relations.norm else ())
    return Anatomy(
        family="deberta-v2",
        tokens="embeddings.word_embeddings",
        embeddings=("embeddings",),
        blocks="encoder.layer",
        projections=PROJECTIONS,
        head=choose_dense_head(config, "pooler_hidden_act"),
        inert=relations.inert,
        inert_shared=relations.norm_inert,
        unread=_list_unread(relations),
        shared=(tables if relations.used else ()) + ((CONVOLUTION,) if _count_kernel(config) else ()),
        positions=read_size(config, "max_position_embeddings"),
        segments=_count_segments(config) > 1,
        measure=measure_deberta,
    )


def read_relations(config: Config) -> Relations:
    """Read how blocks attend to relative positions; the fields have the family's own defaults."""
    on = bool(config.get("relative_attention"))
    told = config.get("pos_att_type") or ()
    kinds = [kind.strip() for kind in told.lower().split("|")] if isinstance(told, str) else told
    reach, buckets = int(config.get("max_relative_positions", -1)), int(config.get("position_buckets", -1))
    if reach < 1:
        reach = read_size(config, "max_position_embeddings")
    norms = str(config.get("norm_rel_ebd", "none")).lower().split("|")
    return Relations(
        on=on,
        kinds=frozenset(kinds) & {"c2p", "p2c"},
        tied=bool(config.get("share_att_key")),
        norm="layer_norm" in (norm.strip() for norm in norms),
        rows=2 * (buckets if buckets > 0 else reach),
    )


def measure_deberta(config: Config) -> Dimensions:
    """Sizes of DeBERTa by its configuration."""
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    relations = read_relations(config)
    projections = square_attention(hidden, inner)
    block = (
        size_projections(projections) + size_norm(hidden).times(2) + size_linear(hidden, hidden).times(relations.maps)
    )
    table = size_table(relations.rows, hidden) if relations.on else Part()
    norm = size_norm(hidden) if relations.norm else Part()
    still = Part(inert=hidden * len(relations.norm_inert))
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=_measure_embeddings(config, hidden),
        block=block + Part(inert=hidden * len(relations.inert)),
        projections=projections,
        shared=table + norm + still + _measure_convolution(config, hidden),
        head_form=choose_dense_head(config, "pooler_hidden_act"),
    )


def _measure_embeddings(config: Config, hidden: int) -> Part:
    width = int(config.get("embedding_size", hidden))
    positions = read_size(config, "max_position_embeddings") if config.get("position_biased_input", True) else 0
    rows = read_size(config, "vocab_size") + positions + _count_segments(config)
    widened = size_linear(width, hidden, bias=False) if width != hidden else Part()
    return size_table(rows, width) + widened + size_norm(hidden)


def _measure_convolution(config: Config, hidden: int) -> Part:
    kernel, groups = _count_kernel(config), int(config.get("conv_groups", 1))
    if not kernel:
        return Part()
    return Part(hidden * hidden // groups * kernel + hidden, hidden) + size_norm(hidden)


def _list_unread(relations: Relations) -> tuple[str, ...]:
    """Name what the family makes although no score depends on it."""
    if relations.used:
        return ()
    table = (f"{TABLE}.weight",) if relations.on else ()
    return table + ((f"{NORM}.weight", f"{NORM}.bias") if relations.norm else ())


def _count_kernel(config: Config) -> int:
    return int(config.get("conv_kernel_size") or 0)


def _count_segments(config: Config) -> int:
    return int(config.get("type_vocab_size") or 0)


def _require_described(config: Config) -> None:
    """Refuse heads of attention, and a pooler, whose width is not the hidden rows'."""
    hidden = read_size(config, "hidden_size")
    heads = int(config.get("num_attention_heads", 1))
    if int(config.get("attention_head_size") or hidden // heads) * heads != hidden:
        value, allowed = config["attention_head_size"], f"{hidden // heads}: the hidden size over the heads"
        raise ModelError("`attention_head_size` of the model", value=value, allowed=allowed)
    if int(config.get("pooler_hidden_size") or hidden) != hidden:
        value, allowed = config["pooler_hidden_size"], f"{hidden}, the hidden size"
        raise ModelError("`pooler_hidden_size` of the model", value=value, allowed=allowed)
