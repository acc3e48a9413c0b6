"""The anatomy of a family the table does not name: by names and shapes, each finding checked in one observed run.

What cannot be told for certain is an error that says what was looked for and what was seen; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from whichtune.errors import ModelError
from whichtune.models.anatomy import Anatomy, Config, Projection, Word
from whichtune.models.leftovers import sort_leftovers
from whichtune.models.observe import Call, Trace, observe
from whichtune.models.shifts import find_inert, is_causal, is_deaf
from whichtune.models.transposed import is_transposed

NAMES: Mapping[Word, frozenset[str]] = {
    "query": frozenset({"query", "q", "q_proj", "q_lin", "query_proj", "to_q", "wq"}),
    "key": frozenset({"key", "k", "k_proj", "k_lin", "key_proj", "to_k", "wk"}),
    "value": frozenset({"value", "v", "v_proj", "v_lin", "value_proj", "to_v", "wv"}),
    "output": frozenset({"dense", "o", "o_proj", "out_proj", "out_lin", "to_out", "wo"}),
    "mlp-gate": frozenset({"gate", "gate_proj"}),
}
"""Last names of the modules that hold a projection."""
UNMEASURED = "the table of families has no sizes for it"


@dataclass(frozen=True)
class Linear:
    """One linear map of a block."""

    path: str
    """Relative to the block."""
    inputs: int
    outputs: int
    transposed: bool
    call: Call

    def __str__(self) -> str:
        return f"{self.path} ({self.inputs} -> {self.outputs})"


def find_anatomy(trunk: Any, config: Config) -> Anatomy:
    """Find the parts of a trunk, or raise a `ModelError` that names the first that was not found."""
    family = str(config.get("model_type", type(trunk).__name__))
    trace = observe(trunk)
    blocks = find_blocks(trunk, trace, family)
    projections = find_projections(trunk, blocks, trace, family)
    if is_deaf(trunk, trace):
        refuse(family, "rows that look at each other", "a last row that does not depend on the first token")
    norm = find_final_norm(trunk, blocks, trace, family)
    pooler = find_pooler(trunk, trace, family)
    owned = tuple(path for path in (blocks, norm, pooler) if path is not None)
    rest = sort_leftovers(trunk, owned, trace)
    return Anatomy(
        family=family,
        tokens=rest.tokens,
        embeddings=rest.embeddings,
        blocks=blocks,
        projections=projections,
        final_norm=norm,
        pooler=pooler,
        inert=find_inert(trunk, blocks, projections, trace),
        unread=rest.unread,
        shared=rest.shared,
        position_offset=rest.position_offset,
        positions=rest.positions,
        segments=int(config.get("type_vocab_size") or 0) > 1,
        pooling="last" if is_causal(trunk, trace) else "first",
        unmeasured=UNMEASURED,
    )


def find_blocks(trunk: Any, trace: Trace, family: str) -> str:
    """Find the longest list of equal modules in which each ran once and read what the one before it returned."""
    lists = dict(list_equal_modules(trunk))
    chains = {path: len(members) for path, members in lists.items() if is_chain(path, len(members), trace)}
    longest = [path for path, length in chains.items() if length == max(chains.values())]
    if len(longest) != 1:
        seen = "; ".join(_describe_list(path, members, trace) for path, members in lists.items()) or "no such list"
        refuse(family, "one list of equal blocks, each run once after the other", seen)
    expected = getattr(trunk.config, "num_hidden_layers", None)
    if expected is not None and expected != chains[longest[0]]:
        refuse(family, f"{expected} blocks, as the configuration says", f"{chains[longest[0]]} in {longest[0]}")
    return longest[0]


def list_equal_modules(trunk: nn.Module) -> Iterable[tuple[str, nn.ModuleList]]:
    """List the outermost module lists whose members are of one type."""
    found: list[str] = []
    for path, module in trunk.named_modules():
        nested = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and not nested and len({type(member) for member in module}) == 1:
            found.append(path)
            yield path, module


def is_chain(path: str, length: int, trace: Trace) -> bool:
    """Whether each member ran once and read what the one before it returned."""
    calls = [trace.once(f"{path}.{index}") for index in range(length)]
    whole = [call for call in calls if call is not None]
    return len(whole) == length and all(one.feeds(other) for one, other in pairwise(whole))


def find_projections(trunk: nn.Module, blocks: str, trace: Trace, family: str) -> dict[Word, Projection]:
    """Find the projections in the first block, and see that every block has them in the same place."""
    first, *others = [list_linears(trunk, f"{blocks}.{index}", trace) for index in range(_length(trunk, blocks))]
    hidden = trace.hidden.shape[-1]
    query, key, value = (_by_name(word, first, family) for word in ("query", "key", "value"))
    if not (query.call.shares_input(key.call) and query.call.shares_input(value.call)):
        refuse(family, "query, key and value that read the same rows", _show((query, key, value)))
    if any(one.inputs != hidden for one in (query, key, value)):
        refuse(family, f"query, key and value that read {hidden} numbers a row", _show((query, key, value)))
    scope, output = _find_output(query, value, first, family, hidden)
    rest = [one for one in first if not one.path.startswith(scope)]
    found: dict[Word, tuple[Linear, str]] = {
        "query": (query, "attention"),
        "key": (key, "attention"),
        "value": (value, "attention"),
        "output": (output, "context"),
        **_find_mlp(rest, hidden, family),
    }
    for index, linears in enumerate(others, start=1):
        lacking = {str(one) for one, _ in found.values()} - {str(one) for one in linears}
        if lacking:
            refuse(family, f"{', '.join(sorted(lacking))} in block {index}, as in block 0", _show(linears))
    return {word: Projection(one.path, reads, transposed=one.transposed) for word, (one, reads) in found.items()}


def list_linears(trunk: nn.Module, block: str, trace: Trace) -> list[Linear]:
    """List the linear maps of a block that ran exactly once, in the order in which they ran."""
    found: list[Linear] = []
    for path, module in trunk.get_submodule(block).named_modules():
        weight, call = getattr(module, "weight", None), trace.once(f"{block}.{path}")
        transposed = is_transposed(module)
        if call is None or not isinstance(weight, Tensor) or not (isinstance(module, nn.Linear) or transposed):
            continue
        outputs, inputs = reversed(weight.shape) if transposed else weight.shape
        found.append(Linear(path, inputs, outputs, transposed, call))
    return sorted(found, key=lambda one: one.call.order)


def find_final_norm(trunk: nn.Module, blocks: str, trace: Trace, family: str) -> str | None:
    """Find the norm whose result is the hidden rows; None where they are the last block's own result."""
    last = trace.once(f"{blocks}.{_length(trunk, blocks) - 1}")
    if last is not None and last.gives(trace.hidden):
        return None
    outside = [path for path in trace.calls if not path.startswith(f"{blocks}.")]
    ends = [path for path in outside if (call := trace.once(path)) is not None and call.gives(trace.hidden)]
    norms = [path for path in ends if "norm" in type(trunk.get_submodule(path)).__name__.lower()]
    if len(norms) != 1:
        refuse(family, "one norm between the last block and the hidden rows", ", ".join(ends) or "nothing of the kind")
    return norms[0]


def find_pooler(trunk: nn.Module, trace: Trace, family: str) -> str | None:
    """Find a pooler that maps the first of the rows it is given; None where there is none."""
    pooler, call = getattr(trunk, "pooler", None), trace.once("pooler")
    if not isinstance(pooler, nn.Module) or call is None:
        return None
    try:
        with torch.no_grad():
            alone = pooler(trace.hidden[:, :1])
    except (RuntimeError, IndexError, TypeError, ValueError):
        alone = None
    if not isinstance(alone, Tensor) or not call.outputs or not _agree(alone, call.outputs[0]):
        refuse(family, "a pooler that reads the first row it is given", f"pooler, {type(pooler).__name__}")
    return "pooler"


def refuse(family: str, wanted: str, seen: str) -> NoReturn:
    """Raise the error for a part that was not found."""
    remedy = "add the family to the table in `whichtune/models/families/`, or choose a backbone of a listed family"
    raise ModelError(f"{family}: its structure does not show {wanted}; seen: {seen}", remedy=remedy)


def _by_name(word: Word, linears: list[Linear], family: str) -> Linear:
    named = [one for one in linears if one.path.rpartition(".")[2] in NAMES[word]]
    if len(named) != 1:
        refuse(family, f"one {word} projection a block, run once", _show(linears))
    return named[0]


def _find_output(query: Linear, value: Linear, linears: list[Linear], family: str, hidden: int) -> tuple[str, Linear]:
    """Find the attention's output in the smallest module around the query that has one; return both."""
    parts, widths = query.path.split(".")[:-1], {query.outputs, value.outputs}  # several queries may share a value
    for size in range(len(parts), 0, -1):
        scope = ".".join(parts[:size]) + "."
        inside = [one for one in linears if one.path.startswith(scope) and one.call.order > value.call.order]
        fitting = [one for one in inside if one.path.rpartition(".")[2] in NAMES["output"]]
        if len(fitting) == 1 and fitting[0].outputs == hidden and fitting[0].inputs in widths:
            return scope, fitting[0]
        if fitting:
            break
    return refuse(family, f"one output projection of the attention ({value.outputs} -> {hidden})", _show(linears))


def _find_mlp(rest: list[Linear], hidden: int, family: str) -> dict[Word, tuple[Linear, str]]:
    """Find two maps, one behind the other, and perhaps a gate: by its name, and as wide as the first on both sides."""
    gates = [one for one in rest if one.path.rpartition(".")[2] in NAMES["mlp-gate"]]
    pair = [one for one in rest if one not in gates]
    if len(pair) == 2 and len(gates) <= 1:
        wide, narrow = pair
        fits = wide.inputs == hidden == narrow.outputs and wide.outputs == narrow.inputs
        if fits and all(one.outputs == wide.outputs and one.call.shares_input(wide.call) for one in gates):
            found: dict[Word, tuple[Linear, str]] = {"mlp-in": (wide, "mlp"), "mlp-out": (narrow, "mlp-inner")}
            for gate in gates:
                found["mlp-gate"] = gate, "mlp"
            return found
    return refuse(family, f"an MLP of two linear maps beside the attention ({hidden} -> n -> {hidden})", _show(rest))


def _length(trunk: nn.Module, blocks: str) -> int:
    return len(list(trunk.get_submodule(blocks).children()))


def _show(linears: Iterable[Linear]) -> str:
    return ", ".join(map(str, linears)) or "no linear map that runs exactly once"


def _describe_list(path: str, members: nn.ModuleList, trace: Trace) -> str:
    runs = sum(len(trace.calls.get(f"{path}.{index}", [])) for index in range(len(members)))
    return f"{path} ({len(members)} of {type(members[0]).__name__}, {runs} runs in one pass)"


def _agree(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= 1e-2 * other.std())
