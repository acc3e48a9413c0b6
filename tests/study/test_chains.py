"""Which searches may go on at the same time."""

import pytest

from whichtune.spec.read import resolve_study
from whichtune.study.chains import chain_searches
from whichtune.study.plan import Fingerprints
from whichtune.study.searching import Result
from whichtune.study.stages import ask_searches, list_searches, next_trials

KNOWN = Fingerprints("rows", {"one": "w1", "two": "w2", "copy": "w1"}, {"one": "t", "two": "t", "copy": "t"})
RANKS = {"search": {"learning_rate": [], "rank": [2, 4]}}

DEEP = {"kind": "p-tuning", "deep": True}
WITH_ENCODER = DEEP | {"search": {"learning_rate": [], "encoder": ["mlp", "none"]}}
WITH_TOKENS = DEEP | {"encoder": "none", "search": {"learning_rate": [], "virtual_tokens": [10, 20]}}


def make_study(methods, backbones=("one",)):
    raw = {
        "name": "s",
        "data": {"source": {"kind": "tweets"}},
        "backbones": {name: {"kind": "minilm"} for name in backbones},
        "methods": methods,
        "search": {"trials": 2, "best": 1, "repeats": 0, "own": False},
        "contender_seeds": 0,
    }
    return resolve_study(raw)


def chain(study):
    return chain_searches(study, KNOWN, list_searches(study), beside=True)


@pytest.mark.parametrize(
    ("methods", "backbones", "chains"),
    [
        pytest.param({"lora": {"kind": "lora"}, "full": {"kind": "full"}}, ("one",), 2, id="kinds"),
        pytest.param({"lora": {"kind": "lora", "grid": {"rank": [2, 4]}}}, ("one",), 2, id="ranks of a grid"),
        pytest.param({"lora": {"kind": "lora"}}, ("one", "two"), 2, id="weights"),
        pytest.param({"lora": {"kind": "lora"}}, ("one", "copy"), 1, id="the same weights under two names"),
        pytest.param({"a": {"kind": "lora"}, "b": {"kind": "lora", "stream": 1}}, ("one",), 2, id="streams"),
        pytest.param({"a": {"kind": "lora", "rank": 2}, "b": {"kind": "lora", **RANKS}}, ("one",), 1, id="a rank"),
        pytest.param({"encoder": WITH_ENCODER, "tokens": WITH_TOKENS}, ("one",), 1, id="a rate that hangs on another"),
        pytest.param(
            {"a": {"kind": "lora", "rank": 2}, "b": {"kind": "lora", "rank": 4}, "c": {"kind": "lora", **RANKS}},
            ("one",),
            1,
            id="two by way of a third",
        ),
    ],
)
def test_searches_that_may_come_to_the_same_trial_wait_for_each_other(methods, backbones, chains):
    found = chain(make_study(methods, backbones))
    assert len(found) >= 2
    assert len(set(found.values())) == chains


def test_one_process_and_searches_by_the_clock_are_one_chain():
    study = make_study({"lora": {"kind": "lora"}, "full": {"kind": "full"}})
    searches = list_searches(study)
    assert len(set(chain_searches(study, KNOWN, searches, beside=False).values())) == 1
    timed = study.model_copy(update={"search": study.search.model_copy(update={"seconds": 10.0})})
    assert len(set(chain_searches(timed, KNOWN, searches, beside=True).values())) == 1


def test_of_a_chain_the_first_that_is_not_over_asks():
    methods = {"a": {"kind": "lora", "rank": 2}, "b": {"kind": "lora", **RANKS}, "full": {"kind": "full"}}
    study = make_study(methods)
    chains, results = chain(study), []
    asked = next_trials(study, results, list, chains)
    assert {one.candidate for one in asked} == {"a@one", "full@one"}
    alone = next_trials(study, results, list)
    assert {one.candidate for one in alone} == {"a@one"}
    while any(one.candidate == "a@one" for one in asked):
        results += [Result(one, "finished", 0.5) for one in asked if one.candidate == "a@one"]
        asked = ask_searches(list_searches(study, results), chains)
    assert {one.candidate for one in asked} == {"b@one", "full@one"}
