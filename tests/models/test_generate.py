"""Writing on: against `transformers`' own generation, in batches and alone, greedy and sampled."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from whichtune.errors import ModelError
from whichtune.models import generate as generation
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Encoded, collate
from whichtune.models.causal import run_behind, score_tokens
from whichtune.models.families import TEXT_FAMILIES
from whichtune.models.generate import Sampling, generate, stream_behind, stream_tokens, write_behind
from whichtune.models.gpt import Gpt, translate_gpt2
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone

CAUSAL = ("gemma", "gemma2", "gpt", "gpt2", "llama", "mistral", "opt", "phi", "qwen2", "qwen3")
LENGTHS = (3, 11, 7, 1)
GREEDY = Sampling(max_new_tokens=9)


def make(family, **config):
    spec = RandomBackbone(kind="random", family=family, config={"initializer_range": 0.2} | config)
    return load_backbone(spec, LoadRequest())


def texts(lengths=LENGTHS):
    draw = torch.Generator().manual_seed(4)
    ids = [torch.randint(3, 259, (length,), generator=draw).numpy().astype(np.int32) for length in lengths]
    return Encoded(np.concatenate(ids), np.cumsum([0, *lengths]), np.full(len(lengths), -1))


def complete(backbone, rows, sampling, side="left", **options):
    batch = collate(texts(), rows, side=side)
    return generate(backbone, backbone.embed(batch), batch.layout, sampling, **options)


def peer_of(backbone):
    """`transformers`' model of the same weights, output head included."""
    if isinstance(backbone.trunk, Gpt):
        return None
    model = AutoModelForCausalLM.from_config(backbone.trunk.config, attn_implementation="eager").eval()
    model.base_model.load_state_dict(backbone.trunk.state_dict())
    if not backbone.output.tied:
        model.lm_head.weight.data.copy_(backbone.output.weight)
        if model.lm_head.bias is not None:
            model.lm_head.bias.data.zero_()
    return model


def test_the_causal_families_are_those_that_pool_the_last_row():
    from whichtune.models.language import predicts_tokens

    found = {family for family in TEXT_FAMILIES if predicts_tokens(make(family).config)}
    assert found == set(CAUSAL)


@pytest.mark.parametrize("family", [family for family in CAUSAL if family != "gpt"])
def test_greedy_completions_and_scores_are_the_librarys(family):
    backbone = make(family)
    model, encoded = peer_of(backbone), texts()
    together = complete(backbone, range(4), GREEDY)
    for row in range(4):
        ids = torch.from_numpy(encoded.row(row).astype(np.int64))[None]
        batch = collate(encoded, [row])
        with torch.no_grad():
            scores = score_tokens(backbone, backbone.run(backbone.embed(batch), batch.layout))
            theirs = model(ids).logits
            written = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=9, do_sample=False, eos_token_id=None,
                pad_token_id=0,
            )  # fmt: skip
        assert (scores - theirs).abs().max() < 1e-4 * theirs.std()
        assert together[row].tokens == tuple(written[0, ids.shape[1] :].tolist())
        assert not together[row].ended


def test_the_gpt_written_here_writes_what_transformers_does():
    theirs = make("gpt2")
    ours = make("gpt")
    ours.trunk.load_state_dict(translate_gpt2(theirs.trunk.state_dict(), 2))
    assert complete(ours, range(4), GREEDY) == complete(theirs, range(4), GREEDY)
    drawn = Sampling(max_new_tokens=9, temperature=1.3, top_k=40, seed=3)
    assert complete(ours, range(4), drawn) == complete(theirs, range(4), drawn)


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(9, temperature=2.0, top_p=0.9, seed=5)], ids=["greedy", "drawn"])
def test_a_batch_padded_on_either_side_gives_what_each_text_gives_alone(family, sampling):
    backbone = make(family)
    alone = [complete(backbone, [row], sampling, keys=[row])[0] for row in range(4)]
    assert complete(backbone, range(4), sampling, "left") == alone
    assert complete(backbone, range(4), sampling, "right") == alone
    assert len({one.tokens for one in alone}) == 4


def test_a_window_narrower_than_the_text_does_not_see_the_padding():
    backbone = make("mistral", sliding_window=4)
    alone = [complete(backbone, [row], GREEDY, keys=[row])[0] for row in range(4)]
    assert complete(backbone, range(4), GREEDY, "right") == alone
    assert alone != [complete(make("mistral"), [row], GREEDY)[0] for row in range(4)]


def test_virtual_rows_in_front_are_read_and_leave_batches_alone():
    backbone = make("llama")
    front = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))

    def write(rows, side):
        batch = collate(texts(), rows, side=side)
        embedded = torch.cat([front.expand(len(rows), -1, -1), backbone.embed(batch)], dim=1)
        return generate(backbone, embedded, batch.layout.prepend(3), GREEDY)

    alone = [write([row], "right")[0] for row in range(4)]
    assert write([0, 1, 2, 3], "left") == write([0, 1, 2, 3], "right") == alone
    assert alone != complete(backbone, range(4), GREEDY)


@pytest.mark.filterwarnings("ignore:Passing `no_repeat_ngram_size`:UserWarning")
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize(
    "limits",
    [
        {"min_new_tokens": 5},
        {"no_repeat_ngram": 1},
        {"no_repeat_ngram": 3},
        {"min_new_tokens": 20, "no_repeat_ngram": 2},
    ],
    ids=["least", "no token twice", "no three twice", "both"],
)
def test_greedy_completions_within_limits_are_the_librarys(family, limits):
    # Narrow initial weights make a model repeat itself.
    backbone = make(family, initializer_range=0.05)
    free = complete(backbone, range(4), Sampling(20))
    ends = (free[0].tokens[1], free[2].tokens[2])
    sampling = Sampling(20, ends=ends, **limits)
    together = complete(backbone, range(4), sampling)
    assert together != complete(backbone, range(4), Sampling(20, ends=ends))
    for row in range(4):
        batch = collate(texts(), [row])
        written = peer_of(backbone).generate(
            inputs_embeds=backbone.embed(batch), attention_mask=batch.layout.real.long(), do_sample=False,
            max_new_tokens=20, min_new_tokens=sampling.min_new_tokens or None, eos_token_id=list(ends), pad_token_id=0,
            no_repeat_ngram_size=sampling.no_repeat_ngram or None,
        )[0].tolist()  # fmt: skip
        place = next((at for at, token in enumerate(written) if token in ends), None)
        assert (together[row].tokens, together[row].ended) == (tuple(written[:place]), place is not None)
        assert complete(backbone, [row], sampling) == [together[row]]


def test_limits_hold_for_draws_as_well():
    backbone = make("gpt")
    ends = tuple(range(3, 250))
    drawn = complete(backbone, range(4), Sampling(9, temperature=2.0, ends=ends, min_new_tokens=4, no_repeat_ngram=1))
    assert all(len(one.tokens) >= 4 and len(set(one.tokens)) == len(one.tokens) for one in drawn)
    assert any(one.ended for one in drawn)


def test_a_stop_rule_ends_its_own_sequence_and_is_told_the_new_tokens():
    backbone = make("gpt")
    free = complete(backbone, range(4), GREEDY)
    wanted = free[1].tokens[:3]
    told = []

    def stop(tokens):
        told.append(tuple(tokens))
        return tuple(tokens[-3:]) == wanted

    stopped = complete(backbone, range(4), Sampling(9, stop=stop))
    assert [one.tokens for one in stopped] == [free[0].tokens, wanted, free[2].tokens, free[3].tokens]
    assert not any(one.ended for one in stopped)
    assert len(told) == len(set(told)) == 9 + 3 + 9 + 9
    assert len(complete(backbone, [1], Sampling(9, stop=stop))[0].tokens) == 3


@pytest.mark.parametrize("family", ["gpt", "gpt2", "llama"])
@pytest.mark.parametrize(
    "sampling",
    [GREEDY, Sampling(9, temperature=2.0, seed=5), Sampling(9, beams=3), Sampling(9, no_repeat_ngram=1)],
    ids=["greedy", "drawn", "beams", "no repeats"],
)
def test_writing_on_behind_what_items_share_gives_what_whole_texts_get(family, sampling):
    backbone, encoded = make(family), texts()
    joined = [np.concatenate([encoded.row(1), encoded.row(row)]) for row in (0, 2, 3)]
    whole = collate(Encoded(np.concatenate(joined), np.cumsum([0, *map(len, joined)]), np.full(3, -1)), range(3))
    expected = generate(backbone, backbone.embed(whole), whole.layout, sampling, keys=[4, 5, 6])
    shared, items = collate(encoded, [1]), collate(encoded, [0, 2, 3], side="left")
    behind = collate(encoded, [0, 2, 3], side="right")
    with torch.no_grad():
        _, state = run_behind(backbone, backbone.embed(shared), shared.layout)
        for batch, last in ((items, torch.full((3,), 6)), (behind, torch.tensor([2, 6, 0]))):
            hidden, after = run_behind(backbone, backbone.embed(batch), batch.layout, state.repeated(3))
            row = hidden[torch.arange(3), last]
            assert write_behind(backbone, row, after.repeated(), sampling, keys=[4, 5, 6]) == expected
            assert write_behind(backbone, row, after, sampling, keys=[4, 5, 6]) == expected


def test_streaming_behind_a_state_gives_the_same_steps():
    backbone = make("llama")
    batch = collate(texts(), range(4), side="left")
    with torch.no_grad():
        hidden, state = run_behind(backbone, backbone.embed(batch), batch.layout)
    steps = list(stream_behind(backbone, hidden[:, -1], state, GREEDY))
    tokens = torch.stack([step.tokens for step in steps], dim=1).tolist()
    assert [one.tokens for one in complete(backbone, range(4), GREEDY)] == [tuple(own) for own in tokens]
    with torch.no_grad():
        hidden, state = run_behind(backbone, backbone.embed(batch), batch.layout)
    with pytest.raises(ModelError, match=r"11 rows and 120 new tokens"):
        write_behind(backbone, hidden[:, -1], state, Sampling(120))


def count_running(lengths):
    """Yield the rows of each pass: those that are done are left out where half of them are."""
    running = len(lengths)
    for step in range(1, 9):
        live = sum(length > step for length in lengths)
        if not live:
            return
        running = live if live <= running / 2 else running
        yield running


def test_the_rows_of_passes_are_counted_by_hand():
    assert list(count_running([2, 9, 1, 5])) == [4, 2, 2, 2, 1, 1, 1, 1]
    assert list(count_running([1, 1])) == []


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_sequences_that_are_done_are_left_out_and_the_others_go_on_as_before(family, temperature, monkeypatch):
    backbone, sampling = make(family), Sampling(9, temperature=temperature, seed=5)
    free = [one.tokens for one in complete(backbone, range(4), sampling)]
    ends = {free[row][:length] for row, length in enumerate((2, 9, 1, 5))}
    expected = [next(one[:count] for count in range(1, 10) if one[:count] in ends) for one in free]
    ran, own = [], generation.run_token

    def run(backbone, tokens, state):
        ran.append(len(tokens))
        return own(backbone, tokens, state)

    monkeypatch.setattr(generation, "run_token", run)
    stopping = replace(sampling, stop=lambda tokens: tuple(tokens) in ends)
    for side in ("left", "right"):
        ran.clear()
        found = [one.tokens for one in complete(backbone, range(4), stopping, side)]
        assert found == expected
        assert ran == list(count_running([len(one) for one in expected]))


def test_an_end_token_ends_its_own_sequence_and_is_left_out():
    backbone = make("gpt")
    free = complete(backbone, range(4), GREEDY)
    end = free[1].tokens[2]
    first = [one.tokens.index(end) if end in one.tokens else None for one in free]
    stopped = complete(backbone, range(4), Sampling(9, ends=(end,)))
    for one, before, place in zip(stopped, free, first, strict=True):
        assert one.tokens == before.tokens[:place]
        assert one.ended == (place is not None)
    padded = make("gpt2", pad_token_id=5, eos_token_id=5)
    assert complete(padded, range(4), GREEDY) == complete(make("gpt2"), range(4), GREEDY), "pad ids mean nothing"


def test_writing_stops_when_every_sequence_has_ended():
    backbone = make("gpt")
    batch = collate(texts(), [0])
    end = complete(backbone, [0], GREEDY)[0].tokens[0]
    steps = list(stream_tokens(backbone, backbone.embed(batch), batch.layout, Sampling(9, ends=(end,))))
    assert [step.tokens.tolist() for step in steps] == [[end]]


def test_streaming_leaves_the_callers_gradients_on():
    backbone = make("gpt")
    batch = collate(texts(), [0])
    for _ in stream_tokens(backbone, backbone.embed(batch), batch.layout, Sampling(2)):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("family", ["gpt", "gpt2", "llama", "gemma2"])
def test_what_items_share_is_run_once(family):
    backbone = make(family)
    encoded = texts()
    shared, items = collate(encoded, [1]), collate(encoded, [0, 2, 3])
    joined = [np.concatenate([encoded.row(1), encoded.row(row)]) for row in (0, 2, 3)]
    whole = Encoded(np.concatenate(joined), np.cumsum([0, *map(len, joined)]), np.full(3, -1))
    batch = collate(whole, range(3))
    with torch.no_grad():
        _, state = run_behind(backbone, backbone.embed(shared), shared.layout)
        for _ in range(2):
            hidden, after = run_behind(backbone, backbone.embed(items), items.layout, state.repeated(3))
        plain = backbone.run(backbone.embed(batch), batch.layout)
    assert after.lengths.tolist() == [14, 18, 12]
    assert state.lengths.tolist() == [11]
    for row, real in enumerate(items.layout.real):
        expected = plain[row][batch.layout.real[row]][11:]
        assert (hidden[row][real] - expected).abs().max() < 1e-4 * plain.std()


def test_the_seed_and_the_key_decide_the_draws():
    backbone = make("gpt")
    one = Sampling(9, temperature=2.0, seed=1)
    assert complete(backbone, [0, 1], one) == complete(backbone, [0, 1], one)
    assert complete(backbone, [0, 1], one) != complete(backbone, [0, 1], Sampling(9, temperature=2.0, seed=2))
    assert complete(backbone, [0], one, keys=[7]) != complete(backbone, [0], one, keys=[8])


def test_what_does_not_fit_or_is_no_language_model_is_one_clear_error():
    with pytest.raises(ModelError, match=r"11 rows and 120 new tokens.*at most 128"):
        complete(make("gpt"), range(4), Sampling(120))
    with pytest.raises(ModelError, match=r"'bert' scores no next token"):
        complete(make("bert"), range(4), GREEDY)
    backbone = make("gpt")
    backbone.trunk.train()
    with pytest.raises(ValueError, match="train mode"):
        complete(backbone, range(4), GREEDY)
