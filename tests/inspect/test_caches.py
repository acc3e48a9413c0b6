"""Where the caches are and how big."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from whichtune.inspect import caches


def test_a_folder_is_measured_without_following_links(tmp_path):
    folder = tmp_path / "cache"
    (folder / "inner").mkdir(parents=True)
    (folder / "one").write_bytes(b"x" * 1000)
    (folder / "inner" / "two").write_bytes(b"x" * 1048)
    big = tmp_path / "elsewhere"
    big.write_bytes(b"x" * 10**6)
    (folder / "link").symlink_to(big)
    assert caches.measure_folder(folder).startswith("2.")
    assert caches.check_folder("a", folder, "").status == "ok"


def test_the_time_for_adding_up_is_bounded(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert caches.measure_folder(tmp_path, seconds=-1).startswith("more than")


def test_a_folder_that_is_not_there_yet(tmp_path):
    finding = caches.check_folder("runs", tmp_path / "a" / "b", "remark")
    assert "not there yet" in finding.value
    assert finding.status == "ok"
    assert not (tmp_path / "a").exists()


def test_a_full_disk_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    assert caches.check_folder("runs", tmp_path, "").status == "note"


def test_a_folder_that_may_not_be_written_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(caches.os, "access", lambda *_: False)
    assert "may not be written" in caches.check_folder("runs", tmp_path, "").remedy


def test_hub_cache_follows_its_settings(monkeypatch, tmp_path):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert caches.find_hub_cache() == Path.home() / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert caches.find_hub_cache() == tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "models"))
    assert caches.find_hub_cache() == tmp_path / "models"


def test_the_home_folder_is_written_short(tmp_path):
    assert caches.shorten(Path.home() / "x") == "~/x"
    assert caches.shorten(Path("/elsewhere/x")) == "/elsewhere/x"
