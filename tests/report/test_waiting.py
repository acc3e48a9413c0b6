"""Nothing of the test split is told before every training of a study is in."""

from __future__ import annotations

import dataclasses
import json
import re
from statistics import fmean

import pytest
from typer.testing import CliRunner

from whichtune.cli import app
from whichtune.errors import InputError, RecordError, SpecError
from whichtune.fetch.atomic import write_text
from whichtune.records.predictions import write_predictions
from whichtune.report.compare import open_study, open_trial
from whichtune.report.comparison import compare_study
from whichtune.report.html.page import render_page
from whichtune.report.listing import list_studies
from whichtune.report.uses import FILE
from whichtune.report.waiting import WITHHELD
from whichtune.stats.scores import score_predictions

LABELS = ("negative", "positive")


@pytest.fixture
def study(maker):
    """Three candidates with scores on both splits, those of the test split far apart from the others."""
    for candidate, seeds, share, test in (
        ("majority", (1,), 0.5, 0.5),
        ("lora@minilm", (1, 2, 3), 0.55, 0.86),
        ("full@minilm", (1, 2, 3), 0.65, 0.83),
    ):
        for seed in seeds:
            record = maker.add(candidate, seed, share=test)
            tables = [maker.predict(candidate, seed, test), maker.predict(candidate, seed, share)]
            ids = [f"v{place}" for place in range(maker.rows)]
            tables[1] = dataclasses.replace(tables[1], split="validation", ids=ids)
            record.scores["validation"] = score_predictions(tables[1], LABELS, maker.metric)
            folder = maker.folder.trial(record.id)
            folder.write(record)
            write_predictions(folder.predictions, tables)
    return maker


def set_plan(maker, **over) -> None:
    records = maker.folder.read_trials()
    maker.plan(len(records), *records)
    plan = json.loads(maker.folder.plan.read_text(encoding="utf-8"))
    write_text(maker.folder.plan, json.dumps(plan | over))


def report(maker, *arguments) -> str:
    done = CliRunner().invoke(app, ["report", str(maker.folder.path), *map(str, arguments)], env={"COLUMNS": "80"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return " ".join(done.stdout.split())


def test_an_unfinished_study_shows_validation_figures_in_every_form(study) -> None:
    set_plan(study, complete=False)
    comparison = compare_study(study.folder)
    assert (comparison.split, comparison.withheld) == ("validation", WITHHELD)
    assert comparison.candidates[0].candidate == "full@minilm"  # the best of the validation rows alone
    own = [one.scores["validation"].metrics[0].value for one in study.folder.read_trials()[-3:]]
    assert comparison.candidates[0].quality[0].by_seed == dict(zip((1, 2, 3), own, strict=True))
    assert (comparison.pairs, comparison.verdict) == ([], None)
    assert not [one for one in comparison.traps if "majority" in one.sentence]
    tested = [one.scores["test"].metrics[0].value for one in study.folder.read_trials()[1:]]
    scores = [100 * fmean(own) for own in (tested[:3], tested[3:])]
    for form in ("terminal", "markdown", "latex"):
        told = report(study, "--format", form)
        assert WITHHELD in told
        assert "No verdict yet: 1 trial not over." in told
        assert "Pairs of candidates" not in told
        assert not any(f"{score:.1f}" in told for score in scores)
    assert not (study.folder.path.parent / FILE).exists()


def test_its_page_browses_no_test_rows(study) -> None:
    set_plan(study, complete=False)
    page = render_page(study.folder, compare_study(study.folder))
    assert WITHHELD in page
    assert '"v7"' in page
    assert '"r7"' not in page


def test_test_scores_by_force_count_as_a_use(study) -> None:
    set_plan(study, complete=False)
    told = report(study, "--partial")
    assert "Quality on the test split" in told
    assert "Shown before all trainings are in, as asked for; it counts as a use of the test rows" in told
    assert "(uses of these test rows, by the studies beside this one: 1)" in told
    assert "Use " not in told.split("Quality")[0]
    assert "(uses of these test rows, by the studies beside this one: 1)" in report(study, "--partial")
    study.folder.plan.unlink()
    study.add("full@minilm", 4, share=0.95)
    set_plan(study)
    verdict = compare_study(study.folder).verdict
    assert verdict is not None
    assert verdict.test_uses == 2
    with pytest.raises(InputError, match="--partial"):
        report(study, "--partial", "--split", "validation")


@pytest.mark.parametrize("plan", [{}, {"complete": True}])
def test_a_study_that_asks_for_nothing_more_is_over_whatever_failed(study, plan) -> None:
    study.fail("qlora@minilm", 1)
    set_plan(study, **plan)
    comparison = compare_study(study.folder)
    assert (comparison.split, comparison.withheld) == ("test", None)
    assert comparison.pairs
    assert comparison.verdict is not None


def test_other_commands_wait_too(study) -> None:
    set_plan(study, complete=False)
    (line,) = list_studies(study.folder.path.parent)
    assert (line.best, line.best_mean, line.finished) == (None, None, 7)
    trial = study.folder.read_trials()[1]
    shown = CliRunner().invoke(app, ["show", str(study.folder.trial(trial.id).path)]).stdout
    assert "Test scores appear once all trainings of its study are in." in " ".join(shown.split())
    assert "validation (300 rows)" in shown
    assert "test (300 rows)" not in shown
    assert "test split" not in shown
    for open_it in (
        lambda: open_study("a", study.folder),
        lambda: open_trial("a", study.folder.trial(trial.id)),
    ):
        with pytest.raises(RecordError, match="once all trainings"):
            open_it()
    compared = CliRunner().invoke(
        app, ["compare", trial.id, str(study.folder.path), "--runs", str(study.folder.path.parent)]
    )
    assert "test scores are read once all trainings" in str(compared.exception)
    assert open_study("a", study.folder, "validation").entries
    set_plan(study)
    assert list_studies(study.folder.path.parent)[0].best == "lora@minilm"
    assert "test (300 rows)" in CliRunner().invoke(app, ["show", str(study.folder.trial(trial.id).path)]).stdout


def test_what_if_weighs_otherwise_and_stores_nothing(study) -> None:
    stored = study.folder.spec.read_bytes()
    assert "margin 2 points" in report(study)
    told = report(study, "--set", "margin=60", "--set", "limits.train_minutes=0.1")
    assert "Asked here: margin 60 (the study: 2); limits.train_minutes 0.1 (the study: none)." in told
    assert "outside the limits" in told
    comparison = compare_study(study.folder, settings=["margin=60"])
    assert comparison.verdict is not None
    assert comparison.verdict.margin == pytest.approx(0.6)
    assert comparison.verdict.recommended == "majority"
    axis = compare_study(study.folder, settings=["cost.axis=peak_bytes"]).verdict
    assert axis is not None
    assert axis.axis == "peak_bytes"
    assert study.folder.spec.read_bytes() == stored
    assert compare_study(study.folder).asked == []


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("marign=3", "did you mean 'margin'"),
        ("methods.lora.rank=3", "allowed: margin, cost.axis"),
        ("margin=wide", "margin"),
        ("cost.axis=euros", "seconds"),
        ("limits.peak_gb=0", "allowed: above 0"),
        ("margin", "path=value"),
    ],
)
def test_a_what_if_that_makes_no_sense_is_refused(study, setting, told) -> None:
    with pytest.raises(SpecError, match=re.escape(told)):
        report(study, "--set", setting)
