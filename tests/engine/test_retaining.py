"""What a language model makes of general text, against the loss of `transformers`."""

import copy

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from whichtune.data.examples import Example
from whichtune.engine.build import build_assembly
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.retaining import judge_labels, judge_texts
from whichtune.engine.speaking import Speaker
from whichtune.errors import ModelError
from whichtune.layers.heads import HeadRequest
from whichtune.measure.modes import modes
from whichtune.models.output_head import table_of
from whichtune.spec.methods import FullSpec, LoraSpec, PromptTuningSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import InstructionClassificationSpec
from whichtune.tasks import build_task

LENGTH = 24
TEXTS = [
    "A short one.",
    "",
    "x",
    "The quick brown fox jumps over the lazy dog, twice.",
    "Seven words stand in this line.",
]


def rows_of(texts=TEXTS):
    return tuple(Example(f"t:{place}", "held-out", text, None, f"t:{place}") for place, text in enumerate(texts))


def speaker_of(backbone, **given):
    return Speaker(backbone, Arithmetic("float32", torch.device("cpu")), **given)


def judge(backbone, size=3, rows=None, **given):
    with modes((), backbone.trunk):
        return judge_texts(speaker_of(backbone, **given), rows_of() if rows is None else rows, LENGTH, size)


def reference(backbone, family):
    """Put the same weights into the library's own class with its language-model head."""
    config = copy.deepcopy(backbone.trunk.config)
    config.loss_type = "ForCausalLM"
    model = AutoModelForCausalLM.from_config(config)
    model.base_model.load_state_dict(backbone.trunk.state_dict(), strict=False)
    with torch.no_grad():
        table = table_of(backbone.trunk, backbone.anatomy.tokens)
        model.get_output_embeddings().weight.copy_(table if backbone.output.weight is None else backbone.output.weight)
    return model.eval()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_loss_of_a_text_is_that_of_transformers(tiny_backbone, family):
    backbone = tiny_backbone(family)
    model = reference(backbone, family)
    found = judge(backbone)
    encoder = backbone.encoder
    ids = [[*encoder.front, *encoder.tokenizer.encode(text, add_special_tokens=False).ids] for text in TEXTS]
    kept = [place for place, row in enumerate(ids) if len(row) > 1]
    assert found.ids == [f"t:{place}" for place in kept]
    assert found.left_out == len(TEXTS) - len(kept)
    assert found.cut == sum(len(row) > LENGTH for row in ids) > 0
    for place, total, count in zip(kept, found.totals, found.counts, strict=True):
        row = torch.tensor([ids[place][:LENGTH]])
        with torch.no_grad():
            loss = model(input_ids=row, labels=row).loss
        assert count == row.shape[1] - 1
        assert total == pytest.approx(float(loss) * count, rel=1e-5)
    assert found.value == pytest.approx(found.totals.sum() / found.counts.sum()), "one division, by all tokens"
    by_row = np.mean(found.totals / found.counts)
    assert found.value != pytest.approx(by_row, rel=1e-6), "the rows differ in length, so a mean of means shows"


def test_batches_do_not_matter(tiny_backbone):
    backbone = tiny_backbone("llama")
    one, many = judge(backbone, size=1), judge(backbone, size=8)
    assert one.totals == pytest.approx(many.totals, rel=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        LoraSpec(kind="lora", learning_rate=1e-3),
        FullSpec(kind="full", learning_rate=1e-3),
        PromptTuningSpec(kind="prompt-tuning", virtual_tokens=3, learning_rate=1e-2),
    ],
    ids=lambda method: method.kind,
)
@pytest.mark.parametrize("outputs", [0, 2], ids=["in-words", "class-head"])
def test_a_tuned_model_is_measured_and_taken_off_gives_the_loss_back(tiny_backbone, method, outputs):
    backbone = tiny_backbone("gpt2")
    before = judge(backbone)
    assembly = build_assembly(backbone, method, HeadRequest(outputs), 0.1, Streams(1))
    try:
        with torch.no_grad():
            for tensor in assembly.attachment.trained.values():
                tensor.add_(0.05 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(4)))
        backbone.trunk.train()
        with assembly.predicting():
            inputs = assembly.attachment.inputs
            tuned = judge_texts(speaker_of(backbone, inputs=inputs), rows_of(), LENGTH, 3)
            again = judge_texts(speaker_of(backbone, inputs=inputs), rows_of(), LENGTH, 3)
        assert backbone.trunk.training, "the mode is as it was"
        backbone.trunk.eval()
    finally:
        assembly.attachment.detach()
    assert tuned.ids == before.ids
    assert np.array_equal(tuned.counts, before.counts), "virtual rows take no token's place, and score none"
    assert not np.allclose(tuned.totals, before.totals, rtol=1e-4)
    assert np.array_equal(tuned.totals, again.totals), "no dropout while measuring"
    assert all(tensor.grad is None for tensor in backbone.trunk.parameters())
    assert np.array_equal(judge(backbone).totals, before.totals), "bit for bit"


def test_texts_without_a_second_token_are_refused(tiny_backbone):
    with pytest.raises(ModelError, match="fewer than two tokens"):
        judge(tiny_backbone("gpt2"), rows=rows_of([""]))


def test_labels_are_asked_by_their_likelihood(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    task = InstructionClassificationSpec.model_validate(
        {
            "kind": "instruction-classification",
            "prompt": {"template": {"query": "{{ text }} =>", "example": "", "stop": []}},
        }
    )
    asking = build_task(task, ("no", "yes"), Columns()).asking
    rows = tuple(
        Example(f"t:{place}", "test", text, ("no", "yes")[place % 2], "t") for place, text in enumerate("abcdefgh")
    )
    model = reference(backbone, "gpt2")
    with modes((), backbone.trunk):
        found = judge_labels(speaker_of(backbone), asking, rows, 40, 3)
        for one, right in zip(rows, found.totals, strict=True):
            scores = {}
            for word in ("no", "yes"):
                ids = backbone.encoder.tokenizer.encode(f"{one.text} => {word}", add_special_tokens=False).ids
                ids = [*backbone.encoder.front, *ids]
                length = len(ids) - len(word) - 1  # a byte a token, the blank before the word among them
                with torch.no_grad():
                    shares = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
                scores[word] = sum(float(shares[at - 1, ids[at]]) for at in range(length, len(ids)))
            assert right == (max(scores, key=scores.get) == one.gold)
    assert set(found.counts) == {1}
    assert 0 < found.value < 1
