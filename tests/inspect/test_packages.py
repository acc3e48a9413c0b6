"""Installed versions against requirements."""

from __future__ import annotations

from importlib import metadata

import pytest
from packaging.requirements import Requirement

from whichtune.inspect import packages

LINES = [
    "numpy>=2.0",
    'tomli>=2; python_version < "3.0"',
    'nvidia-ml-py>=12; extra == "gpu"',
    'peft>=0.18; extra == "bench"',
    'peft>=0.18; extra == "dev"',
    'pytest>=8; (python_version >= "3.0") and extra == "dev"',
]


@pytest.fixture
def installed(monkeypatch):
    def pretend(**versions):
        monkeypatch.setattr(packages, "read_version", lambda name: versions.get(name.replace("-", "_")))

    return pretend


def test_markers_part_required_packages_from_extras():
    required, extras = packages.split_requirements(LINES)
    assert [requirement.name for requirement in required] == ["numpy"]
    assert {extra: [member.name for member in members] for extra, members in extras.items()} == {
        "gpu": ["nvidia-ml-py"],
        "bench": ["peft"],
        "dev": ["peft", "pytest"],
    }


def test_a_missing_package_says_how_to_get_it(installed):
    installed()
    finding = packages.check_requirement(Requirement("numpy>=2.0"))
    assert (finding.status, finding.value) == ("missing", "not installed")
    assert finding.remedy == "pip install 'numpy>=2.0'"


def test_an_old_package_is_missing_and_a_local_build_is_fine(installed):
    installed(numpy="1.26", torch="2.13.0+cpu")
    assert packages.check_requirement(Requirement("numpy>=2.0")).value == "1.26, needs >=2.0"
    assert packages.check_requirement(Requirement("numpy>=2.0")).status == "missing"
    assert packages.check_requirement(Requirement("torch>=2.11")).status == "ok"


def test_an_extra_that_is_not_there_is_a_note_with_its_purpose(installed):
    installed(accelerate="1.0")
    members = [Requirement("accelerate>=1.0"), Requirement("peft>=0.18")]
    finding = packages.check_extra("bench", members)
    assert finding.status == "note"
    assert finding.value == "peft (not installed)"
    assert "benchmarks" in finding.remedy
    assert "whichtune[bench]" in finding.remedy
    installed(accelerate="1.0", peft="0.21")
    assert packages.check_extra("bench", members).status == "ok"


def test_an_old_python_is_missing():
    assert packages.check_python(">=3.11").status == "ok"
    assert packages.check_python(">=99").status == "missing"
    assert packages.check_python("").status == "ok"


def test_a_working_copy_that_is_not_installed_is_a_note(monkeypatch):
    def fail(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "metadata", fail)
    (finding,) = packages.check_packages()
    assert finding.status == "note"
    assert "pip install -e ." in finding.remedy
