import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from scipy import stats as scipy_stats

from whichtune.errors import RecordError
from whichtune.records.predictions import Predictions
from whichtune.stats.intervals import estimate_difference, estimate_single, sample_candidate
from whichtune.stats.metrics import ROUGE
from whichtune.stats.pseudo import psi
from whichtune.stats.rouge import score_rouge

GOLD = ["Return the sum of two numbers.", "The cat sat.\nThe dog ran away.", "Sort a list in place.", "Naïve café"]
SAID = ["Returns a sum of the numbers", "The dog runs.\nA cat sat down.", None, "naive cafe"]
NAMES = tuple(metric.name for metric in ROUGE)


def test_scores_are_those_of_the_package_called_by_hand():
    found = score_rouge(GOLD, SAID)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    for name in NAMES:
        by_hand = [
            0.0 if said is None else scorer.score(gold, said)[name].fmeasure
            for gold, said in zip(GOLD, SAID, strict=True)
        ]
        assert found[name].tolist() == by_hand
    assert found["rougeL"][1] != found["rougeLsum"][1]


def test_scores_counted_on_paper():
    found = score_rouge(["the cat sat on the mat"], ["the cat was on a mat"])
    assert found["rouge1"][0] == pytest.approx(4 / 6)  # the, cat, on, mat
    assert found["rouge2"][0] == pytest.approx(1 / 5)  # the cat
    assert found["rougeL"][0] == pytest.approx(4 / 6)


def test_no_answer_scores_nothing_and_no_reference_is_refused():
    assert all(values.tolist() == [0.0, 0.0] for values in score_rouge(["a b", "c"], [None, ""]).values())
    with pytest.raises(RecordError, match="without a reference"):
        score_rouge([None], ["a"])
    with pytest.raises(RecordError, match="did you mean 'rouge1'"):
        score_rouge(["a"], ["a"], ["rouge11"])
    with pytest.raises(ValueError, match="2 references and 1 answers"):
        score_rouge(["a", "b"], ["a"])


def told(said):
    blank = np.full(len(said), np.nan, np.float32)
    return Predictions("test", [str(at) for at in range(len(said))], list(GOLD), list(said), blank, blank)


def test_an_interval_is_that_of_a_mean_over_rows():
    mean, items = psi(told(SAID), (), "rouge1")
    estimate = estimate_single(sample_candidate("a", told(SAID).ids, [mean], items[None]))
    assert estimate.value == pytest.approx(items.mean())
    expected = scipy_stats.t.interval(0.95, len(items) - 1, items.mean(), scipy_stats.sem(items))
    assert estimate.interval() == pytest.approx(expected)
    same, perfect = psi(told(GOLD), (), "rouge1")
    assert same == 1.0
    gap = estimate_difference(
        sample_candidate("b", told(GOLD).ids, [same], perfect[None]),
        sample_candidate("a", told(SAID).ids, [mean], items[None]),
    )
    assert gap.value == pytest.approx(1 - mean)


def test_no_rows_have_no_score():
    assert psi(Predictions("test", [], [], [], np.zeros(0), np.zeros(0)), (), "rougeL") is None


def test_scores_handed_out_are_the_callers_own():
    score_rouge(GOLD, SAID)["rouge1"][:] = 9
    assert score_rouge(GOLD, SAID)["rouge1"].max() <= 1
