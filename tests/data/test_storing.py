import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.data.storing import read_examples, write_examples
from whichtune.errors import DataError


@pytest.fixture
def data():
    splits = {
        split: tuple(Example(f"{split}:{n}", split, f"text {n} ü", "ab"[n % 2], f"f.csv:{n}") for n in range(3, 0, -1))
        for split in ("train", "validation", "test")
    }
    return DataSet(splits, ("b", "a"), "f" * 64, DataReport("made", {}))


def test_examples_come_back_in_order(tmp_path, data):
    path = tmp_path / "examples.parquet"
    write_examples(path, data)
    assert read_examples(path) == data
    assert pq.read_table(path).column_names[:4] == ["id", "split", "text", "gold"]


def test_second_texts_groups_and_missing_labels_come_back(tmp_path, data):
    one = Example("x", "test", "a", None, "f:1", pair="b", group="g")
    paired = DataSet({**data.examples, "test": (one,)}, data.labels, data.fingerprint, data.report)
    write_examples(tmp_path / "e.parquet", paired)
    assert read_examples(tmp_path / "e.parquet") == paired


def test_another_file_is_one_message(tmp_path):
    path = tmp_path / "examples.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DataError, match="holds no examples"):
        read_examples(path)
    path.write_bytes(b"half a fi")
    with pytest.raises(DataError, match="run the study again"):
        read_examples(path)
    with pytest.raises(DataError, match="run the study again"):
        read_examples(tmp_path / "missing.parquet")
