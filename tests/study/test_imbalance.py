"""Class weights and sampling through a whole study."""

import pytest

from whichtune.errors import SpecError
from whichtune.study.run import run_study


def held(**changes):
    return {"epochs": 1, "batch_size": 16, "max_length": 40, **changes}


def test_a_label_the_data_do_not_have_is_told_before_anything_trains(tiny_study, tmp_path, quiet):
    study = tiny_study(training=held(class_weights={"god": 3}))
    with pytest.raises(SpecError, match=r"'god' is no label of the data; allowed: .*; did you mean 'good'"):
        run_study(study, tmp_path / "runs", quiet())
    assert not (tmp_path / "runs" / "tiny" / "trials").exists()


def test_weights_and_sampling_are_part_of_an_id(tiny_study, tmp_path, quiet):
    ids = set()
    for changes in ({}, {"class_weights": "balanced"}, {"class_weights": {"good": 3}}, {"sampling": "stratified"}):
        study = tiny_study(training=held(**changes), seeds=(1,))
        record = run_study(study, tmp_path / "runs", quiet()).records[-1]
        assert record.status == "finished"
        assert record.identity["training"]["class_weights"] == changes.get("class_weights", "none")
        ids.add(record.id)
    assert len(ids) == 4


def test_a_method_with_weights_of_its_own_is_listed_as_unequal(tiny_study, tmp_path, quiet):
    methods = {"lora": {"kind": "lora", "training": {"class_weights": {"good": 3}}}}
    record = run_study(tiny_study(methods=methods, seeds=(1,)), tmp_path / "runs", quiet()).records[-1]
    assert record.overrides == {"class_weights": {"good": 3}}
