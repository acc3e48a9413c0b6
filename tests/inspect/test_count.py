"""Counting against published figures, against transformers' own classes, and theory against measurement."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from whichtune.errors import ModelError
from whichtune.inspect.count import count_method, count_methods
from whichtune.methods import TUNERS
from whichtune.methods.whole_parts import Full
from whichtune.models.blank import build_blank, find_config
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import FrozenFeaturesSpec, FullSpec, LastLayersSpec, LoraSpec, MajoritySpec
from whichtune.spec.peft import PeftSpec

FULL = FullSpec(kind="full")
FAMILIES = ("bert", "roberta", "distilbert", "electra", "albert", "deberta-v2", "modernbert", "mpnet")


def count(model, method, outputs=3):
    (one,) = count_methods(model, {"one": method}, outputs).methods
    assert one.reason is None, one.reason
    return one


@pytest.mark.parametrize(
    ("model", "total"),
    [("roberta-base", 124_647_939), ("TinyBERT_General_4L_312D", 14_351_187), ("bert-base-uncased", 109_484_547)],
)
def test_totals_are_the_published_ones(model, total):
    one = count(model, FULL)
    assert (one.total.theory, one.total.measured) == (total, total)
    assert (one.trainable.theory, one.trainable.measured) == (total, total)
    assert one.added.measured == 0


@pytest.mark.parametrize(
    ("model", "rank", "trainable", "peft_total"),
    [
        ("roberta-base", 8, 887_811, 125_535_750),
        ("TinyBERT_General_4L_312D", 8, 40_875, 14_392_062),
        ("TinyBERT_General_4L_312D", 4, 20_907, None),
        ("TinyBERT_General_4L_312D", 16, 80_811, None),
        ("bert-base-uncased", 8, 297_219, None),
    ],
)
def test_lora_trains_the_published_number(model, rank, trainable, peft_total):
    one = count(model, LoraSpec(kind="lora", rank=rank))
    assert (one.trainable.theory, one.trainable.measured) == (trainable, trainable)
    assert one.added.agree
    assert one.total.measured == one.trunk.measured + one.head.measured + one.added.measured
    if peft_total is not None:
        assert any(f"{peft_total:,}" in note for note in one.notes)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_random_family_has_as_many_as_transformers_own_classifier(family):
    config, _ = find_config(f"random:{family}")
    config.num_labels = 3
    with torch.device("meta"):
        own = sum(tensor.numel() for tensor in AutoModelForSequenceClassification.from_config(config).parameters())
    one = count(f"random:{family}", FULL)
    assert (one.total.theory, one.total.measured) == (own, own)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "method",
    [
        LoraSpec(kind="lora", targets=("all-linear",), rank=3),
        LoraSpec(kind="lora", bias="lora-only"),
        LastLayersSpec(kind="last-layers"),
        FrozenFeaturesSpec(kind="frozen-features"),
    ],
    ids=lambda method: method.kind,
)
def test_kinds_add_up_and_theory_agrees(family, method):
    one = count(f"random:{family}", method)
    assert sum(kind.total for kind in one.kinds) == one.total.measured
    assert sum(kind.trainable for kind in one.kinds) == one.trainable.measured
    assert one.trainable.agree
    assert one.trunk.agree
    assert one.trainable_share == one.trainable.measured / one.total.measured


def test_kinds_of_modules_by_hand():
    kinds = {kind.kind: kind for kind in count("bert-base-uncased", LoraSpec(kind="lora")).kinds}
    assert kinds["query"].total == 12 * (768 * 768 + 768)
    assert kinds["mlp-in"].total == 12 * (768 * 3072 + 3072)
    assert kinds["norms"].total == 12 * 4 * 768
    assert kinds["pooler"].total == 768 * 768 + 768
    assert kinds["embeddings"].total == (30522 + 512 + 2 + 2) * 768
    assert (kinds["added"].total, kinds["added"].trainable) == (294_912, 294_912)
    assert kinds["head"].trainable == 3 * 769
    assert sum(kind.trainable for kind in kinds.values()) == 297_219


def test_a_fused_projection_is_shared_out():
    kinds = {kind.kind: kind.total for kind in count("ModernBERT-base", FULL).kinds}
    assert kinds["query"] == kinds["key"] == kinds["value"] == 22 * 768 * 768


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_peft_counts_the_same_on_the_same_model():
    peft = pytest.importorskip("peft")
    config, _ = find_config("random:bert")
    config.num_labels = 3
    own = AutoModelForSequenceClassification.from_config(config)
    wrapped = peft.get_peft_model(own, peft.LoraConfig(task_type="SEQ_CLS", r=5, target_modules=["query", "value"]))
    trainable, printed = wrapped.get_nb_trainable_parameters()
    one = count("random:bert", LoraSpec(kind="lora", rank=5))
    assert one.trainable.measured == trainable
    assert any(f"= {printed:,}" in note for note in one.notes)


def test_a_family_outside_the_table_is_measured_without_theory():
    config, origin = find_config("random:ernie")
    config.num_hidden_layers = 5
    blank = build_blank(config, origin)
    assert len(blank.blocks) == 5
    one = count_method(blank, "lora", LoraSpec(kind="lora"), 2)
    assert one.trainable.theory is None
    assert one.trainable.measured == 5 * 2 * 8 * (32 + 32) + 66
    assert any("ernie" in note for note in one.notes)


def test_a_method_that_makes_no_sense_says_why():
    last = LastLayersSpec(kind="last-layers", final_norm=True)
    found = count_methods("random:bert", {"m": MajoritySpec(kind="majority"), "last": last, "full": FULL}, 2)
    assert "trains nothing" in found.methods[0].reason
    assert "no norm after its last block" in found.methods[1].reason
    assert found.methods[2].total is not None


class Choosy(Full):
    """A method that looks at values before it is attached."""

    def attach(self, backbone, head, spec, key):
        assert float(next(backbone.trunk.parameters()).sum()) != 0
        return super().attach(backbone, head, spec, key)


def test_a_method_that_needs_values_gets_random_ones(monkeypatch):
    monkeypatch.setitem(TUNERS, FullSpec, Choosy())
    lora = LoraSpec(kind="lora")
    choosy, after = count_methods("random:bert", {"full": FULL, "lora": lora}, 2).methods
    assert choosy.trainable.agree
    assert any("random weights" in note for note in choosy.notes)
    assert after.trainable.agree
    monkeypatch.setattr("whichtune.inspect.count.MOST_RANDOM", 10)
    (large,) = count_methods("random:bert", {"full": FULL}, 2).methods
    assert "cannot be counted without weights" in large.reason


class Refusing(Full):
    """A method that wraps what it runs into, as PEFT's refusals are wrapped."""

    def attach(self, backbone, head, spec, key):
        values = next(backbone.trunk.parameters())
        try:
            if values.device.type == "meta" or spec.pooling == "mean":
                raise ValueError("no values")
        except ValueError as error:
            raise ModelError("refused: no values") from error
        return super().attach(backbone, head, spec, key)


def test_a_refusal_without_values_is_tried_with_random_ones(monkeypatch):
    monkeypatch.setitem(TUNERS, FullSpec, Refusing())
    refused, lora = FullSpec(kind="full", pooling="mean"), LoraSpec(kind="lora")
    (one,) = count_methods("random:bert", {"full": FULL}, 2).methods
    assert one.trainable.agree
    assert any("random weights" in note for note in one.notes)
    with pytest.raises(ModelError, match="refused"):
        count_methods("random:bert", {"full": refused}, 2)
    first, second = count_methods("random:bert", {"full": refused, "lora": lora}, 2).methods
    assert first.reason == "cannot be attached (ModelError: refused: no values)"
    assert second.trainable.agree
    monkeypatch.setattr("whichtune.inspect.count.MOST_RANDOM", 10)
    (large,) = count_methods("random:bert", {"full": FULL}, 2).methods
    assert large.reason == "cannot be counted without weights (ModelError: refused: no values)"
    with pytest.raises(ModelError, match="qurey"):
        count_methods("random:bert", {"lora": LoraSpec(kind="lora", targets=("qurey",))}, 2)


@pytest.mark.parametrize("tuner", [{"config": {"init_lora_weights": "pissa"}}, {"tuner": "frod"}])
def test_tuners_of_peft_that_look_at_values(tuner):
    pytest.importorskip("peft")
    one = count("random:bert", PeftSpec(kind="peft", **tuner))
    assert one.trainable.measured > one.head.measured
    assert any("random weights" in note for note in one.notes)


def test_counting_leaves_the_trunk_as_it_was():
    blank = build_blank(*find_config("random:bert"))
    before = {name: tensor.shape for name, tensor in blank.trunk.named_parameters()}
    for method in (LoraSpec(kind="lora"), FULL):
        count_method(blank, "one", method, 2)
    assert {name: tensor.shape for name, tensor in blank.trunk.named_parameters()} == before
    assert {tensor.device.type for tensor in blank.trunk.parameters()} == {"meta"}


def test_the_loaded_model_has_as_many(tiny_backbone):
    loaded = count_method(tiny_backbone("roberta"), "full", FULL, 2)
    blank = build_blank(find_config("random:roberta")[0], "tiny")
    assert count_method(blank, "full", FULL, 2).total == loaded.total
    assert RandomBackbone(kind="random").family == "bert"


VIT = "vit-base-patch16-224-in21k"


def kinds_of(one):
    return {kind.kind: kind.trainable for kind in one.kinds if kind.trainable}


def test_a_vision_transformer_of_101_classes_has_the_published_counts():
    full, lora = count(VIT, FULL, 101), count(VIT, LoraSpec(kind="lora"), 101)
    assert (full.total.theory, full.total.measured) == (85_876_325, 85_876_325)
    assert (lora.trainable.theory, lora.trainable.measured) == (372_581, 372_581)
    assert lora.modules == 24
    assert any("86,248,906" in note for note in lora.notes), "PEFT's total keeps two classifiers"


def test_the_last_block_of_a_vision_transformer_shows_the_norms_that_a_published_formula_leaves_out():
    one = count(VIT, LastLayersSpec(kind="last-layers"), 101)
    assert (one.trainable.theory, one.trainable.measured) == (7_165_541, 7_165_541)
    kinds = kinds_of(one)
    assert kinds["norms"] == 3_072
    assert sum(kinds.values()) - kinds["norms"] == 7_162_469
    with_norm = count(VIT, LastLayersSpec(kind="last-layers", final_norm=True), 101)
    assert with_norm.trainable.measured == with_norm.trainable.theory == 7_165_541 + 1_536


@pytest.mark.parametrize("model", ["clip-vit-base-patch32", "clip-vit-base-patch32:text"])
def test_each_tower_of_a_model_is_counted_with_its_map_into_the_shared_space(model):
    (tower,) = count_methods(model, {"one": LastLayersSpec(kind="last-layers")}, 10).methods
    assert tower.trainable.agree
    assert tower.trunk.agree
    assert tower.head.measured == 512 * 10 + 10
    assert kinds_of(tower)["pooler"] >= 393_216 if ":" not in model else kinds_of(tower)["pooler"] == 262_144


@pytest.mark.parametrize("family", ["swin", "convnext", "resnet", "efficientnet-lite0"])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_blocks_of_different_sizes_are_counted_one_by_one(family, blocks):
    one = count(f"random:{family}", LastLayersSpec(kind="last-layers", blocks=blocks))
    assert one.trainable.agree
    assert one.total.agree


def test_adapters_of_blocks_of_different_widths_are_counted_one_by_one():
    for targets in (("query", "value"), ("all-linear",)):
        one = count("random:swin", LoraSpec(kind="lora", targets=targets, bias="lora-only"))
        assert one.trainable.agree
    peft = count("random:swin", PeftSpec(kind="peft"))
    assert peft.trainable.agree


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("resnet", "its layers are convolutions: the family 'resnet' has no linear projections"),
        ("convnext", "`targets`: the family 'convnext' has no query, value; it has mlp-in, mlp-out"),
    ],
)
@pytest.mark.parametrize("method", [LoraSpec(kind="lora"), PeftSpec(kind="peft")])
def test_adapters_are_refused_in_words_where_a_family_has_nothing_of_what_they_adapt(family, reason, method):
    (one,) = count_methods(f"random:{family}", {"one": method}, 3).methods
    assert one.reason == reason
