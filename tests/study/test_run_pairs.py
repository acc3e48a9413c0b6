"""A study of pairs from its source to its records, on a tiny random BERT."""

from whichtune.data.storing import read_examples
from whichtune.records.folder import read_lines
from whichtune.records.predictions import read_predictions
from whichtune.study.run import run_study

CHANGES = {
    "task": {"kind": "pair-classification"},
    "data": {
        "source": {"kind": "nli-grammar", "size": 300},
        "columns": {"text": "premise", "pair": "hypothesis", "group": "phenomenon"},
    },
    "methods": {"hypothesis": {"kind": "hypothesis-only"}, "lora": {"kind": "lora", "learning_rate": 1e-2}},
    "seeds": (1,),
}


def test_pairs_reach_the_records(tiny_study, tmp_path, quiet):
    study = tiny_study(**CHANGES, training={"epochs": 2, "max_steps": 4, "validate_every": 2, "max_length": 100})
    outcome = run_study(study, tmp_path / "runs", quiet())
    assert [record.status for record in outcome.records] == ["finished"] * 3
    by_kind = {record.kind: record for record in outcome.records}
    assert abs(by_kind["hypothesis-only"].scores["test"].metrics[0].value - 1 / 3) < 0.03
    table = read_predictions(outcome.folder.trial(by_kind["lora"].id).predictions)["test"]
    assert set(table.group) == {"negation", "quantifiers", "hypernyms", "numbers", "roles", "comparison"}
    stored = read_examples(outcome.folder.examples)
    assert all(one.pair for rows in stored.examples.values() for one in rows)
    curve = list(read_lines(outcome.folder.trial(by_kind["lora"].id).curve))
    validations = [line["validation"] for line in curve if "validation" in line]
    assert [line["step"] for line in curve if "validation" in line] == [2, 4]
    last = {one.name: one.value for one in by_kind["lora"].scores["validation"].metrics}
    assert validations[-1] == last
