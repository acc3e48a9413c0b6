import sys

import pytest

from whichtune.errors import InputError, ModelError, UnsupportedError
from whichtune.methods.peft_config import list_norms, resolve_modules
from whichtune.spec.peft import PeftSpec


def refuse(tiny_backbone, tiny_trial, tuner, config, **training):
    backbone = tiny_backbone("bert")
    before = {name: id(module) for name, module in backbone.trunk.named_modules()}
    with pytest.raises(InputError) as caught:
        tiny_trial(backbone, PeftSpec(kind="peft", tuner=tuner, config=config), **training)
    assert {name: id(module) for name, module in backbone.trunk.named_modules()} == before
    assert all(tensor.requires_grad for tensor in backbone.trunk.parameters())
    return str(caught.value)


@pytest.mark.parametrize(
    "tuner, config, told",
    [
        ("lora", {"rnak": 4}, "config of lora: got 'rnak'; allowed: "),
        ("lora", {"use_dorra": True}, "did you mean 'use_dora'"),
        ("lora", {"peft_type": "OFT"}, "config of lora: got 'peft_type'"),
        ("lora", {"target_modules": ["qeury"]}, "config.target_modules: no module of this bert trunk: got 'qeury'"),
        ("lora", {"target_modules": ["qeury"]}, "did you mean 'query'"),
        ("lora", {"target_modules": "encoder.*.qery"}, "no module of this bert trunk"),
        ("lora", {"target_modules": "encoder.["}, "no regular expression"),
        ("lora", {"target_modules": []}, "PEFT refuses lora"),
        ("lora", {"r": 0}, "PEFT refuses lora with config {'r': 0}: `r` should be a positive integer"),
        ("lora", {"r": "many"}, "PEFT refuses lora with config {'r': 'many'}"),
        ("lora", {"init_lora_weights": "eva"}, "needs a sample of data"),
        ("lora", {"init_lora_weights": "loftq"}, "quantised weights"),
        ("lora", {"loftq_config": {"loftq_bits": 4}}, "it starts from quantised weights"),
        ("lora", {"modules_to_save": ["pooler"]}, "whichtune's own head is always trained and saved"),
        ("adalora", {"total_step": 100}, "the trial's own number of optimizer steps"),
        ("lora", {"layers_to_transform": [2]}, "config.layers_to_transform: got 2; allowed: blocks 0 to 1"),
        ("lora", {"layers_pattern": "layer"}, "the backbone's anatomy says where its blocks are"),
        ("c3a", {"block_size": 7}, "block size should be a factor of the input size"),
        ("boft", {"boft_n_butterfly_factor": 2}, "Setting boft_n_butterfly_factor to 1"),
        ("ia3", {"feedforward_modules": ["mlp-owt"]}, "config.feedforward_modules: no module"),
        ("trainable_tokens", {}, "config.token_indices of trainable_tokens is missing"),
        ("trainable_tokens", {"token_indices": [10**6]}, "PEFT refuses trainable_tokens"),
        ("p_tuning", {"encoder_reparameterization_type": "GRU"}, "PEFT refuses p_tuning"),
        ("prompt_tuning", {"num_virtual_tokens": 120}, "virtual rows"),
    ],
)
def test_wrong_configurations_are_one_sentence_and_leave_the_trunk(tuner, config, told, tiny_backbone, tiny_trial):
    if "num_virtual_tokens" in config:
        trial = tiny_trial(tiny_backbone("bert"), PeftSpec(kind="peft", tuner=tuner, config=config))
        with pytest.raises(ModelError, match=told):
            trial.prepare()
        trial.assembly.attachment.detach()
        return
    message = refuse(tiny_backbone, tiny_trial, tuner, config)
    assert told in message
    assert "\n" not in message


def test_a_trunk_without_past_keys_is_refused(tiny_backbone, tiny_trial):
    with pytest.raises(UnsupportedError, match="distilbert trunks take no `past_key_values`"):
        tiny_trial(tiny_backbone("distilbert"), PeftSpec(kind="peft", tuner="prefix_tuning"))


def test_without_peft_the_extra_is_named(tiny_backbone, tiny_trial, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "pip install 'whichtune[peft]'" in refuse(tiny_backbone, tiny_trial, "lora", {})


@pytest.mark.parametrize(
    "words, tails",
    [
        (["query"], ["attention.self.query"]),
        (["mlp-in", "mlp-out"], ["intermediate.dense", "output.dense"]),
        ("attention", ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]),
        (["intermediate.dense"], ["intermediate.dense"]),
        (r"encoder\.layer\.\d+\.attention\.self\.(key|value)", ["attention.self.key", "attention.self.value"]),
    ],
)
def test_words_names_and_patterns_become_paths(words, tails, tiny_backbone):
    found = resolve_modules(tiny_backbone("bert"), words, "config.target_modules")
    assert found == [f"encoder.layer.{block}.{tail}" for block in range(2) for tail in tails]


def test_all_norms_are_listed(tiny_backbone):
    inside = [f"encoder.layer.{block}.{part}" for block in range(2) for part in ("attention.output", "output")]
    expected = ["embeddings.LayerNorm", *(f"{path}.LayerNorm" for path in inside)]
    assert list(list_norms(tiny_backbone("bert").trunk)) == expected


def test_layers_can_be_chosen_with_pefts_own_field(tiny_backbone, tiny_trial):
    spec = PeftSpec(kind="peft", config={"layers_to_transform": [1]})
    attachment = tiny_trial(tiny_backbone("bert"), spec).assembly.attachment
    attachment.detach()
    assert attachment.matched == ("encoder.layer.1.attention.self.query", "encoder.layer.1.attention.self.value")
    assert "does not know `layers_to_transform`" in attachment.theory.reason


def test_modules_can_be_left_out_with_pefts_own_field(tiny_backbone, tiny_trial):
    config = {"target_modules": ["attention"], "exclude_modules": ["output", "encoder.layer.0.attention.self.key"]}
    attachment = tiny_trial(tiny_backbone("bert"), PeftSpec(kind="peft", config=config)).assembly.attachment
    attachment.detach()
    tails = [("0", ("query", "value")), ("1", ("query", "key", "value"))]
    assert attachment.matched == tuple(f"encoder.layer.{at}.attention.self.{word}" for at, ws in tails for word in ws)
