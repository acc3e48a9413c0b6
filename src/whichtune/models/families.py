"""The table of families: model type to anatomy. A new family is one function here and one line in `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from whichtune.errors import ModelError
from whichtune.models.anatomy import (
    Anatomy,
    Config,
    Dimensions,
    Extent,
    Part,
    Projection,
    Word,
    linear,
    read_field,
)

BERT_PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection("attention.self.query", "attention"),
    "key": Projection("attention.self.key", "attention"),
    "value": Projection("attention.self.value", "attention"),
    "output": Projection("attention.output.dense", "context"),
    "mlp-in": Projection("intermediate.dense", "mlp"),
    "mlp-out": Projection("output.dense", "mlp-inner"),
}


def describe_bert(config: Config) -> Anatomy:
    """BERT (Devlin et al. 2019): the pooler is trunk, the head one linear map."""
    _require_plain_encoder(config)
    return Anatomy(
        family=str(config.get("model_type", "bert")),
        tokens="embeddings.word_embeddings",
        embeddings=("embeddings",),
        blocks="encoder.layer",
        projections=BERT_PROJECTIONS,
        pooler="pooler",
        inert=("attention.self.key.bias",),
        positions=int(read_field(config, "max_position_embeddings")),
        segments=int(read_field(config, "type_vocab_size")) > 1,
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
        positions=int(read_field(config, "max_position_embeddings")) - offset,
        measure=measure_roberta,
    )


def measure_bert(config: Config) -> Dimensions:
    """Sizes of BERT by its configuration."""
    hidden = int(read_field(config, "hidden_size"))
    inner = int(read_field(config, "intermediate_size"))
    tables = ("vocab_size", "max_position_embeddings", "type_vocab_size")
    rows = sum(int(read_field(config, name)) for name in tables)
    square = Extent(hidden, hidden)
    projections: dict[Word, Extent] = {
        "query": square,
        "key": square,
        "value": square,
        "output": square,
        "mlp-in": Extent(hidden, inner),
        "mlp-out": Extent(inner, hidden),
    }
    weights = sum(linear(extent.inputs, extent.outputs) for extent in projections.values())
    biases = sum(extent.outputs for extent in projections.values())
    norms = 2
    return Dimensions(
        hidden=hidden,
        blocks=int(read_field(config, "num_hidden_layers")),
        embeddings=Part(rows * hidden + 2 * hidden, hidden),
        block=Part(weights + norms * 2 * hidden, biases + norms * hidden, inert=hidden),
        projections=projections,
        pooler=Part(linear(hidden, hidden), hidden),
    )


def measure_roberta(config: Config) -> Dimensions:
    """Sizes of RoBERTa: BERT's, with the dense layer in the head instead of a pooler."""
    return replace(measure_bert(config), pooler=Part(), head_form="dense-tanh")


FAMILIES: Mapping[str, Callable[[Config], Anatomy]] = {
    "bert": describe_bert,
    "roberta": describe_roberta,
    "xlm-roberta": describe_roberta,
    "camembert": describe_roberta,
}


def describe_family(config: Config) -> Anatomy | None:
    """Return the table's anatomy for a configuration, or None where the table has no such family."""
    entry = FAMILIES.get(str(read_field(config, "model_type")))
    return None if entry is None else entry(config)


def _require_plain_encoder(config: Config) -> None:
    """Refuse variants whose tensors or masks differ from the family's encoder."""
    kind = config.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise ModelError("`position_embedding_type` of the model", value=kind, allowed="absolute")
    for name in ("is_decoder", "add_cross_attention"):
        if config.get(name):
            raise ModelError(f"`{name}` of the model", value=True, allowed="False: classification reads an encoder")
