"""ONNX files written here as exporters write them: names lost and found, converted once, and what goes wrong."""

import sys

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import Dinov2Config, Dinov2Model

from whichtune.errors import ModelError
from whichtune.models import onnx_weights as module
from whichtune.models.onnx_weights import convert_onnx, fingerprint_onnx, read_dinov2, read_graph

NAMES = {
    "q_proj": "attention.attention.query",
    "k_proj": "attention.attention.key",
    "v_proj": "attention.attention.value",
    "o_proj": "attention.output.dense",
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))


def make_model():
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=42, patch_size=14, mlp_ratio=2
    )
    model = Dinov2Model(config).eval()
    with torch.no_grad():
        for one in model.parameters():
            one.normal_(0, 0.2)
        model.embeddings.mask_token.zero_()
    return model


def name_of(name):
    for ours, theirs in NAMES.items():
        name = name.replace(f"attention.{ours}", theirs)
    return name


def write(path, model, skip=()):
    """Write the tensors of a model with the nodes that name those without a name."""
    stored, nodes = [], []

    def store(name, tensor):
        stored.append(numpy_helper.from_array(tensor.detach().contiguous().numpy(), name))

    for index, (ours, tensor) in enumerate(model.state_dict().items()):
        name = name_of(ours)
        inside = "/backbone/" + name.rpartition(".")[0].replace(".", "/")
        if name in skip or name.endswith("mask_token"):
            continue
        if name.endswith("position_embeddings"):
            store("onnx::Concat_7", tensor[:, :1])
            store("onnx::Reshape_9", tensor[:, 1:])
            nodes.append(helper.make_node("Reshape", ["onnx::Reshape_9", "shape"], ["p"], "/backbone/embeddings/R"))
            nodes.append(helper.make_node("Concat", ["onnx::Concat_7", "p"], ["q"], "/backbone/embeddings/C", axis=1))
        elif tensor.ndim == 2:
            store(f"onnx::MatMul_{index}", tensor.T)
            inputs = [f"rows_{index}", f"onnx::MatMul_{index}"]
            nodes.append(helper.make_node("MatMul", inputs, [f"made_{index}"], f"{inside}/MatMul"))
        else:
            store(f"backbone.{name}", tensor)
    store("decoder.weight", torch.ones(3, 3))
    nodes.append(helper.make_node("MatMul", ["a", "decoder.weight"], ["b"], "/decoder/MatMul"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("input_image", "b")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "tiny", ends[:1], ends[1:], stored)), str(path))
    return path


def test_a_file_becomes_the_folder_of_its_model(tmp_path):
    model = make_model()
    file = write(tmp_path / "tiny.onnx", model)
    folder = convert_onnx(file)
    loaded, told = Dinov2Model.from_pretrained(str(folder), output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert {name: tuple(one.shape) for name, one in loaded.state_dict().items()}.keys() == model.state_dict().keys()
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in loaded.state_dict().items())
    pixels = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        assert torch.equal(loaded(pixels).last_hidden_state, model(pixels).last_hidden_state)
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_it_is_converted_once_and_known_by_its_own_hash(tmp_path, monkeypatch):
    file = write(tmp_path / "tiny.onnx", make_model())
    folder = convert_onnx(file)
    monkeypatch.setattr(module, "_convert", lambda *_: pytest.fail("converted again"))
    moved = file.rename(tmp_path / "moved.onnx")
    assert convert_onnx(moved) == folder
    assert fingerprint_onnx(moved, None) != fingerprint_onnx(moved, 1)


def test_what_is_no_dinov2_is_one_clear_error(tmp_path):
    with pytest.raises(ModelError, match="an existing file"):
        convert_onnx(tmp_path / "nothing.onnx")
    (tmp_path / "page.onnx").write_text("<html>")
    with pytest.raises(ModelError, match=r"page\.onnx: not an ONNX file"):
        convert_onnx(tmp_path / "page.onnx")
    empty = helper.make_model(helper.make_graph([], "empty", [], [], []))
    onnx.save(empty, str(tmp_path / "empty.onnx"))
    with pytest.raises(ModelError, match=r"holds no tensors below `backbone\.`"):
        convert_onnx(tmp_path / "empty.onnx")
    file = write(tmp_path / "half.onnx", make_model(), skip=("embeddings.patch_embeddings.projection.weight",))
    with pytest.raises(ModelError, match=r"half\.onnx: no DINOv2 below `backbone\.`.*projection\.weight"):
        convert_onnx(file)


def test_a_kept_name_of_the_positions_is_taken(tmp_path):
    model = make_model()
    file = write(tmp_path / "tiny.onnx", model, skip=("embeddings.position_embeddings",))
    whole = onnx.load(str(file))
    rows = model.embeddings.position_embeddings.detach()
    whole.graph.initializer.append(numpy_helper.from_array(rows.numpy(), "backbone.embeddings.position_embeddings"))
    onnx.save(whole, str(file))
    assert torch.equal(read_dinov2(read_graph(file))["embeddings.position_embeddings"], rows)


def test_without_the_package_one_message_says_what_to_install(tmp_path, monkeypatch):
    file = write(tmp_path / "tiny.onnx", make_model())
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"needs the package `onnx`; run `pip install 'whichtune\[vision\]'`"):
        convert_onnx(file)
    assert not list((tmp_path / "cache" / "converted").glob("[!.]*")), "nothing half-made is left"


@pytest.mark.weights
def test_dinov2_small_tells_digits_apart_at_56_pixels(monkeypatch):
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    from whichtune.models.backbone import LoadRequest
    from whichtune.models.load import load_backbone
    from whichtune.spec.backbones import DinoV2SmallBackbone

    monkeypatch.delenv("WHICHTUNE_CACHE")
    spec = DinoV2SmallBackbone(kind="dinov2-small", image_size=56)
    loaded = load_backbone(spec, LoadRequest(reads="image"))
    assert sum(one.numel() for one in loaded.trunk.parameters()) == 22_056_576
    assert (loaded.reader.side, loaded.reader.width, loaded.hidden) == (56, 17, 384)
    assert any("whether it was fine-tuned" in note for note in loaded.notes)
    digits = load_digits()
    chosen = np.random.default_rng(0).permutation(len(digits.target))[:600]
    images = [Image.fromarray((digits.images[row] * 255 / 16).astype(np.uint8)).convert("RGB") for row in chosen]
    pixels = loaded.reader.scaling(torch.from_numpy(np.stack([loaded.reader.prepare(one) for one in images])))
    with torch.no_grad():
        rows = torch.cat([loaded.trunk(part).last_hidden_state[:, 0] for part in pixels.split(100)]).numpy()
    gold = digits.target[chosen]
    model = LogisticRegression(max_iter=1000).fit(rows[:300], gold[:300])
    assert model.score(rows[300:], gold[300:]) > 0.85
