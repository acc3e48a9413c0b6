"""Which reader serves which source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whichtune.data.sources.builtin import read_movie_reviews, read_tweets
from whichtune.data.sources.contract import Rows
from whichtune.data.sources.docstrings import read_docstrings
from whichtune.data.sources.files import read_files
from whichtune.data.sources.hub import read_hub
from whichtune.data.sources.nli_grammar import read_nli_grammar
from whichtune.data.sources.package import read_package
from whichtune.data.sources.statements import read_statements
from whichtune.data.sources.word_problems import read_word_problems
from whichtune.spec.base import Spec
from whichtune.spec.sources import (
    Columns,
    DocstringsSource,
    FilesSource,
    HubSource,
    MovieReviewsSource,
    NliGrammarSource,
    PackageSource,
    SourceSpec,
    StatementsSource,
    TweetsSource,
    WordProblemsSource,
)

Reader = Callable[[Any, Columns], Rows]

READERS: dict[type[Spec], Reader] = {
    HubSource: read_hub,
    FilesSource: read_files,
    PackageSource: read_package,
    MovieReviewsSource: read_movie_reviews,
    TweetsSource: read_tweets,
    NliGrammarSource: read_nli_grammar,
    DocstringsSource: read_docstrings,
    StatementsSource: read_statements,
    WordProblemsSource: read_word_problems,
}


def read_source(source: SourceSpec, columns: Columns) -> Rows:
    """Read the rows of a source of any kind."""
    return READERS[type(source)](source, columns)
