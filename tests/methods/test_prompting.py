"""Which examples stand in each row's prompt, and when two seeds may answer differently."""

import pytest
from pydantic import TypeAdapter

from whichtune.data.examples import Example
from whichtune.errors import DataError
from whichtune.methods.prompting import Prompting
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import TaskSpec
from whichtune.tasks.asking import make_asking

TRAIN = [Example(f"t{at}", "train", f"text {at}", ("bad", "good", "odd")[at % 3], f"o:{at}") for at in range(24)]
ITEMS = [Example(f"v{at}", "test", f"item {at}", "bad", f"o:{at}") for at in range(5)]
SUMMARIES = TypeAdapter(TaskSpec).validate_python({"kind": "summarization"})
LABELS = TypeAdapter(TaskSpec).validate_python({"kind": "instruction-classification"})


def chooser_of(seed=1, train=TRAIN, neighbours=None, stream=0, **method):
    spec = PromptingSpec(kind="prompting", style="few-shot", **method)
    recipe = make_asking(LABELS, ("bad", "good", "odd"), Columns(), spec).recipe
    return Prompting().choose(spec, recipe, train, Streams(seed, stream), neighbours)


def names(chooser, items=ITEMS):
    return {item.id: [one.id for one in chooser.choose(item)] for item in items}


def test_fixed_examples_are_the_same_for_every_row():
    chooser = chooser_of()
    told = names(chooser)
    assert len({tuple(own) for own in told.values()}) == 1
    assert [one.id for one in chooser.fixed()] == told["v0"]
    assert len(set(told["v0"])) == 4


def test_each_row_can_have_its_own():
    chooser = chooser_of(shots={"choice": "per-item", "count": 3})
    assert len({tuple(own) for own in names(chooser).values()}) > 1
    assert chooser.fixed() == ()


@pytest.mark.parametrize("choice", ["fixed", "per-item"])
def test_a_draw_depends_on_seed_stream_pool_and_row_alone(choice):
    told = names(chooser_of(shots={"choice": choice}))
    assert names(chooser_of(shots={"choice": choice}, train=TRAIN[::-1])) == told
    assert names(chooser_of(shots={"choice": choice}), ITEMS[::-2]) == {name: told[name] for name in ("v4", "v2", "v0")}
    assert names(chooser_of(shots={"choice": choice}, seed=2)) != told
    assert names(chooser_of(shots={"choice": choice}, stream=1)) != told
    assert names(chooser_of(shots={"choice": choice}, train=TRAIN[1:])) != told


def test_balanced_examples_have_as_many_of_each_label():
    for choice in ("fixed", "per-item"):
        chooser = chooser_of(shots={"choice": choice, "count": 6})
        for item in ITEMS:
            golds = [one.gold for one in chooser.choose(item)]
            assert {gold: golds.count(gold) for gold in golds} == {"bad": 2, "good": 2, "odd": 2}


def test_the_nearest_stand_last_and_no_seed_moves_them():
    near = {item.id: [f"t{(at * 3 + step) % 24}" for step in range(24)] for at, item in enumerate(ITEMS)}
    options = {"shots": {"choice": "nearest", "balanced": False, "count": 2}}
    find = lambda item, count: near[item.id][:count]  # noqa: E731
    told = names(chooser_of(neighbours=find, **options))
    assert told == {item.id: [f"t{at * 3 + 1}", f"t{at * 3}"] for at, item in enumerate(ITEMS)}
    assert names(chooser_of(neighbours=find, seed=9, train=TRAIN[::-1], **options), ITEMS[:2]) == {
        name: told[name] for name in ("v0", "v1")
    }


def test_more_examples_than_rows_are_refused():
    with pytest.raises(DataError, match=r"4 examples are asked for, the pool has 3"):
        chooser_of(train=TRAIN[:3])


@pytest.mark.parametrize(
    ("task", "method", "needs", "draws"),
    [
        (LABELS, {}, False, False),
        (LABELS, {"style": "expert"}, False, False),
        (LABELS, {"style": "chain-of-thought", "wording": "inference"}, False, False),
        (LABELS, {"style": "one-shot"}, False, True),
        (LABELS, {"style": "few-shot", "shots": {"choice": "per-item"}}, False, True),
        (LABELS, {"style": "few-shot", "shots": {"choice": "nearest"}}, True, False),
        (LABELS, {"style": "few-shot", "shots": {"count": 0}}, False, False),
        (LABELS, {"style": "zero-shot", "shots": {"count": 2}}, False, True),
        (SUMMARIES, {}, False, False),
        (SUMMARIES, {"decoding": {"temperature": 0.5}}, False, True),
        (SUMMARIES, {"style": "few-shot", "shots": {"choice": "nearest"}, "decoding": {"temperature": 1}}, True, True),
    ],
)
def test_seeds_matter_where_examples_or_tokens_are_drawn(task, method, needs, draws):
    spec = PromptingSpec.model_validate({"kind": "prompting"} | method)
    labels = ("contradiction", "entailment", "neutral") if task is LABELS else ()
    columns = Columns(pair="hypothesis") if "wording" in method else Columns()
    recipe = make_asking(task, labels, columns, spec).recipe
    assert Prompting().needs_neighbours(spec, recipe) is needs
    assert Prompting().draws(spec, task) is draws


def test_a_task_that_samples_makes_its_prompters_draw():
    task = TypeAdapter(TaskSpec).validate_python({"kind": "summarization", "decoding": {"temperature": 0.7}})
    assert Prompting().draws(PromptingSpec(kind="prompting"), task)
    assert not Prompting().draws(PromptingSpec(kind="prompting", decoding={"temperature": 0}), task)
