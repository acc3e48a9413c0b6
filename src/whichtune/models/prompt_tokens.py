"""Prompts and answers as token ids: one prompt has the same ids whether an answer stands behind it or not."""

from __future__ import annotations

from whichtune.models.encoder import TextEncoder


def encode_prompt(encoder: TextEncoder, text: str, *, chat: bool) -> list[int]:
    """Return the ids of a prompt, behind which an answer can be written.

    With `chat` it is the user's turn of a conversation, where the tokenizer came with a chat template; otherwise the
    special tokens that the tokenizer puts in front of a text stand there, and none behind it.
    """
    if chat and encoder.chat is not None:
        return encoder.chat.encode(encoder.tokenizer, [{"role": "user", "content": text}])
    return [*encoder.front, *_encode(encoder, text)]


def encode_answer(encoder: TextEncoder, prompt: str, answer: str, *, chat: bool) -> list[int]:
    """Return the ids of an answer behind a prompt, without the token that ends it; a space parts the two.

    They are those of the joint text where its ids begin with the prompt's, and those of the answer alone where
    characters join across the boundary: at the time of writing the prompt's ids are given.
    """
    if chat and encoder.chat is not None:
        written = encoder.chat.render([{"role": "user", "content": prompt}])
        return _behind(encoder, written, answer)
    return _behind(encoder, prompt, f" {answer}")


def _behind(encoder: TextEncoder, before: str, answer: str) -> list[int]:
    first, joint = _encode(encoder, before), _encode(encoder, before + answer)
    return joint[len(first) :] if joint[: len(first)] == first else _encode(encoder, answer)


def _encode(encoder: TextEncoder, text: str) -> list[int]:
    return encoder.tokenizer.encode(text, add_special_tokens=False).ids
