"""The GPT written here against `transformers`' GPT-2 on the same weights."""

import copy

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from whichtune.errors import ModelError
from whichtune.models.backbone import LoadRequest
from whichtune.models.blank import build_blank, find_config
from whichtune.models.count import count_parameters
from whichtune.models.gpt import Gpt, GptConfig, make_mask, read_gpt_config, translate_gpt2, unembed
from whichtune.models.layout import layout_of
from whichtune.models.load import load_backbone
from whichtune.models.tiny import make_byte_tokenizer
from whichtune.spec.backbones import GptBackbone

SIZES = {"vocab_size": 61, "n_positions": 40, "n_embd": 24, "n_layer": 3, "n_head": 4, "initializer_range": 0.2}


@pytest.fixture(scope="module")
def pair():
    """Both models with the same weights, biases and norms random too."""
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(**SIZES)).eval()
    with torch.no_grad():
        for tensor in theirs.parameters():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    ours = Gpt(read_gpt_config(theirs.config.to_dict())).eval()
    ours.load_state_dict(translate_gpt2(theirs.state_dict(), 3))
    return ours, theirs


def test_logits_are_the_reference_implementations(pair):
    ours, theirs = pair
    ids = torch.randint(61, (3, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (unembed(ours, ours(ids).last_hidden_state) - theirs(ids).logits).abs().max() < 1e-5


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_give_the_reference_implementations_logits_of_each_alone(pair, side):
    ours, theirs = pair
    lengths = [3, 17, 9]
    layout = layout_of(torch.tensor(lengths), side=side)
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(61, layout.real.shape, generator=draw)
    with torch.no_grad():
        hidden = ours(ids, layout.real.long(), layout.positions).last_hidden_state
        assert torch.isfinite(hidden).all()
        for row, real in enumerate(layout.real):
            alone = theirs(ids[row][real][None]).logits[0]
            assert (unembed(ours, hidden[row][real]) - alone).abs().max() < 1e-5


def test_the_cache_gives_what_one_pass_gives(pair):
    ours, _ = pair
    layout = layout_of(torch.tensor([5, 12]), side="left")
    ids = torch.randint(61, (2, 12), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        whole = ours(ids, layout.real, layout.positions).last_hidden_state
        cache, parts = None, []
        for start, stop in ((0, 8), (8, 9), (9, 12)):
            done = ours(
                ids[:, start:stop], layout.real[:, :stop], layout.positions[:, start:stop], None, cache, use_cache=True
            )
            cache = done.past_key_values
            parts.append(done.last_hidden_state)
    together = torch.cat(parts, dim=1)
    assert cache.get_seq_length() == 12
    assert (together - whole)[layout.real].abs().max() < 1e-5
    cache.batch_repeat_interleave(2)
    assert cache.pairs[0][0].shape[0] == 4
    assert torch.equal(cache.pairs[0][0][0], cache.pairs[0][0][1])


def test_a_mask_is_causal_without_gaps_and_never_empty():
    real = torch.tensor([[False, True, True]])
    mask = make_mask(real, torch.zeros(1, 2, 4), past=1)
    assert mask.tolist() == [[[[False, True, False], [False, True, True]]]]
    padded = make_mask(torch.tensor([[False, True]]), torch.zeros(1, 2, 4), past=0)
    assert padded.tolist() == [[[[True, False], [False, True]]]]


def test_dropout_drops_in_training_alone(pair):
    ours = copy.deepcopy(pair[0])
    ids = torch.randint(61, (1, 8))
    assert torch.equal(ours(ids).last_hidden_state, ours(ids).last_hidden_state)
    ours.train()
    assert not torch.equal(ours(ids).last_hidden_state, ours(ids).last_hidden_state)


def test_weights_start_as_the_paper_says():
    torch.manual_seed(0)
    trunk = Gpt._from_config(GptConfig(vocab_size=300, hidden_size=96, num_hidden_layers=8), torch.float32)
    spread = {name: float(tensor.detach().std()) for name, tensor in trunk.named_parameters() if tensor.ndim == 2}
    assert spread["blocks.0.mlp.widen.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["blocks.7.attention.output.weight"] == pytest.approx(0.005, rel=0.05)
    assert trunk.blocks[0].mlp.widen.bias.abs().sum() == 0
    assert torch.equal(trunk.norm.weight, torch.ones(96))


@pytest.mark.parametrize(
    "field", [{"activation_function": "relu"}, {"scale_attn_by_inverse_layer_idx": True}, {"model_type": "llama"}]
)
def test_checkpoints_that_compute_something_else_are_refused(field):
    with pytest.raises(ModelError, match=next(iter(field))):
        read_gpt_config(GPT2Config().to_dict() | field)


@pytest.fixture
def folder(pair, tmp_path):
    """A GPT-2 checkpoint as the library saves it."""
    pair[1].save_pretrained(tmp_path / "whole")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer(), pad_token="[PAD]")
    tokenizer.save_pretrained(tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))


def load(folder, **fields):
    return load_backbone(GptBackbone(kind="gpt", path=folder, **fields), LoadRequest())


def test_a_released_checkpoint_is_loaded_whole_cut_and_in_another_dtype(pair, folder, cache):
    loaded = load(folder)
    assert all(torch.equal(one, pair[0].state_dict()[name]) for name, one in loaded.trunk.state_dict().items())
    assert not loaded.trunk.training
    assert all(tensor.requires_grad for tensor in loaded.trunk.parameters())
    assert loaded.output.tied
    cut = load(folder, keep_blocks=2, dtype="bfloat16")
    assert (len(cut.blocks), cut.dimensions.blocks) == (2, 2)
    assert {tensor.dtype for tensor in cut.trunk.parameters()} == {torch.bfloat16}
    assert cut.fingerprint != loaded.fingerprint


def test_old_checkpoints_have_no_prefix_and_carry_masks(pair, folder, cache):
    old = {name.removeprefix("transformer."): tensor for name, tensor in pair[1].state_dict().items()}
    old |= {"h.0.attn.bias": torch.ones(1, 1, 40, 40), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    old.pop("lm_head.weight")
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin")
    assert torch.equal(load(folder).trunk.positions.weight, pair[0].positions.weight)


def test_a_checkpoint_that_lacks_a_tensor_or_has_another_shape_is_refused(folder, cache):
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.1.mlp.c_fc.weight"] = torch.zeros(3, 3)
    tensors.pop("transformer.ln_f.bias")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"another shape: .*norm\.bias"):
        load(folder)


def test_other_attention_functions_and_two_sources_are_refused(folder, cache):
    with pytest.raises(ModelError, match="attention of the family `gpt`: got 'eager'; allowed: sdpa"):
        load_backbone(GptBackbone(kind="gpt", path=folder), LoadRequest(attention="eager"))
    with pytest.raises(ValidationError, match="leave out `name`"):
        GptBackbone(kind="gpt", path=folder, name="gpt2")


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_the_four_released_sizes_are_as_large_as_published(name, total):
    blank = build_blank(*find_config(f"gpt:{name}"))
    assert isinstance(blank.trunk, Gpt)
    assert count_parameters(blank.trunk) == blank.dimensions.trunk.parameters == total
