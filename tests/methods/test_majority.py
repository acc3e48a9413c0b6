import numpy as np

from whichtune.methods.majority import Majority


def test_it_predicts_the_labels_shares():
    shares_of = Majority().fit((), np.array([1, 1, 0, 2, 1]), 4)
    assert np.allclose(shares_of(["a", "b"]), [[0.2, 0.6, 0.2, 0.0]] * 2)
