"""Prompts and answers as token ids, plain and as turns of a conversation."""

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from whichtune.models.chat import ChatForm
from whichtune.models.encoder import TextEncoder
from whichtune.models.prompt_tokens import encode_answer, encode_prompt
from whichtune.models.tiny import make_byte_tokenizer

CHAT = ChatForm(
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}",
    (("bos_token", "[CLS]"), ("eos_token", "[SEP]")),
)
PLAIN = TextEncoder(make_byte_tokenizer(), vocabulary=259, ends=(2,))
TALKING = TextEncoder(make_byte_tokenizer(), vocabulary=259, ends=(2,), chat=CHAT)
BYTES = {text: make_byte_tokenizer().encode(text, add_special_tokens=False).ids for text in ("ask", " yes", "yes")}


def joining_tokenizer():
    """Bytes, and one token that joins the end of a prompt with the space behind it."""
    words = ["[CLS]", *sorted(pre_tokenizers.ByteLevel.alphabet()), ">Ġ"]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[(">", "Ġ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


def test_a_plain_prompt_has_the_begin_token_once_and_no_end():
    assert encode_prompt(PLAIN, "ask", chat=True) == [0, *BYTES["ask"]]
    assert encode_answer(PLAIN, "ask", "yes", chat=True) == BYTES[" yes"], "a space parts the two"


def test_a_tokenizer_without_special_tokens_puts_none_in_front():
    bare = make_byte_tokenizer()
    bare.post_processor = None
    bare = Tokenizer.from_str(bare.to_str())
    assert encode_prompt(TextEncoder(bare, vocabulary=259), "ask", chat=True)[0] != 0


def test_a_turn_is_written_by_the_template_and_nothing_is_added_to_it():
    ids = encode_prompt(TALKING, "ask", chat=True)
    assert (
        TALKING.tokenizer.decode(ids, skip_special_tokens=False).replace(" ", "") == "[CLS]<user>ask[SEP]<assistant>\n"
    )
    assert (ids.count(0), ids[0], ids.count(2)) == (1, 0, 1)
    assert encode_answer(TALKING, "ask", "yes", chat=True) == BYTES["yes"], "a reply begins with no space"


def test_a_conversation_can_be_declined():
    assert encode_prompt(TALKING, "ask", chat=False) == encode_prompt(PLAIN, "ask", chat=False)
    assert encode_answer(TALKING, "ask", "yes", chat=False) == BYTES[" yes"]


@given(st.text(max_size=30), st.text(min_size=1, max_size=10), st.booleans())
def test_a_prompt_has_the_same_ids_whether_an_answer_follows_or_not(prompt, answer, chat):
    """The ids of prompt and answer together are those of the joint text."""
    for encoder in (PLAIN, TALKING):
        before = encode_prompt(encoder, prompt, chat=chat)
        behind = encode_answer(encoder, prompt, answer, chat=chat)
        if chat and encoder.chat is not None:
            whole = encoder.chat.render([{"role": "user", "content": prompt}]) + answer
            joint = encoder.tokenizer.encode(whole, add_special_tokens=False).ids
        else:
            joint = [0, *encoder.tokenizer.encode(f"{prompt} {answer}", add_special_tokens=False).ids]
        assert [*before, *behind] == joint


def test_where_characters_join_across_the_boundary_the_answer_is_encoded_alone():
    encoder = TextEncoder(joining_tokenizer(), vocabulary=258)
    alone = encoder.tokenizer.encode(" yes", add_special_tokens=False).ids
    assert encoder.tokenizer.encode("=> yes", add_special_tokens=False).ids[1] == 257
    assert encode_answer(encoder, "=>", "yes", chat=False) == alone
    assert encode_prompt(encoder, "=>", chat=False) == encoder.tokenizer.encode("=>", add_special_tokens=False).ids
    assert len(encode_answer(encoder, "=", "yes", chat=False)) == 4, "elsewhere it keeps the space"
