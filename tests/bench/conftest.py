import random

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from whichtune.models.tiny import make_byte_tokenizer

WORDS = {"good": ["fine", "great", "lovely"], "bad": ["dull", "poor", "awful"]}


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    """A BERT of two blocks in the hub's layout, with a byte tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer(), pad_token="[PAD]")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), pad_token_id=1, max_position_embeddings=128, **sizes)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory):
    """A CSV of 120 short texts in two classes."""
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    draw = random.Random(0)
    lines = [
        f"{' '.join(draw.choices(WORDS[gold], k=draw.randint(2, 5)))} {place},{gold}"
        for place in range(120)
        for gold in [("good", "bad")[place % 2]]
    ]
    path.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tiny(bert_folder, texts_file, tmp_path, monkeypatch):
    """Overrides that put a tiny BERT and a small file into any row's study."""
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    return (
        f"backbones.model={{kind: folder, path: '{bert_folder}'}}",
        f"data.source={{kind: files, all: '{texts_file}'}}",
        "training.max_length=40",
        "execution.device=cpu",
    )
