import pytest
from pydantic import ValidationError

from whichtune.spec.prompts import PromptSpec, ShotsSpec, StyleSpec


def test_a_prompt_asks_plainly_unless_told_otherwise():
    spec = PromptSpec()
    assert (spec.style, spec.wording, spec.words) == ("zero-shot", None, {})
    assert (spec.shots.choice, spec.shots.count, spec.shots.balanced) == ("fixed", None, True)


@pytest.mark.parametrize(
    ("spec", "fields", "told"),
    [
        (PromptSpec, {"style": "many-shot"}, "few-shot"),
        (PromptSpec, {"words": {"a": "Good", "b": " good"}}, "stands for 'a' too"),
        (ShotsSpec, {"choice": "random"}, "per-item"),
        (ShotsSpec, {"count": -1}, "greater than or equal to 0"),
        (StyleSpec, {"query": ""}, "at least 1"),
        (StyleSpec, {"prompt": "x"}, "not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused(spec, fields, told):
    with pytest.raises(ValidationError, match=told):
        spec.model_validate(fields)
