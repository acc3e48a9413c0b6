"""The command line in this process: what it prints, and its exit code."""

import io
import random
import sys
from dataclasses import dataclass

import pytest

from whichtune.cli import main

WORDS = {"+good": ["fine", "great", "lovely", "bright"], "-bad": ["dull", "poor", "awful", "grim"]}
"""Label to words of its rows; spreadsheets take such labels for formulas."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def told(self):
        return " ".join(self.err.split())


@pytest.fixture
def whichtune(monkeypatch, capsys):
    """Run a command as `main` does, with bytes on its standard input if any."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["whichtune", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(ended.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """A CSV of 96 short texts in two classes, its columns under names of their own."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    draw = random.Random(0)
    rows = [(f"r{place}", tuple(WORDS)[place % 2]) for place in range(96)]
    lines = [f"{own},{' '.join(draw.choices(WORDS[gold], k=draw.randint(2, 6)))},{gold}" for own, gold in rows]
    path.write_text("key,review,verdict\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(reviews, tmp_path_factory):
    """The folder that `train` makes of a tiny trial."""
    place = tmp_path_factory.mktemp("trained")
    patch = pytest.MonkeyPatch()
    patch.setenv("WHICHTUNE_CACHE", str(place / "cache"))
    flags = "--method full --backbone random:bert --lr 1e-2 --epochs 4 --batch_size 8 --max-length 40 --id key"
    fixed = ["--data", str(reviews), "--out-dir", str(place / "tiny"), *PLAIN]
    patch.setattr(sys, "argv", ["whichtune", "train", *flags.split(), *fixed])
    patch.setattr(sys, "tracebacklimit", 1000, raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    patch.undo()
    assert not ended.value.code
    return place / "tiny"


def train_once(place, *flags):
    """Run `train` outside of any test."""
    patch = pytest.MonkeyPatch()
    patch.setenv("WHICHTUNE_CACHE", str(place.parent / "cache"))
    patch.setattr(sys, "argv", ["whichtune", "train", *map(str, flags), "--out-dir", str(place), *PLAIN])
    patch.setattr(sys, "tracebacklimit", 1000, raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    patch.undo()
    assert not ended.value.code
    return place


@pytest.fixture(scope="session")
def writers(reviews, gpt_folder, tmp_path_factory):
    """Folders that `train` makes of trials that answer in words: of LoRA, and of prompting with an example."""
    place = tmp_path_factory.mktemp("writers")
    flags = f"--data {reviews} --task instruction_classification --init-from {gpt_folder} --max-length 400 --id key"
    made = {"lora": "--rank 4 --alpha 16 --lr 1e-2 --max_iters 6 --gradient-accumulation-steps 1"}
    made["prompting"] = "--method prompting --style one-shot --max-new-tokens 12"
    return {name: train_once(place / name, *flags.split(), *own.split()) for name, own in made.items()}


@pytest.fixture(scope="session")
def gpt_folder(tmp_path_factory):
    """A GPT-2 of two blocks in the hub's layout, with a byte tokenizer, as `transformers` saves it."""
    import torch
    from tokenizers import processors
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from whichtune.models.tiny import make_byte_tokenizer

    folder = tmp_path_factory.mktemp("gpt2")
    letters = make_byte_tokenizer()
    letters.post_processor = processors.ByteLevel(trim_offsets=False)  # nothing in front of a text, as for GPT-2
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="[SEP]", pad_token="[PAD]")
    sizes = {"n_positions": 1024, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **ends))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


PLAIN = ("--no-check", "--no-probe", "--threads", "1", "--device", "cpu")
