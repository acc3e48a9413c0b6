"""SHA-256 fingerprints of files, folders and texts: what a trial's identity says about its data and weights."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path

from whichtune.fetch.atomic import write_text
from whichtune.fetch.cache import cache_root

_SETTLED_SECONDS = 3.0


def fingerprint_file(path: Path) -> str:
    """Hash a file's bytes.

    The hash is remembered in the cache under path, size, inode and both times of change, so that large weights are
    read once. A file changed within the last seconds is not remembered: clocks of file systems are coarse.
    """
    path = path.resolve()
    stat = path.stat()
    state = [str(path), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
    memo = cache_root() / "fingerprints" / f"{sha256(str(path).encode()).hexdigest()[:32]}.json"
    known = _recall(memo, state)
    if known is not None:
        return known
    with path.open("rb") as handle:
        fingerprint = file_digest(handle, "sha256").hexdigest()
    if time.time() - max(stat.st_mtime, stat.st_ctime) > _SETTLED_SECONDS:
        with suppress(OSError):
            write_text(memo, json.dumps({"state": state, "sha256": fingerprint}))
    return fingerprint


def fingerprint_folder(path: Path) -> str:
    """Hash every file below a folder with its relative name, in the order of names.

    Names that start with a dot are left out (version control and download caches keep their notes there); links are
    followed, since hub snapshots consist of them.
    """
    names = [file.relative_to(path) for file in path.rglob("*") if file.is_file()]
    shown = [path / name for name in names if not any(part.startswith(".") for part in name.parts)]
    return fingerprint_files(shown, path)


def fingerprint_files(files: Iterable[Path], folder: Path) -> str:
    """Hash the given files below a folder, each with its name relative to it, in the order of names."""
    named = sorted((file.relative_to(folder).as_posix(), file) for file in files)
    return fingerprint_texts(part for name, file in named for part in (name, fingerprint_file(file)))


def fingerprint_texts(parts: Iterable[str]) -> str:
    """Hash texts in order; each is framed by its length, so ("ab", "c") and ("a", "bc") differ."""
    whole = sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        whole.update(len(encoded).to_bytes(8, "big"))
        whole.update(encoded)
    return whole.hexdigest()


def _recall(memo: Path, state: list[str | int]) -> str | None:
    with suppress(OSError, ValueError):
        kept = json.loads(memo.read_text(encoding="utf-8"))
        if isinstance(kept, dict) and kept.get("state") == state:
            return str(kept["sha256"])
    return None
