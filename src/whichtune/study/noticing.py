"""What is noticed about a tuner's model and its rows before it trains, as it stands in the record."""

from __future__ import annotations

from collections.abc import Mapping

from whichtune.data.examples import DataSet
from whichtune.engine.assembly import Assembly
from whichtune.engine.batches import plan_steps
from whichtune.engine.trial import Material, count_assembly
from whichtune.models.backbone import Backbone
from whichtune.models.batch import EncodedRows
from whichtune.records.trial import TrialRecord
from whichtune.spec.training import TrainingSpec

SHOWN_ORIGINS = 5
"""Rows named of those that were cut."""


def watch_warmup(record: TrialRecord, training: TrainingSpec, material: Material) -> None:
    """Notice a warm-up that lasts as long as the training."""
    steps = plan_steps(len(material.encoded["train"]), training).total
    if training.warmup >= max(1, steps):
        record.traps.append(f"warm-up lasts {training.warmup:g} steps of {steps}: the peak rate is never reached")


def keep_cuts(record: TrialRecord, data: DataSet, rows: Mapping[str, EncodedRows]) -> None:
    """Write down how many rows of each split were cut, and where the first of them stand."""
    for split, encoded in rows.items():
        examples = data.examples[split]
        record.cuts[split] = encoded.cut
        record.cut_origins[split] = [examples[row].origin for row in encoded.over_long[:SHOWN_ORIGINS]]


def keep_switches(record: TrialRecord, backbone: Backbone) -> None:
    """Write down in which ways a backbone is run faster than on the plain path."""
    record.device |= {
        "unpad": backbone.unpads,
        "narrow": backbone.narrows,
        "recompute": backbone.spares,
        "onednn": backbone.widened,
    }


def keep_counts(record: TrialRecord, assembly: Assembly) -> None:
    """Write down what a method opened, in numbers and in names, and where theory says otherwise."""
    record.parameters, why = count_assembly(assembly)
    if record.parameters.trainable_theory is None:
        record.unmeasured["parameters.trainable_theory"] = why
    elif record.parameters.trainable_theory != record.parameters.trainable:
        counts = f"{record.parameters.trainable_theory:,} by theory, {record.parameters.trainable:,} measured"
        record.traps.append(f"trainable parameters: {counts}")
    record.trained_names = list(assembly.attachment.trained)
    record.matched_modules = list(assembly.attachment.matched)
