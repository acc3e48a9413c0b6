"""The frozen prefix run once: the losses of running it every time, for every family; bounded, and never stale."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from whichtune.engine.fit import advance
from whichtune.engine.prefix_cache import FOLDER, Keeping, count_replayed, keep, key_prefix, make_room, with_prefix
from whichtune.spec.methods import MethodSpec

FAMILIES = ["bert", "roberta", "distilbert", "deberta-v2", "mpnet", "modernbert", "opt", "phi", "gpt2", "llama"]
BERT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
QUIET = dict.fromkeys(("bert", "roberta", "deberta-v2", "mpnet"), BERT)
QUIET["gpt2"] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
QUIET["distilbert"] = {"dropout": 0.0, "attention_dropout": 0.0}
QUIET["opt"] = {"dropout": 0.0}
LAST = TypeAdapter(MethodSpec).validate_python({"kind": "last-layers"})
STEPS = 20


class Losses(list):
    def on_step(self, figures, total):
        self.append(figures.loss)

    def on_validation(self, step, score, metrics):
        pass


@pytest.fixture
def keeping(tmp_path):
    return Keeping(tmp_path, 10**9, 8, "float32")


def count_runs(backbone):
    """Count how often something inside the first block is computed."""
    calls = []
    inside = next(one for one in backbone.blocks[0].modules() if one is not backbone.blocks[0])
    inside.register_forward_hook(lambda *_: calls.append(1))
    return calls


def take_steps(trial, steps=STEPS):
    run = trial.prepare()
    for _ in range(steps):
        advance(run)
    return list(trial.listeners[0])


@pytest.mark.parametrize("unpads", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_steps_have_the_losses_of_the_whole_trunk(tiny_backbone, tiny_trial, keeping, family, unpads):
    quiet = QUIET.get(family, {})
    losses = []
    for kept in (False, True):
        backbone = tiny_backbone(family, **quiet)
        backbone = replace(backbone, unpads=unpads and family in ("bert", "gpt2", "llama"))
        trial = tiny_trial(backbone, LAST, listeners=[Losses()], head_dropout=0.0, epochs=4)
        if kept:
            material, blocks = with_prefix(trial.assembly, trial.material, keeping)
            assert blocks == len(backbone.blocks) - 1
            trial = replace(trial, material=material)
            calls = count_runs(backbone)
        losses.append(take_steps(trial))
    assert not calls, "no frozen block runs again"
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(set(losses[0])) > 1


def test_a_whole_trial_predicts_alike_and_the_trunk_is_given_back(tiny_backbone, tiny_trial, keeping):
    tables = []
    for kept in (False, True):
        backbone = tiny_backbone("bert", **BERT)
        trial = tiny_trial(backbone, LAST, head_dropout=0.0)
        if kept:
            trial = replace(trial, material=with_prefix(trial.assembly, trial.material, keeping)[0])
        tables.append(trial.run().predictions)
        assert all("forward" not in vars(block) for block in backbone.blocks)
    for left, right in zip(*tables, strict=True):
        assert left.parsed == right.parsed
        assert np.allclose(left.probabilities, right.probabilities, atol=1e-5)


def test_a_second_trial_reads_what_the_first_one_computed(tiny_backbone, tiny_trial, keeping):
    backbone = tiny_backbone("bert")
    first = tiny_trial(backbone, LAST, seed=1)
    with_prefix(first.assembly, first.material, keeping)
    first.assembly.attachment.detach()
    files = {path: path.stat().st_ino for path in (keeping.cache / FOLDER).glob("*.npy")}
    assert len(files) == 3
    second = tiny_trial(backbone, LAST, seed=2)
    calls = count_runs(backbone)
    with_prefix(second.assembly, second.material, keeping)
    assert len(calls) <= 4, "one row of each split, to see what blocks return"
    assert {path: path.stat().st_ino for path in (keeping.cache / FOLDER).glob("*.npy")} == files


def test_a_file_that_another_process_takes_away_is_computed_again(tiny_backbone, tiny_trial, keeping, monkeypatch):
    backbone, gone = tiny_backbone("bert"), []
    rows = tiny_trial(backbone, LAST).material.encoded["train"]
    first = np.array(keep(backbone, rows, 1, keeping).rows)
    load = np.load

    def lose(place, *given, **named):
        if not gone:
            gone.append(place)
            place.unlink()
        return load(place, *given, **named)

    monkeypatch.setattr(np, "load", lose)
    assert np.array_equal(keep(backbone, rows, 1, keeping).rows, first)
    assert gone
    assert gone[0].is_file()


def test_other_weights_texts_blocks_or_arithmetic_have_other_files(tiny_backbone, tiny_trial, keeping):
    backbone = tiny_backbone("bert")
    encoded = tiny_trial(backbone, LAST).material.encoded
    rows = encoded["train"]
    keys = [
        key_prefix(backbone, rows, 1, keeping),
        key_prefix(replace(backbone, fingerprint="other"), rows, 1, keeping),
        key_prefix(backbone, encoded["test"], 1, keeping),
        key_prefix(backbone, rows, 2, keeping),
        key_prefix(backbone, rows, 1, replace(keeping, precision="bfloat16")),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == key_prefix(backbone, rows, 1, keeping)


def test_the_bound_holds_and_the_least_recently_used_go_first(tmp_path):
    for place, name in enumerate(("old", "used", "new")):
        path = tmp_path / f"{name}.npy"
        path.write_bytes(bytes(100))
        os.utime(path, (place, place))
    os.utime(tmp_path / "old.npy", (9, 9))
    make_room(tmp_path, 100, 350)
    assert sorted(path.stem for path in tmp_path.glob("*.npy")) == ["new", "old"]
    make_room(tmp_path, 350, 350)
    assert not list(tmp_path.glob("*.npy"))


def test_what_does_not_fit_into_the_bound_is_not_kept(tiny_backbone, tiny_trial, keeping):
    trial = tiny_trial(tiny_backbone("bert"), LAST)
    material, blocks = with_prefix(trial.assembly, trial.material, replace(keeping, most_bytes=1000))
    assert (material, blocks) == (trial.material, 0)
    assert not (keeping.cache / FOLDER).exists()


def test_a_computation_that_was_killed_leaves_nothing_that_is_read(tiny_backbone, tiny_trial, keeping, monkeypatch):
    backbone = tiny_backbone("bert")
    rows = tiny_trial(backbone, LAST).material.encoded["train"]
    own, calls = type(backbone).run, []

    def stop(self, *given, **how):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return own(self, *given, **how)

    with monkeypatch.context() as patch:
        patch.setattr(type(backbone), "run", stop)
        with pytest.raises(KeyboardInterrupt):
            keep(backbone, rows, 1, keeping)
    assert not list((keeping.cache / FOLDER).glob("*.npy"))
    table = keep(backbone, rows, 1, keeping)
    assert table.rows.shape == (len(rows.tokens), backbone.hidden)


@pytest.mark.parametrize(
    ("method", "blocks"),
    [
        ({"kind": "full"}, 0),
        ({"kind": "lora"}, 0),
        ({"kind": "prompt-tuning", "virtual_tokens": 2}, 0),
        ({"kind": "last-layers", "blocks": 1}, 1),
        ({"kind": "last-layers", "blocks": 2}, 0),
    ],
)
def test_only_blocks_below_all_that_trains_are_replayed(tiny_backbone, tiny_trial, method, blocks):
    trial = tiny_trial(tiny_backbone("bert"), TypeAdapter(MethodSpec).validate_python(method))
    assert count_replayed(trial.assembly) == blocks


def test_subsets_of_rows_read_their_own(tiny_backbone, tiny_trial, keeping):
    backbone = tiny_backbone("bert")
    rows = tiny_trial(backbone, LAST).material.encoded["train"]
    rows = replace(rows, prefix=keep(backbone, rows, 1, keeping))
    chosen = np.array([5, 2, 9])
    whole, part = rows.collate(chosen), rows.take(chosen).collate([0, 1, 2])
    assert torch.equal(whole.prefix.rows, part.prefix.rows)
    assert torch.equal(whole.prefix.rows[~whole.layout.real], torch.zeros_like(whole.prefix.rows[~whole.layout.real]))
