import pytest
from pydantic import TypeAdapter, ValidationError

from whichtune.spec.digest import digest
from whichtune.spec.grids import expand_grid
from whichtune.spec.methods import MethodSpec
from whichtune.spec.peft import STARTS, PeftSpec


def read(**settings):
    return TypeAdapter(MethodSpec).validate_python({"kind": "peft", **settings})


def test_rates_follow_the_tuner_unless_given():
    for name, start in STARTS.items():
        spec = read(tuner=name)
        assert (spec.learning_rate, spec.head_learning_rate) == (start.learning_rate, start.head_learning_rate)
    assert read(tuner="prompt_tuning", learning_rate=0.3, head_learning_rate=None).learning_rate == 0.3
    assert read(tuner="prompt_tuning", head_learning_rate=None).head_learning_rate is None
    assert read().tuner == "lora"


def test_a_dump_reads_back_as_the_same():
    spec = read(tuner="IA3", config={"target_modules": ["key"], "rank_pattern": {"a": 1}})
    assert PeftSpec.model_validate(spec.model_dump()) == spec
    assert PeftSpec.model_validate_json(spec.model_dump_json()) == spec
    assert digest(spec.model_dump(mode="json")) != digest(read(tuner="ia3").model_dump(mode="json"))


@pytest.mark.parametrize("spelling", ["P-Tuning", "p_tuning", "P_TUNING", "p-tuning"])
def test_spellings_are_one(spelling):
    assert read(tuner=spelling).tuner == "p_tuning"


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"tuner": "lorra"}, "did you mean 'lora'"),
        ({"tuner": "dora"}, "it is lora with `config: {use_dora: true}`"),
        ({"tuner": "bone"}, "it is miss with"),
        ({"tuner": 3}, "valid string"),
        ({"tuner": "oft", "read": "virtual"}, "oft puts no rows in front of the text"),
        ({"rank": 8}, "Extra inputs"),
        ({"config": [1]}, "valid dictionary"),
    ],
)
def test_wrong_entries_are_told(settings, told):
    with pytest.raises(ValidationError, match=told.replace("(", r"\(").replace("{", r"\{")):
        read(**settings)


def test_a_grid_over_rates_and_rows():
    spec = read(tuner="prompt_tuning", grid={"learning_rate": (0.1, 0.2), "read": ("token", "virtual")})
    assert [name for name, _ in expand_grid("p", spec)][:2] == [
        "p[learning_rate=0.1,read=token]",
        "p[learning_rate=0.1,read=virtual]",
    ]


def test_a_grid_over_tuners_leaves_each_its_own_rate():
    entry = read(grid={"tuner": ["lora", "prompt_tuning", "ia3"]})
    for tuner, (_, one) in zip(("lora", "prompt_tuning", "ia3"), expand_grid("p", entry), strict=True):
        start = STARTS[tuner]
        assert (one.learning_rate, one.head_learning_rate) == (start.learning_rate, start.head_learning_rate)
