import dataclasses

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from whichtune.bench.model import Asked
from whichtune.bench.ours import run_ours
from whichtune.bench.parity import compare_sides
from whichtune.bench.rows import ROWS
from whichtune.bench.run import run_other, set_up
from whichtune.bench.studies import LADDER, study_docstrings
from whichtune.models.quiet import silence_libraries
from whichtune.models.tiny import make_byte_tokenizer


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory):
    """A Llama of two blocks in the hub's layout, with a byte tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer(), pad_token="[PAD]", eos_token="[SEP]")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=1, eos_token_id=2, bos_token_id=0, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def study_one(texts):
    """One of the row's methods."""
    return study_docstrings(texts) | {"methods": {"lora-4": LADDER["lora-4"]}}


@pytest.mark.filterwarnings("ignore")  # the libraries' advice, which the command keeps off the terminal too
def test_both_sides_learn_from_the_same_answers_and_judge_them_alike(llama_folder, texts_file, tiny, tmp_path):
    settings = (
        *tiny[1:2],
        f"backbones.model={{kind: folder, path: '{llama_folder}'}}",
        "data.columns.label=label",
        "training.max_length=400",
        "task.decoding.max_new_tokens=2",
        "methods.lora-4.learning_rate=1e-7",
        "execution.device=cpu",
    )
    row = dataclasses.replace(ROWS["docstrings"], study=study_one)
    asked = Asked(("docstrings",), texts=8, threads=1, settings=settings)
    with silence_libraries():
        stage = set_up(row, asked, tmp_path)
        own = run_ours(stage.study)
        other = run_other(row, stage, asked, (1.0, lambda _: None))
    (found,) = compare_sides(own, other)
    assert found.fault == ""
    assert own.steps == other.steps == {"lora-4@model": frozenset({2})}
    # Hardly anything is learned at such a rate, so both sides score the same model on the same tokens.
    assert found.own == pytest.approx(found.other, rel=1e-4)
