import json
import subprocess
import sys

import pytest


def test_one_method_in_full(whichtune):
    ended = whichtune("count", "roberta-base", "--method", "lora", "--outputs", "3")
    assert ended.code == 0
    for word in ("887,811", "124,942,851", "125,535,750", "agrees", "0.711 %", "embeddings"):
        assert word in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_settings_of_the_method(whichtune):
    flags = ("--method", "lora", "--rank", "4", "--targets", "query,key,value", "--outputs", 3, "--json")
    (one,) = json.loads(whichtune("count", "tinybert", *flags).out)["methods"]
    assert one["settings"]["targets"] == ["query", "key", "value"]
    assert one["trainable"] == {"theory": 939 + 4 * 3 * 4 * 624, "measured": 939 + 4 * 3 * 4 * 624}
    changed = whichtune("count", "tinybert", "--method", "lora", "--set", "rank=4", "--outputs", 3, "--json")
    assert json.loads(changed.out)["methods"][0]["trainable"]["measured"] == 20_907


def test_all_methods_in_one_table(whichtune):
    ended = whichtune("count", "random:bert")
    assert ended.code == 0
    for kind in ("frozen-features", "last-layers", "lora", "full", "majority"):
        assert kind in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_the_first_blocks_alone(whichtune):
    told = json.loads(whichtune("count", "bert-base", "--method", "full", "--keep-blocks", "2", "--json").out)
    assert told["blocks"] == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["count", "random:bert", "--method", "lroa"], ["did you mean 'lora'"]),
        (["count", "random:bert", "--rank", "4"], ["--method lora"]),
        (["count", "random:bert", "--method", "full", "--rank", "4"], ["rank", "no such setting of full"]),
        (["count", "random:bert", "--method", "lora", "--rnak", "4"], ["--rnak", "--rank"]),
        (["count", "random:bert", "--method", "lora", "--targets", "qurey"], ["qurey", "'query'"]),
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


@pytest.mark.parametrize("command", ["count", "train", "evaluate", "predict"])
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
