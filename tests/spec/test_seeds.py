from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.spec.seeds import Streams, derive_seed

PARTS = st.lists(st.integers() | st.text(max_size=5), max_size=4)


@given(PARTS, PARTS)
def test_equal_parts_give_equal_seeds_and_others_differ(parts, others):
    assert (derive_seed(*parts) == derive_seed(*others)) == (parts == others)
    assert 0 <= derive_seed(*parts) < 2**63


def test_frames_keep_neighbours_apart():
    assert derive_seed("ab", "c") != derive_seed("a", "bc") != derive_seed("abc")
    assert derive_seed(1, 2) != derive_seed(12) != derive_seed("12")


def test_every_purpose_seed_stream_and_place_has_a_stream_of_its_own():
    purposes = ("initialisation", "order", "dropout", "examples", "bootstrap", "split", "sample", "warm-up")
    found = [
        Streams(seed, stream).derive(purpose, place)
        for seed, stream, purpose, place in product(range(5), range(3), purposes, range(4))
    ]
    assert len(set(found)) == len(found)


def test_streams_are_uncorrelated_bits():
    bits = np.array([[derive_seed(0, place) >> bit & 1 for bit in range(63)] for place in range(2000)])
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.06


def test_integers_of_arrays_draw_the_same_stream_and_floats_are_refused():
    assert derive_seed(np.int64(7), "order") == derive_seed(7, "order")
    with pytest.raises(TypeError):
        derive_seed(1.5)


def test_the_hash_never_changes():
    # A changed value would silently change every finished study's trials.
    assert derive_seed(1, 0, "order") == 4796952776604233502
