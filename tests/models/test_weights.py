"""Weight files: which are taken, and what a pickle may hold."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from whichtune.errors import ModelError
from whichtune.models.weights import find_weights, read_index, read_pickled

TENSORS = {"one": torch.arange(4.0), "two": torch.ones(2, 2)}


class Trap:
    """A pickle that would write a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_safetensors_come_first(tmp_path):
    torch.save(TENSORS, tmp_path / "pytorch_model.bin")
    assert not find_weights(tmp_path).safe
    save_file(TENSORS, tmp_path / "model.safetensors")
    found = find_weights(tmp_path)
    assert found.safe
    assert found.files == (tmp_path / "model.safetensors",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.pth", "model.pth"])
def test_plain_tensors_in_a_pickle_are_read(tmp_path, name):
    torch.save(TENSORS, tmp_path / name)
    found = read_pickled(find_weights(tmp_path).files)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[key], value) for key, value in TENSORS.items())


def test_a_pickle_with_code_is_refused_and_nothing_of_it_runs(tmp_path):
    torch.save({"one": Trap(tmp_path / "sprung")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds more than tensors"):
        read_pickled((tmp_path / "pytorch_model.bin",))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [[torch.ones(1)], {"one": 3}, {"nested": {"one": torch.ones(1)}}])
def test_anything_but_names_to_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(ModelError, match="not a mapping from names to tensors"):
        read_pickled((tmp_path / "model.pth",))


def test_a_broken_file_is_refused(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"PK\x03\x04 no zip at all")
    with pytest.raises(ModelError, match="broken"):
        read_pickled((tmp_path / "model.pth",))


def test_shards_of_an_index(tmp_path):
    torch.save({"one": TENSORS["one"]}, tmp_path / "a.bin")
    torch.save({"two": TENSORS["two"]}, tmp_path / "b.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"two": "b.bin", "one": "a.bin"}}))
    found = find_weights(tmp_path)
    assert [path.name for path in found.files] == ["a.bin", "b.bin"]
    assert read_pickled(found.files).keys() == TENSORS.keys()


@pytest.mark.parametrize(
    "text", ['{"weight_map": {"one": "../a.bin"}}', '{"weight_map": {"one": "gone.bin"}}', "{}", "[", "[]"]
)
def test_an_index_that_is_broken_or_leads_outside_is_refused(tmp_path, text):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "a.bin").touch()
    (inner / "pytorch_model.bin.index.json").write_text(text)
    with pytest.raises(ModelError):
        read_index(inner / "pytorch_model.bin.index.json")


def test_a_folder_without_weights_says_what_is_there_and_what_was_looked_for(tmp_path: Path):
    (tmp_path / "flax_model.msgpack").touch()
    with pytest.raises(ModelError, match=r"flax_model\.msgpack; allowed: model\.safetensors"):
        find_weights(tmp_path)
