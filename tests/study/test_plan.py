import pytest

from whichtune.study.plan import Fingerprints, identity_of, plan_study, probe_id, trial_id

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
    names = {one.candidate for one in plan_study(tiny_study(methods=methods))}
    assert names == {"lora[learning_rate=0.0001,rank=2]@bert", "lora[learning_rate=0.001,rank=2]@bert"}


def test_methods_run_on_the_backbones_they_name(tiny_study):
    backbones = {"one": {"kind": "random"}, "two": {"kind": "random", "seed": 1}}
    methods = {"full": {"kind": "full"}, "lora": {"kind": "lora", "on": ["two"]}}
    plan = plan_study(tiny_study(backbones=backbones, methods=methods, seeds=(1,)))
    assert [one.candidate for one in plan] == ["full@one", "full@two", "lora@two"]


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
    ],
)
def test_where_and_how_it_runs_does_not(changes, tiny_study):
    assert identifier(tiny_study(**changes)) == identifier(tiny_study())


def test_a_probe_serves_all_learning_rates_and_seeds(tiny_study):
    def probe(**method):
        study = tiny_study(methods={"lora": {"kind": "lora"} | method})
        planned = plan_study(study)[-1]
        return probe_id(identity_of(planned, study, KNOWN), "cpu", 1)

    assert probe() == probe(learning_rate=5e-3)
    assert probe() != probe(rank=4)
