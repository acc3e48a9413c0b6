"""Which reader serves which source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whichtune.data.needs import Needs
from whichtune.data.sources.builtin import read_movie_reviews, read_tweets
from whichtune.data.sources.contract import Rows
from whichtune.data.sources.daquar import read_daquar
from whichtune.data.sources.digits import read_digits
from whichtune.data.sources.docstrings import read_docstrings
from whichtune.data.sources.easy_vqa import read_easy_vqa
from whichtune.data.sources.files import read_files
from whichtune.data.sources.hub import read_hub
from whichtune.data.sources.image_folder import read_image_folder
from whichtune.data.sources.nli_grammar import read_nli_grammar
from whichtune.data.sources.package import read_package
from whichtune.data.sources.statements import read_statements
from whichtune.data.sources.word_problems import read_word_problems
from whichtune.spec.base import Spec
from whichtune.spec.sources import (
    DaquarSource,
    DigitsSource,
    DocstringsSource,
    EasyVqaSource,
    FilesSource,
    HubSource,
    ImageFolderSource,
    MovieReviewsSource,
    NliGrammarSource,
    PackageSource,
    SourceSpec,
    StatementsSource,
    TweetsSource,
    WordProblemsSource,
)

Reader = Callable[[Any, Needs], Rows]

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
    ImageFolderSource: read_image_folder,
    DigitsSource: read_digits,
    EasyVqaSource: read_easy_vqa,
    DaquarSource: read_daquar,
}


def read_source(source: SourceSpec, needs: Needs) -> Rows:
    """Read the rows of a source of any kind."""
    return READERS[type(source)](source, needs)
