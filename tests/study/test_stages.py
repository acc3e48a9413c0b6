"""What a study asks for next, from its results alone; nothing is trained here."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichtune.errors import SpecError
from whichtune.spec.read import resolve_study
from whichtune.spec.search import SearchSpec
from whichtune.spec.seeds import derive_seed
from whichtune.study.searching import Result
from whichtune.study.stages import (
    count_expected,
    describe_search,
    further_seeds,
    list_searches,
    list_untuned,
    next_trials,
    plan_finals,
)

METHODS = {"majority": {"kind": "majority"}, "full": {"kind": "full"}, "lora": {"kind": "lora"}}
SEARCH_SEEDS = set(SearchSpec().seeds)


def make_study(**changes):
    raw = {
        "name": "s",
        "data": {"source": {"kind": "tweets"}},
        "backbones": {"b": {"kind": "minilm"}},
        "methods": METHODS,
        "search": {},
        "contender_seeds": 0,
    }
    return resolve_study(raw | changes)


def judge(planned, *, score, status="finished", seconds=10.0):
    return Result(planned, status, score if status == "finished" else None, seconds)


def play(study, outcome, contenders=(), results=()):
    """Ask and answer until nothing is asked any more; `outcome` turns a planned trial into its result."""
    results = list(results)
    while asked := next_trials(study, results, lambda: list(contenders)):
        keys = [one.key for one in asked]
        assert len(set(keys)) == len(keys), "nothing is asked twice"
        assert not set(keys) & {one.planned.key for one in results}, "nothing that is over is asked again"
        results += map(outcome, asked)
        assert len(results) < 500
    return results


def noise(planned):
    """A score that hangs on everything a trial is, and on nothing else."""
    return derive_seed(planned.candidate, planned.seed, str(planned.tuned)) % 1000 / 1000


def peak(at):
    """A score that is best at one rate and falls off on both sides."""

    def outcome(planned):
        rate = planned.tuned.get("learning_rate", at)
        return judge(planned, score=1 - abs(math.log10(rate / at)) / 10)

    return outcome


def searched(results, candidate):
    return [one for one in results if one.planned.role == "search" and one.planned.candidate == candidate]


def test_every_method_gets_the_same_number_of_settings_and_the_best_two_get_two_more_seeds():
    study = make_study(search={"own": False})
    results = play(study, lambda planned: judge(planned, score=noise(planned)))
    for name in ("full@b", "lora@b"):
        counts = Counter(one.planned.purpose for one in searched(results, name))
        assert counts["grid"] == 8
        assert counts["repeat"] in (4, 6)  # six where the rate beyond the end was better there
        again = Counter(str(one.planned.tuned) for one in searched(results, name) if one.planned.purpose == "repeat")
        assert set(again.values()) == {2}
    assert list_untuned(study) == ["majority"]
    assert not searched(results, "majority")


def test_the_final_trials_have_the_setting_with_the_best_mean_and_new_seeds():
    study = make_study()
    results = play(study, lambda planned: judge(planned, score=noise(planned)))
    for name in ("full@b", "lora@b"):
        scores = {}
        for one in searched(results, name):
            scores.setdefault(one.planned.tuned["learning_rate"], []).append(one.score)
        means = {rate: sum(own) / len(own) for rate, own in scores.items() if len(own) == 3}
        finals = [one.planned for one in results if one.planned.role == "final" and one.planned.candidate == name]
        assert [one.seed for one in finals] == [1, 2, 3]
        assert {one.method.learning_rate for one in finals} == {max(means, key=means.get)}
        assert all(one.tuned == {"learning_rate": one.method.learning_rate} for one in finals)
    assert {one.planned.seed for one in results if one.planned.role == "search"} == SEARCH_SEEDS
    assert not SEARCH_SEEDS & {one.planned.seed for one in results if one.planned.role == "final"}


@settings(deadline=None, max_examples=25)
@given(
    scores=st.dictionaries(st.integers(0, 60), st.one_of(st.none(), st.floats(0, 1))),
    cut=st.integers(0, 60),
    beyond=st.booleans(),
)
def test_a_study_that_was_stopped_anywhere_asks_for_the_same_trials_again(scores, cut, beyond):
    study = make_study(search={"trials": 4, "repeats": 1, "own": beyond}, contender_seeds=5)
    order = {}

    def outcome(planned):
        place = order.setdefault(planned.key, len(order))
        score = scores.get(place, 0.5)
        return judge(planned, score=score, status="failed" if score is None else "finished")

    whole = play(study, outcome, ["full@b", "lora@b"])
    again = play(study, outcome, ["full@b", "lora@b"], whole[:cut])
    assert [one.planned.key for one in again] == [one.planned.key for one in whole]


@pytest.mark.parametrize("at, tried, end", [(1e-9, 7.19e-06, "low"), (1.0, 1.39e-04, "high")])
def test_a_best_setting_at_the_end_is_looked_beyond_once_and_flagged(at, tried, end):
    study = make_study()
    results = play(study, peak(at))
    beyond = [one.planned for one in searched(results, "full@b") if one.planned.purpose == "beyond"]
    assert [one.tuned["learning_rate"] for one in beyond] == [pytest.approx(tried, rel=0.01)]
    chosen = list_searches(study, results)[0].choose()
    assert (chosen.setting, chosen.ends, chosen.extended) == (dict(beyond[0].tuned), {"learning_rate": end}, True)
    again = [one for one in searched(results, "full@b") if one.planned.tuned == beyond[0].tuned]
    assert len(again) == 3


def test_a_rate_beyond_the_end_that_is_worse_gets_no_more_seeds():
    study = make_study(search={"own": False})
    results = play(study, peak(1e-5))
    beyond = [one for one in searched(results, "full@b") if one.planned.tuned["learning_rate"] < 1e-5]
    assert len(beyond) == 1
    chosen = list_searches(study, results)[0].choose()
    assert (chosen.setting, chosen.ends, chosen.extended) == ({"learning_rate": 1e-5}, {}, True)


def test_a_best_setting_inside_its_range_is_not_looked_beyond():
    results = play(make_study(), peak(4e-5))
    assert "beyond" not in {one.planned.purpose for one in searched(results, "full@b")}


def test_among_equals_the_entrys_own_setting_is_chosen_and_nothing_is_looked_beyond():
    study = make_study()
    results = play(study, lambda planned: judge(planned, score=0.5))
    assert list_searches(study, results)[0].choose().setting == {"learning_rate": 5e-5}
    assert "beyond" not in {one.planned.purpose for one in results}


def test_a_setting_that_failed_with_one_seed_gives_way_to_one_that_did_not():
    study = make_study(search={"own": False})

    def outcome(planned):
        first = planned.tuned.get("learning_rate") == 3.73e-5
        broken = first and planned.purpose == "repeat"
        return judge(planned, score=0.9 if first else noise(planned) / 2, status="failed" if broken else "finished")

    assert list_searches(study, play(study, outcome))[0].choose().setting != {"learning_rate": 3.73e-5}


@pytest.mark.parametrize("status, count", [("failed", 9), ("does-not-fit", 9), ("unsupported", 9)])
def test_without_a_score_final_trials_have_the_entrys_own_setting(status, count):
    study = make_study()
    results = play(study, lambda planned: judge(planned, score=None, status=status))
    assert len(searched(results, "full@b")) == count
    finals = plan_finals(study, list_searches(study, results))
    assert {one.method.learning_rate for one in finals if one.candidate == "full@b"} == {5e-5}


def test_seconds_in_place_of_trials():
    study = make_study(search={"seconds": 100, "repeats": 0})
    slow = {"full@b": 40.0, "lora@b": 13.0}
    results = play(study, lambda planned: judge(planned, score=0.5, seconds=slow.get(planned.candidate, 1.0)))
    assert len(searched(results, "full@b")) == 3  # the third starts at 80 seconds
    assert len(searched(results, "lora@b")) == 8
    rates = [one.planned.tuned["learning_rate"] for one in searched(results, "lora@b")]
    assert rates[:4] == [1e-3, 5.48e-4, 1e-4, 3e-3]  # its own, then from coarse to fine


def test_a_search_that_tried_nothing_but_the_entrys_own_null_has_no_ends():
    lora = METHODS["lora"] | {"search": {"learning_rate": [], "head_learning_rate": [1e-4, 1e-2]}}
    study = make_study(methods={"lora": lora}, search={"seconds": 5, "repeats": 0})
    chosen = list_searches(study, play(study, lambda planned: judge(planned, score=0.5)))[0].choose()
    assert (chosen.setting, chosen.ends) == ({"head_learning_rate": None}, {})


def test_grids_over_several_settings_share_the_trials():
    methods = METHODS | {"lora": {"kind": "lora", "search": {"rank": [4, 16]}, "grid": {"alpha": [8, 32]}}}
    study = make_study(methods=methods, search={"own": False})
    searches = list_searches(study)
    assert [one.base.candidate for one in searches] == ["full@b", "lora[alpha=8]@b", "lora[alpha=32]@b"]
    asked = searches[2].ask()
    assert len(asked) == 8
    assert {(one.method.rank, one.method.alpha) for one in asked} == {(4, 32.0), (16, 32.0)}


def test_a_grid_over_the_rate_leaves_nothing_to_tune():
    methods = {"full": {"kind": "full", "grid": {"learning_rate": [1e-5, 5e-5]}}, "held": METHODS["lora"]}
    methods["held"] = methods["held"] | {"search": {"learning_rate": []}}
    study = make_study(methods=methods)
    assert list_searches(study) == []
    assert len(list_untuned(study)) == 4


def test_contenders_get_further_seeds_once():
    study = make_study(search=None, contender_seeds=6)
    results = play(study, lambda planned: judge(planned, score=0.5), ["majority", "lora@b"])
    seeds = Counter((one.planned.candidate, one.planned.seed) for one in results)
    assert seeds == Counter(
        [("majority", 1), *(("full@b", n) for n in (1, 2, 3)), *(("lora@b", n) for n in (1, 2, 3, 4, 5, 6))]
    )


@pytest.mark.parametrize("changes", [{"seeds": (1, 2)}, {"contender_seeds": 3}, {"contender_seeds": 0}])
def test_too_few_seeds_or_none_wanted(changes):
    study = make_study(search=None, **({"contender_seeds": 8} | changes))
    assert further_seeds(study) == []


def test_one_leader_has_nobody_to_contend_with():
    study = make_study(search=None, contender_seeds=8)
    results = play(study, lambda planned: judge(planned, score=0.5), ["lora@b"])
    assert len(results) == 1 + 3 + 3


def test_contenders_are_not_asked_for_before_all_seeds_are_in():
    study = make_study(search=None, contender_seeds=8)
    final = next_trials(study, [], pytest.fail)
    results = [judge(one, score=0.5) for one in final[:-1]]
    assert next_trials(study, results, pytest.fail) == final[-1:]


def test_how_many_trials_are_expected():
    study = make_study()
    results = play(study, peak(4e-5))
    full = len(searched(results, "full@b"))
    assert full == 8 + 1 + 4
    assert count_expected(study) == 2 * full + 7
    assert count_expected(make_study(search=None)) == 7


def test_a_trial_keeps_its_name_and_shows_its_setting():
    asked = next_trials(make_study(), [], list)[0]
    assert asked.candidate == "full@b"
    assert asked.label() == "full@b search (learning_rate 1e-05)"
    assert replace(asked, role="final", seed=4).label() == "full@b seed 4"


RANKS = {"kind": "lora", "alpha": 32, "grid": {"rank": [16, 4, 8]}}
NAMES = [f"lora[rank={rank}]@b" for rank in (4, 8, 16)]


def test_ranks_share_one_search_at_the_middle_one():
    study = make_study(methods={"lora": RANKS, "full": {"kind": "full"}}, search={"share": "ranks", "trials": 4})
    results = play(study, peak(1e-3))
    searched = Counter(one.planned.candidate for one in results if one.planned.role == "search")
    assert set(searched) == {NAMES[1], "full@b"}
    searches = {one.base.candidate: one for one in list_searches(study, results)}
    assert set(searches[NAMES[1]].shared_with) == {NAMES[0], NAMES[2]}
    assert searches["full@b"].shared_with == ()
    chosen = searches[NAMES[1]].choose().setting
    finals = {name: [] for name in NAMES}
    for one in results:
        if one.planned.role == "final" and one.planned.candidate in finals:
            finals[one.planned.candidate].append(one.planned)
    for rank, name in zip((4, 8, 16), NAMES, strict=True):
        assert len(finals[name]) == len(study.seeds)
        for planned in finals[name]:
            assert planned.method.rank == rank, "each keeps its own rank"
            assert planned.tuned == chosen
            assert planned.method.learning_rate == chosen["learning_rate"] == pytest.approx(1e-3, rel=0.1)
    written = {one.base.candidate: describe_search(one) for one in searches.values()}
    assert (written[NAMES[1]].rank, set(written[NAMES[1]].shared_with)) == (8, {NAMES[0], NAMES[2]})
    assert (written["full@b"].rank, written["full@b"].shared_with) == (None, [])
    assert list_untuned(study) == ["majority"]
    assert count_expected(study) == 2 * (4 + 1 + 2 * 2) + 4 * 3 + 1, "two searches, four candidates, the bar"


def test_without_it_each_rank_has_its_own_search():
    study = make_study(methods={"lora": RANKS}, search={"trials": 4})
    assert [one.base.candidate for one in list_searches(study)] == [NAMES[2], NAMES[0], NAMES[1]]
    assert all(one.shared_with == () for one in list_searches(study))


def test_search_trials_are_those_of_a_study_that_shares_nothing():
    methods = {"lora": RANKS}
    alone, shared = (make_study(methods=methods, search=search) for search in ({}, {"share": "ranks"}))
    own = {one.base.candidate: one for one in list_searches(alone)}[NAMES[1]]
    (one,) = list_searches(shared)
    assert one.ask() == own.ask()


@pytest.mark.parametrize(
    ("methods", "groups"),
    [
        ({"a": {"kind": "lora", "rank": 4}, "b": {"kind": "lora", "rank": 8}}, {"a@b": ("b@b",)}),
        ({"a": {"kind": "qlora", "rank": 8}, "b": {"kind": "qlora", "rank": 4, "rslora": False}}, {"b@b": ("a@b",)}),
        (  # the scale of an adapter, and all else, makes groups of their own
            {
                "a": {"kind": "lora", "grid": {"rank": [2, 4], "rslora": [True, False]}},
                "b": {"kind": "lora", "rank": 8, "dropout": 0.3},
            },
            {
                "a[rank=2,rslora=true]@b": ("a[rank=4,rslora=true]@b",),
                "a[rank=2,rslora=false]@b": ("a[rank=4,rslora=false]@b",),
            },
        ),
        (  # its own search, another stream, or held settings: not the same
            {
                "a": {"kind": "lora", "rank": 4},
                "b": {"kind": "lora", "rank": 8},
                "c": {"kind": "lora", "rank": 16, "search": {"learning_rate": [1e-4, 1e-2]}},
                "d": {"kind": "lora", "rank": 16, "stream": 1},
                "e": {"kind": "lora", "rank": 16, "training": {"epochs": 1}},
                "f": {"kind": "lora", "rank": 16, "search": {"learning_rate": []}},
            },
            {"a@b": ("b@b",)},
        ),
    ],
)
def test_who_shares_a_search(methods, groups):
    study = make_study(methods=methods, search={"share": "ranks"})
    assert {one.base.candidate: one.shared_with for one in list_searches(study) if one.shared_with} == groups


def test_each_backbone_has_a_search_of_its_own():
    backbones = {"b": {"kind": "minilm"}, "c": {"kind": "minilm"}}
    study = make_study(methods={"lora": RANKS}, backbones=backbones, search={"share": "ranks"})
    assert [one.base.candidate for one in list_searches(study)] == ["lora[rank=8]@b", "lora[rank=8]@c"]


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        ({"full": {"kind": "full"}}, r"search\.share: no candidates differ in their rank alone.*grid: \{rank"),
        ({"lora": {"kind": "lora"}}, "no candidates differ in their rank alone"),
        (
            {"a": {"kind": "lora", "rank": 4, "alpha": 8}, "b": {"kind": "lora", "rank": 8, "alpha": 16}},
            "a@b and b@b differ in `alpha` too",
        ),
        ({"a": {"kind": "lora", "rank": 4, "search": {"rank": [2, 4]}}}, "no candidates differ"),
    ],
)
def test_a_study_that_has_nothing_to_share_is_refused(methods, told):
    study = make_study(methods=methods, search={"share": "ranks"})
    with pytest.raises(SpecError, match=told):
        list_searches(study)
