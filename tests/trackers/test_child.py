from importlib.util import find_spec
from typing import get_args

import pytest

from whichtune.spec.members import specs
from whichtune.spec.trackers import TrackerSpec
from whichtune.trackers.child import BUILDERS, Desk, attempt


def test_every_spec_has_its_tracker():
    assert set(BUILDERS) == set(specs(TrackerSpec))
    assert get_args(TrackerSpec)
    for module, _ in BUILDERS.values():
        assert find_spec(f"whichtune.trackers.{module}") is not None


class Broken:
    def __init__(self, error):
        self.error = error

    def log(self, step, figures):
        raise self.error


@pytest.mark.parametrize("error, missing", [(ValueError(""), False), (ModuleNotFoundError("no x"), True)])
def test_every_failure_is_an_answer(error, missing):
    answer = attempt(Desk(Broken(error)), {"do": "log", "step": 1, "figures": {}})
    assert answer["missing"] == missing
    assert answer["error"].startswith(type(error).__name__)
