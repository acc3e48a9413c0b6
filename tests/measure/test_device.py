"""Devices by name, what they are, and threads."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from whichtune.errors import SpecError
from whichtune.measure.cores import count_cores
from whichtune.measure.device import (
    describe_device,
    peak_flops,
    pick_device,
    read_cpu_field,
    set_threads,
    synchroniser,
    using_threads,
    utilisation,
)


@pytest.fixture
def gpus(monkeypatch):
    def see(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return see


def test_auto_is_the_cpu_where_there_is_nothing_else(gpus):
    gpus(0)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")


def test_auto_is_the_first_gpu(gpus):
    gpus(2)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", 0)
    assert pick_device("cuda:1") == torch.device("cuda", 1)


def test_a_gpu_that_is_not_there_names_what_is(gpus):
    gpus(1)
    with pytest.raises(SpecError, match=r"execution.device: got 'cuda:1'; allowed: auto, cpu, cuda, cuda:0"):
        pick_device("cuda:1")
    gpus(0)
    with pytest.raises(SpecError, match=r"allowed: auto, cpu \(no GPU is seen here\); .*doctor"):
        pick_device("cuda")


def test_a_misspelt_device_has_a_suggestion(gpus):
    gpus(0)
    with pytest.raises(SpecError, match="did you mean 'cuda'"):
        pick_device("cuda0")
    with pytest.raises(SpecError, match="got 'gpu'"):
        pick_device("gpu")


def test_the_cpu_is_described_in_plain_values():
    facts = describe_device(torch.device("cpu"), threads=1)
    assert facts["kind"] == "cpu"
    assert facts["threads"] == 1
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**28
    assert json.loads(json.dumps(facts)) == facts


def test_an_unknown_device_has_no_utilisation():
    assert peak_flops("Some new GPU", "bfloat16") is None
    assert peak_flops(None, "float32") is None
    assert peak_flops("Tesla T4", "bfloat16") is None
    assert utilisation(1e12, 1.0, "Some new GPU", "bfloat16") is None
    assert utilisation(156e12, 1.0, "NVIDIA A100-SXM4-80GB", "bfloat16") == pytest.approx(0.5)


def test_threads_come_back():
    before = torch.get_num_threads()

    def fail():
        assert torch.get_num_threads() == before + 1
        raise RuntimeError

    with pytest.raises(RuntimeError), using_threads(before + 1):
        fail()
    assert torch.get_num_threads() == before


def test_threads_default_to_the_cores_there_are():
    with using_threads(1):
        assert set_threads() == torch.get_num_threads() == count_cores()
        assert set_threads(1) == torch.get_num_threads() == 1


def test_a_containers_quota_bounds_the_cores(tmp_path):
    free = count_cores(tmp_path)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert count_cores(tmp_path) == free
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert count_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text(f"{(free + 5) * 100000} 100000\n")
    assert count_cores(tmp_path) == free


def test_a_cpu_needs_no_waiting():
    assert synchroniser(torch.device("cpu")) is None
    assert synchroniser(SimpleNamespace(type="cuda")) is not None


def test_fields_of_cpuinfo(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Fast One\nflags\t\t: fpu avx2\n")
    assert read_cpu_field("model name", info) == "Fast One"
    assert read_cpu_field("bugs", info) is None
    assert read_cpu_field("flags", tmp_path / "nowhere") is None
