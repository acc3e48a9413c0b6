import pytest

from whichtune.errors import SpecError
from whichtune.spec.backbones import FolderBackbone
from whichtune.spec.flags import Flag, expand_short, list_flags
from whichtune.spec.methods import LoraSpec
from whichtune.spec.read import resolve_study
from whichtune.spec.training import TrainingSpec

STUDY = resolve_study(
    {
        "name": "a",
        "data": {"source": {"kind": "tweets"}},
        "backbones": {"main": {"kind": "minilm"}},
        "methods": {"lora": {"kind": "lora"}, "full": {"kind": "full"}},
    }
)


def test_flags_say_name_type_help_and_default():
    flags = {flag.name: flag for flag in list_flags(LoraSpec)}
    assert flags["--rank"] == Flag("--rank", "rank", int, "Rank of each adapter.", 8, False)
    assert flags["--learning-rate"].default == 1e-3
    assert flags["--bias"].choices == ("none", "all", "lora-only")
    assert flags["--rslora"].type is bool
    assert not {"--kind", "--grid", "--training", "--targets", "--on"} & set(flags)


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
        ("--batch_size", "training.batch_size"), ("--margin", "margin"), ("--threads", "execution.threads"),
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
