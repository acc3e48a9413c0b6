"""Prompts read, labels scored and texts judged: with and without a shared head, and against `transformers` by hand."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.speaking import (
    LEAST_SHARED_TOKENS,
    Opening,
    Speaker,
    behind,
    count_shared,
    judge_answers,
    read_opening,
    read_prompts,
    score_words,
    stops_at,
    write_answers,
)
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Encoded
from whichtune.models.generate import Sampling
from whichtune.models.load import load_backbone
from whichtune.models.tiny import make_byte_tokenizer
from whichtune.spec.backbones import FolderBackbone

CPU = Arithmetic("float32", torch.device("cpu"))
HEAD = list(range(40, 60))
WORDS = [[70], [71, 72], [73, 74, 75], [70, 72]]
"""Label words of one to three tokens; one begins with another."""
SHARED = {
    "a long head and uneven rests": [[*HEAD, 5], [*HEAD, 6, 7, 8, 9], [*HEAD, 10, 11]],
    "all but the last token": [[*HEAD, 5], [*HEAD, 6], [*HEAD, 7]],
    "equal prompts": [[*HEAD, 5], [*HEAD, 5], [*HEAD, 5]],
    "one is the beginning of another": [HEAD, [*HEAD, 6, 7]],
    "nothing": [[5, *HEAD], [6, *HEAD, 7]],
    "too little to copy": [[1, 2, 3, 5], [1, 2, 3, 6, 7]],
    "one row alone": [[*HEAD, 5]],
}


def rows_of(rows, starts=None):
    tokens = np.array([token for row in rows for token in row], np.int32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Encoded(tokens, offsets, np.full(len(rows), -1), starts=None if starts is None else np.array(starts))


def likelihoods(speaker, prompts, head, words=WORDS, size=8):
    parts = [range(len(prompts))[at : at + size] for at in range(0, len(prompts), size)]
    with torch.no_grad():
        return torch.cat([score_words(speaker, read_prompts(speaker, prompts, rows, head), words) for rows in parts])


def write(speaker, prompts, head):
    with torch.no_grad():
        read = read_prompts(speaker, prompts, range(len(prompts)), head)
        return write_answers(speaker, read, Sampling(8), list(range(len(prompts))))


@pytest.mark.parametrize("family", ["gpt", "gpt2", "llama", "opt", "phi", "qwen3", "gemma"])
def test_a_shared_head_changes_nothing(family, tiny_backbone):
    speaker = Speaker(tiny_backbone(family), CPU)
    assert speaker.shares
    for name, rows in SHARED.items():
        prompts = rows_of(rows)
        with torch.no_grad():
            head = read_opening(speaker, prompts)
        assert (head.tokens, head.state is None) == {
            "a long head and uneven rests": (20, False),
            "all but the last token": (20, False),
            "equal prompts": (20, False),
            "one is the beginning of another": (19, False),
        }.get(name, (0, True)), name
        with_head, without = likelihoods(speaker, prompts, head), likelihoods(speaker, prompts, Opening(0))
        alone = likelihoods(speaker, prompts, Opening(0), size=1)
        assert distance(with_head, without) <= TOLERANCES["float32"], name
        assert distance(without, alone) <= TOLERANCES["float32"], name
        assert distance(likelihoods(speaker, prompts, head, size=2), with_head) <= TOLERANCES["float32"], "a used head"
        assert write(speaker, prompts, head) == write(speaker, prompts, Opening(0)), name


@pytest.mark.parametrize(
    ("family", "config"), [("gemma2", {"sliding_window": 8}), ("mistral", {"sliding_window": 8})], ids=str
)
def test_a_family_with_windows_shares_no_head_and_reads_each_row_as_alone(family, config, tiny_backbone):
    backbone = tiny_backbone(family, **config)
    assert backbone.anatomy.local
    speaker, prompts = Speaker(backbone, CPU), rows_of(SHARED["a long head and uneven rests"])
    assert not speaker.shares
    assert read_opening(speaker, prompts) == Opening(0)
    together = likelihoods(speaker, prompts, Opening(0))
    assert distance(together, likelihoods(speaker, prompts, Opening(0), size=1)) <= TOLERANCES["float32"]
    assert distance(together, by_hand(peer_of(backbone), prompts, WORDS)) <= TOLERANCES["float32"]
    wide = Speaker(tiny_backbone(family, sliding_window=4096), CPU)
    assert wide.shares == (not wide.backbone.anatomy.local)
    assert distance(likelihoods(wide, prompts, Opening(0)), together) > 0.01, "the window is felt"


def test_virtual_rows_share_no_head(tiny_backbone, language_trial):
    trial = language_trial(tiny_backbone("gpt"), {"kind": "prompt-tuning", "virtual_tokens": 4})
    speaker = Speaker(trial.assembly.backbone, CPU, trial.assembly.attachment.inputs)
    assert not speaker.shares
    assert read_opening(speaker, rows_of(SHARED["all but the last token"])) == Opening(0)
    assert Speaker(trial.assembly.backbone, CPU).shares


def test_what_rows_share_leaves_each_one_token():
    assert count_shared(rows_of([[1, 2, 3], [1, 2, 3]])) == 2
    assert count_shared(rows_of([[1, 2, 3], [1, 2]])) == 1
    assert count_shared(rows_of([[1, 2, 3, 4], [1, 9, 3, 4]])) == 1
    assert count_shared(rows_of([[1, 2, 3]])) == 0
    rest = behind(rows_of([[1, 2, 3, 4], [1, 2, 9]]), 2)
    assert [rest.row(at).tolist() for at in range(2)] == [[3, 4], [9]]
    assert LEAST_SHARED_TOKENS > 1


CLASSES = {"gpt2": (GPT2Config, GPT2LMHeadModel), "llama": (LlamaConfig, LlamaForCausalLM)}


@pytest.fixture(scope="module", params=["gpt2", "llama", "llama, head of its own"])
def pair(request, tmp_path_factory):
    """A tiny random model of `transformers`, saved to a folder, and ours loaded from there."""
    family, _, untied = request.param.partition(",")
    config_class, model_class = CLASSES[family]
    config = config_class(
        vocab_size=259, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
        initializer_range=0.3, bos_token_id=0, eos_token_id=2, tie_word_embeddings=not untied,
        **({"intermediate_size": 48, "num_key_value_heads": 2} if family == "llama" else {}),
    )  # fmt: skip
    torch.manual_seed(3)
    model = model_class(config).eval()
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer(), bos_token="[CLS]", eos_token="[SEP]")
    tokenizer.save_pretrained(folder)
    return model, load_backbone(FolderBackbone(kind="folder", path=folder), LoadRequest())


def peer_of(backbone):
    model = AutoModelForCausalLM.from_config(backbone.trunk.config, attn_implementation="eager").eval()
    model.base_model.load_state_dict(backbone.trunk.state_dict())
    if not backbone.output.tied:
        model.lm_head.weight.data.copy_(backbone.output.weight)
    return model


def by_hand(model, prompts, words):
    """The sum of log-softmax over a word's tokens, a prompt and a word at a time."""
    found = torch.zeros(len(prompts), len(words), dtype=torch.float64)
    for row in range(len(prompts)):
        begun = prompts.row(row).tolist()
        for place, word in enumerate(words):
            with torch.no_grad():
                logits = model(torch.tensor([[*begun, *word]])).logits[0].double()
            shares = logits[len(begun) - 1 : -1].log_softmax(dim=1)
            found[row, place] = sum(shares[at, token] for at, token in enumerate(word))
    return found


def test_likelihoods_are_those_of_transformers_own_model(pair):
    model, backbone = pair
    speaker, prompts = Speaker(backbone, CPU), rows_of(SHARED["a long head and uneven rests"])
    with torch.no_grad():
        head = read_opening(speaker, prompts)
    for words in (WORDS, [[70], [71]], [[71, 72]]):
        expected = by_hand(model, prompts, words)
        assert distance(likelihoods(speaker, prompts, head, words), expected) <= TOLERANCES["float32"]


def test_a_given_answer_is_judged_as_transformers_does(pair):
    model, backbone = pair
    rows, starts = [[*HEAD, 5, 6, 2], [5, 6, 7, 8, 2], [9, 2], [*HEAD[:4], 1]], [20, 1, 1, 5]
    encoded = rows_of(rows, starts)
    with torch.no_grad():
        read = read_prompts(Speaker(backbone, CPU), encoded.prompts(), [2, 0, 1, 3], Opening(0))
        losses = judge_answers(Speaker(backbone, CPU), read, [encoded.answer(row) for row in [2, 0, 1, 3]])
    for loss, row in zip(losses, [2, 0, 1], strict=False):
        labels = torch.tensor([[-100] * starts[row] + rows[row][starts[row] :]])
        with torch.no_grad():
            theirs = model(torch.tensor([rows[row]]), labels=labels).loss
        assert loss == pytest.approx(float(theirs), rel=1e-5)
    assert np.isnan(losses[3]), "a row without an answer has no loss"
    assert losses.dtype == np.float32


def test_greedy_answers_are_those_of_transformers(pair):
    model, backbone = pair
    speaker, prompts = Speaker(backbone, CPU), rows_of(SHARED["a long head and uneven rests"])
    with torch.no_grad():
        head = read_opening(speaker, prompts)
        read = read_prompts(speaker, prompts, range(3), head)
        texts, counts = write_answers(speaker, read, Sampling(10, ends=backbone.encoder.ends), [0, 1, 2])
    for row in range(3):
        ids = torch.from_numpy(prompts.row(row).astype(np.int64))[None]
        with torch.no_grad():
            done = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False, eos_token_id=2,
                pad_token_id=1,
            )[0, ids.shape[1] :].tolist()  # fmt: skip
        kept = done[: done.index(2)] if 2 in done else done
        assert (texts[row], counts[row]) == (backbone.encoder.tokenizer.decode(kept), len(kept))


def test_a_stop_text_is_told_after_leading_white_space(tiny_backbone):
    backbone = tiny_backbone("gpt")
    speaker, encode = Speaker(backbone, CPU), backbone.encoder.tokenizer.encode
    assert stops_at(speaker, ()) is None
    stop = stops_at(speaker, ("\n\n", "END"))
    ids = {text: encode(text, add_special_tokens=False).ids for text in ("\n\n a", "a\n\n", "a\n", "an END of")}
    assert {text: stop(own) for text, own in ids.items()} == {
        "\n\n a": False,
        "a\n\n": True,
        "a\n": False,
        "an END of": True,
    }


def test_the_first_tokens_alone_are_scored_by_the_prompts_own_pass(tiny_backbone):
    """Words of one token each cost no second pass."""
    backbone = tiny_backbone("gpt")
    speaker, prompts, passes = Speaker(backbone, CPU), rows_of(SHARED["all but the last token"]), []
    handle = backbone.trunk.register_forward_hook(lambda *_: passes.append(1))
    likelihoods(speaker, prompts, Opening(0), [[70], [71]])
    assert len(passes) == 1
    likelihoods(speaker, prompts, Opening(0), WORDS)
    assert len(passes) == 3
    handle.remove()
    shares = likelihoods(speaker, prompts, Opening(0), [[token] for token in range(259)])
    assert torch.allclose(shares.exp().sum(dim=1), torch.ones(3, dtype=torch.float64), atol=1e-5)
