import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.data.shingles import LONGEST_CHARACTERS, NGRAM, choose_bands, jaccard, normalise, shingle, sign


def grams(text):
    return {text[place : place + NGRAM] for place in range(max(1, len(text) - NGRAM + 1))}


texts = st.text(st.sampled_from("abcdä 😀"), max_size=40)


@given(texts, texts)
def test_the_similarity_is_that_of_sets_of_strings(left, right):
    ours = jaccard(shingle(left), shingle(right))
    theirs = len(grams(left) & grams(right)) / len(grams(left) | grams(right))
    assert ours == pytest.approx(theirs)


@pytest.mark.parametrize(("text", "folded"), [("  A  b\n\tC ", "a b c"), ("Straße", "strasse"), ("", "")])
def test_case_and_spacing_are_folded(text, folded):
    assert normalise(text) == folded


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
def test_bands_catch_what_they_promise(threshold):
    bands = choose_bands(threshold)
    assert bands.catch(threshold) >= 0.999
    assert bands.count * bands.rows <= 96
    longer = type(bands)(96 // (bands.rows + 1), bands.rows + 1)
    assert longer.catch(threshold) < 0.999


def test_signatures_do_not_depend_on_the_company():
    held = [f"some text number {number} of {number * 7}" for number in range(300)]
    bands = choose_bands(0.8)
    whole = sign(len(held), held.__getitem__, bands)
    for place in (0, 17, 299):
        assert np.array_equal(sign(1, lambda _, place=place: held[place], bands)[:, 0], whole[:, place])


def test_blocks_do_not_show(monkeypatch):
    held = ["x" * length + "abcdefg" for length in range(50)]
    bands = choose_bands(0.8)
    whole = sign(len(held), held.__getitem__, bands)
    monkeypatch.setattr("whichtune.data.shingles._BLOCK_CHARACTERS", 40)
    assert np.array_equal(sign(len(held), held.__getitem__, bands), whole)


def test_a_share_of_agreeing_hashes_estimates_the_similarity():
    left, right = "".join(map(chr, range(100, 500))), "".join(map(chr, range(150, 550)))
    held = [left, right]
    true = jaccard(shingle(left), shingle(right))
    one_row = type(choose_bands(0.5))(2000, 1)
    keys = sign(2, held.__getitem__, one_row)
    assert float(np.mean(keys[:, 0] == keys[:, 1])) == pytest.approx(true, abs=0.04)


def test_a_very_long_text_is_compared_by_its_beginning():
    assert len(shingle("ab" * LONGEST_CHARACTERS)) == 2
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000))) * 4
    assert np.array_equal(shingle(long), shingle(long[:LONGEST_CHARACTERS]))
