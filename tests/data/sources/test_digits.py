import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from whichtune.data.load import load_data
from whichtune.data.sources.digits import encode_grey
from whichtune.fetch.pictures import open_picture
from whichtune.spec.sources import DataSpec


@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (3, 5), (250, 250)])
def test_the_png_is_what_pillow_reads(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(encode_grey(pixels))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), pixels)


def test_the_digits_are_those_of_scikit_learn_and_always_the_same_bytes(own_cache):
    data = load_data(DataSpec.model_validate({"source": {"kind": "digits"}}), "labels", "image")
    assert data.labels == tuple("0123456789")
    assert {name: len(rows) for name, rows in data.examples.items()} == {"train": 1078, "validation": 270, "test": 449}
    assert data.fingerprint == "0330a9fc8d4b6ae35434a665d73e6704e494047b2685cff63ea7fc3dee6ddcc4"
    known = load_digits()
    for one in data.examples["test"][:20]:
        place = int(one.id.removeprefix("all:")) - 1
        assert one.gold == str(known.target[place])
        grey = np.asarray(open_picture(one.image))[..., 0]
        assert np.array_equal((grey / 255 * 16).round(), known.images[place])
