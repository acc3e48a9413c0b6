"""Where downloads and records go, how big they are, and how much room is left."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from whichtune.fetch.cache import cache_root
from whichtune.inspect.finding import Finding
from whichtune.inspect.machine import GIB, format_bytes

RUNS = Path("runs")
LITTLE_DISK_BYTES = 2 * GIB
WALK_SECONDS = 0.4
"""Longest time spent on adding up one folder."""


def check_caches() -> list[Finding]:
    """Look at whichtune's cache, the model hub's and the runs folder."""
    return [
        check_folder("whichtune", cache_root().absolute(), "moved by WHICHTUNE_CACHE"),
        check_folder("model hub", find_hub_cache(), "moved by HF_HOME or HF_HUB_CACHE"),
        check_folder("runs", RUNS.absolute(), "the records of studies started in this folder"),
    ]


def find_hub_cache() -> Path:
    """Return where the hub's library keeps models, by its documented settings."""
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    return Path(os.environ.get("HF_HOME", base)).expanduser() / "hub"


def check_folder(name: str, folder: Path, remark: str) -> Finding:
    """Tell a folder's place and size, and whether what holds it has room and may be written to."""
    place = nearest_existing(folder)
    free = shutil.disk_usage(place).free
    size = "not there yet" if place != folder else measure_folder(folder)
    value = f"{shorten(folder)}\n{size}; {format_bytes(free)} free on the disk"
    if not os.access(place, os.W_OK):
        return Finding("caches", name, "note", value, f"{shorten(place)} may not be written to; {remark}")
    if free < LITTLE_DISK_BYTES:
        return Finding("caches", name, "note", value, f"little room for weights; {remark}")
    return Finding("caches", name, "ok", value, remark)


def nearest_existing(folder: Path) -> Path:
    """Return the folder, or the first above it that exists."""
    return next((place for place in (folder, *folder.parents) if place.is_dir()), Path("/"))


def shorten(folder: Path) -> str:
    """Write a path with `~` for the home folder."""
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) and folder != home else str(folder)


def measure_folder(folder: Path, seconds: float = WALK_SECONDS) -> str:
    """Add up the files of a folder, links not followed, for a bounded time."""
    deadline = time.monotonic() + seconds
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except OSError:
                continue
        if time.monotonic() > deadline:
            return f"more than {format_bytes(total)}"
    return format_bytes(total)
