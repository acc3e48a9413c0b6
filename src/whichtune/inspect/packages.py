"""Python and packages against what whichtune's own metadata asks for."""

from __future__ import annotations

import platform
from collections import defaultdict
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from whichtune.inspect.finding import Finding
from whichtune.measure.environment import read_version

AREA = "packages"
US = "whichtune"

PURPOSES = {
    "gpu": "energy of NVIDIA GPUs",
    "report": "charts of the HTML report",
    "peft": "the method `peft`",
    "quantization": "the method `qlora`",
    "search": "searches by Optuna",
    "vision": "the backbone `dinov2-small`, out of an ONNX file",
    "tensorboard": "the tracker TensorBoard",
    "wandb": "the tracker Weights & Biases",
    "mlflow": "the tracker MLflow",
    "trackio": "the tracker Trackio",
    "bench": "the benchmarks against Hugging Face Trainer and PEFT",
    "dev": "tests, lint and types",
}
"""Extra to what it is good for; one that is not here is shown by its name."""


def check_packages() -> list[Finding]:
    """Compare Python, each required package and each extra with what is installed."""
    try:
        about = metadata.metadata(US)
    except metadata.PackageNotFoundError:
        remedy = "`pip install -e .` in the working copy, to have its requirements checked"
        return [Finding(AREA, US, "note", "runs from source, not installed", remedy)]
    findings = [
        Finding(AREA, US, "ok", about["Version"]),
        check_python(about["Requires-Python"] or ""),
    ]
    required, extras = split_requirements(metadata.requires(US) or [])
    findings += [check_requirement(requirement) for requirement in required]
    findings += [check_extra(extra, members) for extra, members in extras.items()]
    return findings


def check_python(asked: str) -> Finding:
    """Compare the running Python with what is asked for."""
    have = platform.python_version()
    if SpecifierSet(asked).contains(have, prereleases=True):
        return Finding(AREA, "python", "ok", have)
    return Finding(AREA, "python", "missing", have, f"needs {asked}; make the environment with a newer Python")


def split_requirements(lines: list[str]) -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """Part what is always needed here from what the extras need, by each line's marker."""
    required: list[Requirement] = []
    extras: dict[str, list[Requirement]] = defaultdict(list)
    names = metadata_extras(lines)
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            required.append(requirement)
            continue
        for name in names:
            if marker.evaluate({"extra": name}):
                extras[name].append(requirement)
    return required, dict(extras)


def metadata_extras(lines: list[str]) -> list[str]:
    """Return the extras that the requirement lines name, in their order."""
    markers = [line.partition(";")[2] for line in lines]
    named = [marker.partition("extra ==")[2].strip().strip("\"')") for marker in markers if "extra ==" in marker]
    return list(dict.fromkeys(named))


def check_requirement(requirement: Requirement) -> Finding:
    """Compare one package that every study needs with what is installed."""
    have = read_version(requirement.name)
    wanted = f"pip install '{requirement.name}{requirement.specifier}'"
    if have is None:
        return Finding(AREA, requirement.name, "missing", "not installed", wanted)
    if not requirement.specifier.contains(have, prereleases=True):
        return Finding(AREA, requirement.name, "missing", f"{have}, needs {requirement.specifier}", wanted)
    return Finding(AREA, requirement.name, "ok", have)


def check_extra(extra: str, members: list[Requirement]) -> Finding:
    """Tell which packages of an extra are there, and what they are good for."""
    findings = [check_requirement(member) for member in members]
    lacking = [finding for finding in findings if finding.status == "missing"]
    purpose = f"for {PURPOSES.get(extra, extra)}"
    if not lacking:
        return Finding(AREA, f"extra {extra}", "ok", f"installed, {purpose}")
    listed = ", ".join(f"{finding.name} ({finding.value})" for finding in lacking)
    return Finding(AREA, f"extra {extra}", "note", listed, f"{purpose}: pip install '{US}[{extra}]'")
