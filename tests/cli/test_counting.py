import json
import subprocess
import sys

import peft
import pytest
from pydantic_core import PydanticUndefined

from whichtune.cli import counting
from whichtune.errors import SpecError
from whichtune.spec.methods import FullSpec, LoraSpec

TINYBERT = "TinyBERT_General_4L_312D"


def test_one_method_in_full(whichtune):
    ended = whichtune("count", "roberta-base", "--method", "lora", "--outputs", "3")
    assert ended.code == 0
    for word in ("887,811", "124,942,851", "125,535,750", "agrees", "0.711 %", "embeddings"):
        assert word in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_settings_of_the_method(whichtune):
    flags = ("--method", "lora", "--rank", "4", "--targets", "query,key,value", "--outputs", 3, "--json")
    (one,) = json.loads(whichtune("count", TINYBERT, *flags).out)["methods"]
    assert one["settings"]["targets"] == ["query", "key", "value"]
    assert one["trainable"] == {"theory": 939 + 4 * 3 * 4 * 624, "measured": 939 + 4 * 3 * 4 * 624}
    changed = whichtune("count", TINYBERT, "--method", "lora", "--set", "rank=4", "--outputs", 3, "--json")
    assert json.loads(changed.out)["methods"][0]["trainable"]["measured"] == 20_907


def test_all_methods_in_one_table(whichtune):
    ended = whichtune("count", "random:bert")
    assert ended.code == 0
    for kind in ("frozen-features", "last-layers", "lora", "full", "majority"):
        assert kind in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_a_method_with_a_setting_that_must_be_given_is_left_out_and_no_other(monkeypatch):
    every = set(counting.choose_methods(None, {}, []))
    assert {"majority", "hypothesis-only", "frozen-features", "lora", "peft", "full"} <= every
    monkeypatch.setattr(LoraSpec.model_fields["rank"], "default", PydanticUndefined)
    assert set(counting.choose_methods(None, {}, [])) == every - {"lora"}

    def refuse(*_):
        raise SpecError("a default that its own method does not take")

    monkeypatch.setattr(FullSpec, "model_validate", refuse)
    with pytest.raises(SpecError, match="does not take"):
        counting.choose_methods(None, {}, [])


@pytest.mark.parametrize("kind", ["majority", "hypothesis_only", "lora", "peft"])
def test_every_kind_can_be_named(kind):
    assert list(counting.choose_methods(kind, {}, [])) == [kind.replace("_", "-")]


def test_the_tuners_of_peft(whichtune):
    ended = whichtune("count", "--peft-tuners")
    assert ended.code == 0, ended.err
    assert max(map(len, ended.out.splitlines())) <= 80
    for kind in peft.PeftType:
        assert kind.value.lower() in ended.out
    assert "group_size must divide the widths" in " ".join(ended.out.split())
    above, _, below = ended.out.partition("What does not")
    assert "adalora" in above
    assert "xlora: it mixes LoRA adapters" in below
    assert whichtune("count", "roberta-base", "--peft-tuners").code == 2


def test_a_tuner_that_needs_values(whichtune):
    flags = ("--method", "peft", "--set", "config.init_lora_weights=pissa", "--json")
    (one,) = json.loads(whichtune("count", "random:bert", *flags).out)["methods"]
    assert one["reason"] is None
    assert one["trainable"]["measured"] == one["trainable"]["theory"]
    assert any("random weights" in note for note in one["notes"])


def test_the_first_blocks_alone(whichtune):
    told = json.loads(whichtune("count", "bert-base-uncased", "--method", "full", "--keep-blocks", "2", "--json").out)
    assert told["blocks"] == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["count", "random:bert", "--method", "lroa"], ["did you mean 'lora'"]),
        (["count", "random:bert", "--rank", "4"], ["--method lora"]),
        (["count", "random:bert", "--method", "full", "--rank", "4"], ["rank", "no such setting of full"]),
        (["count", "random:bert", "--method", "lora", "--rnak", "4"], ["--rnak", "--rank"]),
        (["count", "random:bert", "--method", "lora", "--targets", "qurey"], ["qurey", "'query'"]),
        (["count", "random:bert", "--method", "lora", "--rank", "0"], ["--rank 0: got 0; allowed: at least 1"]),
        (["count"], ["no model", "whichtune count roberta-base"]),
        (["count", "electra-s", "--method", "lora"], ["did you mean 'electra-small-discriminator'"]),
        (["count", "random:brt", "--method", "lora"], ["brt", "bert"]),
        (["count", "no/such-model", "--method", "lora"], ["hub", "roberta-base"]),
    ],
)
def test_wrong_input_is_one_message(whichtune, flags, words):
    ended = whichtune(*flags)
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.told


@pytest.mark.parametrize("command", ["count", "train", "evaluate", "predict", "generate", "prompt"])
def test_help_loads_nothing_heavy(command):
    heavy = ("torch", "pandas", "ruamel", "transformers", "numpy", "pyarrow")
    code = (
        "import sys; from whichtune.cli import app\n"
        f"try: app(['{command}', '--help'])\n"
        f"except SystemExit: print('loaded', [name for name in {heavy} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "loaded []" in ended.stdout
    if command == "train":
        for word in ("Method", "Training", "Data", "--rank", "--batch-size", "--split-seed", "--max-iters"):
            assert word in ended.stdout
