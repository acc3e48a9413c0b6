import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from whichtune.spec.compose import compose
from whichtune.spec.read import load_stored_study, read_study, resolve_study
from whichtune.spec.study import StudySpec
from whichtune.spec.write import dump_study, write_scalar, write_yaml

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=1e-12, max_value=1e6)
WORDS = st.sampled_from(
    ["no", "on", "010", "1e-3", "null", "~", "", " a", "a: b", "#x", "-", "é", "x\ny", "0o10", "=", "<<"]
)
TEXTS = st.text(max_size=8) | WORDS
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS,
    lambda value: st.lists(value, max_size=3) | st.dictionaries(TEXTS, value, max_size=3),
    max_leaves=8,
)
GRIDS = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": st.lists(POSITIVE, min_size=1, max_size=3, unique=True),
        "rank": st.lists(st.integers(1, 64), min_size=1, max_size=3, unique=True),
        "rslora": st.just([True, False]),
        "targets": st.just([["query"], ["a b", "010"]]),
    },
)
METHODS = st.fixed_dictionaries(
    {"kind": st.just("lora")},
    optional={
        "learning_rate": POSITIVE,
        "rank": st.integers(1, 1000),
        "targets": st.lists(TEXTS, min_size=1, max_size=3),
        "grid": GRIDS,
        "stream": st.integers(0, 9),
        "training": st.fixed_dictionaries(
            {}, optional={"epochs": POSITIVE, "keep": st.just("best"), "clip_norm": st.none()}
        ),
    },
)
SOURCES = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.just("files"), "train": st.just("/tmp/x y/é.csv"), "encoding": st.none() | TEXTS}
    ),
    st.fixed_dictionaries(
        {"kind": st.just("hub"), "name": st.text(min_size=1, max_size=5), "config": st.none() | TEXTS}
    ),
    st.just({"kind": "tweets"}),
)
COLUMNS = st.fixed_dictionaries({"text": TEXTS})
SCALARS = st.booleans() | st.integers() | NUMBERS | TEXTS
TRAINING = st.fixed_dictionaries({"warmup": st.integers(0, 10), "stopping": st.none() | st.just({"min_gain": 1e-9})})
STUDIES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "data": st.fixed_dictionaries(
            {"source": SOURCES},
            optional={"labels": st.lists(TEXTS, min_size=2, max_size=4, unique=True), "columns": COLUMNS},
        ),
        "backbones": st.fixed_dictionaries(
            {"main": st.just({"kind": "random"})},
            optional={
                "no": st.fixed_dictionaries(
                    {"kind": st.just("random"), "config": st.dictionaries(TEXTS, SCALARS)}
                )
            },
        ),
        "methods": st.dictionaries(NAMES, METHODS, min_size=1, max_size=3),
    },
    optional={
        "seeds": st.lists(st.integers(), min_size=1, max_size=4, unique=True),
        "training": TRAINING,
        "scales": st.dictionaries(NAMES, st.just({"seeds": [1], "methods": {"m": {"kind": "majority"}}}), max_size=2),
        "margin": POSITIVE,
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("stored") / "study.yaml"


@given(raw=STUDIES, decisions=st.dictionaries(TEXTS, VALUES, max_size=3))
def test_a_stored_study_reads_back_equal(path, raw, decisions):
    spec = StudySpec.model_validate(raw)
    path.write_text(dump_study(spec, decisions), encoding="utf-8")
    assert load_stored_study(path) == (spec, decisions)
    assert read_study(path) == spec
    assert resolve_study(raw) == spec


@given(st.dictionaries(TEXTS, VALUES, max_size=3))
def test_what_is_written_reads_back_here_and_in_another_reader(values):
    text = write_yaml(values) if values else "{}"
    root, faults = compose(text, "f")
    assert not faults
    assert root.plain() == values
    assert YAML(typ="safe", pure=True).load(text) == values


@given(st.integers() | NUMBERS | st.booleans() | st.none() | TEXTS)
def test_yaml_1_1_reads_the_same_words(value):
    found = YAML(typ="safe", pure=True).load(f"%YAML 1.1\n---\na: {write_scalar(value)}\n")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1e-5, "1.0e-05"), (3.0, "3.0"), (math.inf, ".inf"), (-math.inf, "-.inf"), (True, "true"), (None, "null"),
        ("no", '"no"'), ("last-layers", "last-layers"), ("a b", "a b"), ("010", '"010"'),
        ((1, 2), "[1, 2]"), ({}, "{}"),
        ("../x.csv", "../x.csv"), ({"a": [1.5]}, "{a: [1.5]}"), ("\x85", '"\\u0085"'), ("\U000e0001", '"\\U000e0001"'),
    ],
)  # fmt: skip
def test_scalars(value, written):
    assert write_scalar(value) == written


def test_paths_are_written_absolute(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    raw = {"name": "a", "data": {"source": {"kind": "files", "all": "x.csv"}}, "methods": {"m": {"kind": "majority"}}}
    spec = StudySpec.model_validate(raw)
    assert spec.data.source.all == Path("x.csv")
    path.write_text(dump_study(spec, {}), encoding="utf-8")
    assert read_study(path).data.source.all == tmp_path / "x.csv"
