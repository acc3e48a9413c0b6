"""GGUF files written here: what they stand for, converted once, and every way in which that goes wrong."""

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from whichtune.errors import ModelError
from whichtune.models import gguf as module
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Encoded, collate
from whichtune.models.causal import score_tokens
from whichtune.models.gguf import convert_gguf
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import GgufBackbone, SmolLM2Backbone

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
TEMPLATE += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
IDS = torch.tensor([[5, 77, 12, 200, 9, 3, 44]])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))


def make_model(tied=True):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def name_of(name):
    """The name a tensor of Llama has in GGUF files."""
    path, _, side = name.rpartition(".")
    if path.startswith("model.layers."):
        _, _, index, inner = path.split(".", 3)
        return f"blk.{index}.{NAMES[inner]}.{side}"
    return f"{NAMES[path]}.{side}"


def turn_heads(weight, heads):
    """Put the rows of each head in the order GGUF files keep them in: halves side by side."""
    return weight.reshape(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write(path, model, architecture="llama", kind=gguf.GGMLQuantizationType.Q8_0):
    """Write a model; the matrices of its MLPs are quantized, in place too, so that it says what the file says."""
    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(WORDS)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(WORDS) - len(SPECIAL)))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        own = next((count for word, count in heads.items() if word in name), None)
        array = array if own is None else turn_heads(array, own)
        if "mlp" in name and kind is not None:
            packed = gguf.quantize(np.ascontiguousarray(array), kind)
            tensor.copy_(torch.from_numpy(gguf.dequantize(packed, kind)))
            writer.add_tensor(name_of(name), packed, raw_dtype=kind)
        else:
            writer.add_tensor(name_of(name), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def load(path, **fields):
    return load_backbone(GgufBackbone(kind="gguf", path=path, **fields), LoadRequest())


def scores_of(backbone, ids=IDS):
    encoded = Encoded(ids[0].numpy().astype(np.int32), np.array([0, ids.shape[1]]), np.array([-1]))
    batch = collate(encoded, [0])
    with torch.no_grad():
        return score_tokens(backbone, backbone.run(backbone.embed(batch), batch.layout))


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_1])
@pytest.mark.parametrize("tied", [True, False])
def test_a_file_says_what_its_dequantized_weights_say(kind, tied, tmp_path):
    model = make_model(tied)
    before = model.model.layers[0].mlp.up_proj.weight.clone()
    loaded = load(write(tmp_path / "tiny.gguf", model, kind=kind))
    assert not torch.equal(before, model.model.layers[0].mlp.up_proj.weight), "quantizing loses something"
    assert loaded.output.tied == tied
    with torch.no_grad():
        assert (scores_of(loaded) - model(IDS).logits).abs().max() < 1e-5
    assert loaded.dimensions.trunk.parameters == sum(tensor.numel() for tensor in loaded.trunk.parameters())
    assert loaded.anatomy.positions == 64


def test_it_is_converted_once_and_known_by_its_own_hash(tmp_path, monkeypatch):
    file = write(tmp_path / "tiny.gguf", make_model())
    first = load(file)
    monkeypatch.setattr(module, "_convert", lambda *_: pytest.fail("converted again"))
    second, cut = load(file), load(file, keep_blocks=1)
    assert second.fingerprint == first.fingerprint != cut.fingerprint
    assert len(cut.blocks) == 1
    assert torch.equal(scores_of(first), scores_of(second))
    moved = file.rename(tmp_path / "other.gguf")
    assert load(moved).fingerprint == first.fingerprint


def test_the_tokenizer_and_the_chat_form_come_with_it(tmp_path):
    encoder = load(write(tmp_path / "tiny.gguf", make_model())).encoder
    ids = encoder.tokenizer.encode("ab c").ids
    assert [WORDS[index] for index in ids] == ["ab", "Ġ", "c"]
    turns = [{"role": "user", "content": "ab?"}]
    assert encoder.chat.render(turns) == "<|im_start|>user\nab?<|im_end|>\n<|im_start|>assistant\n"
    ids = encoder.chat.encode(encoder.tokenizer, turns)
    assert (ids[0], ids.count(1), ids.count(2)) == (1, 2, 1)


def test_reading_is_silent(tmp_path, capfd):
    load(write(tmp_path / "tiny.gguf", make_model()))
    assert capfd.readouterr() == ("", "")


def test_an_unknown_architecture_is_one_clear_error(tmp_path):
    file = write(tmp_path / "odd.gguf", make_model(), architecture="nonsense")
    with pytest.raises(ModelError, match=r"odd\.gguf: architecture `nonsense` with tensors of type F32, Q8_0 cannot"):
        convert_gguf(file)
    assert not list((tmp_path / "cache" / "converted").glob("[!.]*")), "nothing half-made is left"


def test_a_tensor_type_that_cannot_be_dequantized_is_one_clear_error(tmp_path, monkeypatch):
    file = write(tmp_path / "odd.gguf", make_model())

    def refuse(data, kind):
        raise NotImplementedError(f"Dequantization for {kind.name} is not yet implemented")

    monkeypatch.setattr(gguf, "dequantize", refuse)
    with pytest.raises(ModelError, match=r"type F32, Q8_0 cannot be read \(.*not yet implemented"):
        convert_gguf(file)


def test_what_is_no_gguf_file_is_told_before_anything_is_read(tmp_path):
    with pytest.raises(ModelError, match="GGUF file"):
        convert_gguf(tmp_path / "nothing.gguf")
    (tmp_path / "page.gguf").write_text("<html>")
    with pytest.raises(ModelError, match=r"not a GGUF file, it begins with b'<htm'"):
        convert_gguf(tmp_path / "page.gguf")
    (tmp_path / "short.gguf").write_bytes(b"GGUF\x03")
    with pytest.raises(ModelError, match=r"short\.gguf: this file cannot be read"):
        convert_gguf(tmp_path / "short.gguf")


@pytest.mark.weights
def test_smollm2_itself(monkeypatch):
    from whichtune.models.generate import Sampling, generate

    monkeypatch.delenv("WHICHTUNE_CACHE")
    loaded = load_backbone(SmolLM2Backbone(kind="smollm2"), LoadRequest())
    assert loaded.dimensions.trunk.parameters == 134_515_008
    ids = loaded.encoder.chat.encode(
        loaded.encoder.tokenizer, [{"role": "user", "content": "What is the capital of France?"}]
    )
    encoded = Encoded(np.array(ids, np.int32), np.array([0, len(ids)]), np.array([-1]))
    batch = collate(encoded, [0])
    (told,) = generate(loaded, loaded.embed(batch), batch.layout, Sampling(12, ends=(2,)))
    assert told.ended
    assert loaded.encoder.tokenizer.decode(list(told.tokens)) == "The capital of France is Paris."
