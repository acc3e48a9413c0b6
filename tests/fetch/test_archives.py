import io
import stat
import tarfile
import zipfile

import pytest

from whichtune.errors import FetchError
from whichtune.fetch.archives import extract

FILES = {"top/data.csv": b"text,label\n", "top/model/config.json": b"{}", "top/model/sub/weights": b"\0" * 1000}


def make_zip(path, files=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (FILES if files is None else files).items():
            archive.writestr(name, content)
    return path


def make_tar(path, files=None, extra=()):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (FILES if files is None else files).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture(params=["zip", "tar"])
def archive(request, tmp_path):
    return make_zip(tmp_path / "a.whl") if request.param == "zip" else make_tar(tmp_path / "a.tar.gz")


def test_a_file_comes_out(archive):
    path = extract(archive, "top/data.csv")
    assert path.name == "data.csv"
    assert path.read_bytes() == b"text,label\n"


def test_a_folder_comes_out_and_nothing_else(archive):
    folder = extract(archive, "top/model/")
    found = {
        path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert found == {"model/config.json": b"{}", "model/sub/weights": b"\0" * 1000}


def test_an_archive_in_an_archive_is_entered(tmp_path):
    inner = make_tar(tmp_path / "inner.tar.gz").read_bytes()
    outer = make_zip(tmp_path / "outer.zip", {"pkg/inner.tgz": inner})
    assert extract(outer, "pkg/inner.tgz!top/data.csv").read_bytes() == b"text,label\n"
    with pytest.raises(FetchError, match=r"did you mean 'top/model/config\.json'"):
        extract(outer, "pkg/inner.tgz!config.json")


def test_what_was_extracted_is_used_again(archive):
    first = extract(archive, "top/data.csv", sha256="0" * 64)
    archive.write_bytes(b"gone")
    assert extract(archive, "top/data.csv", sha256="0" * 64) == first


def test_another_archive_under_the_same_name_is_another_entry(tmp_path):
    path = tmp_path / "a.zip"
    first = extract(make_zip(path, {"f": b"1"}), "f")
    second = extract(make_zip(path, {"f": b"2"}), "f")
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "C:/x", "a\\b", "", "a!../b", "!"])
def test_an_unsafe_request_is_refused(archive, name):
    with pytest.raises(FetchError, match="not safe"):
        extract(archive, name)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_unsafe_member_is_refused(tmp_path, make, own_cache):
    archive = make(tmp_path / "a", {"top/fine": b"1", "top/../../evil": b"2"})
    with pytest.raises(FetchError, match="not safe"):
        extract(archive, "top")
    assert not [path for path in own_cache.rglob("*") if path.name in ("evil", "fine")]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "top/data.csv"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_are_refused(tmp_path, kind, target):
    archive = make_tar(tmp_path / "a.tgz", extra=[special("top/odd", kind, target)])
    for name in ("top/odd", "top"):
        with pytest.raises(FetchError, match="link or a device"):
            extract(archive, name)
    assert extract(archive, "top/data.csv").is_file()


def test_a_link_in_a_zip_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(FetchError, match="link or a device"):
        extract(path, "link")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_bomb_is_refused(tmp_path, make, own_cache):
    archive = make(tmp_path / "bomb", {"top/zeros": b"\0" * 10_000_000, "top/small": b"1"})
    assert archive.stat().st_size < 50_000
    for name in ("top/zeros", "top"):
        with pytest.raises(FetchError, match="too large"):
            extract(archive, name, limit_bytes=1_000_000)
    assert not list(own_cache.rglob("zeros"))


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"zeros": b"\0" * 100_000})
    raw = path.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(raw)
    with pytest.raises(FetchError):
        extract(path, "zeros")


def test_a_name_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("f", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("f", "2")
    with pytest.raises(FetchError, match="stands twice"):
        extract(path, "f")


@pytest.mark.parametrize(
    ("name", "near"),
    [("top/modle", "top/model"), ("top/model/confg.json", "top/model/config.json"), ("data.csv", "top/data.csv")],
)
def test_a_missing_member_names_the_nearest(archive, name, near):
    with pytest.raises(FetchError, match=f"did you mean '{near}'"):
        extract(archive, name)


def test_what_is_no_archive_is_one_message(tmp_path, archive):
    broken = tmp_path / "broken"
    for content in (b"not an archive", b"PK but not a zip", archive.read_bytes()[:60]):
        broken.write_bytes(content)
        with pytest.raises(FetchError, match="cannot read the archive"):
            extract(broken, "top/data.csv")


def test_a_folder_is_not_entered_as_an_archive(archive):
    with pytest.raises(FetchError, match="is a folder, not an archive"):
        extract(archive, "top/model!x")
