"""Held settings that a study file can get wrong in ways of their own."""

import pytest

from whichtune.errors import SpecError
from whichtune.spec.read import read_study
from whichtune.spec.write import dump_study

FILE = """
name: reviews
data: {source: {kind: tweets}}
backbones: {mini: {kind: minilm}}
methods: {lora: {kind: lora, training: {class_weights: {"no": 3, other: 1e1}}}, full: {kind: full}}
training: {class-weights: inverse_root, sampling: stratified}
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(FILE)
    return path


def test_weights_by_rule_or_by_label(study, tmp_path):
    spec = read_study(study)
    assert spec.training.class_weights == "inverse-root"
    assert spec.training_of(spec.methods["lora"]).class_weights == {"no": 3.0, "other": 10.0}
    assert spec.training_of(spec.methods["full"]).class_weights == "inverse-root"
    stored = tmp_path / "stored.yaml"
    stored.write_text(dump_study(spec, {}))
    assert read_study(stored) == spec


@pytest.mark.parametrize(
    "override, told",
    [
        ("training.class_weights=balancd", "training.class_weights: got 'balancd'; allowed: none, balanced, inverse-"),
        ("training.class_weights={a: 0}", "training.class_weights: got a mapping; allowed: .* a weight above 0 by"),
        ("training.class_weights={a: x}", "training.class_weights: got a mapping; allowed: .* a weight above 0 by"),
        ("training.class_weights=3", "training.class_weights: got 3; allowed: none, balanced"),
        ("training.sampling=even", "allowed: shuffled, stratified, balanced"),
        ("training.order=by-length", "stratified batches cannot be sorted by length; set `order: random`"),
    ],
)
def test_refused(override, told, study):
    with pytest.raises(SpecError, match=told):
        read_study(study, overrides=[override])
