"""The study of one trial: flags over a study file, or flags alone."""

from pathlib import Path

import pytest

from whichtune.errors import ModelError, SpecError
from whichtune.spec.peft import PeftSpec
from whichtune.spec.read import resolve_study
from whichtune.spec.write import dump_study
from whichtune.study.single import Asked, find_kind, plan_single

FILES = {"data.source.all": "rows.csv"}


@pytest.fixture
def base():
    return resolve_study(
        {
            "name": "wide",
            "data": {"source": {"kind": "files", "all": "own.csv"}, "columns": {"text": "review", "label": "verdict"}},
            "backbones": {"small": {"kind": "random"}, "large": {"kind": "minilm"}},
            "methods": {
                "majority": {"kind": "majority"},
                "low": {"kind": "lora", "rank": 2, "on": ["small"], "grid": {"alpha": [4, 8]}},
                "full": {"kind": "full", "grid": {"learning_rate": [1e-4]}},
            },
            "training": {"epochs": 7},
            "seeds": [5, 6],
            "reference": {"low": {"values": {"accuracy": 0.9}, "source": "somewhere"}},
            "scales": {"small": {"training": {"epochs": 1}}},
        }
    )


def ask(out, **asked):
    settings = asked.pop("settings", FILES)
    return Asked(out / "trial", settings=settings, **asked)


def test_flags_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = FILES | {
        "methods.*.rank": 4,
        "methods.*.targets": ["query", "no"],
        "training.batch_size": 8,
        "data.columns.label": "yes",
    }
    study = plan_single(ask(tmp_path, method="lora", backbone="random:roberta", settings=settings))
    assert study.name == "trial"
    assert list(study.methods) == ["lora"]
    assert (study.methods["lora"].rank, study.methods["lora"].targets) == (4, ("query", "no"))
    assert study.backbones["main"].family == "roberta"
    assert (study.seeds, study.training.batch_size) == ((1,), 8)
    assert study.data.source.all == tmp_path / "rows.csv"
    assert study.data.columns.label == "yes"


def test_flags_over_a_study_file(base, tmp_path):
    settings = {"methods.*.alpha": 8.0, "methods.*.rank": 3, "training.max_length": 64}
    study = plan_single(ask(tmp_path, method="lora", settings=settings), base)
    assert list(study.methods) == ["low"]
    method = study.methods["low"]
    assert (method.rank, method.alpha, method.grid, method.on) == (3, 8.0, {}, None)
    assert list(study.backbones) == ["small"]
    assert (study.training.epochs, study.training.max_length, study.seeds) == (7, 64, (5,))
    assert (study.data.columns.text, study.data.source.all.name) == ("review", "own.csv")
    assert (study.scales, study.reference) == ({}, {})


def test_other_data_keep_the_rest(base, tmp_path):
    study = plan_single(ask(tmp_path, method="full", backbone="large", seed=9), base)
    assert study.data.source.all.name == "rows.csv"
    assert study.data.columns.text == "review"
    assert (study.methods["full"].learning_rate, study.seeds) == (1e-4, (9,))
    assert study.backbones["large"].kind == "minilm"


def test_a_method_and_a_model_the_file_does_not_have(base, tmp_path):
    study = plan_single(ask(tmp_path, method="frozen_features", backbone="org/model"), base)
    assert study.methods["frozen-features"].kind == "frozen-features"
    assert study.backbones["main"].name == "org/model"


def test_built_in_rows_baselines_and_pairs(tmp_path):
    study = plan_single(ask(tmp_path, method="majority", settings={"data.source.all": "movie-reviews"}))
    assert (study.data.source.kind, study.backbones) == ("movie-reviews", {})
    pairs = FILES | {"data.columns.text": "premise", "data.columns.pair": "hypothesis"}
    study = plan_single(ask(tmp_path, method="full", backbone="random", settings=pairs))
    assert study.task.kind == "pair-classification"


def test_rows_in_several_files(tmp_path):
    settings = {"data.source.train": "a.csv", "data.source.test": "b.csv"}
    study = plan_single(ask(tmp_path, method="majority", settings=settings))
    assert (study.data.source.train.name, study.data.source.test.name) == ("a.csv", "b.csv")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "--method: name the one"),
        ({"method": "lroa"}, "did you mean 'lora'"),
        ({"method": "full"}, "--backbone: name the model"),
        ({"method": "lora"}, "--alpha"),
        (
            {"method": "full", "backbone": "small", "settings": {"training.epochs": -1}},
            r"^--epochs -1: got -1; .*above 0",
        ),
        (
            {"method": "low", "backbone": "small", "settings": {"methods.*.rank": 0, "methods.*.alpha": 4}},
            "^--rank 0: ",
        ),
        (
            {"method": "full", "backbone": "small", "settings": {"training.betas": [0.9, 2]}},
            r"^--betas 0.9,2: training.betas\[1\]: got 2",
        ),
        ({"method": "full", "backbone": "small", "settings": {"data.split.seed": "x"}}, "^--split-seed x: "),
        ({"method": "full", "backbone": "small", "overrides": ("training.epochs=-1",)}, "^--set training.epochs=-1: "),
        ({"method": "full", "backbone": "small", "overrides": ("trainnig.epochs=1",)}, "trainnig"),
    ],
)
def test_what_cannot_be_one_trial_is_told(base, tmp_path, asked, told):
    with pytest.raises(SpecError, match=told):
        plan_single(ask(tmp_path, **({"settings": {}} | asked)), base)


def test_no_such_folder(tmp_path):
    with pytest.raises(ModelError, match="neither a folder nor a name"):
        plan_single(ask(tmp_path, method="lora", backbone="./nowhere"))


def test_a_folder_of_another_study_is_left_alone(base, tmp_path):
    held = tmp_path / "trial"
    held.mkdir()
    (held / "study.yaml").write_text(dump_study(base, {}))
    with pytest.raises(SpecError, match="several trials"):
        plan_single(ask(tmp_path, method="full", backbone="random"))
    single = plan_single(Asked(tmp_path / "other", "lora", "random", settings=FILES))
    (held / "study.yaml").write_text(dump_study(single, {}))
    with pytest.raises(SpecError, match="holds a trial of `lora`"):
        plan_single(ask(tmp_path, method="full", backbone="random"))
    assert plan_single(ask(tmp_path, method="lora", backbone="random", settings=FILES | {"methods.*.rank": 2}))


@pytest.mark.parametrize("name", ["my run", ".", "-x", "x" * 81])
def test_a_folder_whose_name_is_no_name_is_told_with_its_flag(tmp_path, name):
    with pytest.raises(SpecError, match=r"^--out-dir: got .*digits"):
        plan_single(Asked(tmp_path / name if name != "." else Path(), "majority", settings=FILES))


def test_defaults_that_hang_on_a_flag_are_those_of_its_value(tmp_path):
    study = {
        "name": "wide",
        "data": {"source": {"kind": "files", "all": "own.csv"}},
        "backbones": {"small": {"kind": "random"}},
        "methods": {"any": {"kind": "peft", "tuner": "lora", "stream": 3}},
    }
    settings = {"methods.*.tuner": "prompt_tuning"}
    method = plan_single(ask(tmp_path, method="any", settings=settings), resolve_study(study)).methods["any"]
    assert method == PeftSpec(kind="peft", tuner="prompt_tuning", stream=3)
    study["methods"]["any"]["learning_rate"] = 0.25
    method = plan_single(ask(tmp_path, method="any", settings=settings), resolve_study(study)).methods["any"]
    assert method.learning_rate == 0.25


def test_class_weights(tmp_path):
    settings = FILES | {"training.class_weights": "inverse-root"}
    study = plan_single(ask(tmp_path, method="full", backbone="random", settings=settings))
    assert study.training.class_weights == "inverse-root"


def test_kinds():
    assert find_kind("last_layers") == "last-layers"
    with pytest.raises(SpecError, match="did you mean 'lora'"):
        find_kind("lora2")


def test_built_in_rows_bring_their_columns_and_their_task(tmp_path):
    study = plan_single(ask(tmp_path, method="lora", backbone="smollm2", settings={"data.source.all": "word-problems"}))
    assert (study.task.kind, study.data.columns.label) == ("question-answering-by-prompt", "answer")
    settings = {"data.source.all": "nli-grammar"}
    pairs = plan_single(ask(tmp_path, method="full", backbone="random", settings=settings))
    assert (pairs.task.kind, pairs.data.columns.pair) == ("pair-classification", "hypothesis")
    asked = plan_single(
        ask(tmp_path, method="lora", backbone="smollm2", task="instruction_classification", settings=settings)
    )
    assert (asked.task.kind, asked.data.columns.pair) == ("instruction-classification", "hypothesis")
    own = plan_single(
        ask(tmp_path, method="lead", settings={"data.source.all": "docstrings", "data.columns.label": "package"})
    )
    assert (own.task.kind, own.data.columns.label) == ("summarization", "package")
    hub = plan_single(ask(tmp_path, method="full", backbone="random", settings={"data.source.all": "hub:org/set@v1"}))
    assert (hub.data.source.name, hub.data.source.revision) == ("org/set", "v1")


def test_another_task_than_the_files(base, tmp_path):
    study = plan_single(
        ask(tmp_path, method="full", backbone="small", task="instruction-classification", settings={}), base
    )
    assert study.task.kind == "instruction-classification"
    with pytest.raises(SpecError, match="did you mean 'summarization'"):
        plan_single(ask(tmp_path, method="full", task="summarisation"), base)


def test_a_rank_without_a_method_is_loras(tmp_path):
    study = plan_single(ask(tmp_path, backbone="random:gpt", settings=FILES | {"methods.*.rank": 8}))
    assert list(study.methods) == ["lora"]


def test_how_is_asked_belongs_to_the_prompter_or_to_the_task(tmp_path):
    words = {"methods.*.style": "expert", "methods.*.scoring": "likelihood", "task.decoding.max_new_tokens": 5}
    common = {"backbone": "random:gpt", "task": "instruction-classification", "settings": FILES | words}
    tuned = plan_single(ask(tmp_path, method="lora", **common))
    assert (tuned.task.prompt.style, tuned.task.scoring, tuned.task.decoding.max_new_tokens) == (
        "expert",
        "likelihood",
        5,
    )
    asked = plan_single(ask(tmp_path, method="prompting", **common))
    method = asked.methods["prompting"]
    assert (method.style, method.scoring, method.decoding) == ("expert", "likelihood", {"max_new_tokens": 5})
    assert asked.task.decoding.max_new_tokens is None


def test_the_name_of_a_run_makes_a_tracker_or_names_the_one_there_is(base, tmp_path):
    settings = FILES | {"trackers.*.run_name": "first"}
    study = plan_single(ask(tmp_path, method="full", backbone="random", settings=settings))
    assert [(name, one.kind, one.run_name, one.mode) for name, one in study.trackers.items()] == [
        ("wandb", "wandb", "first", "offline")
    ]
    held = resolve_study(
        base.model_dump(exclude_unset=True) | {"trackers": {"mine": {"kind": "wandb", "project": "p"}}}
    )
    study = plan_single(
        ask(tmp_path, method="low", settings={"trackers.*.run_name": "second", "methods.*.alpha": 4}), held
    )
    assert {name: (one.run_name, one.project) for name, one in study.trackers.items()} == {"mine": ("second", "p")}
    with pytest.raises(SpecError, match=r"^--wandb-run-name \{x\}: "):
        plan_single(ask(tmp_path, method="full", backbone="random", settings=FILES | {"trackers.*.run_name": "{x}"}))


def test_images_by_flags_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    sized = {"backbones.*.image_size": 56}
    for word, kind in (("photos", "image-folder"), ("digits", "digits")):
        settings = {"data.source.all": word, **sized}
        study = plan_single(ask(tmp_path, method="full", backbone="dinov2-small", settings=settings))
        assert (study.task.kind, study.data.source.kind) == ("image-classification", kind)
        assert study.backbones["main"].image_size == 56
    named = {"data.source.train": "photos", "data.source.test": "photos/cat"}
    study = plan_single(ask(tmp_path, method="full", backbone="random:vit", settings=named))
    assert (study.data.source.kind, study.data.source.test) == ("image-folder", tmp_path / "photos" / "cat")
    baseline = plan_single(ask(tmp_path, method="majority", settings={"data.source.all": "digits", **sized}))
    assert baseline.backbones == {}


def test_a_pair_by_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"data.source.all": "easy-vqa", "backbones.*.image_size": 56}
    asked = {"method": "frozen-features", "backbone": "dinov2-small+minilm"}
    study = plan_single(ask(tmp_path, **asked, settings=settings))
    assert study.task.kind == "visual-question-answering"
    assert (study.backbones["main"].image.image_size, study.backbones["main"].text.kind) == (56, "minilm")
    with pytest.raises(SpecError, match=r"read by an encoder each: got 'minilm'; for example .*dinov2-small.minilm"):
        plan_single(ask(tmp_path, method="full", backbone="minilm", settings=settings))
    with pytest.raises(SpecError, match=r"--keep-blocks: the model is two.*backbones\.main\.image\.keep_blocks=2"):
        plan_single(ask(tmp_path, **asked, settings=settings | {"backbones.*.keep_blocks": 2}))


def test_a_setting_of_the_model_goes_over_that_of_the_file(base, tmp_path):
    study = plan_single(
        ask(tmp_path, method="low", settings=FILES | {"backbones.*.keep_blocks": 1, "methods.*.alpha": 4}), base
    )
    assert study.backbones["small"].keep_blocks == 1
    settings = {"data.source.all": "digits", "backbones.*.image_size": 3}
    with pytest.raises(SpecError, match=r"--image-size 3: "):
        plan_single(ask(tmp_path, method="full", backbone="dinov2-small", settings=settings))
