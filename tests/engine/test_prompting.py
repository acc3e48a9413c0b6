"""A prompter's trial: the same prompt for a row whatever stands beside it, and answers of the untouched model."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.prompting import PrompterTrial, prepare_asking
from whichtune.engine.speaking import Speaker
from whichtune.engine.trial import Material
from whichtune.errors import DataError, ModelError
from whichtune.measure.clock import PhaseClock
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import Columns

CPU = Arithmetic("float32", torch.device("cpu"))
STYLE = {"query": "{{ text }} =>", "example": "{{ text }} => {{ answer }}", "separator": "\n", "examples": 4}
SHORT_WORDS = ("oak", "elm", "ash", "fir", "yew", "bay")


@pytest.fixture(scope="module")
def data():
    draw = random.Random(5)
    sizes = {"train": 30, "validation": 6, "test": 12}
    examples = {
        split: tuple(
            Example(
                f"{split}:{at}", split, " ".join(draw.choices(SHORT_WORDS, k=1 + at % 3)) + f" {at}", "xyz"[at % 3], "o"
            )
            for at in range(size)
        )
        for split, size in sizes.items()
    }
    return DataSet(examples, ("x", "y", "z"), "made", DataReport("made", {}))


@pytest.fixture(scope="module")
def asks(data, tiny_backbone, ask_in_words):
    """Make a prompter's trial on a tiny model, over these data or others."""
    backbone = tiny_backbone("gpt2", n_positions=256)
    task = ask_in_words(labels=("x", "y", "z"), decoding={"max_new_tokens": 4})

    def make(over=None, seed=1, batch=8, neighbours=None, **method):
        material = Material(task, over or data)
        spec = PromptingSpec.model_validate({"kind": "prompting", "template": STYLE} | method)
        streams = Streams(seed, spec.stream)
        asking = prepare_asking(spec, material, Columns(), streams, neighbours)
        return PrompterTrial(Speaker(backbone, CPU), material, asking, streams, batch)

    return make


def told_by(trial):
    """The test split's columns by row."""
    table = trial.run(PhaseClock()).predictions[1]
    columns = (table.prompt_hash, table.raw, table.loss.tolist())
    return {name: own for name, *own in zip(table.ids, *columns, strict=True)}


def near(item, count):
    """Pool rows in an order of the row's own."""
    start = int(item.id.partition(":")[2])
    return [f"train:{(start + step) % 30}" for step in range(count)]


@pytest.mark.parametrize("choice", ["fixed", "per-item", "nearest"])
def test_a_rows_prompt_is_the_same_under_shuffling_subsetting_and_batching(choice, asks, data):
    shots = {"choice": choice}
    told = told_by(asks(shots=shots, neighbours=near))
    rows = list(data.examples["test"])
    random.Random(1).shuffle(rows)
    train = data.examples["train"][::-1]
    for changed in (rows, rows[:5], rows[:1]):
        over = replace(data, examples={**data.examples, "train": train, "test": tuple(changed)})
        for batch in (1, 3, 32):
            found = told_by(asks(over, batch=batch, shots=shots, neighbours=near))
            assert set(found) == {row.id for row in changed}
            for name, (prompt, raw, loss) in found.items():
                assert (prompt, raw) == (told[name][0], told[name][1])
                assert loss == pytest.approx(told[name][2], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("choice", ["fixed", "per-item", "nearest"])
def test_prompts_change_with_the_seed_where_examples_are_drawn(choice, asks):
    first, same, other = (
        {name: own[0] for name, own in told_by(asks(seed=seed, shots={"choice": choice}, neighbours=near)).items()}
        for seed in (1, 1, 2)
    )
    assert first == same
    if choice == "nearest":
        assert first == other
    else:
        assert all(first[name] != other[name] for name in first)


def test_fixed_examples_are_run_once(asks, data):
    """With them all prompts begin alike, and the trunk sees their tokens once a split."""
    seen = []
    for choice in ("fixed", "per-item"):
        trial = asks(shots={"choice": choice})
        handle = trial.speaker.backbone.trunk.register_forward_pre_hook(
            lambda module, args, kwargs: seen[-1].append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
        )
        seen.append([])
        trial.run(PhaseClock())
        handle.remove()
    assert sum(seen[0]) < sum(seen[1]) / 2


def test_prompts_stand_in_the_outcome_with_their_cuts_and_costs(asks, data):
    trial = asks()
    outcome = trial.run(PhaseClock())
    assert [table.split for table in outcome.predictions] == ["validation", "test"]
    assert set(outcome.encoded) == {"validation", "test"}
    for table in outcome.predictions:
        assert table.tokens_in.tolist() == outcome.encoded[table.split].starts.tolist()
        assert (table.tokens_out > 0).all()
        assert np.isfinite(table.loss).all()
    assert (outcome.steps, outcome.merged, outcome.kept_step) == (None, None, None)
    assert sum(encoded.cut for encoded in outcome.encoded.values()) == 0
    long = replace(data.examples["test"][0], text="oak " * 100)
    over = replace(data, examples={**data.examples, "test": (long, *data.examples["test"][1:])})
    encoded = asks(over).run(PhaseClock()).encoded
    assert (encoded["test"].over_long, encoded["validation"].over_long) == ((0,), ())


def test_a_prompt_without_examples_needs_no_training_rows(asks, data):
    bare = replace(data, examples={**data.examples, "train": ()})
    style = STYLE | {"examples": 0}
    assert told_by(asks(bare, template=style)) == told_by(asks(template=style))
    with pytest.raises(Exception, match="4 examples are asked for, the pool has 0"):
        asks(bare)


def test_the_model_is_left_as_it_was(asks):
    trial = asks()
    trunk = trial.speaker.backbone.trunk
    trunk.train()
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    trial.run(PhaseClock())
    assert trunk.training
    trunk.eval()
    assert all(torch.equal(before[name], tensor) for name, tensor in trunk.state_dict().items())


def test_answers_that_would_fill_the_context_are_refused(asks):
    with pytest.raises(ModelError, match=r"decoding\.max_new_tokens"):
        asks(decoding={"max_new_tokens": 256}).run(PhaseClock())


def test_a_worked_example_that_is_asked_about_is_refused(asks, data):
    asked = data.examples["test"][3]
    worked = [{"text": f" {asked.text}", "reasoning": "It is so.", "answer": "x"}]
    own = {"ask": "Which?", "worked": worked}
    style = STYLE | {"worked": True, "examples": 1}
    with pytest.raises(DataError, match="split, is a worked example of the prompt"):
        asks(template=style, own_wording=own)
    own["worked"][0]["text"] = "a birch"
    assert asks(template=style, own_wording=own).asking.recipe.style.worked
