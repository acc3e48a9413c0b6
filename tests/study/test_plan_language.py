"""What decides a trial whose answers are written in words, and how often each candidate runs."""

import pytest

from whichtune.data.examples import DataReport, DataSet
from whichtune.spec.study import StudySpec
from whichtune.study import prompters
from whichtune.study.plan import Fingerprints, family_of, identity_of, plan_study, trial_id
from whichtune.study.prompters import fingerprint_prompts

BASE = {
    "name": "s",
    "task": {"kind": "instruction-classification", "prompt": {"template": {"query": "{{ text }} =>"}}},
    "data": {"source": {"kind": "files", "all": "rows.csv"}},
    "backbones": {"m": {"kind": "random", "family": "gpt"}},
    "methods": {
        "asked": {"kind": "prompting"},
        "few": {"kind": "prompting", "style": "few-shot"},
        "lora": {"kind": "lora"},
    },
    "seeds": (1, 2),
}


class Shared:
    """What fingerprints of prompts are made from, without any data."""

    def __init__(self, study, labels):
        self.study, self.data = study, DataSet({}, labels, "data", DataReport("made", {}))


def ids(labels=("bad", "good"), **changes):
    study = StudySpec.model_validate(merge(BASE, changes))
    labels = () if study.task.answers == "texts" else labels
    plan = plan_study(study)
    prompts = fingerprint_prompts(Shared(study, labels), plan)
    known = Fingerprints("data", {"m": "weights"}, {"m": "tokens"}, prompts, {"m": "manners"})
    return {(one.candidate, one.seed): trial_id(identity_of(one, study, known)) for one in plan}


def merge(base, changes):
    told = dict(base)
    for name, value in changes.items():
        told[name] = merge(told.get(name, {}), value) if isinstance(value, dict) else value
    return told


def test_candidates_run_once_where_nothing_is_drawn_and_once_a_seed_elsewhere():
    study = StudySpec.model_validate(BASE)
    plan = plan_study(study)
    assert [(one.candidate, one.seed, family_of(one.method)) for one in plan] == [
        ("majority", 1, "baseline"),
        ("asked@m", 1, "prompter"),
        ("few@m", 1, "prompter"),
        ("few@m", 2, "prompter"),
        ("lora@m", 1, "tuner"),
        ("lora@m", 2, "tuner"),
    ]
    sampled = StudySpec.model_validate(merge(BASE, {"task": {"decoding": {"temperature": 1.0}}}))
    assert sum(one.candidate == "asked@m" for one in plan_study(sampled)) == 2


def test_a_trial_in_which_nothing_is_drawn_has_no_seed():
    assert ids()["asked@m", 1] == ids(seeds=(5,))["asked@m", 5]
    assert ids()["few@m", 1] != ids()["few@m", 2]


EVERYTHING, PROMPTERS = {"asked", "few", "lora"}, {"asked", "few"}
CHANGES = {
    "query": ({"task": {"prompt": {"template": {"query": "{{ text }} ->"}}}}, {"asked", "lora"}),
    "instruction": ({"task": {"prompt": {"template": {"instruction": "Sort."}}}}, {"asked", "lora"}),
    "separator": ({"task": {"prompt": {"template": {"separator": "\n"}}}}, {"asked", "lora"}),
    "stop": ({"task": {"prompt": {"template": {"stop": ["."]}}}}, {"asked", "lora"}),
    "words": ({"task": {"prompt": {"words": {"good": "fine"}}}}, EVERYTHING),
    "wording": ({"task": {"prompt": {"wording": "statements", "words": {"good": "true", "bad": "false"}}}}, EVERYTHING),
    "own wording": ({"task": {"prompt": {"own_wording": {"ask": "Which?"}}}}, EVERYTHING),
    "chat": ({"task": {"chat": "never"}}, EVERYTHING),
    "scoring": ({"task": {"scoring": "likelihood"}}, EVERYTHING),
    "length": ({"task": {"decoding": {"max_new_tokens": 5}}}, EVERYTHING),
    "least length": ({"task": {"decoding": {"min_new_tokens": 1}}}, EVERYTHING),
    "beams": ({"task": {"decoding": {"beams": 2}}}, EVERYTHING),
    "length penalty": ({"task": {"decoding": {"length_penalty": 2.0}}}, EVERYTHING),
    "repeats": ({"task": {"decoding": {"no_repeat_ngram": 3}}}, EVERYTHING),
    "top k": ({"task": {"decoding": {"top_k": 3}}}, EVERYTHING),
    "top p": ({"task": {"decoding": {"top_p": 0.5}}}, EVERYTHING),
    "temperature": ({"task": {"decoding": {"temperature": 0.5}}}, EVERYTHING),
    "column": ({"data": {"columns": {"text": "review"}}}, EVERYTHING),
    "shots of one": ({"methods": {"few": {"shots": {"count": 2}}}}, {"few"}),
    "choice": ({"methods": {"few": {"shots": {"choice": "per-item"}}}}, {"few"}),
    "balance": ({"methods": {"few": {"shots": {"balanced": False}}}}, {"few"}),
    "style of one": ({"methods": {"asked": {"style": "expert"}}}, {"asked"}),
    "decoding of one": ({"methods": {"asked": {"decoding": {"beams": 2}}}}, {"asked"}),
    "encoder of one": ({"methods": {"few": {"encoder": {"kind": "random"}}}}, {"few"}),
    "stream": ({"methods": {"few": {"stream": 1}}}, {"few"}),
    "length of rows": ({"training": {"max_length": 64}}, {"lora"}),
    "nothing that matters": ({"name": "other", "execution": {"evaluation_batch": 3}, "margin": 1.0}, set()),
}  # fmt: skip
"""A leaf that changes, and whose outcomes it changes for certain; a few others may get a new id with it."""


@pytest.mark.parametrize("change", CHANGES)
def test_a_leaf_that_matters_makes_another_trial(change):
    changes, moved = CHANGES[change]
    before, after = ids(), ids(**changes)
    told = {name.partition("@")[0] for name, seed in before if seed == 1 and before[name, 1] != after.get((name, 1))}
    assert moved <= told
    if not moved or "methods" in changes or "training" in changes:
        assert told == moved, "and no other does"


def test_a_shipped_style_that_is_worded_otherwise_makes_other_trials(monkeypatch):
    """The recipe's text is in the identity, not its name alone."""
    before = ids()
    real = prompters.make_asking

    def worded_otherwise(*given):
        asking = real(*given)
        style = asking.recipe.style.model_copy(update={"query": asking.recipe.style.query + "?"})
        object.__setattr__(asking.recipe, "style", style)
        return asking

    monkeypatch.setattr(prompters, "make_asking", worded_otherwise)
    after = ids()
    assert {name for name in before if before[name] == after[name]} == {
        name for name in before if name[0] == "majority" and before[name] == after[name]
    }
    assert before["lora@m", 1] != after["lora@m", 1]


def test_the_bar_of_summaries_is_their_first_sentence():
    changes = {"task": {"kind": "summarization"}, "methods": {"lora": {"kind": "lora"}}}
    assert [name for name, _ in ids(**changes)][:1] == ["lead"]
    assert "majority" not in {name for name, _ in ids(**changes)}


def test_ranks_with_their_alphas_and_rates_are_candidates_of_their_own():
    grid = {"lora": {"kind": "lora", "grid": {"alpha": [4, 64], "learning_rate": [1e-4, 1e-3, 1e-2]}}}
    told = ids(methods=grid, seeds=(1,))
    loras = [name for name, _ in told if name.startswith("lora")]
    assert len(loras) == len(set(loras)) == 6
    assert len(set(told.values())) == len(told)
    pairs = {f"r{rank}": {"kind": "lora", "rank": rank, "alpha": 4 * rank} for rank in (1, 16, 32, 128, 196)}
    told = ids(methods=pairs, seeds=(1,))
    assert {f"{name}@m" for name in pairs} <= {name for name, _ in told}
