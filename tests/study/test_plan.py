import pytest

from whichtune.errors import SpecError
from whichtune.study.plan import (
    Fingerprints,
    identity_of,
    overrides_of,
    plan_study,
    probe_id,
    require_distinct,
    trial_id,
)

KNOWN = Fingerprints("data", {"bert": "weights"}, {"bert": "tokenizer"})


def identifier(study, known=KNOWN, place=-1):
    return trial_id(identity_of(plan_study(study)[place], study, known))


def test_candidates_times_seeds_and_baselines_once(tiny_study):
    plan = plan_study(tiny_study(seeds=(1, 2, 3)))
    assert [(one.candidate, one.seed) for one in plan] == [
        ("majority", 1),
        ("lora@bert", 1),
        ("lora@bert", 2),
        ("lora@bert", 3),
    ]


def test_grids_become_candidates(tiny_study):
    methods = {"lora": {"kind": "lora", "grid": {"learning_rate": [1e-4, 1e-3], "rank": [2]}}}
    names = {one.candidate for one in plan_study(tiny_study(methods=methods)) if one.backbone}
    assert names == {"lora[learning_rate=0.0001,rank=2]@bert", "lora[learning_rate=0.001,rank=2]@bert"}


def test_methods_run_on_the_backbones_they_name(tiny_study):
    backbones = {"one": {"kind": "random"}, "two": {"kind": "random", "seed": 1}}
    methods = {"full": {"kind": "full"}, "lora": {"kind": "lora", "on": ["two"]}}
    plan = plan_study(tiny_study(backbones=backbones, methods=methods, seeds=(1,)))
    assert [one.candidate for one in plan] == ["majority", "full@one", "full@two", "lora@two"]


@pytest.mark.parametrize(
    "changes",
    [
        {"methods": {"lora": {"kind": "lora", "learning_rate": 1e-2, "rank": 4}}},
        {"methods": {"lora": {"kind": "lora", "learning_rate": 1e-2, "stream": 1}}},
        {"methods": {"lora": {"kind": "lora", "learning_rate": 1e-2, "training": {"epochs": 2}}}},
        {"training": {"epochs": 1, "batch_size": 8, "max_length": 40}},
        {"seeds": (1, 7)},
        {"backbones": {"bert": {"kind": "random", "keep_blocks": 1}}},
        {"task": {"kind": "text-classification", "metric": "macro_f1"}},
    ],
)
def test_what_decides_the_outcome_changes_the_id(changes, tiny_study):
    assert identifier(tiny_study(**changes)) != identifier(tiny_study())


@pytest.mark.parametrize(
    "known",
    [
        Fingerprints("other", KNOWN.weights, KNOWN.tokenizers),
        Fingerprints("data", {"bert": "x"}, KNOWN.tokenizers),
        Fingerprints("data", KNOWN.weights, {"bert": "x"}),
    ],
)
def test_changed_files_change_the_id(known, tiny_study):
    assert identifier(tiny_study(), known) != identifier(tiny_study())


@pytest.mark.parametrize(
    "changes",
    [
        {"execution": {"threads": 2, "evaluation_batch": 3, "attention": "eager"}},
        {"name": "other"},
        {"measure": {"probe": True}},
        {"margin": 5.0},
        {"training": {"epochs": 1, "batch_size": 16, "max_length": 40, "gradient_checkpointing": True}},
        {"methods": {"lora": {"kind": "lora", "learning_rate": 1e-2, "targets": ["value", "query"]}}},
    ],
)
def test_where_and_how_it_runs_does_not(changes, tiny_study):
    assert identifier(tiny_study(**changes)) == identifier(tiny_study())


def probe(tiny_study, place=("cpu", 1), training=None, **changes):
    spec = {"kind": "lora"} | changes.pop("method", {})
    study = tiny_study(methods={"lora": spec}, **changes | ({"training": training} if training else {}))
    planned = plan_study(study)[-1]
    return probe_id(planned, study, identity_of(planned, study, KNOWN), {"device": place})


def test_a_probe_serves_all_learning_rates_and_seeds(tiny_study):
    assert probe(tiny_study) == probe(tiny_study, method={"learning_rate": 5e-3}) == probe(tiny_study, seeds=(9,))


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"rank": 4}},
        {"place": ("cuda", 1)},
        {"execution": {"attention": "eager"}},
        {"execution": {"evaluation_batch": 8}},
        {"measure": {"probe_steps": 50}},
        {"training": {"epochs": 1, "batch_size": 16, "max_length": 40, "gradient_checkpointing": True}},
        {"training": {"epochs": 1, "batch_size": 4, "max_length": 40}},
    ],
)
def test_what_changes_the_cost_changes_the_probe(changes, tiny_study):
    assert probe(tiny_study, **changes) != probe(tiny_study)


def test_the_majority_baseline_is_always_a_row(tiny_study):
    plan = plan_study(tiny_study(methods={"majority": {"kind": "lora"}}))
    assert (plan[0].candidate, plan[0].method.kind) == ("majority-baseline", "majority")


def test_two_entries_that_are_one_trial_are_refused(tiny_study):
    entry = {"kind": "lora"}
    for second, refused in (({"kind": "lora"}, True), ({"kind": "lora", "stream": 1}, False)):
        study = tiny_study(methods={"one": entry, "two": second})
        plan = plan_study(study)
        identifiers = [trial_id(identity_of(planned, study, KNOWN)) for planned in plan]
        if refused:
            with pytest.raises(SpecError, match=r"one@bert and two@bert.*stream: 1"):
                require_distinct(plan, identifiers)
        else:
            require_distinct(plan, identifiers)


def test_patience_of_its_own_is_listed_as_a_changed_setting(tiny_study):
    prompt = {"kind": "prompt-tuning"}
    study = tiny_study(training={"stopping": {}}, methods={"lora": {"kind": "lora"}, "prompt": prompt})
    found = {one.method_name: overrides_of(one.method, study) for one in plan_study(study)}
    assert found == {"majority": {}, "lora": {}, "prompt": {"stopping": {"patience": 4}}}
    given = tiny_study(training={"stopping": {"patience": 3}}, methods={"prompt": prompt})
    assert overrides_of(plan_study(given)[-1].method, given) == {}
    none = tiny_study(methods={"prompt": prompt | {"training": {"epochs": 1}}})
    assert overrides_of(plan_study(none)[-1].method, none) == {"epochs": 1}


def test_the_order_of_peft_modules_does_not_change_the_id(tiny_study):
    ids = {
        identifier(tiny_study(methods={"one": {"kind": "peft", "config": {"target_modules": modules}}}))
        for modules in (["query", "value"], ["value", "query"])
    }
    assert len(ids) == 1


def test_a_probe_serves_all_head_rates(tiny_study):
    keys = set()
    for rate in (1e-3, 1e-2):
        study = tiny_study(methods={"lora": {"kind": "lora", "head_learning_rate": rate}})
        one = plan_study(study)[-1]
        keys.add(probe_id(one, study, identity_of(one, study, KNOWN), {}))
    assert len(keys) == 1
