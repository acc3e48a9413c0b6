import pytest

from whichtune.errors import LONGEST_VALUE, InputError, SpecError
from whichtune.spec.read import resolve_study

STUDY = {"name": "s", "data": {"source": {"kind": "movie-reviews"}}, "methods": {"m": {"kind": "majority"}}}


def test_a_value_is_told_up_to_a_length():
    assert str(InputError("--by", value="x" * 10)) == "--by: got 'xxxxxxxxxx'"
    told = str(InputError("--by", value="x" * 100_000, allowed="less"))
    assert told == f"--by: got '{'x' * (LONGEST_VALUE - 1)}… (100,002 characters); allowed: less"


def test_a_setting_is_told_up_to_a_length():
    with pytest.raises(SpecError) as refused:
        resolve_study(STUDY | {"margin": "y" * 50_000})
    assert "50,002 characters" in str(refused.value)
    assert len(str(refused.value)) < 2 * LONGEST_VALUE
    with pytest.raises(SpecError) as refused:
        resolve_study(STUDY, overrides=["margin=" + "z" * 50_000])
    assert len(str(refused.value)) < 4 * LONGEST_VALUE
