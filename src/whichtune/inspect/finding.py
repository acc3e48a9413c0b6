"""One thing the doctor saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report, in plain strings."""

    area: str
    """Heading it stands under."""
    name: str
    """What was looked at."""
    status: Status
    """`ok`; `note` where something optional is not there or worth knowing; `missing` where no study can run."""
    value: str
    """What was found."""
    remedy: str = ""
    """What to do, or what it means; empty where nothing is to be said."""
