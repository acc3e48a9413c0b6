"""What a search asks for: ranges, grids, seeds, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from whichtune.errors import SpecError
from whichtune.spec.grids import with_setting
from whichtune.spec.methods import MethodSpec
from whichtune.spec.read import resolve_study
from whichtune.spec.search import SearchSpec, find_space, list_grid, log_grid, refine_grid, step_beyond
from whichtune.spec.study import StudySpec
from whichtune.spec.write import dump_study

METHOD = TypeAdapter(MethodSpec)
TREE = {
    "name": "s",
    "data": {"source": {"kind": "tweets"}},
    "backbones": {"b": {"kind": "minilm"}},
    "methods": {"full": {"kind": "full"}},
    "search": {},
}


def make_method(**fields):
    return METHOD.validate_python(fields)


@pytest.mark.parametrize(
    "fields, ends",
    [
        ({"kind": "full"}, (1e-5, 1e-4)),
        ({"kind": "last-layers"}, (1e-4, 3e-3)),
        ({"kind": "lora"}, (1e-4, 3e-3)),
        ({"kind": "qlora"}, (1e-4, 3e-3)),
        ({"kind": "frozen-features"}, (1e-4, 1e-2)),
        ({"kind": "prompt-tuning"}, (1e-3, 0.3)),
        ({"kind": "p-tuning"}, (1e-4, 3e-2)),
        ({"kind": "p-tuning", "deep": True, "encoder": "none"}, (1e-3, 0.3)),
        ({"kind": "peft", "tuner": "lora"}, (1e-4, 3e-3)),
        ({"kind": "peft", "tuner": "ia3"}, (5e-4, 5e-2)),
        ({"kind": "peft", "tuner": "prompt_tuning"}, (1e-3, 0.3)),
        ({"kind": "peft", "tuner": "osf"}, (1e-5, 1e-3)),
    ],
)
def test_each_kind_of_method_has_a_range_that_holds_its_default(fields, ends):
    method = make_method(**fields)
    space = find_space(method)
    assert space.ranges == {"learning_rate": ends}
    assert ends[0] <= method.learning_rate <= ends[1]


@pytest.mark.parametrize("kind", ["majority", "prompting"])
def test_what_is_not_trained_has_nothing_to_tune(kind):
    assert not find_space(make_method(kind=kind))


def test_a_grid_is_even_on_a_logarithmic_scale_and_written_with_three_digits():
    assert log_grid(1e-5, 1e-4, 8) == [1e-5, 1.39e-5, 1.93e-5, 2.68e-5, 3.73e-5, 5.18e-5, 7.2e-5, 1e-4]


@given(low=st.floats(1e-6, 1e-2), times=st.floats(3, 1000), count=st.integers(2, 40))
def test_every_rate_of_a_grid_is_different_and_between_the_ends(low, times, count):
    rates = log_grid(low, low * times, count)
    assert rates == sorted(set(rates))
    assert len(rates) == count
    assert rates[0] == pytest.approx(low, rel=5e-3)
    assert rates[-1] == pytest.approx(low * times, rel=5e-3)
    assert rates[-1] < step_beyond(rates, rates[-1]) <= 4.01 * rates[-1]
    assert step_beyond(rates, rates[0]) < rates[0]


def test_a_grid_over_rate_and_choices():
    space = find_space(make_method(kind="lora", search={"rank": [4, 16], "learning_rate": [1e-4, 1e-2]}))
    assert list_grid(space, 4) == [
        {"learning_rate": 1e-4, "rank": 4},
        {"learning_rate": 1e-2, "rank": 4},
        {"learning_rate": 1e-4, "rank": 16},
        {"learning_rate": 1e-2, "rank": 16},
    ]


def test_three_values_of_a_rate_are_a_list():
    space = find_space(make_method(kind="lora", search={"learning_rate": [1e-4, 1e-3, 1e-2]}))
    assert list_grid(space, 8) == [{"learning_rate": 1e-4}, {"learning_rate": 1e-3}, {"learning_rate": 1e-2}]


def test_from_coarse_to_fine():
    settings = refine_grid(find_space(make_method(kind="full")))
    rates = [one["learning_rate"] for one in settings]
    assert rates[:5] == [3.16e-5, 1e-5, 1e-4, 1.78e-5, 5.62e-5]
    assert len(set(rates)) == len(rates) == 33


def test_a_setting_is_laid_over_an_entry_and_checked():
    method = make_method(kind="p-tuning", deep=True, encoder="none", virtual_tokens=5)
    changed = with_setting(method, {"learning_rate": 0.1})
    assert (changed.learning_rate, changed.virtual_tokens, changed.encoder) == (0.1, 5, "none")
    with pytest.raises(SpecError, match="rank"):
        with_setting(make_method(kind="lora"), {"rank": 0})


def test_seeds_of_a_search_are_its_own_and_the_same_for_all():
    search = SearchSpec(repeats=4)
    assert len(set(search.seeds)) == 5
    assert search.seeds[:3] == SearchSpec().seeds
    with pytest.raises(SpecError, match=r"seeds\[1\]: .* is a seed of the search"):
        resolve_study(TREE | {"seeds": [1, search.seeds[1]]})


@pytest.mark.parametrize(
    "method, search, told",
    [
        ({"search": {"rang": [1, 2]}}, {}, r"rang: no setting of lora that a search can vary; did you mean 'rank'"),
        ({"search": {"rank": [1, 0]}}, {}, r"search\.rank\[1\]: got 0"),
        ({"search": {"rank": [2, 2]}}, {}, r"search\.rank\[1\]: 2 stands twice"),
        ({"search": {"rank": [4]}}, {}, "holds one value"),
        ({"search": {"learning_rate": [1e-2, 1e-3]}}, {}, "lower one first"),
        ({"grid": {"rank": [1, 2]}, "search": {"rank": [4, 8]}}, {}, "stands in `grid` too"),
        ({"search": {"rank": [1, 2, 4]}}, {}, r"3 combinations do not share 8 trials evenly; .*trials: 6"),
        ({"search": {"rank": [1, 2]}}, {"trials": 3}, r"`search: \{trials: 4\}` fits"),
        ({"search": {"rank": [1, 2, 4], "learning_rate": []}}, {"trials": 2}, "3 combinations are more than 2 trials"),
        ({"search": {"head_learning_rate": [1e-3, 1e-2]}}, {}, "two ranges"),
        ({}, {"pruner": {"kind": "successive-halving"}}, "engine: optuna"),
        ({}, {"engine": "optuna", "seconds": 60}, "goes with the grid"),
        ({}, {"trials": 1}, "at least 2"),
        ({}, {"trails": 1}, "did you mean 'trials'"),
    ],
)  # fmt: skip
def test_refused(method, search, told):
    tree = TREE | {"methods": {"lora": {"kind": "lora"} | method}, "search": search}
    with pytest.raises(SpecError, match=told):
        resolve_study(tree)


@pytest.mark.parametrize(
    "method", [{"search": {"rank": [1, 2, 4], "learning_rate": []}}, {"search": {"rank": [1, 2, 4, 8]}}]
)
def test_fitting(method):
    resolve_study(TREE | {"methods": {"lora": {"kind": "lora"} | method}})


def test_a_stored_study_keeps_its_search(tmp_path):
    study = resolve_study(TREE | {"search": {"seconds": 60, "engine": "grid"}, "methods": {"lora": {"kind": "lora"}}})
    again = StudySpec.model_validate(study.model_dump())
    assert again == study
    assert "seconds: 60.0" in dump_study(study, {})
