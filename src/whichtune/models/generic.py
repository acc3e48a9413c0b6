"""Anatomy by structure, for families that the table does not name.

It is read off the modules of a loaded trunk: the list of equal blocks, the projections by name and shape. What cannot
be found is an error that names it, never a guess; sizes by arithmetic are not known, so theory is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from whichtune.errors import ModelError
from whichtune.models.anatomy import Anatomy, Config, Projection, Word

NAMES: Mapping[Word, str] = {
    "query": r"(^|.*\.)(query|query_proj|q_proj|q_lin|q)$",
    "key": r"(^|.*\.)(key|key_proj|k_proj|k_lin|k)$",
    "value": r"(^|.*\.)(value|value_proj|v_proj|v_lin|v)$",
}
READS: Mapping[Word, str] = {
    "query": "attention",
    "key": "attention",
    "value": "attention",
    "output": "context",
    "mlp-in": "mlp",
    "mlp-out": "mlp-inner",
}
WHY_UNMEASURED = "sizes of this family are not in the table of families"


def describe_structure(trunk: nn.Module, config: Config) -> Anatomy:
    """Find the parts of a trunk by its structure, or say which was not found."""
    family = str(config.get("model_type", type(trunk).__name__))
    blocks = find_blocks(trunk, family)
    first = next(iter(trunk.get_submodule(blocks).children()))
    positions = config.get("max_position_embeddings")
    offset = _position_offset(trunk)
    return Anatomy(
        family=family,
        tokens=_find_tokens(trunk, family),
        embeddings=_before(trunk, blocks),
        blocks=blocks,
        projections=find_projections(first, int(getattr(trunk.config, "hidden_size")), family),  # noqa: B009
        final_norm=_find_norm(trunk, blocks),
        pooler="pooler" if isinstance(getattr(trunk, "pooler", None), nn.Module) else None,
        position_offset=offset,
        positions=None if positions is None or int(positions) < 1 else int(positions) - offset,
        segments=_has_segments(trunk),
        measure=None,
        unmeasured=WHY_UNMEASURED,
    )


def find_blocks(trunk: Any, family: str) -> str:
    """Find the list of equal blocks, as many as the configuration says the model has."""
    lists = {
        name: module
        for name, module in trunk.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and len({type(child) for child in module}) == 1
    }
    total = getattr(trunk.config, "num_hidden_layers", None)
    found = [name for name, module in lists.items() if len(module) == total]
    if not found:
        seen = ", ".join(f"{name} of {len(module)}" for name, module in lists.items()) or "no list of modules"
        raise ModelError(
            f"{family}: no list of {total} equal blocks was found (seen: {seen})",
            remedy="blocks that share their weights, or other layouts, need an entry in the table of families",
        )
    return min(found, key=len)


def find_projections(block: nn.Module, hidden: int, family: str) -> Mapping[Word, Projection]:
    """Find query, key and value by name, the others by shape, in the order of the modules."""
    linears = {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}
    found: dict[Word, str] = {}
    for word, pattern in NAMES.items():
        own = [name for name in linears if re.fullmatch(pattern, name)]
        if len(own) != 1:
            raise _not_found(word, own, linears, family)
        found[word] = own[0]
    rest = {name: module for name, module in linears.items() if name not in found.values()}
    shapes = {
        "output": [name for name, module in rest.items() if module.in_features == module.out_features],
        "mlp-in": [name for name, module in rest.items() if module.in_features == hidden < module.out_features],
        "mlp-out": [name for name, module in rest.items() if module.out_features == hidden < module.in_features],
    }
    for word, own in shapes.items():
        if len(own) != 1:
            raise _not_found(word, own, linears, family)
        found[word] = own[0]  # type: ignore[index]
    return {word: Projection(path, READS[word]) for word, path in found.items()}


def _not_found(word: str, own: list[str], linears: Mapping[str, nn.Linear], family: str) -> ModelError:
    seen = ", ".join(f"{name} ({module.in_features} -> {module.out_features})" for name, module in linears.items())
    why = "more than one module could be" if own else "no module looks like"
    return ModelError(
        f"{family}: {why} the {word} projection of a block (linear layers: {seen or 'none'})",
        remedy="this layout needs an entry in the table of families",
    )


def _find_tokens(trunk: Any, family: str) -> str:
    table = trunk.get_input_embeddings()
    for name, module in trunk.named_modules():
        if module is table:
            return name
    raise ModelError(
        f"{family}: no token table was found", remedy="this layout needs an entry in the table of families"
    )


def _before(trunk: nn.Module, blocks: str) -> tuple[str, ...]:
    """Name the trunk's own parts that stand before the part with the blocks."""
    names = [name for name, _ in trunk.named_children()]
    top = blocks.partition(".")[0]
    return tuple(names[: names.index(top)])


def _find_norm(trunk: nn.Module, blocks: str) -> str | None:
    """Find a norm that stands beside the blocks or beside their parent, after them."""
    parents = list(dict.fromkeys((blocks.rpartition(".")[0], "")))
    for parent in parents:
        inside = dict(trunk.get_submodule(parent).named_children())
        start = blocks if parent == "" else blocks.removeprefix(f"{parent}.")
        after = list(inside)[list(inside).index(start.partition(".")[0]) + 1 :]
        for name in after:
            if "norm" in type(inside[name]).__name__.lower():
                return f"{parent}.{name}".lstrip(".")
    return None


def _position_offset(trunk: nn.Module) -> int:
    """Position tables with a padding row start counting after it (RoBERTa and its kin)."""
    for name, module in trunk.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


def _has_segments(trunk: nn.Module) -> bool:
    return any(
        name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding) and module.num_embeddings > 1
        for name, module in trunk.named_modules()
    )
