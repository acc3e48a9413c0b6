import json
import zipfile

import pytest
from PIL import Image

from whichtune.data.load import load_data
from whichtune.data.sources import easy_vqa
from whichtune.errors import DataError
from whichtune.fetch.archives import extract
from whichtune.spec.sources import DataSpec

SPEC = {"source": {"kind": "easy-vqa"}, "columns": {"group": "kind"}}


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("what color is the shape?", "what colour"),
        ("what is the color of the circle?", "what colour"),
        ("what color is the triangle?", "what colour"),
        ("what is the blue shape?", "what shape"),
        ("what shape is in the image?", "what shape"),
        ("what shape does the image contain?", "what shape"),
        ("is there a circle?", "yes-no shape"),
        ("does the image not contain a rectangle?", "yes-no shape"),
        ("is there a red shape?", "yes-no colour"),
        ("is no teal shape present?", "yes-no colour"),
    ],
)
def test_the_kind_shows_in_the_question(question, kind):
    assert easy_vqa.name_kind(question) == kind


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel of the same layout: ten training images with three questions each, two test images with two."""
    path = tmp_path / "easy_vqa-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for part, images, asked in (("train", 10, 3), ("test", 2, 2)):
            rows = []
            for number in range(images):
                own = tmp_path / "image.png"
                Image.new("RGB", (4, 4), (number, len(part), 0)).save(own)
                archive.write(own, f"easy_vqa/data/{part}/images/{number}.png")
                told = [("is there a circle?", "yes"), ("what color is the shape?", "red"), ("is there a box?", "no")]
                rows += [(*one, number) for one in told[:asked]]
            archive.writestr(f"easy_vqa/data/{part}/questions.json", json.dumps(rows))
    monkeypatch.setattr(easy_vqa, "fetch_member", lambda pin, inside: extract(path, inside))
    return path


def test_no_image_stands_in_two_splits(wheel):
    data = load_data(DataSpec.model_validate(SPEC), "labels", "pair")
    shown = {name: {one.image.sha256 for one in rows} for name, rows in data.examples.items()}
    assert {name: len(own) for name, own in shown.items()} == {"train": 8, "validation": 2, "test": 2}
    assert {name: len(rows) for name, rows in data.examples.items()} == {"train": 24, "validation": 6, "test": 4}
    assert not shown["train"] & shown["validation"]
    one = data.examples["test"][1]
    assert (one.text, one.gold, one.group, one.origin) == (
        "what color is the shape?",
        "red",
        "what colour",
        "easy-vqa/test:2",
    )
    assert "images: 8 train, 2 validation, 2 test" in data.report.notes


def test_the_question_alone_can_be_read(wheel):
    data = load_data(DataSpec.model_validate(SPEC), "labels", "text")
    assert {one.image for rows in data.examples.values() for one in rows} == {None}
    assert len(data.examples["test"]) == 4


def test_a_damaged_file_is_one_message(wheel, tmp_path, monkeypatch):
    for part in ("train", "test"):
        (tmp_path / "data" / part).mkdir(parents=True)
        (tmp_path / "data" / part / "questions.json").write_text("[[1, 2]]")
    monkeypatch.setattr(easy_vqa, "fetch_member", lambda pin, inside: tmp_path / "data")
    with pytest.raises(DataError, match=r"questions\.json is damaged"):
        load_data(DataSpec.model_validate(SPEC), "labels", "pair")
