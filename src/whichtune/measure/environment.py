"""Which software a record was made with: versions without importing anything, and the state of the working copy."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "whichtune",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "safetensors",
    "numpy",
    "scipy",
    "scikit-learn",
    "peft",
    "pyarrow",
    "pydantic",
)
"""Packages whose version may change an outcome or a record's form."""

GIT_SECONDS = 10


def read_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed, by distribution name."""
    versions = {"python": platform.python_version()}
    for name in packages:
        version = read_version(name)
        if version is not None:
            versions[name] = version
    return versions


def read_version(package: str) -> str | None:
    """Return the installed version of one distribution without importing it, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def read_git(folder: Path | None = None) -> dict[str, str | bool] | None:
    """Return `commit` and `dirty` of the working copy around `folder`, or None where there is no commit to name.

    Dirty means that tracked files differ from the commit. Untracked files do not count: a study's own records
    would make every working copy dirty.
    """
    where = folder or Path.cwd()
    commit = _ask_git(where, "rev-parse", "--verify", "HEAD")
    changes = _ask_git(where, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _ask_git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
