"""Free writing: prompts in, completions out, by a plain model or by a finished trial of one.

A prompt is taken as it is, as the user's turn of a conversation, or through the trial's own prompt, as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch

from whichtune.data.examples import Example
from whichtune.engine.speaking import Opening, Read, Speaker, make_sampling, read_prompts
from whichtune.engine.using import NEW, Answerer, Manner, open_model
from whichtune.errors import DataError, ModelError
from whichtune.measure.device import pick_device, set_threads
from whichtune.measure.modes import modes
from whichtune.models.batch import Encoded
from whichtune.models.encoder import TextEncoder
from whichtune.models.generate import Completion, Sampling, stream_behind, write_behind
from whichtune.models.prompt_tokens import encode_prompt
from whichtune.models.stepping import require_writing
from whichtune.prompts.parsers import AnswerReader
from whichtune.spec.backbones import BackboneSpec
from whichtune.spec.decoding import DecodingSpec
from whichtune.spec.flags import lay_flags
from whichtune.spec.seeds import derive_seed
from whichtune.study.using import Trained, using

FormName = Literal["raw", "chat", "ask"]

ROOM_TOKENS = 64
"""Tokens of a completion at most, where nothing is said of it."""
CONTEXT_TOKENS = 32
"""Tokens of a prompt that are decoded with what follows, since some tokenizers drop a space at a text's beginning."""


@dataclass(frozen=True)
class Wish:
    """How completions are wanted."""

    decoding: DecodingSpec
    seed: int = 0
    samples: int = 1
    """Completions of each prompt."""
    batch: int = 8
    """Prompts that are written behind at the same time."""


@dataclass(frozen=True)
class Form:
    """How texts become prompts, where their completions end, and how an answer is read off one."""

    encode: Callable[[Sequence[str]], Encoded]
    stop: tuple[str, ...] = ()
    reader: AnswerReader | None = None


@dataclass(frozen=True)
class Written:
    """One completion."""

    prompt: str
    """As it was given."""
    sample: int
    """Which of the prompt's completions, from 1."""
    text: str
    tokens: int
    ended: bool
    """Whether it came to an end before the limit of tokens."""
    seconds: float
    """The prompt's pass included; an equal part of what its batch took."""
    asked: bool = False
    """Whether an answer was to be read off it."""
    answer: str | None = None
    """The answer, where one could be read."""


@dataclass(frozen=True)
class Writer:
    """A model that writes, what becomes of a text before it is given to it, and how completions are written."""

    speaker: Speaker
    form: Form
    decoding: DecodingSpec


@contextmanager
def open_writer(
    source: Trained | BackboneSpec,
    form: FormName,
    given: Mapping[str, Any],
    *,
    device: str = "auto",
    threads: int | None = None,
) -> Generator[Writer]:
    """Load a finished trial or a model to write with; `given` are settings of decoding, laid over its own.

    Asked as in training, a trial writes as it did there unless told otherwise; texts that are gone on with have no
    settings but those given.
    """
    if isinstance(source, Trained):
        with using(source, device=device, threads=threads) as answerer:
            own = answerer.asking.decoding if form == "ask" else DecodingSpec()
            yield Writer(answerer.speaker, choose_form(form, answerer, source), lay_flags(own, given))
        return
    if form == "ask":
        raise ModelError("--ask: a model has no prompt of its own", remedy="name a trial, or take `whichtune prompt`")
    where = pick_device(device)
    set_threads(threads)
    speaker = open_model(source, Manner(where, batch=1))
    encoder = speaker.backbone.encoder
    yield Writer(speaker, as_turn(encoder) if form == "chat" else as_written(encoder), lay_flags(DecodingSpec(), given))


def choose_form(form: FormName, answerer: Answerer, trained: Trained) -> Form:
    """Return what becomes of a text before a trial is given it."""
    if form == "ask":
        return as_asked(answerer, two=trained.reads_two)
    encoder = answerer.speaker.backbone.encoder
    return as_turn(encoder) if form == "chat" else as_written(encoder)


def as_written(encoder: TextEncoder) -> Form:
    """Take texts as they are: the model goes on where they end."""
    return Form(partial(_encode_plain, encoder, chat=False))


def as_turn(encoder: TextEncoder) -> Form:
    """Take each text as the user's turn of a conversation, by the model's own chat template."""
    if encoder.chat is None:
        remedy = "leave `--chat` out, or choose a model that was trained on conversations"
        raise ModelError("--chat: the model's tokenizer has no chat template", remedy=remedy)
    return Form(partial(_encode_plain, encoder, chat=True))


def as_asked(answerer: Answerer, *, two: bool) -> Form:
    """Put texts through a trial's own prompt; where its rows have two, a tab parts them."""
    asking = answerer.asking
    return Form(partial(_encode_asked, answerer, two=two), asking.recipe.style.stop, asking.reader)


def require_sense(wish: Wish) -> None:
    """Refuse several completions of a prompt where all would be the same."""
    if wish.samples > 1 and not wish.decoding.draws:
        told = f"--num-samples {wish.samples}: without a temperature all completions of a prompt are the same"
        raise ModelError(told, remedy="add for example `--temperature 0.8`")


@torch.no_grad()
def write_texts(speaker: Speaker, form: Form, texts: Sequence[str], wish: Wish) -> Iterator[Written]:
    """Complete every text, in order, a batch at a time; all prompts are checked before the first is written behind."""
    require_sense(wish)
    sampling = make_sampling(speaker, wish.decoding.settled(ROOM_TOKENS), form.stop, wish.seed)
    encoded = form.encode(texts)
    with modes((), speaker.backbone.trunk):
        require_writing(speaker.backbone, torch.from_numpy(encoded.lengths), sampling)
        for start in range(0, len(texts), wish.batch):
            places = range(start, min(start + wish.batch, len(texts)))
            yield from _write_batch(speaker, (form, sampling), (texts, encoded, places), wish)


@torch.no_grad()
def stream_text(speaker: Speaker, form: Form, text: str, wish: Wish, show: Callable[[str], None]) -> Written:
    """Complete one text and show its pieces as they are written; a character is shown when all its bytes are there."""
    sampling = make_sampling(speaker, wish.decoding.settled(ROOM_TOKENS), form.stop, wish.seed)
    encoded = form.encode([text])
    unrolling = Unrolling(speaker.backbone.encoder.tokenizer.decode, encoded.row(0).tolist())
    with modes((), speaker.backbone.trunk):
        require_writing(speaker.backbone, torch.from_numpy(encoded.lengths), sampling)
        began, ended = perf_counter(), False
        read = read_prompts(speaker, encoded, [0], Opening(0))
        with speaker.arithmetic.forward():
            for step in stream_behind(speaker.backbone, read.last, read.state, sampling, _keys(wish, range(1))):
                token = int(step.tokens[0])
                ended = token in sampling.ends
                if not ended:
                    show(unrolling.add(token))
    show(unrolling.finish())
    done = Completion(tuple(unrolling.tokens), ended)
    return _tell(form, (text, 1, unrolling.text), done, sampling, perf_counter() - began)


class Unrolling:
    """A completion that grows token by token: what can be shown of it already."""

    def __init__(self, decode: Callable[[list[int]], str], prompt: Sequence[int]) -> None:
        self.tokens: list[int] = []
        self._decode = decode
        self._front = list(prompt[-CONTEXT_TOKENS:])
        self._skipped = len(decode(self._front))
        self._shown = 0

    @property
    def text(self) -> str:
        """All that is written; the last characters may be broken off."""
        return self._decode([*self._front, *self.tokens])[self._skipped :]

    def add(self, token: int) -> str:
        """Take a token; return what is new to be shown, without a character whose bytes are not all there."""
        self.tokens.append(token)
        return self._show(self.text.rstrip("\N{REPLACEMENT CHARACTER}"))

    def finish(self) -> str:
        """Return what was held back."""
        return self._show(self.text)

    def _show(self, text: str) -> str:
        piece = text[self._shown :]
        self._shown += len(piece)
        return piece


def _write_batch(
    speaker: Speaker, how: tuple[Form, Sampling], given: tuple[Sequence[str], Encoded, range], wish: Wish
) -> Iterator[Written]:
    (form, sampling), (texts, encoded, places) = how, given
    began = perf_counter()
    read = _repeat(read_prompts(speaker, encoded, places, Opening(0)), wish.samples)
    with speaker.arithmetic.forward():
        done = write_behind(speaker.backbone, read.last, read.state, sampling, _keys(wish, places))
    seconds = (perf_counter() - began) / len(done)
    decode = speaker.backbone.encoder.tokenizer.decode
    for number, one in enumerate(done):
        place, sample = places[number // wish.samples], number % wish.samples + 1
        unrolling = Unrolling(decode, encoded.row(place).tolist())
        unrolling.tokens = list(one.tokens)
        yield _tell(form, (texts[place], sample, unrolling.text), one, sampling, seconds)


def _tell(form: Form, what: tuple[str, int, str], done: Completion, sampling: Sampling, seconds: float) -> Written:
    prompt, sample, text = what
    answer = None if form.reader is None else form.reader.read(text)
    ended = done.ended or len(done.tokens) < sampling.max_new_tokens
    return Written(prompt, sample, text, len(done.tokens), ended, seconds, form.reader is not None, answer)


def _repeat(read: Read, count: int) -> Read:
    if count == 1:
        return read
    return Read(read.last.repeat_interleave(count, dim=0), read.state.repeated(count))


def _keys(wish: Wish, places: range) -> list[int]:
    """Name the stream of random numbers of each completion, by its prompt's place."""
    return [derive_seed("completion", place, sample) for place in places for sample in range(wish.samples)]


def _encode_plain(encoder: TextEncoder, texts: Sequence[str], *, chat: bool) -> Encoded:
    rows = [encode_prompt(encoder, text, chat=chat) for text in texts]
    for place, row in enumerate(rows, start=1):
        if not row:
            raise DataError(f"prompt {place} has no token", value=texts[place - 1], remedy="write at least a word")
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.array([token for row in rows for token in row], np.int32)
    encoder.require_known(tokens)
    offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
    return Encoded(tokens, offsets, np.full(len(rows), -1, np.int64))


def _encode_asked(answerer: Answerer, texts: Sequence[str], *, two: bool) -> Encoded:
    rows: list[Example] = []
    for place, text in enumerate(texts, start=1):
        first, tab, second = text.partition("\t") if two else (text, "", "")
        if two and not tab:
            told = f"prompt {place}: the trial reads two texts, with a tab between them"
            raise DataError(told, value=text, remedy="write both")
        rows.append(Example(str(place), NEW, first, None, f"prompt {place}", second if two else None))
    encoded = answerer.encode(rows)
    assert isinstance(encoded, Encoded)  # noqa: S101 - what is written is text
    return encoded.prompts()
