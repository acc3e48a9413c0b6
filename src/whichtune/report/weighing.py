"""What a verdict weighs, asked otherwise than the study has it: another margin, cost or limit over the same records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from whichtune.errors import SpecError, cut_value, did_you_mean
from whichtune.records.folder import StudyFolder
from whichtune.spec.read import load_stored_study, read_study
from whichtune.spec.study import StudySpec
from whichtune.spec.verdict import CostSpec, LimitsSpec

WEIGHED = (
    "margin",
    *(f"cost.{name}" for name in CostSpec.model_fields),
    *(f"limits.{name}" for name in LimitsSpec.model_fields),
)
"""Settings that change no training."""
TRAINS = "`whichtune run --set` changes the others, and trains anew"


def read_asked(folder: StudyFolder, settings: Sequence[str] = ()) -> StudySpec:
    """Read a stored study with overrides of what its verdict weighs laid over it; what is stored stays as it is."""
    for text in settings:
        path = text.partition("=")[0].strip().replace("-", "_")
        if path not in {*WEIGHED, "cost", "limits"}:
            remedy = did_you_mean(path, WEIGHED) or TRAINS
            raise SpecError(f"--set {cut_value(text)}", allowed=", ".join(WEIGHED), remedy=remedy)
    return read_study(folder.spec, overrides=settings) if settings else load_stored_study(folder.spec)[0]


def list_asked(folder: StudyFolder, settings: Sequence[str]) -> Iterator[str]:
    """Say what was asked in place of the study's own."""
    if not settings:
        return
    stored, asked = load_stored_study(folder.spec)[0], read_asked(folder, settings)
    for path in WEIGHED:
        now, before = _look(asked, path), _look(stored, path)
        if now != before:
            yield f"{path} {_write(now)} (the study: {_write(before)})"


def _look(study: StudySpec, path: str) -> object:
    found: object = study
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _write(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
