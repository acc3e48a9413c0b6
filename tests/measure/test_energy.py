"""Joules from counters: units, wraparound, and reasons where there are none."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from whichtune.measure.energy import NoMeter, NvmlMeter, RaplMeter, choose_energy_meter, load_nvml


def make_zone(root, zone, name, energy, limit=1000):
    folder = root / zone
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    return folder / "energy_uj"


def test_packages_are_added_and_their_parts_are_not(tmp_path):
    first = make_zone(tmp_path, "intel-rapl:0", "package-0", 100, 10**9)
    core = make_zone(tmp_path, "intel-rapl:0:0", "core", 50, 10**9)
    second = make_zone(tmp_path, "intel-rapl:1", "package-1", 200, 10**9)
    whole = make_zone(tmp_path, "intel-rapl:2", "psys", 300, 10**9)
    meter = RaplMeter(tmp_path)
    before = meter.read()
    for counter, value in ((first, 2_000_100), (core, 9_000_000), (second, 3_000_200), (whole, 9_000_000)):
        counter.write_text(str(value))
    assert meter.joules(before, meter.read()).value == pytest.approx(5.0)


def test_a_counter_that_wrapped_is_unwrapped(tmp_path):
    counter = make_zone(tmp_path, "intel-rapl:0", "package-0", 900_000, 1_000_000)
    meter = RaplMeter(tmp_path)
    before = meter.read()
    counter.write_text("300000")
    assert meter.joules(before, meter.read()).value == pytest.approx(0.4)


def test_no_counters_is_none_with_a_reason(tmp_path):
    meter = RaplMeter(tmp_path)
    assert meter.joules(meter.read(), meter.read()).value is None
    assert "no RAPL counters" in meter.reason


def test_counters_that_may_not_be_read_are_none_with_a_reason(tmp_path):
    counter = make_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    counter.unlink()
    counter.mkdir()
    meter = RaplMeter(tmp_path)
    assert meter.joules(meter.read(), meter.read()).value is None
    assert "cannot be read" in meter.reason


def test_a_counter_lost_on_the_way_is_none_and_not_zero(tmp_path):
    counter = make_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    meter = RaplMeter(tmp_path)
    before = meter.read()
    counter.unlink()
    assert meter.joules(before, meter.read()).value is None


class FakeNvml:
    NVMLError = type("NVMLError", (Exception,), {})

    def __init__(self, values):
        self.values = iter(values)

    def nvmlDeviceGetTotalEnergyConsumption(self, _handle):
        value = next(self.values)
        if value is None:
            raise self.NVMLError("not supported")
        return value


def test_nvml_counts_millijoules():
    meter = NvmlMeter(FakeNvml([1000, 1500, 4000]), handle=0)
    assert meter.joules(meter.read(), meter.read()).value == pytest.approx(2.5)


def test_a_gpu_that_does_not_count_is_none_with_a_reason():
    meter = NvmlMeter(FakeNvml([None, None, None]), handle=0)
    assert meter.joules(meter.read(), meter.read()).value is None
    assert "does not count" in meter.reason


def test_nvml_lost_on_the_way_is_none():
    meter = NvmlMeter(FakeNvml([1, 2, None]), handle=0)
    assert meter.joules(meter.read(), meter.read()).value is None


def test_missing_package_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "not installed" in load_nvml()
    meter = choose_energy_meter(SimpleNamespace(type="cuda"))
    assert isinstance(meter, NoMeter)
    assert meter.joules(meter.read(), meter.read()).value is None


def test_a_library_that_does_not_start_is_a_reason(monkeypatch):
    def fail():
        raise FakeNvml.NVMLError("driver not loaded")

    fake = SimpleNamespace(NVMLError=FakeNvml.NVMLError, nvmlInit=fail)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert load_nvml() == "NVML does not start: driver not loaded"


def test_devices_of_other_kinds_have_no_meter():
    assert "mps" in choose_energy_meter(SimpleNamespace(type="mps")).reason
