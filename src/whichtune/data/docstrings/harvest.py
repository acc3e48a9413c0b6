"""Docstrings out of source files: parsed, never imported, in an order that is the same everywhere."""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from platform import python_version

from whichtune.data.docstrings.prose import read_prose

Described = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
STANDARD_LIBRARY = "python"
_SKIPPED = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "testing", "_testing", "idlelib", "lib2to3", "turtledemo"}
    | {"_vendor", "vendor", "_vendored", "ensurepip", "externals"}
)
"""Folders whose docstrings are not for readers, or are another package's."""


@dataclass(frozen=True)
class Installed:
    """A package that is installed here."""

    name: str
    """Name of its folder, `python` for the standard library."""
    version: str
    folder: Path


@dataclass(frozen=True)
class Docstring:
    """One usable docstring."""

    id: str
    """Dotted name of what it describes."""
    text: str
    summary: str
    package: str


def find_installed(name: str) -> Installed | None:
    """Find where a package is without importing it; None where it is not installed or is no folder of sources."""
    if name == STANDARD_LIBRARY:
        return Installed(name, python_version(), Path(sysconfig.get_path("stdlib")))
    try:
        found = find_spec(name)
    except ValueError:  # a module that was made by hand, such as `__main__`
        return None
    if found is None or not found.submodule_search_locations:
        return None
    return Installed(name, _version_of(name), Path(next(iter(found.submodule_search_locations))))


def list_sources(installed: Installed) -> list[Path]:
    """List the source files of a package, by name; folders that are skipped are not entered."""
    found: list[Path] = []
    for folder, folders, names in os.walk(installed.folder):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)


def harvest(installed: Installed) -> Iterator[Docstring]:
    """Yield the usable docstrings of a package: by the names of its files, then by their place."""
    for file in list_sources(installed):
        parts = file.relative_to(installed.folder).with_suffix("").parts
        module = [part for part in (installed.name, *parts) if part != "__init__"]
        for path, docstring in _read_docstrings(file):
            prose = read_prose(docstring)
            if prose is not None:
                yield Docstring(".".join([*module, *path]), prose.text, prose.summary, installed.name)


def _version_of(name: str) -> str:
    for distribution in (name, {"sklearn": "scikit-learn"}.get(name, name)):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "of unknown version"


def _read_docstrings(file: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (names within the module, docstring); a file that does not parse has none."""
    source = file.read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes of strings in other people's files
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    yield from _walk(tree, ())


def _walk(node: Described, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what describes a module, a class or a function, and those within it; not what is inside functions."""
    docstring = ast.get_docstring(node, clean=False)
    if docstring is not None:
        yield path, docstring
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _walk(child, (*path, child.name))
