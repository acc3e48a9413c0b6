import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from whichtune.errors import SpecError
from whichtune.spec.read import load_stored_study, read_study, resolve_study

STUDY = """\
name: reviews
data:
  source: {kind: files, all: rows/reviews.csv}
backbones:
  main: {kind: minilm}
methods:
  majority: {kind: majority}
  lora:
    kind: lora
    learning_rate: 1e-3
training:
  stopping:
    patience: 3
    min_gain: 0.5
scales:
  small:
    training: {epochs: 1, stopping: {patience: 9}}
    seeds: [7]
  other:
    methods: {lora: {rank: 2}}
"""
RAW = {
    "name": "reviews",
    "data": {"source": {"kind": "tweets"}},
    "backbones": {"main": {"kind": "minilm"}},
    "methods": {"lora": {"kind": "lora"}},
}


@pytest.fixture
def write(tmp_path):
    def write(text, name="study.yaml"):
        path = tmp_path / name
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return write


def faults_of(path, **options):
    with pytest.raises(SpecError) as caught:
        read_study(path, **options)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def edited(old, new):
    assert old in STUDY
    return STUDY.replace(old, new)


def test_a_study_is_read(write):
    spec = read_study(write(STUDY))
    assert spec.methods["lora"].learning_rate == 0.001
    assert spec.training.epochs == 3
    assert spec.training.stopping.min_gain == 0.5
    assert list(spec.scales) == ["small", "other"]


def test_a_scale_and_then_overrides_are_laid_over_it_leaf_by_leaf(write):
    spec = read_study(write(STUDY), scale="small", overrides=["training.epochs=0.5", "methods.lora.rank=16"])
    assert (spec.training.epochs, spec.seeds) == (0.5, (7,))
    assert (spec.training.stopping.patience, spec.training.stopping.min_gain) == (9, 0.5)
    assert (spec.methods["lora"].rank, spec.methods["lora"].learning_rate) == (16, 0.001)


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("margin=1", lambda spec: spec.margin == 1.0),
        ("seeds=[4, 5]", lambda spec: spec.seeds == (4, 5)),
        ("training.max-steps=1e3", lambda spec: spec.training.max_steps == 1000),
        ("training.clip_norm=", lambda spec: spec.training.clip_norm is None),
        ("training.stopping=null", lambda spec: spec.training.stopping is None),
        ("task.metric=macro-f1", lambda spec: spec.task.metric == "macro_f1"),
        ("data.sizes={train: 10}", lambda spec: spec.data.sizes.train == 10),
        ("methods.lora={kind: full}", lambda spec: spec.methods["lora"].kind == "full"),
        ("methods.two={kind: last_layers, final-norm: true}", lambda spec: spec.methods["two"].final_norm),
        ("execution.device=cuda:1", lambda spec: spec.execution.device == "cuda:1"),
        ("name=010", lambda spec: spec.name == "010"),
    ],
)
def test_values_of_overrides_are_yaml(write, override, found):
    assert found(read_study(write(STUDY), overrides=[override]))


def test_a_name_with_dots_is_found_in_an_override(write):
    path = write(edited("  lora:\n", "  lora-v1.5:\n").replace("{lora: {rank: 2}}", "{}"))
    assert read_study(path, overrides=["methods.lora-v1.5.rank=3"], scale=None).methods["lora-v1.5"].rank == 3


def test_words_stay_as_they_are_written(write):
    labels = "labels: [no, on, 010, 1e-3, true, 1_000, 0o10, 0, y]\n"
    spec = read_study(write(edited("backbones:", f"  {labels}backbones:")))
    assert spec.data.labels == ("no", "on", "010", "1e-3", "true", "1_000", "0o10", "0", "y")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("010", "got '010'"),
        ("1_000", "got '1_000'"),
        ('"16"', "got '16'"),
        ("no", "got 'no'"),
        ("true", "got true"),
        ("8.5", "8.5"),
    ],
)
def test_a_word_never_passes_for_a_number(write, value, told):
    (fault,) = faults_of(write(STUDY), overrides=[f"methods.lora.rank={value}"])
    assert told in fault
    assert fault.endswith("allowed: a whole number")


def test_null_in_a_list_of_words_asks_for_quotes(write):
    (fault,) = faults_of(write(STUDY), overrides=["data.labels=[null, a]"])
    assert 'quotes: "null"' in fault


def test_all_faults_at_once_with_their_lines(write):
    path = write(
        """\
        name: my study
        data:
          source: {kind: file, all: x.csv}
          columns:
            txt: body
        backbones:
          main: {kind: folder}
        methods:
          lora:
            kind: lora
            rnak: 4
            on: [mian]
            rank: eight
            dropout: 1.5
            training:
              epochs: 0
              batch: 3
              stopping: {patience: 1, gain: 2}
            grid:
              lerning_rate: [1e-3]
              rank: [8, 0, [a]]
              alpha: []
              stream: [1]
          bad:
            rank: 4
          lorra: {kind: lorra}
          empty:
        seeds: [1, 2, 1]
        margin: .inf
        sclaes: {}
        reference:
          loro: {values: {accuracy: high}, source: a table}
        scales:
          small: {data: {sizes: {train: 0}}, seeds: 3}
        """
    )
    found = [fault.removeprefix(f"{path}:") for fault in faults_of(path)]
    expected = [
        (1, "name", "not a name"),
        (3, "data.source.kind", "did you mean 'files'?"),
        (5, "data.columns.txt", "no such setting; did you mean 'text'?"),
        (7, "backbones.main.path", "is required but missing; for example `path: models/bert`"),
        (11, "methods.lora.rnak", "no such setting of lora; did you mean 'rank'?"),
        (12, "methods.lora.on[0]", "did you mean 'main'?"),
        (13, "methods.lora.rank", "got 'eight'; allowed: a whole number"),
        (14, "methods.lora.dropout", "got 1.5; allowed: below 1"),
        (16, "methods.lora.training.epochs", "got 0; allowed: above 0"),
        (17, "methods.lora.training.batch", "did you mean 'batch_size'?"),
        (18, "methods.lora.training.stopping.gain", "no such setting"),
        (20, "methods.lora.grid.lerning_rate", "did you mean 'learning_rate' or"),
        (21, "methods.lora.grid.rank[1]", "got 0; allowed: at least 1"),
        (21, "methods.lora.grid.rank[2]", "got a list; allowed: a whole number"),
        (22, "methods.lora.grid.alpha", "has no values"),
        (23, "methods.lora.grid.stream", "no setting of lora that a grid can vary"),
        (24, "methods.bad.kind", "is required but missing; allowed: majority,"),
        (26, "methods.lorra.kind", "did you mean 'lora' or 'qlora'?"),
        (27, "methods.empty", "nothing stands here; allowed: a mapping"),
        (28, "seeds[2]", "seed 1 stands twice"),
        (29, "margin", "got inf; allowed: a finite number"),
        (30, "sclaes", "no such setting; did you mean 'scales'?"),
        (32, "reference.loro", "did you mean 'lora' or"),
        (32, "reference.loro.values.accuracy", "got 'high'; allowed: a number"),
        (34, "data.sizes.train", "got 0; allowed: at least 1"),
        (34, "seeds", "got 3; allowed: a list"),
    ]
    for line, where, told in expected:
        matching = [fault for fault in found if fault.startswith(f"{line}: {where}: ")]
        assert len(matching) == 1, (line, where, found)
        assert told in matching[0], matching
    assert len(found) == len(expected), found
    lines = [int(fault.partition(":")[0]) for fault in found]
    assert lines == sorted(lines)
    assert not any("Input should" in fault or "pydantic" in fault or "http" in fault for fault in found)


def test_faults_of_overrides_name_the_override(write):
    found = faults_of(
        write(STUDY), overrides=["methods.lora.rnak=3", "margin=wide", "training", "seeds=[1", "scales.small={}"]
    )
    assert "--set methods.lora.rnak=3: methods.lora.rnak: no such setting of lora; did you mean 'rank'?" in found
    assert "--set margin=wide: margin: got 'wide'; allowed: a number" in found
    assert [fault for fault in found if fault.startswith("--set training: not an override; allowed: path=value")]
    assert [fault for fault in found if fault.startswith("--set seeds=[1: not YAML")]
    assert [fault for fault in found if fault.startswith("--set scales.small={}: a scale is not changed")]
    assert len(found) == 5


def test_a_mistyped_name_in_an_override_is_told_from_a_new_entry(write):
    (fault,) = faults_of(write(STUDY), overrides=["methods.lroa.rank=3"])
    assert fault.startswith("--set methods.lroa.rank=3: methods.lroa.kind: is required but missing")
    assert fault.endswith("or did you mean 'lora'?")


@pytest.mark.parametrize(
    ("scale", "told"), [("smal", "allowed: small, other; did you mean 'small'?"), ("big", "allowed: small, other")]
)
def test_an_unknown_scale(write, scale, told):
    assert faults_of(write(STUDY), scale=scale) == [f"--scale {scale}: no such scale; {told}"]


def test_a_scale_that_is_not_chosen_is_checked_too(write):
    path = write(edited("{lora: {rank: 2}}", "{lora: {rank: 0}}"))
    assert faults_of(path, scale="small") == [f"{path}:20: methods.lora.rank: got 0; allowed: at least 1"]
    nested = write(edited("    seeds: [7]", "    scales: {}"))
    assert "a scale cannot hold scales" in faults_of(nested)[0]


def test_what_a_chosen_scale_mends_is_no_fault(write):
    path = write(
        edited("  source: {kind: files, all: rows/reviews.csv}", "  margin: 1").replace(
            "  margin: 1", "  labels: [a, b]"
        )
    )
    assert "data.source" in faults_of(path)[0]
    path.write_text(path.read_text().replace("    seeds: [7]", "    seeds: [7]\n    data: {source: {kind: tweets}}"))
    assert read_study(path, scale="small").data.source.kind == "tweets"


def test_dashes_and_underscores_are_the_same_in_settings_and_kinds_but_not_in_names(write):
    path = write(
        """\
        name: a
        data: {source: {kind: movie_reviews}, near-duplicate-similarity: 0.7, duplicates: drop_all}
        backbones: {b-1: {kind: minilm, keep-blocks: 2}, b_1: {kind: random, config: {hidden-size: 8}}}
        methods:
          last-layers: {kind: last_layers, learning-rate: 1e-2, grid: {final-norm: [true, false]}}
          last_layers: {kind: last-layers, on: [b_1], training: {batch-size: 4}}
          lora: {kind: lora, bias: lora_only, grid: {bias: [lora_only, none]}}
        training: {max-length: 32}
        scales: {small: {training: {max-length: 16}, methods: {last_layers: {blocks: 2}}}}
        """
    )
    spec = read_study(path, scale="small", overrides=["training.batch-size=2"])
    assert list(spec.backbones) == ["b-1", "b_1"]
    assert spec.backbones["b-1"].keep_blocks == 2
    assert spec.backbones["b_1"].config == {"hidden-size": 8}
    assert list(spec.methods) == ["last-layers", "last_layers", "lora"]
    assert [spec.methods[name].blocks for name in ("last-layers", "last_layers")] == [1, 2]
    assert spec.methods["last_layers"].training == {"batch_size": 4}
    assert spec.training_of(spec.methods["last_layers"]).batch_size == 4
    assert spec.methods["lora"].grid == {"bias": ("lora-only", "none")}
    assert (spec.training.max_length, spec.training.batch_size) == (16, 2)
    assert (spec.data.source.kind, spec.data.duplicates) == ("movie-reviews", "drop-all")


def test_one_setting_in_two_spellings_is_a_fault(write):
    path = write(edited("training:\n", "training:\n  batch_size: 1\n  batch-size: 2\n"))
    (fault,) = faults_of(path)
    assert fault.startswith(f"{path}:13: `batch-size` stands twice")


def test_duplicate_keys_are_faults_beside_the_others(write):
    path = write(edited("name: reviews\n", "name: reviews\nmargin: 1\nmargin: -1\n"))
    found = faults_of(path)
    assert found[0].startswith(f"{path}:3: `margin` stands twice in one mapping, first at {path}:2")
    assert found[1] == f"{path}:3: margin: got -1; allowed: at least 0"


def test_relative_paths_start_at_the_study_file_and_in_overrides_at_the_working_folder(write, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = write(edited("main: {kind: minilm}", "main: {kind: folder, path: ../bert}"))
    spec = read_study(path, overrides=["methods.lora.rank=4"])
    assert spec.data.source.all == tmp_path / "rows/reviews.csv"
    assert spec.backbones["main"].path == tmp_path.parent / "bert"
    assert read_study(Path("../study.yaml")) == read_study(path)
    spec = read_study(path, overrides=["data.source.all=mine.csv", "backbones.main.path=/abs/bert"])
    assert spec.data.source.all == tmp_path / "elsewhere/mine.csv"
    assert spec.backbones["main"].path == Path("/abs/bert")
    monkeypatch.setenv("HOME", "/home/me")
    assert read_study(path, overrides=["data.source.all=~/mine.csv"]).data.source.all == Path("/home/me/mine.csv")


def test_a_path_inside_a_package_is_no_path_on_disk(write):
    pin = f"package: p, version: '1', sha256: {'a' * 64}"
    path = write(edited("main: {kind: minilm}", f"main: {{kind: package, {pin}, path: inner/model}}"))
    assert read_study(path).backbones["main"].path == "inner/model"
    assert read_study(path, overrides=["backbones.main.path=other"]).backbones["main"].path == "other"
    scaled = path.read_text().replace("    seeds: [7]", "    backbones: {main: {path: third}}")
    path.write_text(scaled)
    assert read_study(path, scale="small").backbones["main"].path == "third"


@pytest.mark.parametrize(("text", "told"), [("", "not a study"), ("- a\n", "not a study"), ("word", "not a study")])
def test_what_is_no_mapping_is_no_study(write, text, told):
    (fault,) = faults_of(write(text))
    assert told in fault


def test_files_that_cannot_be_read(write, tmp_path):
    assert "no such study file; `whichtune init" in faults_of(tmp_path / "none.yaml")[0]
    assert "cannot be read" in faults_of(tmp_path)[0]
    (tmp_path / "latin.yaml").write_bytes("name: \xe9".encode("latin-1"))
    assert "not UTF-8" in faults_of(tmp_path / "latin.yaml")[0]
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + STUDY.encode())
    assert read_study(tmp_path / "bom.yaml").name == "reviews"


def test_a_tuner_without_a_backbone(write):
    path = write(edited("backbones:\n  main: {kind: minilm}\n", ""))
    (fault,) = faults_of(path)
    assert fault.startswith(f"{path}:6: methods.lora: lora needs a backbone")


def test_a_mapping_made_in_python(tmp_path):
    assert resolve_study(RAW).name == "reviews"
    raw = RAW | {"data": {"source": {"kind": "files", "all": "x.csv"}}}
    assert resolve_study(raw, folder=tmp_path).data.source.all == tmp_path / "x.csv"
    with pytest.raises(SpecError, match="study: seeds: got 'x'; allowed: a list"):
        resolve_study(RAW | {"seeds": "x"})
    assert resolve_study(json.loads(json.dumps(RAW)), overrides=["margin=1"]).margin == 1


def test_decisions_of_a_stored_study_are_passed_over(write):
    path = write(STUDY + "decisions: {threads: 2, kernel: sdpa}\n")
    assert read_study(path) == read_study(write(STUDY, "plain.yaml"))
    spec, decisions = load_stored_study(path)
    assert (spec.name, decisions) == ("reviews", {"threads": 2, "kernel": "sdpa"})
    assert load_stored_study(write(STUDY))[1] == {}


def test_reading_loads_yaml_only_when_a_file_is_read():
    code = "import sys, whichtune.spec.read, whichtune.spec.write, whichtune.spec.flags, whichtune.spec.grids;"
    code += "print([name for name in ('ruamel', 'torch', 'pandas', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
