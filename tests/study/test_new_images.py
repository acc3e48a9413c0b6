"""New rows with images: from tables, folders, patterns and single files."""

from pathlib import Path

import pytest
from PIL import Image

from whichtune.data.reading import Reading
from whichtune.errors import DataError
from whichtune.study.answers import lay_out_answers
from whichtune.study.new_rows import Wanted, read_labelled, read_rows

ALONE = Wanted(text=None, image="image", label="label", id="id")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shown(tmp_path):
    """Two class folders with two images each, one file that is none, one that is broken."""
    root = tmp_path / "shown"
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for place in range(2):
            Image.new("RGB", (4, 4), (place, len(label), 0)).save(root / label / f"{place}.png")
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "dog" / "broken.png").write_bytes((root / "dog" / "0.png").read_bytes()[:50])
    return root


def lay_out(rows):
    """The columns where nothing could be answered."""
    for place in range(len(rows.ids)):
        rows.drop(place, "unlabeled")
    return lay_out_answers(rows, None)


def test_a_folder_a_pattern_and_a_file_are_rows(shown):
    rows = read_rows(shown, ALONE, Reading(), two=False)
    assert rows.ids == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "dog/broken.png"]
    assert rows.reasons == [None] * 4 + ["broken-image"]
    assert [one.text for one in rows.usable] == [""] * 4
    assert rows.usable[0].image.path == str(shown / "cat" / "0.png")
    table = lay_out(rows)
    assert list(table) == ["id", "image", "prediction", "confidence", "reason"]
    assert table["image"] == rows.ids
    assert read_rows(shown / "*" / "1.*", ALONE, Reading(), two=False).ids == ["cat/1.png", "dog/1.png"]
    assert read_rows(shown / "cat" / "1.png", ALONE, Reading(), two=False).ids == ["1.png"]
    with pytest.raises(DataError, match=r"no file .*cat/9\.png"):
        read_rows(shown / "cat" / "9.png", ALONE, Reading(), two=False)
    for nothing in (shown / "*.png", shown / "cat" / "notes" / "*"):
        with pytest.raises(DataError, match="no images in"):
            read_rows(nothing, ALONE, Reading(), two=False)


def test_images_right_here_are_rows_of_the_folder_by_its_name(shown, monkeypatch):
    monkeypatch.chdir(shown / "cat")
    for here in ("1.png", "*.png", "."):
        assert read_rows(Path(here), ALONE, Reading(), two=False).name == "cat"


def test_class_folders_are_labelled_rows(shown):
    rows = read_labelled(shown, ALONE, Reading(), ("cat", "dog"), (), two=False)
    assert [one.gold for one in rows.usable] == ["cat", "cat", "dog", "dog"]
    assert rows.left_out == {"broken-image": 1}
    with pytest.raises(DataError, match=r"shown/dog/0\.png: label .*got 'dog'"):
        read_labelled(shown, ALONE, Reading(), ("cat", "cow"), (), two=False)
    with pytest.raises(DataError, match="images without labels"):
        read_labelled(shown / "*" / "*.png", ALONE, Reading(), ("cat", "dog"), (), two=False)


def test_a_table_names_images_beside_it(shown, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(
        "image,text,label\nshown/cat/0.png,is it?,yes\nshown/cat/9.png,is it?,no\nshown/dog/1.png,,no\n,a,\n"
    )
    both = Wanted(image="image", label="label")
    rows = read_labelled(path, both, Reading(), ("yes", "no"), (), two=False)
    assert rows.reasons == [None, "no-image-file", "empty", "no-image-file"]
    assert [(one.text, one.gold) for one in rows.usable] == [("is it?", "yes")]
    assert rows.images == ["shown/cat/0.png", "shown/cat/9.png", "shown/dog/1.png", ""]
    assert list(lay_out(rows))[:3] == ["id", "image", "text"]
    inside = Wanted(image="image", image_root=shown)
    assert read_rows(path, inside, Reading(), two=False).left_out == {"no-image-file": 3, "empty": 1}
    path.write_text("image,text\n../x.png,a\n")
    with pytest.raises(DataError, match=r"rows\.csv:2: the image leads out of the folder .*set `--image-root` to"):
        read_rows(path, both, Reading(), two=False)
    with pytest.raises(DataError, match=r"has no column `picture`; allowed: image, text; .*name it with `--image`"):
        read_rows(path, Wanted(image="picture"), Reading(), two=False)


def test_an_image_alone_is_no_row_of_a_trial_that_reads_texts_too(shown):
    asked = r"reads an image and a text in every row; allowed: a table with columns `image` and `question`"
    for path in (shown / "cat" / "0.png", shown):
        with pytest.raises(DataError, match=asked):
            read_rows(path, Wanted(text="question", image="image"), Reading(), two=False)
    with pytest.raises(DataError, match=r"0\.png is an image, and the trial reads texts; give a table"):
        read_rows(shown / "cat" / "0.png", Wanted(), Reading(), two=False)


def test_a_folder_is_no_file_of_texts(shown):
    with pytest.raises(DataError, match="is a folder, not a file"):
        read_rows(shown, Wanted(), Reading(), two=False)
