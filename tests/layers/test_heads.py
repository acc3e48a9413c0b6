import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from whichtune.engine.build import build_head
from whichtune.errors import UnsupportedError
from whichtune.layers.heads import ClassHead, HeadRequest, TokenHead, count_head
from whichtune.models.batch import Encoded, collate
from whichtune.models.count import count_parameters
from whichtune.models.head_forms import HEAD_FORMS
from whichtune.spec.methods import LoraSpec

TEXTS = ["a fine film", "dull", "x" * 30, "nothing at all happens, twice"]
TANH = {"dense": "classifier.dense", "out": "classifier.out_proj"}
OWN_HEADS = {
    "albert": {"out": "classifier"},
    "bert": {"out": "classifier"},
    "camembert": TANH,
    "deberta-v2": {"dense": "pooler.dense", "out": "classifier"},
    "distilbert": {"dense": "pre_classifier", "out": "classifier"},
    "electra": TANH,
    "modernbert": {"dense": "head.dense", "norm": "head.norm", "out": "classifier"},
    "mpnet": TANH,
    "roberta": TANH,
    "xlm-roberta": TANH,
}
"""Where each family's own classifier keeps the layers of our head."""
VARIANTS = [(family, {}) for family in sorted(OWN_HEADS)] + [
    ("modernbert", {"classifier_pooling": "mean"}),
    ("deberta-v2", {"pooler_hidden_act": "tanh"}),
    ("deberta-v2", {"share_att_key": False, "conv_kernel_size": 3}),
    ("albert", {"num_hidden_groups": 2}),
    ("electra", {"embedding_size": 32}),
]


@pytest.mark.parametrize("form", HEAD_FORMS)
def test_a_head_counts_as_its_formula_says(form):
    head = ClassHead(form, 12, HeadRequest(3), 0.1)
    assert sum(tensor.numel() for tensor in head.parameters()) == count_head(form, 12, 3)


@pytest.mark.parametrize("form", ["dense-tanh", "dense-gelu-norm"])
def test_initial_tensors_come_from_the_seed_alone(form):
    first, second, other = (ClassHead(form, 12, HeadRequest(3), 0.1) for _ in range(3))
    first.initialise(1)
    torch.manual_seed(7)
    second.initialise(1)
    other.initialise(2)
    assert torch.equal(first.out.weight, second.out.weight)
    assert torch.equal(first.dense.weight, second.dense.weight)
    assert not torch.equal(first.out.weight, other.out.weight)
    assert first.out.bias.abs().sum() == 0
    assert first.norm is None or torch.equal(first.norm.weight, torch.ones(12))


def test_a_linear_head_is_one_matrix_in_eval_mode():
    head = ClassHead("linear", 4, HeadRequest(2), 0.5).eval()
    rows = torch.randn(3, 4)
    assert torch.allclose(head(rows), rows @ head.out.weight.T + head.out.bias)


@pytest.mark.parametrize("form", HEAD_FORMS)
def test_dropout_stands_where_the_family_has_it(form):
    head = ClassHead(form, 4, HeadRequest(2), 0.5)
    calls = []
    head.dropout.register_forward_hook(lambda *_: calls.append("dropout"))
    for name in ("dense", "norm", "out"):
        layer = getattr(head, name)
        if layer is not None:
            layer.register_forward_hook(lambda *_, name=name: calls.append(name))
    head(torch.randn(3, 4))
    assert (
        calls
        == {
            "linear": ["dropout", "out"],
            "dense-tanh": ["dropout", "dense", "dropout", "out"],
            "dense-gelu": ["dropout", "dense", "dropout", "out"],
            "dense-relu": ["dense", "dropout", "out"],
            "dense-gelu-norm": ["dense", "norm", "dropout", "out"],
        }[form]
    )


def make_own(backbone):
    """The family's own classifier with random tensors everywhere, dropout off, under our attention."""
    config = type(backbone.trunk.config)(**backbone.trunk.config.to_dict() | {"num_labels": 3})
    config._attn_implementation = backbone.trunk.config._attn_implementation
    own = AutoModelForSequenceClassification.from_config(config).eval()
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in own.named_parameters():
            tensor.normal_(1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0, 0.2, generator=draw)
    return own


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("family", "config"), VARIANTS, ids=str)
def test_trunk_and_head_give_the_logits_of_the_familys_own_classifier(family, config, side, tiny_backbone):
    backbone = tiny_backbone(family, **config)
    own = make_own(backbone)
    backbone.trunk.load_state_dict(own.base_model.state_dict())
    head = ClassHead(backbone.anatomy.head, backbone.hidden, HeadRequest(3), 0.1).eval()
    for mine, theirs in OWN_HEADS[family].items():
        getattr(head, mine).load_state_dict(own.get_submodule(theirs).state_dict())
    assert count_parameters(own) == count_parameters(backbone.trunk) + count_parameters(head)
    assert count_parameters(own) == backbone.dimensions.trunk.parameters + backbone.dimensions.head(3)

    encoded = backbone.encoder.encode(TEXTS, np.zeros(len(TEXTS)), 64)
    right, batch = collate(encoded, range(len(TEXTS))), collate(encoded, range(len(TEXTS)), side=side)
    ids = torch.where(right.layout.real, right.ids, backbone.config["pad_token_id"])
    with torch.no_grad():
        expected = own(input_ids=ids, attention_mask=right.layout.real.long()).logits
        hidden = backbone.run(backbone.embed(batch), batch.layout, batch.segments)
        logits = head(backbone.pool(hidden, batch.layout))
    assert float((logits - expected).abs().max() / expected.std()) < 1e-5


ANSWERED = [([5, 9, 7, 30, 31, 2], 3), ([8, 2], 1), ([40, 41, 42, 43, 44, 45, 46, 2], 6)]
"""Token ids of a prompt and its answer, and where the answer begins."""


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "opt"])
def test_a_token_head_gives_the_loss_of_the_familys_own_language_model(family, side, tiny_backbone):
    """The sum over the answers' tokens of a padded batch, against the labels of `transformers` a row at a time."""
    backbone = tiny_backbone(family)
    own = AutoModelForCausalLM.from_config(backbone.trunk.config, attn_implementation="eager").eval()
    own.base_model.load_state_dict(backbone.trunk.state_dict())
    if not backbone.output.tied:
        own.lm_head.weight.data.copy_(backbone.output.weight)
    tokens = np.array([token for row, _ in ANSWERED for token in row], np.int32)
    offsets = np.cumsum([0, *(len(row) for row, _ in ANSWERED)])
    encoded = Encoded(tokens, offsets, np.full(3, -1), starts=np.array([start for _, start in ANSWERED]))
    batch, head = collate(encoded, range(3), side=side), TokenHead()
    with torch.no_grad():
        scores = head.answer(backbone, backbone.run(backbone.embed(batch), batch.layout), batch.layout, "default")
        assert scores.shape == (sum(len(row) - start for row, start in ANSWERED), 259), "no other row is scored"
        expected = 0.0
        for row, start in ANSWERED:
            labels = torch.tensor([[-100] * start + row[start:]])
            expected += float(own(torch.tensor([row]), labels=labels).loss) * (len(row) - start)
    assert float(functional.cross_entropy(scores, batch.targets, reduction="sum")) == pytest.approx(expected, rel=1e-5)


def test_a_token_head_has_nothing_of_its_own():
    head = TokenHead()
    head.initialise(1)
    assert (head.size, list(head.parameters()), list(head.buffers())) == (0, [], [])


def test_a_backbone_that_scores_no_tokens_has_no_token_head(tiny_backbone):
    assert HeadRequest(0).tokens
    assert not HeadRequest(2).tokens
    method = LoraSpec(kind="lora")
    assert isinstance(build_head(tiny_backbone("gpt"), method, HeadRequest(0), 0.1), TokenHead)
    with pytest.raises(UnsupportedError, match=r"the family 'bert' scores no next token"):
        build_head(tiny_backbone("bert"), method, HeadRequest(0), 0.1)
