"""GPT-2 medium by `count`: separate and fused targets, in the library's form and in ours."""

import pytest

from whichtune.inspect.count import count_methods
from whichtune.spec.methods import LoraSpec

SEPARATE = ("query", "key", "value", "output")


def count(model, targets):
    method = LoraSpec(kind="lora", rank=128, alpha=512, targets=targets)
    (one,) = count_methods(model, {"lora": method}, 2).methods
    assert one.reason is None, one.reason
    return one


@pytest.mark.parametrize("model", ["gpt2-medium", "gpt:gpt2-medium"])
def test_separate_adapters_on_the_attention_of_gpt2_medium(model):
    one = count(model, SEPARATE)
    assert (one.trunk.theory, one.trunk.measured) == (354_823_168, 354_823_168)
    assert one.added.measured == one.added.theory == 25_165_824
    assert one.trainable.agree
    share = 100 * one.added.measured / (one.trunk.measured + one.added.measured)
    assert share == pytest.approx(6.62, abs=0.005)
    assert one.modules == (48 if model == "gpt2-medium" else 96)


@pytest.mark.parametrize(
    ("targets", "added"),
    [(("c_attn", "attn.c_proj"), 18_874_368), (("c_attn", "c_proj"), 34_603_008)],
)
def test_adapters_on_fused_modules_named_as_the_library_names_them(targets, added):
    assert count("gpt2-medium", targets).added.measured == added


def test_every_linear_map_of_a_llama_block_has_its_kind():
    (one,) = count_methods("random:llama", {"lora": LoraSpec(kind="lora", targets=("all-linear",))}, 2).methods
    kinds = {kind.kind: kind.total for kind in one.kinds}
    assert kinds["mlp-gate"] == kinds["mlp-in"] == kinds["mlp-out"] == 2 * 32 * 64
    assert (kinds["query"], kinds["key"]) == (2 * 32 * 32, 2 * 32 * 16)
    assert one.trainable.agree
    assert one.modules == 14
