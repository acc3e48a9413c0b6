"""How a model expects a conversation to be written: the template that came with its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whichtune.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Turn = Mapping[str, str]
"""One turn of a conversation: its `role` (`system`, `user`, `assistant`) and its `content`."""
DATE = "{% macro strftime_now(form) %}26 Jul 2024{% endmacro +%}"
"""The day of every conversation: templates that name the present one would make other prompts tomorrow."""


@dataclass(frozen=True)
class ChatForm:
    """A chat template with the special tokens it may name."""

    template: str
    """Jinja2 text; it runs in a sandbox."""
    tokens: tuple[tuple[str, str], ...] = ()
    """Name (`bos_token`) and text of each special token."""

    def render(self, turns: Sequence[Turn], *, reply: bool = True) -> str:
        """Write a conversation down; with `reply` it ends where the model is to answer."""
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        conversation: Any = [dict(turn) for turn in turns]
        names: Any = dict(self.tokens)
        try:
            told: Any = render_jinja_template(
                [conversation], chat_template=f"{DATE}{self.template}", add_generation_prompt=reply, **names
            )
        except (TemplateError, TypeError, ValueError) as error:
            why = " ".join(str(error).split())[:300]
            roles = ", ".join(str(turn.get("role")) for turn in turns)
            raise ModelError(f"the model's chat template refuses the conversation ({why})", value=roles) from error
        return told[0][0] if isinstance(told, tuple) else told[0]

    def encode(self, tokenizer: Tokenizer, turns: Sequence[Turn], *, reply: bool = True) -> list[int]:
        """Return the token ids of a conversation; the template names the special tokens, so none is added twice."""
        return tokenizer.encode(self.render(turns, reply=reply), add_special_tokens=False).ids


def read_chat_form(tokenizer: Any) -> ChatForm | None:
    """Return the chat form of a `transformers` tokenizer; of several templates the one called `default`."""
    told = getattr(tokenizer, "chat_template", None)
    template = told.get("default") if isinstance(told, Mapping) else told
    if not isinstance(template, str):
        return None
    tokens = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return ChatForm(template, tuple(sorted(tokens.items())))
