import pytest

from whichtune.errors import SpecError
from whichtune.spec.backbones import FolderBackbone
from whichtune.spec.decoding import DecodingSpec
from whichtune.spec.flags import (
    ALIASES,
    Flag,
    expand_short,
    find_flag,
    group_flags,
    lay_flags,
    list_decoding_flags,
    list_flags,
    list_method_flags,
)
from whichtune.spec.methods import LoraSpec
from whichtune.spec.read import resolve_study
from whichtune.spec.training import ExecutionSpec, TrainingSpec

STUDY = resolve_study(
    {
        "name": "a",
        "data": {"source": {"kind": "tweets"}},
        "backbones": {"main": {"kind": "minilm"}},
        "methods": {"lora": {"kind": "lora"}, "full": {"kind": "full"}},
    }
)


def test_a_word_may_stand_in_place_of_a_number():
    flags = {flag.name: flag for flag in list_flags(ExecutionSpec)}
    assert [flags["--evaluation-batch"].read(word) for word in ("auto", "8")] == ["auto", 8]
    assert flags["--evaluation-batch"].default == "auto"
    assert flags["--threads"].type is int


def test_flags_say_name_type_help_and_default():
    flags = {flag.name: flag for flag in list_flags(LoraSpec)}
    assert flags["--rank"] == Flag("--rank", "rank", int, "Rank of each adapter.", 8, False)
    assert flags["--learning-rate"].default == 1e-3
    assert flags["--bias"].choices == ("none", "all", "lora-only")
    assert flags["--rslora"].type is bool
    assert not {"--kind", "--grid", "--training", "--on"} & set(flags)
    targets = flags["--targets"]
    assert (targets.type, targets.many) == (str, True)
    assert targets.read("query, no,10") == ["query", "no", "10"]
    assert flags["--learning-rate"].names == ("--learning-rate", "--lr")


def test_the_words_of_a_union_make_a_flag():
    flags = {flag.name: flag for flag in list_flags(TrainingSpec)}
    weights = flags["--class-weights"]
    assert (weights.type, weights.choices, weights.default) == (str, ("none", "balanced", "inverse-root"), "none")
    paths = {one.flag.name: one.path for one in group_flags()["Training"]}
    assert paths["--class-weights"] == "training.class_weights"


@pytest.mark.parametrize(
    ("path", "flag"),
    [
        ("methods.*.rank", "--rank"), ("methods.*.stream", "--stream"), ("data.split.seed", "--split-seed"),
        ("data.source.all", "--all"), ("training.stopping.patience", "--patience"), ("odd.one_path", "--one-path"),
    ],
)  # fmt: skip
def test_the_flag_of_a_setting(path, flag):
    assert find_flag(path) == flag


def test_optional_and_required_fields():
    flags = {flag.name: flag for flag in list_flags(TrainingSpec)}
    assert (flags["--max-steps"].type, flags["--max-steps"].default) == (int, None)
    assert "--stopping" not in flags
    (path,) = [flag for flag in list_flags(FolderBackbone) if flag.field == "path"]
    assert (path.type, path.required, path.default) == (str, True, None)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("--rank", "methods.lora.rank"), ("rank", "methods.lora.rank"), ("--batch-size", "training.batch_size"),
        ("--batch_size", "training.batch_size"), ("--max-iters", "training.max_steps"),
        ("--margin", "margin"), ("--threads", "execution.threads"),
    ],
)  # fmt: skip
def test_a_short_override_means_one_path(name, path):
    assert expand_short(name, STUDY) == path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("--learning-rate", "methods.lora.learning_rate, methods.full.learning_rate"),
        ("--rnak", "did you mean '--rank'"),
    ],
)
def test_what_means_none_or_several_is_an_error(name, told):
    with pytest.raises(SpecError, match=told):
        expand_short(name, STUDY)


def test_every_flag_of_a_trial_stands_once_and_leads_to_a_setting():
    groups = group_flags()
    names = [name for placed in groups.values() for one in placed for name in one.flag.names]
    assert len(names) == len(set(names))
    assert set(groups) == {"Method", "Model", "Training", "Data", "Task", "Execution and measuring"}
    paths = {one.flag.name: one.path for placed in groups.values() for one in placed}
    assert paths["--split-seed"] == "data.split.seed"
    assert paths["--patience"] == "training.stopping.patience"
    assert {"--seeds", "--name"}.isdisjoint(names)
    assert all(one.flag.help for placed in groups.values() for one in placed)


def test_method_flags_of_several_methods_are_one_with_all_defaults():
    rate = next(one.flag for one in list_method_flags() if one.flag.field == "learning_rate")
    assert "5e-05 for full" in rate.help
    assert "lora" in rate.help
    assert rate.type is float
    blocks = next(one.flag for one in list_method_flags() if one.flag.field == "blocks")
    assert "(default 1 for last-layers)" in blocks.help


def test_numbers_in_a_list_stay_numbers():
    betas = next(one.flag for one in group_flags()["Training"] if one.flag.field == "betas")
    assert betas.read("0.9,0.99") == [0.9, 0.99]
    assert "max_steps" in ALIASES


def test_flags_of_all_tasks_are_one_with_all_words():
    task = {one.flag.name: one for one in group_flags()["Task"]}
    assert {"accuracy", "rougeL", "exact_match"} <= set(task["--metric"].flag.choices)
    assert task["--max-new-tokens"].path == "task.decoding.max_new_tokens"
    method = {one.flag.name: one.path for one in group_flags()["Method"]}
    assert (method["--style"], method["--shots-count"]) == ("methods.*.style", "methods.*.shots.count")
    assert "--shots-count" not in {one.flag.name for one in list_method_flags()}


def test_values_laid_over_a_spec_are_checked_by_flag():
    laid = lay_flags(DecodingSpec(max_new_tokens=5, top_k=3), {"temperature": 1, "top_k": 200})
    assert laid == DecodingSpec(max_new_tokens=5, top_k=200, temperature=1.0)
    assert [one.flag.name for one in list_decoding_flags()][:2] == ["--max-new-tokens", "--min-new-tokens"]
    with pytest.raises(SpecError, match=r"^--top-p: got 2; allowed: at most 1$"):
        lay_flags(DecodingSpec(), {"top_p": 2})
    with pytest.raises(SpecError, match=r"^--min-new-tokens: 9 is more than"):
        lay_flags(DecodingSpec(max_new_tokens=5), {"min_new_tokens": 9})


def test_the_flag_of_a_tracker():
    assert find_flag("trackers.mine.run_name") == "--wandb-run-name"
