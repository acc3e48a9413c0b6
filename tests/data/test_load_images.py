"""Rows with images from files, packages and the hub's layout: roots, faults, what is kept beside the records."""

import csv
import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.data.load import fingerprint_data, load_data
from whichtune.data.sources import package
from whichtune.data.storing import read_examples, write_examples
from whichtune.errors import DataError
from whichtune.fetch.archives import extract
from whichtune.spec.sources import DataSpec


def draw(path, number=0, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (number, 0, 7)).save(path)
    return path


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def load(path, reads="image", **fields):
    spec = {"source": {"kind": "files", "all": path}, **fields}
    return load_data(DataSpec.model_validate(spec), "labels", reads)


@pytest.fixture
def table(tmp_path):
    """Twelve images beside a CSV that names each twice, with two questions."""
    for number in range(12):
        draw(tmp_path / "shown" / f"{number}.png", number)
    rows = [
        {"image": f"shown/{number}.png", "text": text, "label": "ab"[number % 2]}
        for number in range(12)
        for text in ("is it red?", "is it?")
    ]
    return write_rows(tmp_path / "rows.csv", rows)


def rows_of(data):
    return [one for rows in data.examples.values() for one in rows]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_paths_start_at_the_folder_of_their_file(tmp_path, suffix):
    draw(tmp_path / "shown" / "é 1.png")
    draw(tmp_path / "shown" / "2.png", 2)
    rows = [{"image": f"shown/{('é 1', '2')[n % 2]}.png", "label": "ab"[n % 2]} for n in range(12)]
    data = load(write_rows(tmp_path / f"rows{suffix}", rows))
    assert {one.image.path for one in rows_of(data)} == {
        str(tmp_path / "shown" / name) for name in ("é 1.png", "2.png")
    }
    assert {one.text for one in rows_of(data)} == {""}


def test_paths_start_at_the_root_that_is_named(table, tmp_path):
    text = table.read_text().replace("shown/", "")
    table.write_text(text)
    with pytest.raises(DataError, match=r"24 no-image-file \(rows\.csv:2, rows\.csv:3"):
        load(table, "pair")
    data = load(table, "pair", columns={"image_root": tmp_path / "shown"})
    assert len(rows_of(data)) == 24
    with pytest.raises(DataError, match=r"image_root` is not a folder: got '.*none'"):
        load(table, "pair", columns={"image_root": tmp_path / "none"})


@pytest.mark.parametrize("cell", ["../out.png", "/etc/passwd", "shown/../../out.png", "shown/link.png"])
def test_a_path_that_leads_out_is_an_error_and_not_a_dropped_row(table, tmp_path, cell):
    (tmp_path / "shown" / "link.png").symlink_to("/etc/passwd")
    lines = table.read_text().splitlines()
    lines[4] = f"{cell},text,a"
    table.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"rows\.csv:5: the image leads out of the folder") as error:
        load(table, drop_limit=1)
    assert cell in str(error.value)


def test_every_fault_of_an_image_is_a_reason(table, tmp_path):
    whole = (tmp_path / "shown" / "1.png").read_bytes()
    (tmp_path / "shown" / "0.png").write_bytes(whole[:40])
    (tmp_path / "shown" / "1.png").write_bytes(b"text")
    (tmp_path / "shown" / "2.png").unlink()
    size = (60_000).to_bytes(4, "big")
    (tmp_path / "shown" / "3.png").write_bytes(whole[:16] + size + size + whole[24:])
    lines = table.read_text().splitlines()
    lines[9] = ",is it?,a"
    table.write_text("\n".join(lines))
    data = load(table, drop_limit=0.5)
    # The header's checksum is that of the true size, so the claimed one is not believed: a broken file.
    counts = {one.reason: one.count for one in data.report.dropped}
    assert counts == {"broken-image": 4, "not-an-image": 2, "no-image-file": 3}


def test_rows_of_an_image_stay_together_where_a_question_is_asked(table):
    data = load(table, "pair")
    shown = {name: {one.image.sha256 for one in rows} for name, rows in data.examples.items()}
    assert [len(own) for own in shown.values()] == [7, 2, 3]
    assert [len(rows) for rows in data.examples.values()] == [14, 4, 6]
    assert not shown["train"] & shown["validation"] | shown["train"] & shown["test"]
    assert load(table, "pair").fingerprint == data.fingerprint
    assert load(table, "pair", split={"seed": 1}).fingerprint != data.fingerprint


def test_the_cut_by_image_does_not_hang_on_order_or_place(table, tmp_path):
    lines = table.read_text().splitlines()
    other = tmp_path / "other" / "rows.csv"
    other.parent.mkdir()
    (tmp_path / "shown").rename(other.parent / "shown")
    other.write_text("\n".join([lines[0], *lines[:0:-1]]))
    again = load(other, "pair")
    (other.parent / "shown").rename(tmp_path / "shown")
    first = load(table, "pair")
    for name in first.examples:
        both = [{(one.image.sha256, one.text) for one in data.examples[name]} for data in (first, again)]
        assert both[0] == both[1]


def test_one_question_about_one_image_twice_is_a_copy_and_nothing_else_is(table, tmp_path):
    def count(data):
        assert all(one.near is None for one in data.report.duplicates)
        return sum(one.exact for one in data.report.duplicates)

    assert count(load(table, "pair")) == 0
    with table.open("a") as handle:
        handle.write("shown/0.png, IS it   red?,a\nshown/0.png,is it red? ,b\n")
    data = load(table, "pair")
    assert count(data) == 2
    assert "1 questions about one image stand more than once with different labels" in data.report.notes


def test_columns_that_make_no_sense_are_told(table):
    for columns, told in (
        ({"pair": "text2"}, "reads an image and at most one text"),
        ({"image": "label"}, "image and label are the same column"),
        ({"image": "text"}, "image and text are the same column"),
        ({"image": "imag"}, "did you mean 'image'"),
    ):
        with pytest.raises(DataError, match=told):
            load(table, "pair", columns=columns)


def test_without_images_nothing_of_them_is_read(table):
    data = load(table, "text")
    assert {one.image for one in rows_of(data)} == {None}
    assert not any("images" in note for note in data.report.notes)


def test_a_package_brings_its_images(tmp_path, monkeypatch):
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for number in range(10):
            out = io.BytesIO()
            Image.new("RGB", (3, 3), (number, 0, 0)).save(out, "PNG")
            archive.writestr(f"shapes/data/images/{number}.png", out.getvalue())
        lines = ["image,label", *(f"images/{number}.png,{'ab'[number % 2]}" for number in range(10))]
        archive.writestr("shapes/data/rows.csv", "\n".join(lines))
        archive.writestr("rows.csv", "\n".join(lines))
    monkeypatch.setattr(package, "fetch_member", lambda pin, inside: extract(wheel, inside))
    source = {
        "kind": "package",
        "package": "shapes",
        "version": "1",
        "sha256": "0" * 64,
        "path": "shapes/data/rows.csv",
    }
    data = load_data(DataSpec.model_validate({"source": source}), "labels", "image")
    assert len(rows_of(data)) == 10
    with pytest.raises(DataError, match="lies in no folder of its own"):
        load_data(DataSpec.model_validate({"source": source | {"path": "rows.csv"}}), "labels", "image")


@pytest.fixture
def hub_folder(tmp_path):
    """A folder in the hub's layout: Parquet files with an image feature, as `datasets` writes them."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as Feature

    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    for part, count, base in (("train", 12, 0), ("test", 6, 100)):
        cells = []
        for number in range(count):
            content = draw(tmp_path / "image.png", base + number).read_bytes()
            cells.append({"bytes": content, "path": f"{number}.png"})
        cells[0] = cells[0] if part == "train" else {"bytes": b"broken", "path": "0.png"}
        features = Features({"image": Feature(decode=False), "label": ClassLabel(names=["cat", "dog"])})
        rows = {"image": cells, "label": [number % 2 for number in range(count)]}
        Dataset.from_dict(rows, features=features).to_parquet(str(folder / "data" / f"{part}-00000-of-00001.parquet"))
    return folder


def test_images_of_a_hub_data_set_lie_in_the_cache_under_their_hash(hub_folder, own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    source = {"kind": "hub", "name": str(hub_folder), "splits": {"train": "train", "test": "test"}}
    spec = DataSpec.model_validate({"source": source, "drop_limit": 0.2})
    data = load_data(spec, "labels", "image")
    assert data.labels == ("cat", "dog")
    for one in rows_of(data):
        assert one.image.path == str(own_cache / "pictures" / one.image.sha256[:2] / one.image.sha256)
    assert [(one.reason, one.split, one.count) for one in data.report.dropped] == [("not-an-image", "test", 1)]
    assert load_data(spec, "labels", "image").fingerprint == data.fingerprint
    with pytest.raises(DataError, match=r"column `label` holds no images: got 'ClassLabel'"):
        load_data(
            DataSpec.model_validate({"source": source, "columns": {"image": "label", "label": "image"}}),
            "labels",
            "image",
        )


def test_the_fingerprint_of_texts_is_the_one_it_always_was():
    one = Example("a:1", "train", "text", "x", "f:1")
    plain = {"train": (one,), "validation": (), "test": ()}
    assert fingerprint_data(plain, ("x", "y")) == "324156c33a3fcca0bf9ac2c1b65ab78d0b0165bb425825d523e4ace89be65fd2"
    paired = {**plain, "train": (Example("a:1", "train", "text", "x", "f:1", "p", "g"),)}
    assert fingerprint_data(paired, ("x", "y")) == "21329dfbd1a7de512e3c853a32d710e449ca568907ea3cca0de6c795eb83f184"


def test_images_come_back_with_their_thumbnails(table, tmp_path):
    draw(tmp_path / "shown" / "0.png", size=(400, 200))
    data = load(table, "pair")
    path = tmp_path / "examples.parquet"
    write_examples(path, data)
    back = read_examples(path)
    assert back.examples == data.examples
    assert back.fingerprint == data.fingerprint
    stored = pq.read_table(path).to_pylist()
    by_image = {}
    for row in stored:
        assert (row["thumbnail"] is not None) == (row["split"] == "test")
        if row["thumbnail"] is not None:
            assert by_image.setdefault(row["image_sha256"], row["thumbnail"]) == row["thumbnail"]
            with Image.open(io.BytesIO(row["thumbnail"])) as small, Image.open(row["image"]) as whole:
                assert max(small.size) <= 96
                assert small.size in (whole.size, (96, 48))


def test_a_large_image_has_a_small_thumbnail(tmp_path):
    from whichtune.data.thumbnails import draw_thumbnail
    from whichtune.fetch.pictures import inspect_picture

    for size, small in (((400, 200), (96, 48)), ((96, 96), (96, 96)), ((8, 700), (1, 96))):
        picture = inspect_picture(draw(tmp_path / "a.png", size=size))
        with Image.open(io.BytesIO(draw_thumbnail(picture))) as image:
            assert image.size == small


def test_files_without_images_have_no_columns_of_them_and_old_ones_still_read(tmp_path):
    one = Example("a:1", "test", "text", "x", "f:1")
    data = DataSet({"train": (), "validation": (), "test": (one,)}, ("x",), "0" * 64, DataReport("made", {}))
    write_examples(tmp_path / "e.parquet", data)
    assert "image" not in pq.read_schema(tmp_path / "e.parquet").names
    assert read_examples(tmp_path / "e.parquet") == data
