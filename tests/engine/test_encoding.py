import numpy as np

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.engine.encoding import encode_splits
from whichtune.spec.tasks import PairClassificationSpec, TextClassificationSpec
from whichtune.tasks import build_task


def test_what_was_encoded_is_read_back_the_same(tiny_backbone, tiny_data, tiny_task, tmp_path):
    encoder = tiny_backbone().encoder
    first = encode_splits(tiny_data, tiny_task, encoder, 12, tmp_path)
    files = sorted(tmp_path.rglob("*.npz"))
    assert len(files) == 3
    again = encode_splits(tiny_data, tiny_task, encoder, 12, tmp_path)
    for split, encoded in first.items():
        assert np.array_equal(encoded.tokens, again[split].tokens)
        assert np.array_equal(encoded.offsets, again[split].offsets)
        assert encoded.over_long == again[split].over_long
    assert first["train"].cut > 0
    assert all(encoded.lengths.max() <= 12 for encoded in first.values())


def test_pairs_are_read_back_with_their_segments(tiny_backbone, tmp_path):
    rows = tuple(Example(str(n), "test", "first" * n, "ab"[n % 2], f"o:{n}", pair="second") for n in range(1, 5))
    data = DataSet({"test": rows}, ("a", "b"), "pairs", DataReport("made", {}))
    task = build_task(PairClassificationSpec(kind="pair-classification"), data.labels)
    encoder = tiny_backbone().encoder
    first, again = (encode_splits(data, task, encoder, 20, tmp_path)["test"] for _ in range(2))
    assert set(first.segments.tolist()) == {0, 1}
    assert np.array_equal(first.segments, again.segments)
    assert np.array_equal(first.tokens, again.tokens)
    assert first.over_long == again.over_long == (2, 3)
    single = build_task(TextClassificationSpec(kind="text-classification"), data.labels)
    assert len(encode_splits(data, single, encoder, 20, tmp_path)["test"].tokens) < len(first.tokens)


def test_another_length_is_another_entry(tiny_backbone, tiny_data, tiny_task, tmp_path):
    encoder = tiny_backbone().encoder
    short, long = (encode_splits(tiny_data, tiny_task, encoder, length, tmp_path) for length in (8, 40))
    assert short["test"].lengths.max() == 8
    assert long["test"].lengths.max() > 8
    assert len(list(tmp_path.rglob("*.npz"))) == 6
