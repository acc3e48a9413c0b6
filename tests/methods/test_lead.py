import numpy as np

from whichtune.data.examples import Example
from whichtune.methods import BASELINES
from whichtune.methods.lead import Lead
from whichtune.spec.methods import LeadSpec


def test_it_answers_with_the_first_sentence_and_learns_nothing():
    rows = [
        Example("1", "test", "Dr. Hu left early. It rained.", "gold", "o:1"),
        Example("2", "test", "no end in sight", "gold", "o:2"),
        Example("3", "test", "First line\n\nSecond part.", "gold", "o:3"),
    ]
    guess = Lead().fit([], np.array([]), 0)
    assert guess(rows) == ["Dr. Hu left early.", "no end in sight", "First line"]
    assert guess([]) == []
    assert isinstance(BASELINES[LeadSpec], Lead)
    assert Lead.deterministic
