import pytest
from pydantic import ValidationError

from whichtune.spec.decoding import DecodingSpec


def test_the_length_is_filled_in_where_it_was_left_out():
    assert DecodingSpec().settled(16).max_new_tokens == 16
    assert DecodingSpec(max_new_tokens=5, beams=2).settled(16) == DecodingSpec(max_new_tokens=5, beams=2)


def test_an_answer_that_must_be_longer_than_it_may_be_is_refused():
    with pytest.raises(ValidationError, match=r"9 is more than `max_new_tokens` \(8\)"):
        DecodingSpec(min_new_tokens=9, max_new_tokens=8)
    assert DecodingSpec(min_new_tokens=8, max_new_tokens=8).min_new_tokens == 8
    with pytest.raises(ValidationError, match=r"20 is more than `max_new_tokens` \(16\)"):
        DecodingSpec(min_new_tokens=20).settled(16)


def test_beams_draw_nothing():
    with pytest.raises(ValidationError, match="beam search draws nothing"):
        DecodingSpec(beams=2, temperature=0.5)


@pytest.mark.parametrize(
    "settings",
    [{"max_new_tokens": 0}, {"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.1}, {"beams": 0}, {"top": 1}],
)
def test_what_makes_no_sense_is_refused(settings):
    with pytest.raises(ValidationError):
        DecodingSpec(**settings)


def test_answers_are_drawn_above_temperature_zero():
    assert not DecodingSpec().draws
    assert DecodingSpec(temperature=0.1).draws
