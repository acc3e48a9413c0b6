import numpy as np

from whichtune.engine.encoding import encode_splits


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


def test_another_length_is_another_entry(tiny_backbone, tiny_data, tiny_task, tmp_path):
    encoder = tiny_backbone().encoder
    short, long = (encode_splits(tiny_data, tiny_task, encoder, length, tmp_path) for length in (8, 40))
    assert short["test"].lengths.max() == 8
    assert long["test"].lengths.max() > 8
    assert len(list(tmp_path.rglob("*.npz"))) == 6
