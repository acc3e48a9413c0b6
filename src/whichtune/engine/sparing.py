"""Selective recomputation: of two tensors that hold the same information, one is kept for the backward pass.

A norm and an activation keep their input for their own gradient, and a product of two tensors keeps both. Whatever
multiplies what they made (an adapter's A, a weight that trains, the gate of a feed-forward part) keeps that as well.
Here it is left out, and made again from what is kept anyway, by the same operation: the same bits (T0), for work that
grows with the rows and not with the weights (Korthikanti et al. 2023, section 5). No family has code of its own: which
tensors are meant is seen while a pass runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, saved_tensors_hooks

from whichtune.errors import TrialError
from whichtune.measure.memory import note_saved, storage_key, weak_storage

ACTIVATIONS = ("torch.nn.modules.activation", "transformers.activations")
"""Modules whose classes without weights do the same in every mode."""
RANDOM = (nn.RReLU,)
PRODUCT = "MulBackward0"
LEAST_BYTES = 4 * 2**20
"""Of a pass's hidden rows: with fewer there is memory enough, and making them again only takes time."""


@dataclass(frozen=True)
class Again:
    """A tensor that is made when it is asked for; asked twice in a row, it is made once."""

    number: int
    """Its own among those of a pass."""
    make: Callable[[], Tensor]
    memory: dict[int, Tensor]
    """The last that was made of a pass, by its number, or nothing: those who read one tensor follow each other."""

    def give(self) -> Tensor:
        """Return the tensor."""
        if self.number not in self.memory:
            made = self.make()
            self.memory.clear()
            self.memory[self.number] = made
        return self.memory[self.number]


class Shaped(NamedTuple):
    """What stands in a graph for a tensor: how it is made, and in which shape it was kept."""

    again: Again
    shape: torch.Size


class Kept(NamedTuple):
    """What stands in a graph for a tensor that is kept: its numbers, without its place in the graph.

    An operation that keeps its own output would else hold itself, and whatever has no backward pass would stay.
    """

    tensor: Tensor
    version: int
    """When it was kept: with hooks, autograd leaves it to them to see that nobody has written into it since."""


class Output(NamedTuple):
    """What a module has made: it can be made again from its input."""

    again: Again
    version: int
    held: object
    """The storage's identity: its number goes to no other while this lives."""


class Factor(NamedTuple):
    """A tensor that was kept, as far as a product of it can be known again."""

    source: tuple[Node, int]
    shape: torch.Size
    kept: Kept | Shaped


@dataclass
class Sparing:
    """What is known while one forward pass runs."""

    outputs: dict[int, Output] = field(default_factory=dict)
    factors: deque[Factor] = field(default_factory=lambda: deque(maxlen=2))
    """The last two that were kept: a product keeps its factors one after the other."""
    inside: set[int] = field(default_factory=set)
    """Storages that the module at hand has kept."""
    memory: dict[int, Tensor] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    def forget(self) -> None:
        """Let go of what was seen: the graph keeps hold of the hooks, and through them of this, until it is gone."""
        self.outputs.clear()
        self.factors.clear()
        self.inside.clear()

    def before(self, *_: Any) -> None:
        """Begin to see what a module keeps."""
        self.inside.clear()

    def after(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], made: Any) -> None:
        """Remember how a module's output is made, where its input is kept."""
        if named or len(given) != 1 or not isinstance(given[0], Tensor) or not isinstance(made, Tensor):
            return
        rows, key = given[0], storage_key(made)
        if storage_key(rows) in self.inside and key not in self.inside and _is_whole(made):
            weights = [Kept(one.detach(), one._version) for one in module.parameters()]
            make = partial(_run_again, module, Kept(rows.detach(), rows._version), weights, _autocast(rows.device))
            self._remember(made, make)

    def pack(self, tensor: Tensor) -> Kept | Shaped:
        """Return what is kept in the place of a tensor: its numbers, or how it is made."""
        strided = tensor.layout is torch.strided and not tensor.is_nested
        again = self._find(tensor) if strided else None
        if again is None:
            note_saved(tensor)
            if strided:
                self.inside.add(storage_key(tensor))
        kept = Kept(tensor.detach(), tensor._version) if again is None else Shaped(again, tensor.shape)
        if tensor.grad_fn is not None:
            self.factors.append(Factor((tensor.grad_fn, tensor.output_nr), tensor.shape, kept))
        return kept

    def _find(self, tensor: Tensor) -> Again | None:
        if not _is_whole(tensor):
            return None
        output = self.outputs.get(storage_key(tensor))
        if output is not None:
            return output.again if output.version == tensor._version else None
        return self._find_product(tensor)

    def _find_product(self, tensor: Tensor) -> Again | None:
        """Return how a tensor is made that is the product of the last two that were kept."""
        if tensor.grad_fn is None or tensor.grad_fn.name() != PRODUCT or len(self.factors) < 2:
            return None
        last = [one.source for one in self.factors]
        alike = all(one.shape == tensor.shape for one in self.factors)
        if not alike or tuple(tensor.grad_fn.next_functions) not in (tuple(last), tuple(reversed(last))):
            return None
        return self._remember(tensor, partial(_multiply, *(one.kept for one in self.factors)))

    def _remember(self, made: Tensor, make: Callable[[], Tensor]) -> Again:
        again = Again(next(self.numbers), make, self.memory)
        self.outputs[storage_key(made)] = Output(again, made._version, weak_storage(made))
        return again


def give_back(kept: Kept | Shaped) -> Tensor:
    """Return the tensor for which something was kept."""
    if isinstance(kept, Shaped):
        return kept.again.give().view(kept.shape)
    if kept.tensor._version != kept.version:
        raise TrialError("a tensor was changed in place before the gradient that needs it was taken")
    return kept.tensor


def is_much(rows: Tensor) -> bool:
    """Tell whether a trunk's rows are so many that keeping less of them is worth its time."""
    return rows.nbytes >= LEAST_BYTES


@contextmanager
def sparing(blocks: Iterable[nn.Module]) -> Generator[None]:
    """Keep less of what runs inside; the modules are given back as they were."""
    seen = Sparing()
    with ExitStack() as stack:
        stack.callback(seen.forget)
        for module in _list_repeatable(blocks):
            stack.callback(module.register_forward_pre_hook(seen.before).remove)
            stack.callback(module.register_forward_hook(seen.after, with_kwargs=True).remove)
        stack.enter_context(saved_tensors_hooks(seen.pack, give_back))
        yield


def _list_repeatable(blocks: Iterable[nn.Module]) -> list[nn.Module]:
    """List the norms and activations of blocks: what does the same again, whoever asks."""
    return [module for block in blocks for module in block.modules() if _is_repeatable(module)]


def _is_repeatable(module: nn.Module) -> bool:
    if next(module.children(), None) is not None or next(module.buffers(), None) is not None:
        return False
    held = vars(module)
    if held["_forward_hooks"] or held["_forward_pre_hooks"] or "forward" in held:
        return False
    sizes = [tensor.dim() for tensor in module.parameters()]
    if sizes:
        return type(module).__name__.endswith("Norm") and max(sizes) <= 1
    return type(module).__module__ in ACTIVATIONS and not isinstance(module, RANDOM)


def _is_whole(tensor: Tensor) -> bool:
    """Tell whether a tensor is all of its storage, in order."""
    return tensor.is_contiguous() and tensor.nbytes == tensor.untyped_storage().nbytes()


def _autocast(device: torch.device) -> tuple[str, bool, torch.dtype]:
    return device.type, torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)


def _run_again(
    module: nn.Module, rows: Kept, weights: Iterable[Kept], autocast: tuple[str, bool, torch.dtype]
) -> Tensor:
    """Run a module on the rows that it had, with the weights and under the precision that it had."""
    for one in weights:
        give_back(one)
    device, on, kind = autocast
    with torch.no_grad(), torch.autocast(device, dtype=kind, enabled=on):
        return module.forward(give_back(rows))


def _multiply(left: Kept | Shaped, right: Kept | Shaped) -> Tensor:
    with torch.no_grad():
        return give_back(left) * give_back(right)
