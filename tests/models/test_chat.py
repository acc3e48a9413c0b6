"""Chat templates: read from a tokenizer, written out in a sandbox, encoded with no special token twice."""

from datetime import UTC, datetime

import pytest
from transformers import PreTrainedTokenizerFast

from whichtune.errors import ModelError
from whichtune.models.chat import ChatForm, read_chat_form
from whichtune.models.tiny import make_byte_tokenizer

FORM = ChatForm(
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    (("bos_token", "[CLS]"), ("eos_token", "[SEP]")),
)
TURNS = [{"role": "user", "content": "hi"}]


def test_a_conversation_is_written_with_or_without_room_for_a_reply():
    assert FORM.render(TURNS) == "[CLS]user: hi[SEP]assistant: "
    assert FORM.render(TURNS, reply=False) == "[CLS]user: hi[SEP]"


def test_special_tokens_are_those_of_the_template_alone():
    tokenizer = make_byte_tokenizer()
    assert tokenizer.encode("hi").ids[0] == 0
    ids = FORM.encode(tokenizer, TURNS)
    assert (ids[0], ids.count(0), ids.count(2)) == (0, 1, 1)


def test_what_a_template_refuses_or_may_not_do_is_one_clear_error():
    strict = ChatForm("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ModelError, match="roles must alternate"):
        strict.render(TURNS)
    escaping = ChatForm("{{ ''.__class__.__mro__ }}")
    with pytest.raises(ModelError, match="chat template refuses"):
        escaping.render(TURNS)


def test_it_is_read_from_a_tokenizer_that_has_one():
    plain = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer(), eos_token="[SEP]")
    assert read_chat_form(plain) is None
    plain.chat_template = FORM.template
    assert read_chat_form(plain) == ChatForm(FORM.template, (("eos_token", "[SEP]"),))
    plain.chat_template = {"default": FORM.template, "tool_use": "other"}
    assert read_chat_form(plain).template == FORM.template


def test_the_date_of_today_stands_in_no_prompt():
    form = ChatForm("{{ strftime_now('%d %B %Y') }}|{{ messages[0]['content'] }}")
    date, _, text = form.render(TURNS).partition("|")
    assert text == "hi"
    assert date == form.render([{"role": "user", "content": "later"}]).partition("|")[0]
    assert str(datetime.now(UTC).year) not in date, "a date that moves would make other tokens tomorrow"
