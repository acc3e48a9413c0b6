"""The machine in words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from whichtune.inspect import machine

GIB = 2**30


def test_threads_are_told_by_name(monkeypatch):
    for name in machine.THREAD_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert machine.check_threads(4).value.endswith("torch may use 4")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert machine.check_threads(4).value == "OMP_NUM_THREADS=1"


@pytest.mark.parametrize(
    ("flags", "status"), [("fpu avx2", "note"), ("fpu avx512_bf16 amx_bf16", "ok"), (None, "note")]
)
def test_bfloat16(monkeypatch, flags, status):
    monkeypatch.setattr(machine, "read_cpu_field", lambda field: flags if field == "flags" else None)
    finding = machine.check_bf16()
    assert finding.status == status
    assert ("float32" in finding.remedy) == (flags == "fpu avx2")


def test_little_memory_is_a_note(monkeypatch):
    def pretend(free):
        monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=free, total=8 * GIB))

    pretend(4 * GIB)
    assert machine.check_free_memory().status == "ok"
    assert machine.check_free_memory().value == "4.0 GiB free of 8.0 GiB"
    pretend(GIB)
    assert machine.check_free_memory().status == "note"


def test_no_driver(monkeypatch):
    monkeypatch.setattr(machine, "has_driver", lambda: False)
    (finding,) = machine.check_devices()
    assert finding.status == "note"
    found = {finding.name: finding for finding in machine.check_measurements()}
    assert found["energy, GPU"].value == "None: no NVIDIA driver here"


def test_a_cpu_build_beside_a_driver_says_so(monkeypatch):
    monkeypatch.setattr(machine, "has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    (finding,) = machine.check_devices()
    assert "CPU build" in finding.value
    assert finding.remedy


def test_gpus_are_described(monkeypatch):
    properties = SimpleNamespace(name="NVIDIA L4", major=8, minor=9)
    monkeypatch.setattr(machine, "has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (20 * GIB, 22 * GIB))
    first, second = machine.check_devices()
    assert (first.name, second.name) == ("cuda:0", "cuda:1")
    assert first.value == "NVIDIA L4, 20.0 GiB free of 22.0 GiB, capability 8.9, bfloat16 and float16"


def test_measurements_that_are_none_have_their_reason(monkeypatch):
    monkeypatch.setattr(machine, "reset_peak_rss", lambda: "the kernel does not let it")
    found = {finding.name: finding for finding in machine.check_measurements()}
    peak = found["peak memory, CPU"]
    assert (peak.status, peak.value) == ("note", "None: the kernel does not let it")
    monkeypatch.setattr(machine, "reset_peak_rss", lambda: None)
    assert {finding.name: finding for finding in machine.check_measurements()}["peak memory, CPU"].status == "ok"


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 * 2**20, "5.0 MiB"), (3 * 2**40, "3072.0 GiB")],
)
def test_bytes_in_words(count, words):
    assert machine.format_bytes(count) == words
