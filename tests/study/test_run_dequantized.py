"""A study with QLoRA over weights that are unpacked once: what its records say, its check, its verification."""

import pytest

from whichtune.study.run import run_study
from whichtune.study.verifying import verify

METHODS = {"qlora": {"kind": "qlora", "rank": 2, "learning_rate": 1e-2}}


@pytest.mark.parametrize("switch", [True, False])
def test_a_trial_says_how_it_ran_and_comes_out_equal_again(tiny_study, tmp_path, quiet, switch):
    study = tiny_study(
        methods=METHODS,
        seeds=[1],
        engine={"dequantize_once": switch},
        execution={"device": "cpu", "threads": 1, "check": switch},
    )
    outcome = run_study(study, tmp_path / "runs", quiet())
    (record,) = [one for one in outcome.records if one.kind == "qlora"]
    assert record.status == "finished", record.failure
    assert record.device["dequantized"] is switch
    assert record.device["evaluation_batch"] == 64
    assert record.evaluated_merged is False
    folder = outcome.folder.trial(record.id)
    if switch:
        assert record.checked, "a fresh process has the same logits, in four bits"
    verification = verify(folder, quiet())
    assert verification.outcome == "equal", verification.differences
