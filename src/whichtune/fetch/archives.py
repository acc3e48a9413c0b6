"""One named file or folder out of a wheel, zip or tar archive, and nothing else of it.

Archives are hostile until shown otherwise: absolute names, `..`, links, devices, names that stand twice and sizes above
the bound are refused before a byte is written. What comes out lies in the cache under the archive's hash.
"""

from __future__ import annotations

import gzip
import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from whichtune.errors import FetchError, did_you_mean
from whichtune.fetch.cache import cache_root, fill
from whichtune.fetch.fingerprint import fingerprint_file, fingerprint_texts

LIMIT_BYTES = 4 * 2**30
"""Most that one extraction may write, and most that is decompressed while looking for it."""
LIMIT_MEMBERS = 100_000
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
)


@dataclass(frozen=True)
class Member:
    """One entry of an archive, whatever its format."""

    name: str
    size_bytes: int
    kind: Literal["file", "folder", "other"]
    open: Callable[[], IO[bytes] | None]


def extract(archive: Path, inside: str, *, sha256: str | None = None, limit_bytes: int = LIMIT_BYTES) -> Path:
    """Return the file or folder `inside` an archive, extracted into the cache where it is not yet.

    `inside` is a path as the archive lists it; `!` enters an archive within the archive. Give `sha256` where the
    archive's hash is already known.
    """
    steps = inside.split("!")
    for step in steps:
        _refuse_unsafe(step, archive)
    key = fingerprint_texts([sha256 or fingerprint_file(archive), *(step.strip("/") for step in steps)])
    name = PurePosixPath(steps[-1]).name
    make = partial(_extract_into, archive, steps, limit_bytes=limit_bytes, name=name)
    return fill(cache_root() / "extracted" / key[:32], make) / name


def _extract_into(archive: Path, steps: list[str], folder: Path, *, limit_bytes: int, name: str) -> None:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whichtune-archive-")))
        for depth, step in enumerate(steps[:-1]):
            nested = scratch / str(depth)
            _take(archive, step, nested, limit_bytes=limit_bytes)
            if nested.is_dir():
                raise FetchError(f"`{step}` is a folder, not an archive", remedy="put `!` only after an archive's name")
            archive = nested
        _take(archive, steps[-1], folder / name, limit_bytes=limit_bytes)


def _take(archive: Path, inside: str, target: Path, *, limit_bytes: int) -> None:
    """Write one member, or every member below one, to `target`."""
    wanted = inside.strip("/")
    try:
        with opened(archive, limit_bytes) as members:
            chosen = _choose(members, wanted, archive)
            total = sum(member.size_bytes for member in chosen)
            if total > limit_bytes:
                raise _too_big(f"`{inside}` in {archive.name}", total, limit_bytes)
            for member in chosen:
                _write(member, target / member.name[len(wanted) + 1 :] if member.name != wanted else target)
    except _DAMAGE as error:
        raise FetchError(
            f"cannot read the archive {archive}: {error}",
            remedy="it is damaged or encrypted: delete it and fetch it again",
        ) from error


@contextmanager
def opened(archive: Path, limit_bytes: int = LIMIT_BYTES) -> Generator[list[Member]]:
    """Give the members of a zip (a wheel is one) or tar archive, told apart by content and not by name."""
    with archive.open("rb") as handle:
        zipped = handle.read(2) == b"PK"
    if zipped:
        with zipfile.ZipFile(archive) as whole:
            yield [_of_zip(whole, info) for info in whole.infolist()[: LIMIT_MEMBERS + 1]]
    else:
        with tarfile.open(archive, "r:*") as whole:
            yield list(_of_tar(whole, archive.name, limit_bytes))


def _of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.is_dir():
        return Member(info.filename.rstrip("/"), 0, "folder", lambda: None)
    plain = kind in (0, stat.S_IFREG)
    return Member(info.filename, info.file_size, "file" if plain else "other", partial(archive.open, info))


def _of_tar(archive: tarfile.TarFile, name: str, limit_bytes: int) -> Iterator[Member]:
    """List a tar archive; stops before decompressing more than the bound, since listing reads it all."""
    total = 0
    for info in archive:
        total += info.size
        if total > limit_bytes:
            raise _too_big(name, total, limit_bytes)
        kind = "file" if info.isreg() else "folder" if info.isdir() else "other"
        yield Member(info.name.removeprefix("./").rstrip("/"), info.size, kind, partial(archive.extractfile, info))


def _choose(members: list[Member], wanted: str, archive: Path) -> list[Member]:
    """Return the members to write: the file of that name, or all files below the folder of that name."""
    if len(members) > LIMIT_MEMBERS:
        raise _too_big(f"{archive.name}: members", len(members), LIMIT_MEMBERS, unit="")
    chosen = [member for member in members if member.name == wanted or member.name.startswith(wanted + "/")]
    for member in chosen:
        _refuse_unsafe(member.name, archive)
        if member.kind == "other":
            raise FetchError(
                f"`{member.name}` in {archive.name} is a link or a device", remedy="name a plain file or folder"
            )
    files = [member for member in chosen if member.kind == "file"]
    names = {member.name for member in files}
    if len(names) != len(files) or any(
        str(parent) in names for name in names for parent in PurePosixPath(name).parents
    ):
        raise FetchError(f"a name below `{wanted}` stands twice in {archive.name}", remedy="do not trust this archive")
    if not files:
        raise _missing(members, wanted, archive)
    return files


def _missing(members: list[Member], wanted: str, archive: Path) -> FetchError:
    names = {member.name for member in members}
    names |= {str(parent) for name in names for parent in PurePosixPath(name).parents if parent.name}
    base = PurePosixPath(wanted).name
    same = sorted(name for name in names if PurePosixPath(name).name == base)[:3]
    bases = {PurePosixPath(name).name: name for name in sorted(names)}
    same = same or [bases[near] for near in get_close_matches(base, bases, n=3)]
    hint = "did you mean " + " or ".join(f"'{name}'" for name in same) + "?" if same else did_you_mean(wanted, names)
    tops = sorted({name.split("/")[0] for name in names})[:8]
    return FetchError(
        f"no file or folder `{wanted}` in {archive.name}", allowed=f"paths below {', '.join(tops)}", remedy=hint
    )


def _write(member: Member, target: Path) -> None:
    """Copy one member; a stream that is longer than it declared is refused."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise FetchError(f"`{member.name}` cannot be read", remedy="name a plain file")
    left = member.size_bytes
    with source, target.open("xb") as out:
        while block := source.read(min(left + 1, 2**20)):
            left -= len(block)
            if left < 0:
                raise _too_big(f"`{member.name}`", member.size_bytes - left, member.size_bytes)
            out.write(block)
    if left:
        raise FetchError(f"`{member.name}` ends {left} bytes early", remedy="the archive is damaged: fetch it again")


def _refuse_unsafe(name: str, archive: Path) -> None:
    path = PurePosixPath(name)
    drive = ":" in path.parts[0] if path.parts else False
    if not path.parts or path.is_absolute() or drive or ".." in path.parts or "\\" in name or "\0" in name:
        raise FetchError(
            f"a path in {archive.name} is not safe",
            value=name,
            remedy="use a relative path without `..`, as the archive lists it",
        )


def _too_big(what: str, got: int, limit: int, *, unit: str = " bytes") -> FetchError:
    return FetchError(
        f"{what} is too large to extract",
        value=got,
        allowed=f"at most {limit}{unit}",
        remedy="is this the right archive?",
    )
