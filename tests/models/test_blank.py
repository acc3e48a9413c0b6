import pytest

from whichtune.errors import ModelError
from whichtune.models.blank import build_blank, find_config


def test_a_blank_backbone_has_shapes_and_no_values():
    blank = build_blank(*find_config("roberta-large"))
    assert {tensor.device.type for tensor in blank.trunk.parameters()} == {"meta"}
    assert (len(blank.blocks), blank.hidden) == (24, 1024)
    assert blank.anatomy.family == "roberta"


def test_only_the_first_blocks():
    config, origin = find_config("bert-base-uncased")
    assert len(build_blank(config, origin, 3).blocks) == 3
    assert config.num_hidden_layers == 12
    with pytest.raises(ModelError, match="1 to 12"):
        build_blank(config, origin, 13)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("minilm", "all-MiniLM-L6-v2"),
        ("smollm2", "SmolLM2-135M-Instruct"),
        ("gpt2", "gpt2, shipped"),
        ("gpt:gpt2", "the GPT-2 written in whichtune"),
        ("random:gpt", "tiny random gpt"),
        ("tinybert_general_4l_312d", "TinyBERT_General_4L_312D"),
        ("FacebookAI/roberta-base", "roberta-base"),
        ("random:electra", "tiny random electra"),
    ],
)
def test_where_a_configuration_is_from(word, told):
    assert told in find_config(word)[1]


def test_a_folder_needs_its_configuration_alone(tmp_path):
    find_config("random:bert")[0].save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    config, origin = find_config(str(tmp_path))
    assert (config.hidden_size, str(tmp_path) in origin) == (32, True)


@pytest.mark.parametrize("word", ["some/unknown-model", "roberta", "./nowhere"])
def test_what_is_not_there_is_one_message(word):
    with pytest.raises(ModelError) as told:
        find_config(word)
    assert "roberta-base" in str(told.value)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("electra-s", "did you mean 'electra-small-discriminator'?"),
        ("tinybert", "did you mean 'TinyBERT_General_4L_312D'?"),
        ("mdoernbert-base", "did you mean 'modernbert-base'"),
        ("x", "did you mean 'xlm-roberta-base'?"),
        ("someone/roberta-base", "did you mean 'roberta-base'?"),
    ],
)
def test_a_name_that_is_not_shipped_is_one_on_the_hub(word, told):
    with pytest.raises(ModelError, match="cannot be fetched from the hub") as error:
        find_config(word)
    assert told in str(error.value)
