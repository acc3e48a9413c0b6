"""Rows from the docstrings of the packages installed here: read from their source files, nothing is imported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict

from whichtune.data.docstrings.harvest import Docstring, Installed, find_installed, harvest, list_sources
from whichtune.data.docstrings.prose import LEAST_BODY_WORDS, RULE_VERSION
from whichtune.data.needs import Needs
from whichtune.data.sources.contract import WHOLE, Rows
from whichtune.data.tables import Table, choose_columns
from whichtune.errors import DataError
from whichtune.fetch.atomic import write_text
from whichtune.fetch.cache import cache_root
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.spec.sources import DocstringsSource

_NAMES = ("id", "text", "summary", "package")


def read_docstrings(source: DocstringsSource, needs: Needs) -> Rows:
    """Read the docstrings of each package, in the order given: columns `id`, `text`, `summary`, `package`."""
    found = {name: find_installed(name) for name in source.packages}
    there = [installed for installed in found.values() if installed is not None]
    rows = list(_drop_copies(one for installed in there for one in _read_package(installed)))
    if not rows:
        raise DataError(
            "no docstrings with a summary and a body were found",
            value=", ".join(source.packages),
            remedy="name packages that are installed as Python sources (`packages`)",
        )
    chosen = choose_columns("docstrings", _NAMES, needs.names)
    values: dict[str, Sequence[object]] = {name: [getattr(one, name) for one in rows] for name in chosen}
    missing = ", ".join(name for name, installed in found.items() if installed is None)
    return Rows(
        {WHOLE: Table("docstrings", _NAMES, values, range(1, len(rows) + 1))},
        _describe(there, rows),
        (f"not installed, so without rows: {missing}",) if missing else (),
    )


def _describe(there: Sequence[Installed], rows: Sequence[Docstring]) -> str:
    """Say where the rows come from, by which rule, and their fingerprint: other versions are another data set."""
    print_ = fingerprint_texts(part for one in rows for part in (one.id, one.text, one.summary))
    packages = ", ".join(f"{one.name} {one.version}" for one in there)
    rule = f"bodies of {LEAST_BODY_WORDS} words and more, rule {RULE_VERSION}"
    return f"docstrings: {len(rows):,} rows of {packages} ({rule}, sha256 {print_[:12]})"


def _drop_copies(rows: Iterator[Docstring]) -> Iterator[Docstring]:
    """Leave out a row whose body or whose name stood before; case and white space do not count."""
    bodies: set[str] = set()
    names: set[str] = set()
    for one in rows:
        folded = " ".join(one.text.casefold().split())
        if folded not in bodies and one.id not in names:
            bodies.add(folded)
            names.add(one.id)
            yield one


def _read_package(installed: Installed) -> list[Docstring]:
    """Harvest a package, or take what was harvested from the very same files before (parsing takes seconds)."""
    stats = ((path, path.stat()) for path in list_sources(installed))
    state = [f"{path.relative_to(installed.folder)}:{stat.st_size}:{stat.st_mtime_ns}" for path, stat in stats]
    key = fingerprint_texts([str(RULE_VERSION), installed.name, str(installed.folder), *state])
    memo = cache_root() / "docstrings" / f"{installed.name}-{key[:32]}.json"
    with suppress(OSError, ValueError, TypeError):
        return [Docstring(**fields) for fields in json.loads(memo.read_text(encoding="utf-8"))]
    rows = list(harvest(installed))
    with suppress(OSError):
        write_text(memo, json.dumps([asdict(one) for one in rows]))
    return rows
