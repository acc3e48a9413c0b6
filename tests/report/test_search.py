"""What a report says of searches, from records that no model ever made."""

import json

import numpy as np
import pytest

from whichtune.records.predictions import Predictions
from whichtune.records.search import CandidateSearch, SearchLog
from whichtune.records.trial import Failure, Phase
from whichtune.report.comparison import compare_study
from whichtune.report.markdown import render_markdown
from whichtune.report.search import count_searched, report_searches
from whichtune.spec.search import SearchSpec
from whichtune.stats.scores import score_predictions

LABELS = ("negative", "positive")
OWN, GRID = 5e-5, [1e-5, 3e-5, 1e-4]


def score(share, metric):
    """Scores of 20 validation rows, so many of them right."""
    gold = [LABELS[place % 2] for place in range(20)]
    right = round(20 * share)
    parsed = [*gold[:right], *(LABELS[1 - LABELS.index(one)] for one in gold[right:])]
    predictions = Predictions(
        split="validation",
        ids=[str(place) for place in range(20)],
        gold=gold,
        parsed=parsed,
        confidence=np.full(20, 0.7, np.float32),
        loss=np.full(20, 1 - share, np.float32),
        labels=LABELS,
    )
    return score_predictions(predictions, LABELS, metric)


@pytest.fixture
def searched(maker):
    """A study with a search of `full` and `lora`; LoRA is good at its own range alone."""

    def add(candidate, rate, share, seed, purpose="grid", **over):
        record = maker.add(candidate, seed, role="search", tuned={"learning_rate": rate}, purpose=purpose)
        record.scores = {} if share is None else {"validation": score(share, maker.metric)}
        for name, value in over.items():
            setattr(record, name, value)
        maker.folder.trial(record.id).write(record)
        return record.id

    def write(metric="accuracy"):
        maker.metric = metric
        maker.write_spec(search={"trials": 3, "repeats": 1, "best": 1})
        trials = {"full@minilm": [], "lora@minilm": []}
        shares = {"full@minilm": [0.5, 0.7, 0.8, 0.75], "lora@minilm": [None, 0.5, 0.8, 0.3]}
        for name, own in shares.items():
            for rate, share in zip([*GRID, OWN], own, strict=True):
                broken = {"status": "failed", "failure": Failure(kind="NonFiniteError", message="loss is nan")}
                purpose = "own" if rate == OWN else "grid"
                trials[name].append(add(name, rate, share, 901, purpose, **(broken if share is None else {})))
            trials[name].append(add(name, GRID[-1], own[2] - 0.1, 902, "repeat"))
        trials["lora@minilm"].append(add("lora@minilm", 3e-4, 0.6, 901, "beyond"))
        log = SearchLog(
            settings=SearchSpec(trials=3, repeats=1, best=1).model_dump(mode="json"),
            metric=metric,
            direction="higher" if metric == "accuracy" else "lower",
            candidates=[
                CandidateSearch(
                    candidate=name,
                    method=name.partition("@")[0],
                    backbone="minilm",
                    ranges={"learning_rate": (1e-5, 1e-4)},
                    own={"learning_rate": OWN},
                    chosen={"learning_rate": 1e-4},
                    score=0.75 if metric == "accuracy" else -0.25,
                    ends={"learning_rate": "high"} if name == "full@minilm" else {},
                    extended=name == "lora@minilm",
                    trials=ids,
                )
                for name, ids in trials.items()
            ],
            untuned=["majority"],
        )
        maker.folder.searches.write_text(log.model_dump_json())
        for name in ("majority", *trials):
            for seed in (1,) if name == "majority" else (1, 2, 3):
                maker.add(name, seed, share=0.8)
        return maker.folder

    return write


def test_search_trials_are_no_part_of_the_comparison(searched):
    comparison = compare_study(searched())
    assert comparison.trials == {"finished": 7}
    assert {row.candidate: row.seeds for row in comparison.candidates}["lora@minilm"] == [1, 2, 3]
    assert not any(seed > 900 for row in comparison.candidates for seed in row.quality[0].by_seed)


def test_tuned_stands_beside_the_entrys_own_setting(searched):
    folder = searched()
    report = report_searches(folder, folder.read_trials())
    full, lora = report.rows
    assert (full.score, full.own_score) == (0.75, pytest.approx(0.75))
    assert lora.own_score == pytest.approx(0.3)
    assert [one.setting["learning_rate"] for one in lora.settings] == [1e-5, 3e-5, OWN, 1e-4, 3e-4]
    assert [one.chosen for one in lora.settings] == [False, False, False, True, False]
    assert [(one.seeds, one.mean) for one in lora.settings][3] == (2, pytest.approx(0.75))
    assert (lora.settings[0].mean, lora.trials[0].reason) == (None, "NonFiniteError: loss is nan")
    assert full.training_seconds == pytest.approx(5 * 911 + 1)  # a step takes 10 seconds and the seed in this factory
    assert full.final_seconds == pytest.approx(12)


def test_the_budget_curve_counts_a_failed_trial_as_the_worst(searched):
    folder = searched()
    curve = report_searches(folder, []).rows[1].expected_best
    assert curve[0] == pytest.approx((0.3 + 0.5 + 0.8 + 0.3) / 4)
    assert curve[-1] == pytest.approx(0.8)
    assert curve == sorted(curve)
    assert len(curve) == 4, "neither repeats nor what lies beyond the range"


def test_where_lower_is_better_everything_is_turned_once(searched):
    folder = searched("loss")
    full, _ = report_searches(folder, []).rows
    assert full.score == pytest.approx(0.25)
    assert full.own_score == pytest.approx(0.25)
    assert full.expected_best == sorted(full.expected_best, reverse=True)
    assert full.expected_best[-1] == pytest.approx(0.2)


def test_the_report_says_what_to_know(searched):
    told = "\n".join(report_searches(searched(), []).remarks)
    assert "Budget: 4 settings for each candidate, the entry's own among them; the 1 best setting of each got" in told
    assert "Nothing to tune, so no search trials: majority" in told
    assert "full@minilm: learning_rate 0.0001 is the highest tried; a better one may lie beyond it" in told
    assert "lora@minilm: the best setting lay at the end of its range, so learning_rate 0.0003 was tried" in told
    assert "lora@minilm: 1 search trial without a score (NonFiniteError: loss is nan)" in told
    assert "lora@minilm is 45.0 points below the best on minilm where each has its entry's own settings, 0.0" in told


def test_every_form_shows_the_search(searched):
    comparison = compare_study(searched())
    text = render_markdown(comparison)
    assert "Search: chosen settings, accuracy on the validation split" in text
    assert "flatters" in text
    assert "Sensitivity" in text
    assert "Expected best validation score" in text
    held = json.loads(comparison.model_dump_json())["search"]
    assert [len(row["trials"]) for row in held["rows"]] == [5, 6]


def test_what_halving_saved_stands_apart(maker):
    maker.write_spec()
    spec = SearchSpec(engine="optuna", trials=2, pruner={"kind": "successive-halving"})
    over = {"role": "search", "purpose": "grid"}
    whole = maker.add("lora@minilm", 901, tuned={"learning_rate": 1e-3}, steps=100, **over)
    whole.scores = {"validation": score(0.8, "accuracy")}
    ended = maker.add("lora@minilm", 901, tuned={"learning_rate": 1e-4}, steps=25, status="pruned", scores={}, **over)
    ended.phases = {"step": Phase(seconds=10)}
    ended.failure = Failure(kind="PrunedError", message="ended by successive halving at step 25, validation 1")
    for one in (whole, ended):
        maker.folder.trial(one.id).write(one)
    own = CandidateSearch(candidate="lora@minilm", method="lora", chosen=whole.tuned, trials=[whole.id, ended.id])
    log = SearchLog(settings=spec.model_dump(mode="json"), metric="accuracy", candidates=[own])
    maker.folder.searches.write_text(log.model_dump_json())
    report = report_searches(maker.folder, [])
    assert "Successive halving ended 1 of 2 search trials early and saved about 30.0 s of training" in report.remarks[1]
    assert "T3" in report.remarks[1]
    assert report.rows[0].trials[1].reason == "ended by successive halving at step 25, validation 1"
    assert not any("without a score" in one for one in report.remarks)


def test_ranks_that_were_tuned_together_are_told_and_cost_the_search_they_share(maker):
    maker.write_spec()
    names = [f"lora[rank={rank}]@minilm" for rank in (4, 8, 16)]
    tried = [
        maker.add(names[1], 901, role="search", purpose="grid", tuned={"learning_rate": rate}) for rate in (1e-4, 1e-3)
    ]
    finals = [maker.add(name, 1, phases={"step": Phase(seconds=20)}) for name in names]
    own = CandidateSearch(
        candidate=names[1],
        method="lora",
        chosen=tried[1].tuned,
        trials=[one.id for one in tried],
        shared_with=[names[0], names[2]],
        rank=8,
    )
    settings = SearchSpec(trials=2, share="ranks").model_dump(mode="json")
    maker.folder.searches.write_text(
        SearchLog(settings=settings, metric="accuracy", candidates=[own]).model_dump_json()
    )
    assert count_searched(maker.folder) == dict.fromkeys(names, 2)
    report = report_searches(maker.folder, finals)
    (told,) = [one for one in report.remarks if "together" in one]
    assert told.startswith(
        "Tuned together at rank 8: lora[rank=4]@minilm, lora[rank=16]@minilm had no search of their own and have "
        "the settings that lora[rank=8]@minilm's chose, which saved about 80.0 s"
    )
    assert "T3" in told
    assert "which saved" not in " ".join(report_searches(maker.folder, finals[:2]).remarks)
    older = own.model_dump(exclude={"shared_with", "rank"})
    assert CandidateSearch.model_validate(older).shared_with == []


def test_without_a_search_there_is_no_section(maker):
    maker.write_spec()
    maker.add("lora@minilm")
    comparison = compare_study(maker.folder)
    assert comparison.search is None
    assert "Search" not in render_markdown(comparison)


def test_a_search_that_has_not_ended_is_shown_as_far_as_it_is(maker):
    maker.write_spec(search={})
    maker.folder.searches.write_text(SearchLog(settings=SearchSpec().model_dump(mode="json")).model_dump_json())
    maker.add(
        "lora@minilm",
        901,
        role="search",
        tuned={"learning_rate": 1e-3},
        purpose="grid",
        phases={"step": Phase(seconds=1)},
    )
    comparison = compare_study(maker.folder)
    assert comparison.candidates == []
    assert comparison.search.rows == []


def test_units_are_the_metric_s_own_where_no_trial_is_left_on_disk(searched):
    folder = searched()
    before = compare_study(folder)
    for path in folder.path.glob("trials/*/trial.json"):
        path.unlink()
    after = compare_study(folder)
    assert before.search is not None
    assert after.search is not None
    assert [row.score for row in after.search.rows] == [row.score for row in before.search.rows]
    (told,) = [line for line in render_markdown(before).splitlines() if "| lora@minilm | learning" in line][:1]
    (left,) = [line for line in render_markdown(after).splitlines() if "| lora@minilm | learning" in line][:1]
    assert left.split("|")[3] == told.split("|")[3]
    assert after.search.remarks[0].endswith("no longer on disk: no scores of theirs")
    untold = ("Budget", "Equal", "lora@minilm: no search")
    assert not [one for one in after.search.remarks if one.startswith(untold)]
