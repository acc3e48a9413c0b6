"""Premises and hypotheses by our own grammar: no network, no file, and labels that are true by construction."""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.data.needs import Needs
from whichtune.data.nli.generate import GRAMMAR_VERSION, Pair, generate_splits
from whichtune.data.sources.contract import Rows
from whichtune.data.tables import Table, choose_columns
from whichtune.spec.sources import NliGrammarSource


def read_nli_grammar(source: NliGrammarSource, needs: Needs) -> Rows:
    """Generate the pairs of a seed, split as they are: columns `premise`, `hypothesis`, `label`, `phenomenon`."""
    splits = generate_splits(source.size, source.seed)
    tables = {split: _table_of(f"nli-grammar/{split}", pairs, needs) for split, pairs in splits.items()}
    pairs = sum(map(len, splits.values()))
    return Rows(tables, f"nli-grammar: {pairs:,} pairs by seed {source.seed} (grammar {GRAMMAR_VERSION})")


def _table_of(name: str, pairs: list[Pair], needs: Needs) -> Table:
    names = ("premise", "hypothesis", "label", "phenomenon")
    chosen = choose_columns(name, names, needs.names)
    values: dict[str, Sequence[object]] = {column: [getattr(pair, column) for pair in pairs] for column in chosen}
    return Table(name, names, values, range(1, len(pairs) + 1))
