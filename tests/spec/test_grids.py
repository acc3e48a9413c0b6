import pytest

from whichtune.errors import SpecError
from whichtune.spec.grids import expand_grid
from whichtune.spec.methods import FrozenFeaturesSpec, LoraSpec, MajoritySpec


def test_without_a_grid_it_is_the_entry_alone():
    spec = MajoritySpec(kind="majority")
    assert expand_grid("base", spec) == [("base", spec)]


def test_every_combination_is_a_candidate_named_in_field_order():
    spec = LoraSpec(kind="lora", alpha=4, grid={"rank": (8, 16), "learning_rate": (1e-3, 5e-5)})
    found = expand_grid("lora", spec)
    assert [name for name, _ in found] == [
        "lora[learning_rate=0.001,rank=8]",
        "lora[learning_rate=0.001,rank=16]",
        "lora[learning_rate=5e-05,rank=8]",
        "lora[learning_rate=5e-05,rank=16]",
    ]
    assert [(one.learning_rate, one.rank, one.alpha) for _, one in found][1] == (1e-3, 16, 4.0)
    assert all(one.grid == {} for _, one in found)
    turned = LoraSpec(kind="lora", alpha=4, grid={"learning_rate": (1e-3, 5e-5), "rank": (8, 16)})
    assert expand_grid("lora", turned) == found


def test_values_are_shown_as_one_would_write_them():
    spec = LoraSpec(
        kind="lora", grid={"rslora": (True,), "alpha": (8,), "bias": ("all",), "targets": (("query", "key"),)}
    )
    (name, candidate), = expand_grid("l", spec)  # fmt: skip
    assert name == "l[alpha=8,targets=query+key,rslora=true,bias=all]"
    assert candidate.targets == ("query", "key")
    assert isinstance(candidate.alpha, float)


@pytest.mark.parametrize(
    ("grid", "told"),
    [({"rank": (0,)}, "greater than"), ({"rank": (8, 8)}, "comes out twice"), ({"alpha": (1, 1.0)}, "comes out twice")],
)
def test_bad_values_are_one_error(grid, told):
    with pytest.raises(SpecError, match=told):
        expand_grid("lora", LoraSpec(kind="lora", grid=grid))


@pytest.mark.parametrize(
    ("kind", "grid", "told"),
    [
        (FrozenFeaturesSpec, {"rank": (1,)}, "no setting of frozen-features"),
        (LoraSpec, {"rnak": (1,)}, "did you mean 'rank'"),
        (LoraSpec, {"rank": ()}, "has no values"),
        (LoraSpec, {"kind": ("full",)}, "no setting"),
        (LoraSpec, {"training": ("x",)}, "no setting"),
        (MajoritySpec, {"rank": (1,)}, "allowed: none"),
    ],
)
def test_a_grid_varies_only_settings_of_its_method(kind, grid, told):
    word = kind.model_fields["kind"].annotation.__args__[0]
    with pytest.raises(ValueError, match=told):
        kind(kind=word, grid=grid)
