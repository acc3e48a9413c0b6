"""How often verdicts were taken on the same test rows.

Each verdict picks the lucky among the candidates a little: on test rows that many verdicts were taken on, the best one
flatters. So a line stands in `test-uses.jsonl` beside the study folders for each verdict: the fingerprint of the test
rows, the study's folder, and that of its trials. A report made again, or in another form, adds none; new trials in the
same folder do. What cannot be written (a folder that may only be read) is still counted for the report itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from whichtune.records.folder import StudyFolder, read_lines
from whichtune.report.stored import read_columns

FILE = "test-uses.jsonl"
CONTENT = ("id", "text", "pair", "image_sha256", "gold")
"""Columns of the examples that make a row what it is."""


def fingerprint_rows(folder: StudyFolder, split: str, ids: Sequence[str]) -> str:
    """Fingerprint rows of a split by id, content and gold answer, in any order; by ids alone without the examples."""
    held, wanted = read_columns(folder, CONTENT, split), set(ids)
    columns = [held[name] for name in CONTENT if name in held] if wanted <= set(held.get("id", ())) else [list(ids)]
    return _digest(sorted(json.dumps(row) for row in zip(*columns, strict=True) if row[0] in wanted))


def count_use(folder: StudyFolder, rows: str, trials: Iterable[str]) -> int:
    """Note a verdict on some test rows, unless it is one that was noted before; return how many there are by now."""
    path = folder.path.absolute().parent / FILE
    use = {"rows": rows, "study": folder.path.absolute().name, "trials": _digest(sorted(trials))}
    known = _read_uses(path)
    if use not in known:
        known.append(use)
        with suppress(OSError):
            _append(path, use)
    return sum(one["rows"] == rows for one in known)


def _read_uses(path: Path) -> list[dict[str, str]]:
    with suppress(OSError):
        found = ({key: str(line.get(key, "")) for key in ("rows", "study", "trials")} for line in read_lines(path))
        return [dict(pairs) for pairs in dict.fromkeys(tuple(one.items()) for one in found)]
    return []


def _append(path: Path, use: dict[str, str]) -> None:
    """Write one line at once: of two writers at the same time each leaves a whole one."""
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(use) + "\n")


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]
