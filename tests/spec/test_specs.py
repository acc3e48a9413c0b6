"""What the spec classes themselves refuse, made in Python without a file."""

import pytest
from pydantic import TypeAdapter, ValidationError

from whichtune.spec.base import Misfit, Spec, raise_misfit
from whichtune.spec.methods import FullSpec, LoraSpec, MethodSpec
from whichtune.spec.sources import Columns, DataSpec, FilesSource, HubSource, PackageSource, SplitSpec
from whichtune.spec.study import StudySpec
from whichtune.spec.training import ExecutionSpec, TrainingSpec

TWEETS = {"source": {"kind": "tweets"}}
PAIRS = {"kind": "pair-classification"}
PAIRED = {"source": {"kind": "nli-grammar"}, "columns": {"text": "premise", "pair": "hypothesis"}}
HYPOTHESIS = {"h": {"kind": "hypothesis-only"}}
STUDY = {"name": "a", "data": TWEETS, "backbones": {"b": {"kind": "minilm"}}, "methods": {"full": {"kind": "full"}}}

PAIR = {"kind": "pair", "image": {"kind": "dinov2-small"}, "text": {"kind": "minilm"}}
ASKED = STUDY | {
    "task": {"kind": "visual-question-answering"},
    "data": {"source": {"kind": "easy-vqa"}},
    "backbones": {"b": {"kind": "minilm"}, "p": PAIR},
}


def fused(**fields):
    return {"f": {"kind": "frozen-features"} | fields}


@pytest.mark.parametrize(
    ("spec", "fields", "told"),
    [
        (FilesSource, {"kind": "files"}, "either `all`"),
        (FilesSource, {"kind": "files", "all": "a", "train": "b"}, "either `all`"),
        (FilesSource, {"kind": "files", "all": "a", "test": "b"}, "leave out `validation` and `test`"),
        (HubSource, {"kind": "hub", "name": "x", "splits": {"test": "test"}}, "`train` is missing"),
        (HubSource, {"kind": "hub", "name": "x", "splits": {"train": "train", "test": "train"}}, "named twice"),
        (PackageSource, {"kind": "package", "package": "p", "version": "1", "path": "x", "sha256": "ABC"}, "pattern"),
        (SplitSpec, {"validation": 0.5, "test": 0.5}, "take all rows"),
        (DataSpec, TWEETS | {"labels": ["a", "b", "a"]}, "labels?.*'a' stands twice"),
        (DataSpec, TWEETS | {"labels": ["a"]}, "two or more"),
        (TrainingSpec, {"warmup": 1.5}, "whole number of steps"),
        (TrainingSpec, {"betas": (0.9, 1.0)}, "less than 1"),
        (TrainingSpec, {"epochs": float("inf")}, "finite"),
        (TrainingSpec, {"epoch": 1}, "not permitted"),
        (ExecutionSpec, {"device": "gpu"}, "pattern"),
        (FullSpec, {"kind": "full", "training": {"epoch": 1}}, "training"),
        (FullSpec, {"kind": "full", "training": {"epochs": -1}}, "greater than 0"),
        (FullSpec, {"kind": "full", "on": []}, "at least 1"),
        (LoraSpec, {"kind": "lora", "targets": []}, "at least 1"),
        (StudySpec, STUDY | {"methods": {}}, "at least 1"),
        (StudySpec, STUDY | {"task": PAIRS}, r"data\.columns: pair-classification reads two texts: name .* `pair`"),
        (StudySpec, STUDY | {"data": PAIRED}, r"data\.columns\.pair: text-classification reads one text"),
        (StudySpec, STUDY | {"methods": HYPOTHESIS}, "h: hypothesis-only reads the second text alone"),
        (StudySpec, STUDY | {"methods": fused(fusion="mlp")}, r"f\.fusion: puts an image and a text together"),
        (StudySpec, STUDY | {"methods": fused(grid={"fusion": ["mlp"]})}, r"f\.grid\.fusion: puts an image and a text"),
        (StudySpec, ASKED | {"methods": fused(on=[{"image": "p", "text": "b"}])}, r"on\.0\.image: 'p' is a pair"),
        (Columns, {"pair": "text"}, "text and pair are the same column"),
        (Columns, {"text": "a", "pair": "label"}, "text and label are the same column"),
        (StudySpec, STUDY | {"seeds": [1, 1]}, "seed 1 stands twice"),
        (StudySpec, STUDY | {"backbones": {}}, "needs a backbone"),
        (StudySpec, STUDY | {"methods": {"full": {"kind": "full", "on": ["c"]}}}, "'c' is no backbone of this study"),
        (StudySpec, STUDY | {"reference": {"lora": {"values": {}, "source": "x"}}}, "'lora' is no method"),
        (StudySpec, STUDY | {"reference": {"full@c": {"values": {}, "source": "x"}}}, "'c' is no backbone"),
    ],
)  # fmt: skip
def test_refused(spec, fields, told):
    with pytest.raises(ValidationError, match=told):
        spec.model_validate(fields)


def test_a_study_of_pairs():
    spec = StudySpec.model_validate(STUDY | {"task": PAIRS, "data": PAIRED, "methods": HYPOTHESIS, "backbones": {}})
    assert (spec.task.texts, spec.data.columns.pair, spec.methods["h"].kind) == (2, "hypothesis", "hypothesis-only")
    assert "texts" not in spec.task.model_dump()


def test_specs_do_not_change_after_reading():
    spec = TrainingSpec()
    with pytest.raises(ValidationError):
        spec.epochs = 5


@pytest.mark.parametrize("warmup", [0.0, 0.1, 1, 100.0])
def test_warm_up_is_a_share_or_whole_steps(warmup):
    assert TrainingSpec(warmup=warmup).warmup == warmup


def test_a_study_with_reference_rows_of_its_own_candidates():
    rows = {"full": 1, "full@b": 1, "full[learning_rate=0.1]@b": 1}
    spec = StudySpec.model_validate(
        STUDY | {"reference": {name: {"values": {"f1": 0.5}, "source": "x"} for name in rows}}
    )
    assert list(spec.reference) == list(rows)


def test_a_method_lays_its_training_over_the_held_one():
    raw = STUDY | {"training": {"epochs": 2, "stopping": {"patience": 4, "min_gain": 0.1}, "batch_size": 4}}
    raw["methods"] = {
        "full": {"kind": "full", "training": {"stopping": {"patience": 9}, "batch-size": 2}},
        "m": {"kind": "majority"},
    }
    spec = StudySpec.model_validate(raw)
    own = spec.training_of(spec.methods["full"])
    assert (own.epochs, own.batch_size, own.stopping.patience, own.stopping.min_gain) == (2, 2, 9, 0.1)
    assert spec.training_of(spec.methods["m"]) == spec.training


def test_methods_are_told_apart_by_kind():
    methods = TypeAdapter(MethodSpec)
    assert type(methods.validate_python({"kind": "full"})) is FullSpec
    with pytest.raises(ValidationError):
        methods.validate_python({"kind": "fall"})


def test_misfits_say_where():
    raise_misfit([])
    with pytest.raises(Misfit, match=r"a\.0: wrong; all wrong"):
        raise_misfit([(("a", 0), "wrong"), ((), "all wrong")])


def test_defaults_are_read_like_values():
    class Rate(Spec):
        rate: float = 3

    assert isinstance(Rate().rate, float)
