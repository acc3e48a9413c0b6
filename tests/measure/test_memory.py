"""Peaks follow what is allocated; saved bytes equal what can be worked out by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from whichtune.measure.memory import (
    ResidentMeter,
    choose_meter,
    read_device_bytes,
    read_peak_rss,
    read_rss,
    reset_peak_rss,
    saved_bytes,
    weak_storage,
)

MB = 2**20
FLOAT = 4

can_reset = pytest.mark.skipif(reset_peak_rss() is not None, reason=str(reset_peak_rss()))


PHASES = """
import json
import numpy as np
from whichtune.measure.clock import PhaseClock
from whichtune.measure.memory import ResidentMeter
clock = PhaseClock(meter=ResidentMeter())
with clock.phase("load"):
    np.ones(200 * 2**20 // 8).sum()
with clock.phase("step"):
    np.ones(40 * 2**20 // 8).sum()
with clock.phase("save"):
    pass
print(json.dumps({name: phase.peak_bytes for name, phase in clock.read().phases.items()}))
"""


@can_reset
def test_peak_is_of_the_phase_and_not_of_the_process():
    """In a process of its own: after thousands of tests the heap has room for 40 MB without growing."""
    ended = subprocess.run([sys.executable, "-c", PHASES], capture_output=True, text=True, check=True)
    phases = json.loads(ended.stdout)
    load, step, save = (phases[name] for name in ("load", "step", "save"))
    assert load - step == pytest.approx(160 * MB, abs=20 * MB)
    assert step - save == pytest.approx(40 * MB, abs=20 * MB)


@can_reset
def test_reset_peak_equals_the_resident_set():
    np.ones(100 * MB // 8).sum()
    assert reset_peak_rss() is None
    assert read_peak_rss().value == pytest.approx(read_rss().value, abs=8 * MB)


def fake_process(folder: Path, status: str, resettable: bool = True) -> Path:
    (folder / "status").write_text(status)
    if resettable:
        (folder / "clear_refs").write_text("")
    else:
        (folder / "clear_refs").mkdir()
    return folder


def test_units_are_bytes(tmp_path):
    process = fake_process(tmp_path, "Name:\tx\nVmHWM:\t     300 kB\nVmRSS:\t     200 kB\n")
    assert read_peak_rss(process).value == 300 * 1024
    assert read_rss(process).value == 200 * 1024
    assert reset_peak_rss(process) is None
    assert (tmp_path / "clear_refs").read_text() == "5"


def test_not_permitted_is_none_with_a_reason(tmp_path):
    process = fake_process(tmp_path, "VmHWM: 300 kB\nVmRSS: 200 kB\n", resettable=False)
    meter = ResidentMeter(process)
    assert meter.read() is None
    assert "does not let" in meter.reason


def test_a_reset_that_does_nothing_is_noticed(tmp_path):
    process = fake_process(tmp_path, "VmHWM: 900000 kB\nVmRSS: 200 kB\n")
    assert "did not follow" in reset_peak_rss(process)


def test_not_linux_is_none_with_a_reason(tmp_path):
    assert read_rss(tmp_path / "nowhere").value is None
    assert "/proc" in read_rss(tmp_path / "nowhere").reason
    assert ResidentMeter(tmp_path / "nowhere").read() is None


def test_kernel_without_the_figure_is_none_with_a_reason(tmp_path):
    process = fake_process(tmp_path, "Name: x\n")
    assert read_peak_rss(process).reason == "this kernel does not tell VmHWM"
    assert reset_peak_rss(process) == "this kernel does not tell VmHWM"


def test_other_devices_have_no_meter():
    meter, reason = choose_meter(SimpleNamespace(type="mps"))
    assert meter is None
    assert "mps" in reason
    assert read_device_bytes(torch.device("cpu")).value is None


def count(forward, *states: torch.Tensor) -> int:
    with saved_bytes(states) as saved:
        forward()
    return saved.reading.value


def test_linear_saves_its_input_and_no_weight():
    layer, rows = nn.Linear(6, 10), torch.randn(8, 6)
    assert count(lambda: layer(rows), *layer.parameters()) == 8 * 6 * FLOAT
    assert count(lambda: layer(rows)) == 8 * 6 * FLOAT  # the weight serves the input's gradient, which nobody asks for


def test_weights_saved_by_reference_cost_nothing():
    layer, rows = nn.Linear(6, 10), torch.randn(8, 6, requires_grad=True)
    assert count(lambda: layer(rows), *layer.parameters()) == 8 * 6 * FLOAT
    assert count(lambda: layer(rows)) == 8 * 6 * FLOAT + 10 * 6 * FLOAT


def test_a_storage_counts_once():
    rows = torch.randn(8, 6, requires_grad=True)
    assert count(lambda: rows * rows) == 8 * 6 * FLOAT
    first, second = nn.Linear(6, 3), nn.Linear(6, 5)
    assert count(lambda: (first(rows), second(rows)), *first.parameters(), *second.parameters()) == 8 * 6 * FLOAT


def test_a_slice_keeps_the_whole_storage():
    rows = torch.randn(8, 6, requires_grad=True)
    assert count(rows[:1].exp) == 6 * FLOAT  # exp saves its result, which is new
    assert count(rows[:1].square) == 8 * 6 * FLOAT


def test_relu_between_layers():
    first, second = nn.Linear(6, 10), nn.Linear(10, 4)
    rows = torch.randn(8, 6)
    states = [*first.parameters(), *second.parameters()]
    # the input, and relu's result, which relu and the second layer share
    assert count(lambda: second(F.relu(first(rows))), *states) == (8 * 6 + 8 * 10) * FLOAT


def test_nothing_is_saved_without_gradients():
    layer = nn.Linear(6, 10)
    with torch.no_grad():
        assert count(lambda: layer(torch.randn(8, 6))) == 0


def test_freed_memory_is_not_taken_for_the_tensor_that_gets_its_place():
    layer = nn.Linear(64, 64)

    def forward():
        for _ in range(5):
            layer(torch.randn(32, 64))  # each graph dies at once, and the next input may get its address

    assert count(forward, *layer.parameters()) == 5 * 32 * 64 * FLOAT


def test_checkpointing_saves_the_input_alone():
    layers = nn.Sequential(nn.Linear(6, 100), nn.Tanh(), nn.Linear(100, 6))
    rows = torch.randn(8, 6, requires_grad=True)
    plain = count(lambda: layers(rows), *layers.parameters())
    kept = count(lambda: checkpoint(layers, rows, use_reentrant=False), *layers.parameters())
    assert plain == (8 * 6 + 8 * 100) * FLOAT
    assert kept == 8 * 6 * FLOAT


def test_gradients_are_the_same_under_the_count():
    layer, rows = nn.Linear(6, 10), torch.randn(8, 6)
    layer(rows).square().sum().backward()
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    with saved_bytes(layer.parameters()):
        loss = layer(rows).square().sum()
    loss.backward()
    assert torch.equal(layer.weight.grad, expected)


def test_an_operation_that_keeps_its_own_output_does_not_hold_itself():
    rows = torch.randn(8, 6, requires_grad=True)
    with saved_bytes(()):
        made = rows.tanh()
    held = weak_storage(made)
    del made
    assert held.expired()


def test_a_tensor_without_a_storage_makes_the_count_unknown():
    sparse = torch.eye(4).to_sparse()
    dense = torch.randn(4, 4, requires_grad=True)
    with saved_bytes(()) as saved:
        torch.sparse.mm(sparse, dense)
    assert saved.reading.value is None
    assert "sparse" in saved.reading.reason
