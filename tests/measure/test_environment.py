"""Versions without imports, and the state of a working copy."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy
import pytest

from whichtune.measure.environment import read_git, read_version, read_versions


def git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def copy(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    return tmp_path


def test_versions_by_name():
    versions = read_versions()
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == numpy.__version__
    assert "not-a-package-of-ours" not in read_versions(["not-a-package-of-ours"])
    assert read_version("not-a-package-of-ours") is None


def test_reading_versions_imports_nothing_heavy():
    code = "import sys; from whichtune.measure.environment import read_versions; read_versions(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "whichtune.measure.environment" in loaded
    assert not {"torch", "numpy", "transformers"} & set(loaded)


def test_commit_and_dirty_flag(copy):
    git(copy, "commit", "-qm", "one")
    commit = git(copy, "rev-parse", "HEAD").strip()
    assert read_git(copy) == {"commit": commit, "dirty": False}
    (copy / "record").write_text("untracked")
    assert read_git(copy) == {"commit": commit, "dirty": False}
    (copy / "file").write_text("two")
    assert read_git(copy) == {"commit": commit, "dirty": True}


def test_none_where_there_is_no_commit(copy):
    assert read_git(copy) is None


def test_none_where_there_is_no_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert read_git(tmp_path) is None


def test_none_where_there_is_no_git(copy, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert read_git(copy) is None
