import subprocess
import sys
from functools import partial

import pytest

from whichtune.errors import FetchError
from whichtune.fetch.cache import cache_root, fill


def write(folder, text="whole"):
    (folder / "file").write_text(text, encoding="utf-8")


def test_the_root_follows_the_environment(monkeypatch, tmp_path):
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("WHICHTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "whichtune"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / ".cache" / "whichtune"


def test_an_entry_is_made_once(own_cache):
    entry = own_cache / "kind" / "key"
    assert fill(entry, write) == entry
    fill(entry, partial(write, text="again"))
    assert (entry / "file").read_text(encoding="utf-8") == "whole"


def test_a_failed_filling_leaves_no_entry(own_cache):
    def fail(folder):
        write(folder)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fill(own_cache / "key", fail)
    assert [path.name for path in own_cache.iterdir()] == [".key.lock"]


def test_what_a_killed_process_left_is_removed(own_cache):
    left = own_cache / ".key.abc.part"
    left.mkdir(parents=True)
    write(left, "half")
    fill(own_cache / "key", write)
    assert not left.exists()


SLOW_FILL = """
import sys, time
from pathlib import Path
from whichtune.fetch.cache import fill

def make(folder):
    with Path(sys.argv[2]).open("a") as log:
        log.write("made\\n")
    time.sleep(0.5)
    (folder / "file").touch()

fill(Path(sys.argv[1]), make)
"""


def test_two_processes_make_an_entry_once(own_cache, tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", SLOW_FILL, str(own_cache / "key"), str(log)]
    workers = [subprocess.Popen(command) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert log.read_text(encoding="utf-8") == "made\n"


def test_a_cache_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FetchError, match="set WHICHTUNE_CACHE"):
        fill(tmp_path / "file" / "below" / "key", write)
