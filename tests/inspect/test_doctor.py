"""The doctor looks at everything, quickly, never raises, and fits a narrow terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
from rich.console import Console

from whichtune.inspect import doctor
from whichtune.inspect.finding import Finding


@pytest.fixture
def findings():
    return [
        Finding("packages", "python", "ok", "3.11"),
        Finding("packages", "torch", "missing", "not installed", "pip install 'torch>=2.11'"),
        Finding("network", "model hub", "note", "huggingface.co: not reachable " + "because of this " * 10, "go on"),
    ]


def show(findings, width=80):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        doctor.render(findings, console)
    return console.export_text()


def test_every_area_has_findings_in_order(monkeypatch):
    monkeypatch.setattr("whichtune.inspect.network.ask_all", lambda urls, _: dict.fromkeys(urls))
    found = doctor.examine()
    assert list(dict.fromkeys(finding.area for finding in found)) == list(doctor.CHECKS)
    assert json.loads(json.dumps([asdict(finding) for finding in found]))
    assert all(isinstance(value, str) for finding in found for value in asdict(finding).values())
    assert not [finding for finding in found if "could not be looked at" in finding.value]


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def fail():
        raise OSError("odd machine")

    monkeypatch.setattr(doctor, "CHECKS", {"machine": fail, "caches": lambda: [Finding("caches", "a", "ok", "b")]})
    first, second = doctor.examine()
    assert (first.area, first.status) == ("machine", "note")
    assert "odd machine" in first.value
    assert second.name == "a"


@pytest.mark.parametrize("width", [60, 80])
def test_the_page_fits_and_loses_nothing(findings, width):
    page = show(findings, width)
    assert max(map(len, page.splitlines())) <= width
    assert page.count("because of this") + page.count("because of\n") >= 8
    assert "pip install 'torch>=2.11'" in page
    assert "go on" in page


def test_the_closing_line_names_what_is_missing(findings):
    assert "Missing before a study can run: torch." in show(findings)
    assert "Nothing that a study needs is missing." in show(findings[:1])


def test_no_model_library_is_loaded_where_there_is_no_driver():
    code = (
        "import sys; from whichtune.inspect import doctor, machine, network;"
        "machine.has_driver = lambda: False; network.ask_all = lambda urls, seconds: dict.fromkeys(urls);"
        "doctor.examine(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "whichtune.inspect.machine" in loaded
    assert not {"torch", "transformers", "datasets"} & loaded
