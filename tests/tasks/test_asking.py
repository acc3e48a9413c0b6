"""Rows as prompts with answers behind them: what is cut, what is a target, and what a prompt may depend on."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter
from transformers import PreTrainedTokenizerFast

from whichtune.data.examples import Example
from whichtune.errors import DataError, ModelError, SpecError
from whichtune.models.batch import collate
from whichtune.models.chat import ChatForm
from whichtune.models.encoder import TextEncoder
from whichtune.models.load import find_ends
from whichtune.models.prompt_tokens import encode_answer, encode_prompt
from whichtune.models.tiny import make_byte_tokenizer
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import TaskSpec
from whichtune.tasks.asking import encode_asked, encode_words, fit_row, make_asking

ENCODER = TextEncoder(make_byte_tokenizer(), vocabulary=259, ends=(2,))
CHAT = ChatForm("{{ bos_token }}{% for m in messages %}U:{{ m['content'] }}{% endfor %} A:", (("bos_token", "[CLS]"),))
QUERY = {"template": {"query": "Read: {{ text }} =>", "stop": []}}
ROWS = [
    Example("1", "train", "a fine day", "good", "o:1"),
    Example("2", "train", "rain " * 30, "bad", "o:2"),
    Example("3", "train", "dull", "bad", "o:3"),
]
LABELS = ("bad", "good")
CLASSES = {"kind": "instruction-classification", "prompt": QUERY}


def asking_of(task=None, labels=LABELS, method=None, columns=None):
    task = CLASSES if task is None else task
    spec = TypeAdapter(TaskSpec).validate_python(task)
    method = None if method is None else PromptingSpec(kind="prompting", **method)
    return make_asking(spec, labels if "class" in spec.kind else (), columns or Columns(), method)


def summaries(**settings):
    return asking_of({"kind": "summarization", "prompt": QUERY, "decoding": {"max_new_tokens": 8}} | settings)


def texts_of(encoded, encoder=ENCODER):
    """Prompt and answer of each row, as text."""
    rows = [encoded.row(at).tolist() for at in range(len(encoded))]
    decode = lambda ids: encoder.tokenizer.decode(ids, skip_special_tokens=False)  # noqa: E731
    return [(decode(row[:start]), decode(row[start:])) for row, start in zip(rows, encoded.starts, strict=True)]


def test_a_row_is_its_prompt_its_answer_and_the_token_that_ends_it():
    encoded = encode_asked(asking_of(), ROWS[::2], ENCODER)
    assert texts_of(encoded) == [
        ("[CLS]Read: a fine day =>", " good[SEP]"),
        ("[CLS]Read: dull =>", " bad[SEP]"),
    ]
    assert encoded.targets.tolist() == [1, 0]
    assert encoded.over_long == ()
    batch = collate(encoded, [0, 1])
    ends = batch.targets == 2
    assert int(ends.sum()) == 2, "the end is learned"
    assert batch.targets[-1] == 2


def test_prompts_and_answers_are_those_of_writing():
    asking = asking_of()
    encoded = encode_asked(asking, ROWS, ENCODER)
    for place, row in enumerate(ROWS):
        prompt = f"Read: {row.text} =>"
        begun = encode_prompt(ENCODER, prompt, chat=True)
        told = [*begun, *encode_answer(ENCODER, prompt, row.gold, chat=True), 2]
        assert encoded.row(place).tolist() == told
        assert encoded.prompts().row(place).tolist() == begun


def test_the_end_is_a_target_where_it_is_the_pad_token_too():
    """SmolLM2 and its like pad with the end token: the mask must not go by the id."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer(), eos_token="[SEP]", pad_token="[SEP]")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2
    encoder = replace(ENCODER, ends=find_ends(tokenizer, {"eos_token_id": 2, "pad_token_id": 2}))
    assert encoder.ends == (2,)
    encoded = encode_asked(asking_of(), ROWS[::2], encoder)
    for side in ("right", "left"):
        batch = collate(encoded, [0, 1], side=side)
        marked = batch.layout.targets
        assert not (marked & ~batch.layout.real).any(), "padding is no target"
        counts = marked.sum(dim=1).tolist()
        assert counts == [len(" good") + 1, len(" bad") + 1]
        assert [int(batch.targets[at]) for at in np.cumsum(counts) - 1] == [2, 2]


def test_a_model_without_an_end_token_learns_the_answer_alone():
    encoded = encode_asked(asking_of(), ROWS[:1], replace(ENCODER, ends=()))
    assert texts_of(encoded) == [("[CLS]Read: a fine day =>", " good")]


def test_a_row_without_an_answer_is_its_prompt():
    unknown = replace(ROWS[0], gold=None)
    encoded = encode_asked(asking_of(), [unknown], ENCODER)
    assert texts_of(encoded) == [("[CLS]Read: a fine day =>", "")]
    assert encoded.targets.tolist() == [-1]


def test_the_text_is_cut_to_fit_and_never_the_prompt_or_the_answer():
    asking = asking_of(CLASSES | {"decoding": {"max_new_tokens": 8}})
    encoded = encode_asked(asking, ROWS, ENCODER, 40)
    assert encoded.over_long == (1,)
    assert encoded.cut == 1
    (_, _), (prompt, answer), _ = texts_of(encoded)
    assert prompt.startswith("[CLS]Read: rain ")
    assert prompt.endswith(" =>")
    assert answer == " bad[SEP]"
    lengths = encoded.prompts().lengths
    assert lengths[1] == 40 - 8, "all the room there is, and none of the answer's"
    assert encoded.lengths.max() <= 40


def test_instruction_and_examples_are_never_cut():
    asking = asking_of({"kind": "instruction-classification"})
    shots = replace(asking, shots=lambda item: (ROWS[0], ROWS[2]), fixed=(ROWS[0], ROWS[2]))
    encoded = encode_asked(shots, ROWS[1:2], ENCODER, 200)
    ((prompt, answer),) = texts_of(encoded)
    assert asking.recipe.instruction in prompt
    assert "Text: a fine day\nLabel: good\n\nText: dull\nLabel: bad\n\nText: rain" in prompt
    assert prompt.endswith("\nLabel:")
    assert answer == " bad[SEP]"
    with pytest.raises(DataError, match=r"o:2: the prompt is too long even without the row's text"):
        encode_asked(shots, ROWS[1:2], ENCODER, 130)


@pytest.mark.parametrize("gold", ["good", "bad", None])
def test_a_prompt_does_not_depend_on_its_rows_answer(gold):
    for length in (None, 40):
        encoded = encode_asked(asking_of(), [replace(ROWS[1], gold=gold)], ENCODER, length)
        other = encode_asked(asking_of(), ROWS[1:2], ENCODER, length)
        assert np.array_equal(encoded.prompts().tokens, other.prompts().tokens)


def test_only_an_answer_longer_than_its_room_takes_more_of_the_text():
    long = replace(ROWS[1], gold="a summary of more than eight tokens")
    asking = summaries()
    encoded = encode_asked(asking, [long, replace(long, gold="short")], ENCODER, 64)
    (prompt, answer), (free, _) = texts_of(encoded)
    assert answer == " a summary of more than eight tokens[SEP]", "truncation never removes targets"
    assert (len(encoded.row(0)), len(encoded.prompts().row(1))) == (64, 56)
    assert prompt.startswith("[CLS]Read: rain ")
    assert prompt.endswith(" =>")
    assert len(prompt) < len(free)
    assert encoded.over_long == (0, 1)


def test_an_answer_that_fills_the_row_alone_is_refused_with_its_origin():
    row = Example("9", "train", "short", "word " * 20, "summaries.csv:10")
    with pytest.raises(DataError, match=r"summaries\.csv:10: the answer alone fills the row") as caught:
        encode_asked(summaries(), [row], ENCODER, 64)
    assert "max_length" in str(caught.value)


def test_an_answer_that_leaves_no_place_for_the_prompt_is_refused_with_its_origin():
    row = Example("9", "train", "short", "x" * 55, "summaries.csv:10")
    with pytest.raises(DataError, match=r"summaries\.csv:10"):
        encode_asked(summaries(), [row], ENCODER, 64)


def test_room_for_the_answer_must_be_less_than_a_row():
    with pytest.raises(ModelError, match=r"decoding\.max_new_tokens"):
        encode_asked(summaries(), ROWS[:1], ENCODER, 8)
    with pytest.raises(ModelError, match="max_length"):
        encode_asked(summaries(), ROWS[:1], replace(ENCODER, max_positions=32), 64)


def test_the_context_of_the_model_is_the_length_where_none_is_given():
    encoded = encode_asked(summaries(), ROWS[1:2], replace(ENCODER, max_positions=50))
    assert len(encoded.prompts().row(0)) == 50 - 8


def test_rows_can_be_turns_of_a_conversation():
    talking = replace(ENCODER, chat=CHAT)
    assert texts_of(encode_asked(asking_of(), ROWS[:1], talking)) == [
        ("[CLS]U:Read: a fine day => A:", "good[SEP]"),
    ]
    never = asking_of(CLASSES | {"chat": "never"})
    assert texts_of(encode_asked(never, ROWS[:1], talking)) == [("[CLS]Read: a fine day =>", " good[SEP]")]
    cut = encode_asked(asking_of(CLASSES | {"decoding": {"max_new_tokens": 8}}), ROWS[1:2], talking, 48)
    assert len(cut.prompts().row(0)) == 40
    assert texts_of(cut)[0][0].endswith("=> A:"), "the template counts, and is not cut"


def test_words_of_labels_are_scored_without_the_end():
    asking = asking_of(CLASSES | {"prompt": QUERY | {"words": {"good": "fine"}}})
    assert asking.words() == ["bad", "fine"]
    words = encode_words(asking, ENCODER, ROWS[0])
    assert [ENCODER.tokenizer.decode(word) for word in words] == [" bad", " fine"]
    assert texts_of(encode_asked(asking, ROWS[:1], ENCODER))[0][1] == " fine[SEP]"


def test_a_prompter_lays_its_own_words_over_the_tasks():
    own = {"style": "zero-shot-chain-of-thought", "decoding": {"max_new_tokens": 99}}
    with pytest.raises(SpecError, match="a reasoning stands before the answer"):
        asking_of(method=own | {"scoring": "likelihood"})
    asking = asking_of(method=own)
    assert asking.recipe.style.cue == "the answer is"
    assert not asking.by_labels, "behind a reasoning the next word is no label"
    assert (asking.room, asking.scoring) == (99, "generation")
    same = asking_of(method={})
    assert (same.recipe.fingerprint, same.room, same.scoring) == (asking_of().recipe.fingerprint, 16, "generation")
    assert same.by_labels


def test_a_classifier_with_a_head_can_be_asked_too():
    asking = asking_of({"kind": "text-classification"}, method={"style": "zero-shot"})
    assert asking.labels == LABELS
    assert (asking.room, asking.scoring, asking.chat) == (16, "generation", True)
    assert "bad or good" in asking.recipe.instruction


def test_room_and_wording_are_the_tasks_where_nothing_is_said():
    assert (asking_of({"kind": "summarization"}).room, asking_of({"kind": "summarization"}).by_labels) == (64, False)
    assert asking_of({"kind": "question-answering-by-prompt"}).reader.parser == "last-number"
    assert asking_of({"kind": "summarization"}).reader.parser == "text"
    assert asking_of({"kind": "instruction-classification"}).reader.parser == "label"


def test_templates_name_the_columns_of_the_data():
    prompt = {"template": {"query": "{{ review }} =>"}}
    columns = Columns(text="review")
    assert fit_row(asking_of(CLASSES | {"prompt": prompt}, columns=columns), ROWS[0], ENCODER, 99).prompt.text == (
        "a fine day =>"
    )
    with pytest.raises(SpecError, match="review"):
        asking_of(CLASSES | {"prompt": prompt})
