"""A reading is a number or a reason."""

from __future__ import annotations

import pytest

from whichtune.measure.reading import Reading


def test_zero_is_a_value():
    assert Reading(0).value == 0


@pytest.mark.parametrize(("value", "reason"), [(None, None), (3, "why")])
def test_neither_and_both_are_refused(value, reason):
    with pytest.raises(ValueError, match="never both"):
        Reading(value, reason)
