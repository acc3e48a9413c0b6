"""BERT and RoBERTa, with those that share their tensors: XLM-R, CamemBERT, and ELECTRA's blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Part, Projection, Word, read_field, read_size
from whichtune.models.families.limits import require_plain_encoder
from whichtune.models.families.sizes import (
    size_linear,
    size_norm,
    size_post_norm_block,
    size_table,
    square_attention,
)

BERT_PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection("attention.self.query", "attention"),
    "key": Projection("attention.self.key", "attention"),
    "value": Projection("attention.self.value", "attention"),
    "output": Projection("attention.output.dense", "context"),
    "mlp-in": Projection("intermediate.dense", "mlp"),
    "mlp-out": Projection("output.dense", "mlp-inner"),
}
TABLES = ("vocab_size", "max_position_embeddings", "type_vocab_size")


def describe_bert(config: Config) -> Anatomy:
    """BERT (Devlin et al. 2019): the pooler is trunk, the head one linear map."""
    require_plain_encoder(config)
    return Anatomy(
        family=str(config.get("model_type", "bert")),
        tokens="embeddings.word_embeddings",
        embeddings=("embeddings",),
        blocks="encoder.layer",
        projections=BERT_PROJECTIONS,
        pooler="pooler",
        inert=("attention.self.key.bias",),
        positions=read_size(config, "max_position_embeddings"),
        segments=read_size(config, "type_vocab_size") > 1,
        measure=measure_bert,
    )


def describe_roberta(config: Config) -> Anatomy:
    """RoBERTa (Liu et al. 2019): no pooler, a dense layer in the head, positions counted from after the pad id."""
    offset = int(read_field(config, "pad_token_id")) + 1
    bert = describe_bert(config)
    return replace(
        bert,
        pooler=None,
        head="dense-tanh",
        position_offset=offset,
        positions=read_size(config, "max_position_embeddings") - offset,
        measure=measure_roberta,
    )


def describe_electra(config: Config) -> Anatomy:
    """ELECTRA (Clark et al. 2020): BERT's blocks over embeddings that may be narrower, no pooler, a head with gelu."""
    narrow = read_size(config, "embedding_size") != read_size(config, "hidden_size")
    return replace(
        describe_bert(config),
        embeddings=("embeddings", "embeddings_project") if narrow else ("embeddings",),
        pooler=None,
        head="dense-gelu",
        measure=measure_electra,
    )


def measure_bert(config: Config) -> Dimensions:
    """Sizes of BERT by its configuration."""
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=measure_tables(config, hidden),
        block=size_post_norm_block(hidden, inner),
        projections=square_attention(hidden, inner),
        pooler=size_linear(hidden, hidden),
    )


def measure_roberta(config: Config) -> Dimensions:
    """Sizes of RoBERTa: BERT's, with the dense layer in the head instead of a pooler."""
    return replace(measure_bert(config), pooler=Part(), head_form="dense-tanh")


def measure_electra(config: Config) -> Dimensions:
    """Sizes of ELECTRA: BERT's, with embeddings of a width of their own and a map from there where that differs."""
    hidden, width = read_size(config, "hidden_size"), read_size(config, "embedding_size")
    widened = size_linear(width, hidden) if width != hidden else Part()
    embeddings = measure_tables(config, width) + widened
    return replace(measure_bert(config), embeddings=embeddings, pooler=Part(), head_form="dense-gelu")


def measure_tables(config: Config, width: int) -> Part:
    """Sizes of the tables of tokens, positions and segments, with the norm behind them."""
    return size_table(sum(read_size(config, name) for name in TABLES), width) + size_norm(width)
