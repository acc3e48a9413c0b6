import os
from hashlib import sha256

import pytest

from whichtune.fetch.fingerprint import fingerprint_file, fingerprint_files, fingerprint_folder, fingerprint_texts


@pytest.fixture
def settled(tmp_path):
    """A file whose times of change are long past, so that its hash is remembered."""
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old weights")
    os.utime(path, (1e9, 1e9))
    return path


def test_a_file_has_the_hash_of_its_bytes(settled):
    assert fingerprint_file(settled) == sha256(b"old weights").hexdigest()


def test_a_remembered_hash_is_used_again(settled, monkeypatch, own_cache):
    monkeypatch.setattr("whichtune.fetch.fingerprint._SETTLED_SECONDS", -1)
    first = fingerprint_file(settled)
    assert len(list((own_cache / "fingerprints").iterdir())) == 1
    monkeypatch.setattr("whichtune.fetch.fingerprint.file_digest", None)
    assert fingerprint_file(settled) == first


def test_a_changed_file_of_equal_size_and_time_is_seen(settled, monkeypatch):
    monkeypatch.setattr("whichtune.fetch.fingerprint._SETTLED_SECONDS", -1)
    fingerprint_file(settled)
    settled.write_bytes(b"new weights")
    os.utime(settled, (1e9, 1e9))
    assert fingerprint_file(settled) == sha256(b"new weights").hexdigest()


def test_a_fresh_file_is_not_remembered(tmp_path, own_cache):
    path = tmp_path / "fresh"
    path.write_bytes(b"x")
    fingerprint_file(path)
    assert not (own_cache / "fingerprints").exists()


def test_a_broken_memo_is_ignored(settled, monkeypatch, own_cache):
    monkeypatch.setattr("whichtune.fetch.fingerprint._SETTLED_SECONDS", -1)
    expected = fingerprint_file(settled)
    next((own_cache / "fingerprints").iterdir()).write_text("{", encoding="utf-8")
    assert fingerprint_file(settled) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a").write_text("2", encoding="utf-8"),
        lambda folder: (folder / "a").rename(folder / "c"),
        lambda folder: (folder / "new").write_text("", encoding="utf-8"),
        lambda folder: (folder / "sub" / "b").unlink(),
    ],
)
def test_any_change_changes_a_folder(tmp_path, change):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("1", encoding="utf-8")
    (folder / "sub" / "b").write_text("1", encoding="utf-8")
    before = fingerprint_folder(folder)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("", encoding="utf-8")
    assert fingerprint_folder(folder) == before
    change(folder)
    assert fingerprint_folder(folder) != before


def test_the_order_in_which_files_are_named_does_not_matter(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text(path.name, encoding="utf-8")
    assert fingerprint_files(paths, tmp_path) == fingerprint_files(paths[::-1], tmp_path)
    assert fingerprint_files(paths[:1], tmp_path) != fingerprint_files(paths, tmp_path)


def test_texts_are_framed():
    assert fingerprint_texts(["ab", "c"]) != fingerprint_texts(["a", "bc"])
    assert fingerprint_texts(["a", ""]) != fingerprint_texts(["a"])
    assert fingerprint_texts(iter(["a", "\ud800"])) == fingerprint_texts(["a", "\ud800"])
