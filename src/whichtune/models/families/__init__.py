"""The table of families: model type to anatomy. A new family is one file here and one line in `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from whichtune.models.anatomy import Anatomy, Config, read_field
from whichtune.models.families.albert import describe_albert
from whichtune.models.families.bert import describe_bert, describe_electra, describe_roberta
from whichtune.models.families.deberta import describe_deberta
from whichtune.models.families.distilbert import describe_distilbert
from whichtune.models.families.modernbert import describe_modernbert
from whichtune.models.families.mpnet import describe_mpnet

FAMILIES: Mapping[str, Callable[[Config], Anatomy]] = {
    "albert": describe_albert,
    "bert": describe_bert,
    "camembert": describe_roberta,
    "deberta-v2": describe_deberta,
    "distilbert": describe_distilbert,
    "electra": describe_electra,
    "modernbert": describe_modernbert,
    "mpnet": describe_mpnet,
    "roberta": describe_roberta,
    "xlm-roberta": describe_roberta,
}


def describe_family(config: Config) -> Anatomy | None:
    """Return the table's anatomy for a configuration, or None where the table has no such family."""
    entry = FAMILIES.get(str(read_field(config, "model_type")))
    return None if entry is None else entry(config)
