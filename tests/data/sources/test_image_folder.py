import os
import random
import unicodedata

import pytest
from PIL import Image

from whichtune.data.load import load_data
from whichtune.data.sources.image_folder import list_images
from whichtune.errors import DataError
from whichtune.spec.sources import DataSpec


@pytest.fixture
def photos(tmp_path):
    """Two classes of ten images, each of its own colour, with a file that is no image and one beside the classes."""
    root = tmp_path / "photos"
    for label, red in (("cat", 0), ("Über hund", 100)):
        (root / label / "deep").mkdir(parents=True)
        for place in range(10):
            where = root / label / ("deep" if place % 5 == 0 else "") / f"{place}.png"
            Image.new("RGB", (4, 4), (red, place, 0)).save(where)
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "cat" / ".hidden.png").write_text("no image")
    (root / "lone.png").write_bytes((root / "cat" / "1.png").read_bytes())
    return root


def load(**fields):
    return load_data(
        DataSpec.model_validate({"source": {"kind": "image-folder"} | fields.pop("source"), **fields}),
        "labels",
        "image",
    )


def test_a_class_is_a_folder(photos):
    data = load(source={"all": photos})
    rows = [one for name in data.examples for one in data.examples[name]]
    assert {name: len(own) for name, own in data.examples.items()} == {"train": 12, "validation": 3, "test": 5}
    assert data.labels == ("cat", "Über hund")
    one = next(row for row in rows if row.id == "all:cat/deep/0.png")
    assert (one.text, one.gold, one.origin) == ("", "cat", "photos/cat/deep/0.png")
    assert one.image is not None
    assert one.image.path == str(photos / "cat" / "deep" / "0.png")
    assert any("2 files are passed over" in note and "cat/notes.txt, lone.png" in note for note in data.report.notes)
    assert data.report.source == "image folders: all photos (20)"


def test_given_parts_stay(photos, tmp_path):
    other = tmp_path / "held"
    for label in ("cat", "Über hund"):
        (other / label).mkdir(parents=True)
        Image.new("RGB", (5, 5), (1, 2, len(label))).save(other / label / "1.jpg")
    data = load(source={"train": photos, "test": other})
    assert [one.id for one in data.examples["test"]] == ["test:cat/1.jpg", "test:Über hund/1.jpg"]
    with pytest.raises(DataError, match="`train` and `test` are the same folder"):
        load(source={"train": photos, "test": photos})


def test_the_order_of_the_file_system_and_the_place_of_the_folder_do_not_matter(photos, tmp_path, monkeypatch):
    first = load(source={"all": photos})
    walk = os.walk

    def shuffled(*args, **kwargs):
        for where, folders, files in walk(*args, **kwargs):
            random.Random(len(files)).shuffle(files)
            folders.reverse()
            yield where, folders, files

    monkeypatch.setattr(os, "walk", shuffled)
    moved = tmp_path / "elsewhere" / "photos"
    moved.parent.mkdir()
    photos.rename(moved)
    again = load(source={"all": moved})
    assert again.fingerprint == first.fingerprint
    for name, rows in first.examples.items():
        assert [(one.id, one.image.sha256) for one in rows] == [
            (one.id, one.image.sha256) for one in again.examples[name]
        ]


def test_names_with_accents_are_one_however_they_are_written(photos):
    first = load(source={"all": photos})
    (photos / "Über hund").rename(photos / unicodedata.normalize("NFD", "Über hund"))
    again = load(source={"all": photos})
    assert again.labels == first.labels
    assert again.fingerprint == first.fingerprint


def test_the_fingerprint_is_that_of_the_bytes(photos):
    first = load(source={"all": photos})
    Image.new("RGB", (4, 4), (9, 9, 9)).save(photos / "cat" / "1.png")
    assert load(source={"all": photos}).fingerprint != first.fingerprint


def test_what_cannot_be_used_is_counted_by_reason(photos):
    (photos / "cat" / "1.png").write_bytes(b"")
    (photos / "cat" / "2.png").write_bytes((photos / "cat" / "3.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"10\.0% of the 20 rows .*1 not-an-image \(photos/cat/1\.png\); 1 broken"):
        load(source={"all": photos})
    data = load(source={"all": photos}, drop_limit=0.1)
    assert {(one.reason, one.count, one.origins) for one in data.report.dropped} == {
        ("not-an-image", 1, ("photos/cat/1.png",)),
        ("broken-image", 1, ("photos/cat/2.png",)),
    }


def test_links_do_not_lead_out(photos, tmp_path):
    outside = tmp_path / "outside.png"
    Image.new("RGB", (3, 3)).save(outside)
    (photos / "cat" / "link.png").symlink_to(outside)
    with pytest.raises(DataError, match=r"photos/cat/link\.png: the image leads out of the folder .*'cat/link\.png'"):
        load(source={"all": photos})
    (photos / "cat" / "link.png").unlink()
    (photos / "linked").symlink_to(tmp_path)
    with pytest.raises(DataError, match="linked is a link to a folder"):
        load(source={"all": photos})


def test_other_folders_are_one_message(tmp_path, photos):
    for folder, told in (
        (tmp_path / "none", "does not exist"),
        (photos / "lone.png", "is a file"),
        (photos / "cat" / "deep", "no class folders, only images"),
    ):
        with pytest.raises(DataError, match=told):
            load(source={"all": folder})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in class folders"):
        load(source={"all": tmp_path / "empty"})


def test_a_name_that_is_no_text_is_one_message(photos):
    (photos / "cat" / os.fsdecode(b"\xe9t\xe9.png")).write_bytes((photos / "lone.png").read_bytes())
    with pytest.raises(DataError, match=r"not UTF-8: got 'cat/.udce9t"):
        load(source={"all": photos})


def test_a_split_inside_another_is_refused(tmp_path, photos):
    for label in ("cat", "dog"):
        (photos / "test" / label).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(photos / "test" / label / "0.png")
    with pytest.raises(DataError, match="`test` lies inside that of `train`"):
        load(source={"train": photos, "test": photos / "test"})
    with pytest.raises(DataError, match="`train` lies inside that of `validation`"):
        load(source={"train": photos / "test", "validation": photos})


def test_copies_are_counted_byte_for_byte(photos):
    for place in range(10):
        (photos / "cat" / f"copy{place}.png").write_bytes((photos / "cat" / "1.png").read_bytes())
    data = load(source={"all": photos})
    total = sum(one.exact for one in data.report.duplicates)
    assert total >= 8
    assert {one.near for one in data.report.duplicates} == {None}
    assert any("nearly alike" in note for note in data.report.notes)
    kept = load(source={"all": photos}, duplicates="drop-all")
    hashes = [one.image.sha256 for rows in kept.examples.values() for one in rows]
    assert len(hashes) == len(set(hashes)) == 20


def test_images_are_listed_in_order(photos):
    names = list_images(photos / "cat")
    assert names[:3] == ["1.png", "2.png", "3.png"]
    assert names[-2:] == ["deep/0.png", "deep/5.png"]
