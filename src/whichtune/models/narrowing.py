"""The last block for the rows alone that are looked at: a head that reads one row a text needs no other of them.

Rows meet in attention and nowhere else. In the last block every row is still asked as key and value, but only rows that
the head reads ask themselves: behind attention nothing is computed of the others, neither forward nor backward, whose
gradient would be zero. There is no code per family: the block is begun with all rows and broken off where its attention
has made keys and values, then run on the few rows, whose attention is given the keys and values of all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from whichtune.models.layout import Layout
from whichtune.models.packing import Asked, Group, Packing, answering, find_group
from whichtune.models.standing_in import standing_in

MOST_WANTED = 0.5
"""Share of the real rows up to which the others are left out: keys and values of all are made in any case."""


@dataclass(frozen=True)
class Chosen:
    """Which of the rows of a pass a block is run on at the moment."""

    rows: int
    """Rows that there are."""
    places: Tensor
    """[chosen] int64: those that it is run on."""


_CHOSEN: ContextVar[Chosen | None] = ContextVar("chosen", default=None)


def find_chosen() -> Chosen | None:
    """Return the rows that the running block is run on, where those are not all."""
    return _CHOSEN.get()


def is_narrow(layout: Layout, wanted: Tensor) -> bool:
    """Tell whether few enough rows are wanted for the others to be left out."""
    few, all_rows = torch.stack([wanted.sum(), layout.real.sum()]).tolist()  # one look at the device
    return 0 < few <= MOST_WANTED * all_rows


@dataclass(frozen=True)
class Questions:
    """The rows that ask, beside the packing of those that are asked. Q: asking rows of a text, at most."""

    packing: Packing
    groups: tuple[Group, ...]
    """Where the asking rows of each group of texts stand."""
    order: Tensor
    """[T'] int64: of each asking row, its place among those of all groups."""
    firsts: Tensor
    """[B] int64: where each text begins among the packed rows."""
    chosen: Chosen

    def look_back(self, index: int) -> Tensor:
        """Return what each row of a group may look at where it sees itself and earlier ones alone, [B, 1, Q, W]."""
        group, asked = self.groups[index], self.packing.groups[index]
        own = self.chosen.places[group.inside].view(group.batch, group.width) - self.firsts[asked.texts][:, None]
        columns = torch.arange(asked.width, device=own.device)
        return (columns <= own.clamp(min=0)[:, :, None])[:, None]


def find_questions(packing: Packing, layout: Layout, wanted: Tensor) -> Questions:
    """Return how the wanted rows of a layout stand in the groups of its packing."""
    counts, lengths = wanted.sum(dim=1), layout.lengths
    starts, firsts = counts.cumsum(0) - counts, lengths.cumsum(0) - lengths
    places = wanted[layout.real].nonzero()[:, 0]
    starts = starts.clamp(max=len(places) - 1)  # a text of which no row asks has a place to fill: any row will do
    groups = tuple(find_group(counts[one.texts], starts[one.texts], one.texts) for one in packing.groups)
    order = torch.argsort(torch.cat([one.inside[one.places] for one in groups]))
    return Questions(packing, groups, order, firsts, Chosen(int(lengths.sum()), places))


@dataclass(frozen=True)
class _Asking:
    """Attention of few rows over the keys and values of all."""

    questions: Questions
    keys: Sequence[Tensor]
    values: Sequence[Tensor]

    def attend(self, asked: Asked) -> Tensor:
        """Answer the few rows, text by text: [1, T', H, D]."""
        rows = asked.query[0].transpose(0, 1)
        asked = replace(asked, how={**asked.how, "is_causal": False})  # the mask says what is seen
        found = [self._answer(asked, rows, index) for index in range(len(self.keys))]
        return torch.cat(found).index_select(0, self.questions.order)[None]

    def _answer(self, asked: Asked, rows: Tensor, index: int) -> Tensor:
        """Answer the asking rows of one group, [own rows, H, D]."""
        questions = self.questions
        asking, group = questions.groups[index], questions.packing.groups[index]
        query = asking.lay_out(rows).view(asking.batch, asking.width, *rows.shape[1:]).transpose(1, 2)
        seen = questions.look_back(index) if asked.causal else group.real
        answers = asked.compute(seen, query, self.keys[index], self.values[index])
        return answers.flatten(0, 1).index_select(0, asking.places)


class _Reached(Exception):  # noqa: N818 - no error: what is asked is all that was wanted
    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.asked = asked


class _Listening:
    """Attention that is not computed: what it is asked ends the pass."""

    def attend(self, asked: Asked) -> Tensor:
        """Tell what was asked."""
        raise _Reached(asked)


@contextmanager
def narrowing(block: nn.Module, questions: Questions) -> Generator[None]:
    """Let a block that is given all packed rows, [1, T, H], run on the asking ones; zeros stand for the others."""
    run, chosen = block.forward, questions.chosen

    def run_few(*given: Any, **named: Any) -> Any:
        heard = _listen(run, *given, **named)
        keys, values = (questions.packing.spread(one) for one in (heard.key, heard.value))
        token = _CHOSEN.set(chosen)
        try:
            with answering(_Asking(questions, keys, values)):
                return _put(run(*_take(given, chosen), **_take(named, chosen)), chosen)
        finally:
            _CHOSEN.reset(token)

    with standing_in(block, run_few):
        yield


def _listen(run: Callable[..., Any], *given: Any, **named: Any) -> Asked:
    """Begin a block with all rows and break it off where its attention is reached."""
    try:
        with answering(_Listening()):
            run(*given, **named)
    except _Reached as reached:
        return reached.asked
    raise AttributeError("a block whose attention is not reached")


def _take(given: Any, chosen: Chosen) -> Any:
    """Take the chosen rows of everything in what a block is given that has one entry a row: hidden rows, positions."""
    if isinstance(given, Tensor):
        by_row = given.ndim >= 2 and given.shape[0] == 1 and given.shape[1] == chosen.rows
        return given.index_select(1, chosen.places) if by_row else given
    if isinstance(given, tuple | list):
        return type(given)(_take(one, chosen) for one in given)
    if isinstance(given, dict):
        return {name: _take(one, chosen) for name, one in given.items()}
    return given


def _put(output: Any, chosen: Chosen) -> Any:
    """Put the rows that a block returns, alone or first of several things, where they stand among all."""
    if not isinstance(output, Tensor):
        return _put(output[0], chosen), *output[1:]
    return output.new_zeros(1, chosen.rows, output.shape[-1]).index_copy(1, chosen.places, output)
