from whichtune.methods import BASELINES, BUILDERS, PROMPTERS, TUNERS
from whichtune.spec.members import members
from whichtune.spec.methods import MethodSpec


def test_every_method_has_exactly_one_builder():
    assert set(BUILDERS) == set(members(MethodSpec))
    assert len(BASELINES) + len(PROMPTERS) + len(TUNERS) == len(BUILDERS)
