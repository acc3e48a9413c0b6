import pytest
from PIL import Image

from whichtune.data.load import load_data
from whichtune.errors import DataError
from whichtune.spec.sources import DataSpec

ROWS = {
    "train": [("what is on the left of the desk", "chair", "image1"), ("how many chairs are there", "2", "image1"),
              ("what is the colour of the wall", "white", "image2"), ("what is on the bed", "pillow", "image3")],
    "val": [("what is on the desk", "chair", "image4"), ("how many pillows are there", "2", "image5")],
    "test": [("what is the colour of the bed", "white", "image6"), ("what is near the desk", "chair", "image1")],
}  # fmt: skip


@pytest.fixture
def daquar(tmp_path):
    root = tmp_path / "daquar"
    (root / "images").mkdir(parents=True)
    for place in range(1, 7):
        Image.new("RGB", (8, 6), (place, 0, 0)).save(root / "images" / f"image{place}.png")
    write(root, ROWS)
    return root


def write(root, rows, header="question,answer,image_id", change=",".join):
    for part, own in rows.items():
        lines = [header, *(change(fields) for fields in own)]
        (root / f"new_data_{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def load(root, reads="pair", **source):
    source = {"kind": "daquar", "folder": root, **source}
    return load_data(DataSpec.model_validate({"source": source}), "labels", reads)


def test_the_three_files_are_the_splits(daquar):
    data = load(daquar)
    assert {name: len(rows) for name, rows in data.examples.items()} == {"train": 4, "validation": 2, "test": 2}
    assert data.labels == ("2", "chair", "pillow", "white")
    one = data.examples["test"][0]
    assert (one.text, one.gold, one.origin) == ("what is the colour of the bed", "white", "new_data_test.csv:2")
    assert one.image.path == str(daquar / "images" / "image6.png")


def test_images_of_the_test_that_training_knows_are_told(daquar):
    notes = load(daquar).report.notes
    assert "images: 3 train, 2 validation, 2 test" in notes
    assert "1 of 2 test images stand in train too: answers about one tell of the other" in notes


def test_a_numbering_column_and_other_names_are_read(daquar):
    write(daquar, ROWS, "Unnamed: 0,question,answer,image_id", lambda fields: ",".join(("7", *fields)))
    assert not any("read as" in note or "passed over" in note for note in load(daquar).report.notes)
    write(daquar, ROWS, ",Question,Answer,Image ID,type", lambda fields: ",".join(("7", *fields, "x")))
    notes = load(daquar).report.notes
    expected = "`Question` is read as `question`, `Answer` is read as `answer`, `Image ID` is read as `image_id`"
    assert f"new_data_val.csv: {expected}, `type` is passed over" in notes
    write(daquar, ROWS, "question,answer,picture")
    with pytest.raises(DataError, match=r"new_data_train\.csv has no column `image_id`; allowed: question, answer"):
        load(daquar)


def test_ids_may_be_numbers_or_files(daquar):
    for place in range(1, 7):
        (daquar / "images" / f"image{place}.png").rename(daquar / "images" / f"{place}.png")
    for end in ("", ".png"):
        write(daquar, ROWS, change=lambda fields, end=end: ",".join((*fields[:2], fields[2][5:] + end)))
        assert load(daquar).examples["test"][0].image.path.endswith("/6.png")


def test_a_missing_image_is_counted_and_one_outside_refused(daquar):
    (daquar / "images" / "image6.png").unlink()
    with pytest.raises(DataError, match=r"1 no-image-file \(new_data_test\.csv:2\)"):
        load(daquar)
    write(daquar, ROWS, change=lambda fields: ",".join((*fields[:2], "../" + fields[2])))
    with pytest.raises(DataError, match=r"new_data_train\.csv:2: the image leads out of .*'\.\./image1\.png'"):
        load(daquar)


def test_the_images_may_lie_elsewhere(daquar, tmp_path):
    (daquar / "images").rename(tmp_path / "pictures")
    with pytest.raises(DataError, match="no folder of images"):
        load(daquar)
    assert load(daquar, images=tmp_path / "pictures").examples["train"][0].image.path.startswith(str(tmp_path / "pict"))
