"""Beam search: against `transformers`' own and against all completions counted out, in batches and alone."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from whichtune.errors import ModelError
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Encoded, collate
from whichtune.models.causal import run_behind, score_tokens
from whichtune.models.generate import Sampling, embed_tokens, generate, stream_tokens, write_behind
from whichtune.models.gpt import translate_gpt2
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone

LENGTHS = (3, 11, 7, 1)
ENDS = tuple(range(100, 130))
"""Many, so that random models come upon one."""


def make(family, **config):
    spec = RandomBackbone(kind="random", family=family, config={"initializer_range": 0.2} | config)
    return load_backbone(spec, LoadRequest())


def texts():
    draw = torch.Generator().manual_seed(4)
    ids = [torch.randint(3, 259, (length,), generator=draw).numpy().astype(np.int32) for length in LENGTHS]
    return Encoded(np.concatenate(ids), np.cumsum([0, *LENGTHS]), np.full(len(LENGTHS), -1))


def complete(backbone, rows, sampling, side="left"):
    batch = collate(texts(), rows, side=side)
    return generate(backbone, backbone.embed(batch), batch.layout, sampling)


def peer_of(backbone):
    model = AutoModelForCausalLM.from_config(backbone.trunk.config, attn_implementation="eager").eval()
    model.base_model.load_state_dict(backbone.trunk.state_dict())
    if not backbone.output.tied:
        model.lm_head.weight.data.copy_(backbone.output.weight)
    return model


def search_as_the_library(backbone, row, sampling):
    """Told embedded rows, so that it counts repeats in the new tokens alone."""
    batch = collate(texts(), [row])
    ends = list(sampling.ends)
    written = peer_of(backbone).generate(
        inputs_embeds=backbone.embed(batch), attention_mask=batch.layout.real.long(), do_sample=False, pad_token_id=0,
        max_new_tokens=sampling.max_new_tokens, min_new_tokens=sampling.min_new_tokens or None,
        no_repeat_ngram_size=sampling.no_repeat_ngram or None, num_beams=sampling.beams,
        length_penalty=sampling.length_penalty, early_stopping=False, eos_token_id=ends or None,
    )[0].tolist()  # fmt: skip
    place = next((at for at, token in enumerate(written) if token in ends), None)
    return tuple(written[:place]), place is not None


SEARCHES = {
    "plain": Sampling(9, beams=3),
    "ends": Sampling(14, beams=4, ends=ENDS),
    "one end": Sampling(14, beams=2, ends=ENDS[:1]),
    "long": Sampling(14, beams=4, ends=ENDS, length_penalty=2.5),
    "short": Sampling(14, beams=4, ends=ENDS, length_penalty=-1.0),
    "unweighed": Sampling(14, beams=3, ends=ENDS, length_penalty=0.0),
    "least": Sampling(14, beams=3, ends=ENDS, min_new_tokens=4),
    "no repeats": Sampling(14, beams=3, no_repeat_ngram=2),
    "all": Sampling(14, beams=5, ends=ENDS, no_repeat_ngram=1, min_new_tokens=3, length_penalty=1.3),
}


@pytest.mark.filterwarnings("ignore:Passing `no_repeat_ngram_size`:UserWarning")
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("name", SEARCHES)
def test_completions_are_the_librarys_in_batches_and_alone(family, name):
    backbone, sampling = make(family), SEARCHES[name]
    together = complete(backbone, range(4), sampling)
    assert complete(backbone, range(4), sampling, "right") == together
    for row in range(4):
        assert (together[row].tokens, together[row].ended) == search_as_the_library(backbone, row, sampling)
        assert complete(backbone, [row], sampling) == [together[row]]
    assert sampling.ends or not any(one.ended for one in together)


def test_searches_differ_from_greedy_ones_and_from_each_other():
    backbone = make("gpt2")
    found = {name: tuple(complete(backbone, range(4), sampling)) for name, sampling in SEARCHES.items()}
    assert len(set(found.values())) >= len(found) - 1
    assert found["plain"] != tuple(complete(backbone, range(4), Sampling(9)))
    assert any(one.ended and len(one.tokens) < 14 for one in found["ends"])
    lengths = {name: sum(len(one.tokens) for one in found[name]) for name in ("short", "ends", "long")}
    assert lengths["short"] < lengths["ends"] <= lengths["long"]
    assert all(len(one.tokens) >= 4 for one in found["least"])


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_with_a_beam_for_every_token_the_best_of_all_completions_is_found(penalty):
    backbone, ends = make("gpt"), tuple(range(3, 200))
    sampling = Sampling(2, beams=259, ends=ends, length_penalty=penalty)
    batch = collate(texts(), [1])
    with torch.no_grad():
        hidden, state = run_behind(backbone, backbone.embed(batch), batch.layout)
        first = score_tokens(backbone, hidden[:, -1]).log_softmax(dim=1)[0]
        every = torch.arange(len(first))
        single = collate(Encoded(every.numpy().astype(np.int32), np.arange(len(first) + 1), every.numpy()), every)
        after, _ = run_behind(backbone, embed_tokens(backbone, single.ids), single.layout, state.repeated(len(first)))
        sums = first[:, None] + score_tokens(backbone, after[:, -1]).log_softmax(dim=1)
        found = write_behind(backbone, hidden[:, -1], state, sampling)
    weighed = {(one,): float(first[one]) for one in ends}
    for place in sums.flatten().topk(60).indices.tolist():
        pair = divmod(place, len(first))
        if pair[0] not in ends:
            weighed[pair] = float(sums[pair]) / 2**penalty
    best = max(weighed, key=weighed.__getitem__)
    assert found[0].tokens == tuple(token for token in best if token not in ends)


def test_the_gpt_written_here_and_a_deep_copy_of_its_state_give_the_same():
    theirs, ours = make("gpt2"), make("gpt")
    ours.trunk.load_state_dict(translate_gpt2(theirs.trunk.state_dict(), 2))
    sampling = SEARCHES["all"]
    expected = complete(theirs, range(4), sampling)
    assert complete(ours, range(4), sampling) == expected
    batch = collate(texts(), range(4), side="left")
    for backbone in (ours, theirs):
        with torch.no_grad():
            hidden, state = run_behind(backbone, backbone.embed(batch), batch.layout)
        assert write_behind(backbone, hidden[:, -1], state.repeated(), sampling) == expected
        assert write_behind(backbone, hidden[:, -1], state, sampling) == expected


@pytest.mark.parametrize("family", ["gemma2", "mistral"])
def test_families_with_windows_search_in_batches_as_alone(family):
    backbone = make(family, sliding_window=4)
    sampling = SEARCHES["ends"]
    alone = [complete(backbone, [row], sampling)[0] for row in range(4)]
    assert complete(backbone, range(4), sampling, "right") == alone


@pytest.mark.parametrize("family", ["gpt", "llama"])
def test_chosen_sequences_stand_where_they_stood(family):
    backbone = make(family)
    batch = collate(texts(), range(4), side="left")
    rows = torch.tensor([2, 0, 2])
    token = collate(Encoded(np.full(3, 65, np.int32), np.arange(4), np.zeros(3)), range(3))
    with torch.no_grad():
        _, state = run_behind(backbone, backbone.embed(batch), batch.layout)
        _, other = run_behind(backbone, backbone.embed(batch), batch.layout)
        whole = collate(Encoded(np.full(4, 65, np.int32), np.arange(5), np.zeros(4)), range(4))
        expected, _ = run_behind(backbone, backbone.embed(whole), whole.layout, other)
        chosen = state.chosen(rows)
        hidden, after = run_behind(backbone, backbone.embed(token), token.layout, chosen)
    assert chosen.lengths.tolist() == [7, 3, 7]
    assert after.lengths.tolist() == [8, 4, 8]
    assert (hidden - expected[rows]).abs().max() < 1e-5 * expected.std()


def test_a_stop_rule_ends_a_beam_and_is_no_end_of_its_own():
    backbone = make("gpt")
    seen = []

    def stop(tokens):
        seen.append(tuple(tokens))
        return len(tokens) >= 5

    found = complete(backbone, range(4), Sampling(9, beams=3, stop=stop))
    assert found == complete(backbone, range(4), Sampling(5, beams=3))
    assert not any(one.ended for one in found)
    assert max(map(len, seen)) == 5
    everywhere = complete(backbone, range(4), Sampling(9, beams=3, stop=lambda tokens: True))
    assert everywhere == complete(backbone, range(4), Sampling(1))


def test_a_search_with_nowhere_to_go_gives_what_it_has():
    backbone = make("gpt")
    every = tuple(range(1, backbone.module(backbone.anatomy.tokens).num_embeddings))
    sampling = Sampling(9, beams=2, min_new_tokens=9, ends=every, no_repeat_ngram=1)
    assert complete(backbone, [0], sampling)[0].tokens == (0,)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"beams": 0}, "beams"),
        ({"beams": 2, "temperature": 1.0}, "temperature with several beams"),
        ({"length_penalty": float("nan")}, "length_penalty"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, word):
    with pytest.raises(ModelError, match=word):
        Sampling(**fields)


def test_beams_cannot_be_streamed():
    backbone = make("gpt")
    batch = collate(texts(), [0])
    with pytest.raises(ModelError, match=r"streamed.*beams"):
        next(stream_tokens(backbone, backbone.embed(batch), batch.layout, Sampling(beams=2)))
