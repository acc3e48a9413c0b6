"""Which ways of answering are timed; the figures themselves are the machine's."""

import numpy as np
import pytest
import torch

from whichtune.engine.latencies import Writer, choose_rows, measure_latencies, time_speaking
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.speaking import Opening, Speaker, read_prompts
from whichtune.models.batch import Encoded
from whichtune.spec.methods import LoraSpec
from whichtune.spec.training import MeasureSpec

MEASURE = MeasureSpec(latency_repeats=3)
CPU = Arithmetic("float32", torch.device("cpu"))


def ways(figures):
    return [(one.phase, one.batch, one.merged, one.plain) for one in figures]


def both(phases, batch, *, merged=False, plain=False):
    return [(phase, size, merged, plain) for size in (1, batch) for phase in phases]


@pytest.mark.parametrize("tokens", [True, False])
def test_what_can_be_merged_is_timed_in_three_ways(tokens, tiny_backbone, tiny_trial, language_trial):
    backbone = tiny_backbone("gpt")
    trial = (language_trial if tokens else tiny_trial)(backbone, LoraSpec(kind="lora"))
    phases = ("prefill", "decode") if tokens else ("forward",)
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items() if "base" not in name}
    figures = list(measure_latencies(trial, MEASURE))
    assert ways(figures) == [
        *both(phases, 8),
        *both(phases, 8, merged=True),
        *both(phases, 8, plain=True),
    ]
    assert all(0 < one.median_seconds <= one.p95_seconds for one in figures)
    after = backbone.trunk.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items() if name in after)
    assert not any("down" in name for name in after), "the method is off again"


def test_what_cannot_be_merged_is_timed_in_one(tiny_backbone, language_trial):
    trial = language_trial(tiny_backbone("gpt"), {"kind": "prompt-tuning", "virtual_tokens": 4})
    figures = list(measure_latencies(trial, MEASURE))
    assert ways(figures) == both(("prefill", "decode"), 8)
    lengths = trial.material.encoded["validation"].prompts().lengths
    assert {one.tokens for one in figures if one.phase == "decode"} == {1}
    assert all(one.tokens in lengths for one in figures if one.phase == "prefill")
    trial.assembly.attachment.detach()


def test_rows_of_middling_length_are_timed():
    lengths = [9, 1, 5, 7, 3, 2, 8]
    encoded = Encoded(np.arange(sum(lengths), dtype=np.int32), np.cumsum([0, *lengths]), np.full(7, -1))
    assert [rows.tolist() for rows in choose_rows(encoded, 1)] == [[2]]
    one, batch = choose_rows(encoded, 3)
    assert (one.tolist(), batch.tolist()) == ([2], [2, 4, 5])


def test_decoding_goes_on_behind_what_was_written(tiny_backbone):
    backbone = tiny_backbone("gpt")
    encoded = Encoded(np.array([5, 6, 7, 8], np.int32), np.array([0, 4]), np.array([-1]))
    speaker = Speaker(backbone, CPU)
    with torch.no_grad():
        writer = Writer(speaker, read_prompts(speaker, encoded, [0], Opening(0)))
        for _ in range(3):
            writer.write()
    assert writer.state.lengths.tolist() == [7]


def test_a_long_measurement_does_not_run_out_of_the_models_context(tiny_backbone):
    """A decode step is repeated as often as asked; what was written must not grow without end."""
    backbone = tiny_backbone("gpt", max_position_embeddings=24)
    encoded = Encoded(np.arange(3, 23, dtype=np.int32), np.array([0, 20]), np.array([-1]))
    with torch.no_grad():
        figures = list(time_speaking(Speaker(backbone, CPU), encoded, 1, MeasureSpec(latency_repeats=10)))
    assert ways(figures) == [("prefill", 1, False, False), ("decode", 1, False, False)]
