"""What a method that trains nothing will take: prompts read and answers written, or images beside class names."""

from __future__ import annotations

import numpy as np

from whichtune.engine.gauging_answers import Asked, SpeechRates, estimate_answers, estimate_one, gauge_speech
from whichtune.engine.gauging_features import gauge_passing
from whichtune.engine.latencies import MOST_WRITTEN, choose_rows
from whichtune.engine.prompting import PrompterTrial
from whichtune.engine.shapes import list_evaluation, shape_rows
from whichtune.engine.trial import EVALUATED, Material
from whichtune.engine.writing import Interview, answer_in_words, require_words_fit
from whichtune.measure.memory import choose_meter
from whichtune.measure.modes import modes
from whichtune.models.batch import Encoded
from whichtune.report.model import Figure
from whichtune.study.advising_model import Estimate
from whichtune.study.estimating import count_golds
from whichtune.study.plan import Planned
from whichtune.study.prompters import make_matcher, make_prompter, naming_method
from whichtune.study.sharing import Shared
from whichtune.tasks.asking import encode_words

ASKED_ROWS = 4
"""Rows that are really asked, to see how long answers are; fewer where prompts are long."""
ASKED_TOKENS = 1024
"""Tokens of the prompts that are really asked, about."""
UNTRAINED = Figure(value=0.0)


def estimate_prompter(
    shared: Shared, planned: Planned, estimate: Estimate, speech: SpeechRates | None
) -> SpeechRates | None:
    """Fill in what asking will take; return how fast the backbone reads and writes, for the next one."""
    material, size = Material(shared.task, shared.data), shared.evaluation_rows
    with naming_method(planned):
        trial = make_prompter(shared, planned, material, shared.request(planned.method))
        encoded = {split: trial.encode(split) for split in EVALUATED}
        require_words_fit(trial.asking, trial.speaker.backbone.encoder, material.data.examples["test"][0])
    known = speech or gauge_speech(trial.speaker, encoded["validation"].prompts())
    tokens = _ask_some(trial, encoded["validation"], estimate)
    asked = {split: _asked(trial, split, rows, (tokens, size)) for split, rows in encoded.items()}
    took = {split: estimate_answers(known, one) for split, one in asked.items()}
    _fill(estimate, took["validation"][0], took["test"][0])
    estimate.answer_seconds = Figure(value=estimate_one(known, asked["test"]))
    estimate.answer_operations = Figure(value=took["test"][1] / len(encoded["test"]))
    rows = choose_rows(encoded["validation"].prompts(), min(size, MOST_WRITTEN))[-1]
    cells = len(rows) * int(encoded["validation"].prompts().lengths[rows].max())
    if known.base_bytes is None or known.cell_bytes is None:
        estimate.peak_bytes = Figure(reason="memory is not metered here")
    else:
        estimate.peak_bytes = Figure(value=known.base_bytes + known.cell_bytes * cells)
    return known


def estimate_matcher(
    shared: Shared, planned: Planned, estimate: Estimate, speech: SpeechRates | None
) -> SpeechRates | None:
    """Fill in what comparing images with class names will take."""
    material, size = Material(shared.task, shared.data), shared.evaluation_rows
    with naming_method(planned):
        trial = make_matcher(shared, planned, material, shared.request(planned.method))
        assembly = trial.assembly
    encoded = {split: trial.encode(split) for split in EVALUATED}
    passing = gauge_passing(assembly, encoded["validation"], size, shared.study.training.precision)[None]
    took = {split: passing.law.total(list_evaluation(rows, size)) / passing.rate for split, rows in encoded.items()}
    _fill(estimate, took["validation"], took["test"])
    one = passing.law(shape_rows(encoded["test"], [0]))
    estimate.answer_seconds, estimate.answer_operations = Figure(value=one / passing.rate), Figure(value=one)
    meter, why = choose_meter(shared.device)
    if meter is not None:
        meter.reset()
    rows = encoded["validation"]
    with assembly.predicting():
        assembly(rows.collate(range(min(size, len(rows)))).to(assembly.device))
    peak = None if meter is None else meter.read()
    estimate.peak_bytes = Figure(reason=why or "the peak could not be read") if peak is None else Figure(value=peak)
    return speech


def _fill(estimate: Estimate, validation: float, test: float) -> None:
    estimate.trainable, estimate.adapter_bytes, estimate.training_seconds = UNTRAINED, UNTRAINED, UNTRAINED
    estimate.operations, estimate.validation_seconds = UNTRAINED, Figure(value=validation)
    estimate.test_seconds, estimate.rests = Figure(value=test), "measured"


def _ask_some(trial: PrompterTrial, encoded: Encoded, estimate: Estimate) -> int | None:
    """Ask about a few rows, and return the tokens of the longest answer; None where nothing is written."""
    interview = Interview(trial.speaker, trial.asking, trial.batch)
    if not interview.writes:
        return None
    order = np.argsort(encoded.lengths, kind="stable")
    count = max(1, min(ASKED_ROWS, ASKED_TOKENS // int(np.median(encoded.lengths)), len(order)))
    rows = order[(len(order) - count) // 2 :][:count]
    examples = [trial.material.data.examples["validation"][row] for row in rows]
    with modes((), trial.speaker.backbone.trunk):
        table = answer_in_words(interview, "validation", examples, encoded.take(rows))
    longest = 0 if table.tokens_out is None else int(table.tokens_out.max())
    estimate.notes.append(f"the longest of {count} answers that were asked for has {longest} tokens; all are taken so")
    return longest


def _asked(trial: PrompterTrial, split: str, encoded: Encoded, how: tuple[int | None, int]) -> Asked:
    tokens, size = how
    asking, examples = trial.asking, trial.material.data.examples[split]
    words = encode_words(asking, trial.speaker.backbone.encoder, examples[0]) if asking.by_labels else []
    return Asked(
        prompts=encoded.prompts(),
        size=size,
        written=None if tokens is None else np.full(len(encoded), tokens + 1),
        words=[len(word) for word in words],
        golds=None if asking.labels else count_golds(encoded),
        shares=trial.speaker.shares,
    )
