"""Rows from the user's own files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from whichtune.data.needs import Needs
from whichtune.data.reading import Reading, read_file
from whichtune.data.sources.contract import WHOLE, Rows
from whichtune.data.tables import Table
from whichtune.errors import DataError
from whichtune.fetch.fingerprint import fingerprint_file
from whichtune.spec.sources import FilesSource


def read_files(source: FilesSource, needs: Needs) -> Rows:
    """Read each file a source names."""
    named = {WHOLE: source.all, "train": source.train, "validation": source.validation, "test": source.test}
    paths = {part: path.expanduser() for part, path in named.items() if path is not None}
    how = Reading(source.format, source.encoding, source.header)
    tables = {part: set_root(read_file(path, how, needs.names), path, needs) for part, path in paths.items()}
    prints = {part: fingerprint_file(path) for part, path in paths.items()}
    _refuse_same_file(paths, prints)
    words = ", ".join(f"{part} {path.name} (sha256 {prints[part][:12]})" for part, path in paths.items())
    return Rows(tables, f"files: {words}")


def set_root(table: Table, path: Path, needs: Needs) -> Table:
    """Say where the paths of images in a file start: at the folder that is named, else at the file's own."""
    if needs.image is None:
        return table
    root = needs.columns.image_root
    if root is not None and not root.expanduser().is_dir():
        raise DataError("`data.columns.image_root` is not a folder", value=str(root), remedy="check the path")
    return replace(table, root=path.parent if root is None else root.expanduser())


def _refuse_same_file(paths: dict[str, Path], prints: dict[str, str]) -> None:
    seen: dict[str, str] = {}
    for part, print_ in prints.items():
        if print_ in seen:
            raise DataError(
                f"`{seen[print_]}` and `{part}` are the same rows ({paths[part].name})",
                remedy="give each split its own file, or name one file `all` to have it split",
            )
        seen[print_] = part
