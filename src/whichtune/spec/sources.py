"""Where rows come from: a hub, files, a pinned file inside a PyPI package, or a built-in set of such a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from whichtune.spec.base import Spec, Steps, raise_misfit

SplitName = Literal["train", "validation", "test"]
FileFormat = Literal["csv", "tsv", "jsonl", "parquet"]


class HubSource(Spec):
    """A data set on the Hugging Face hub, at a pinned revision."""

    kind: Literal["hub"]
    name: str = Field(examples=["tweet_eval"], min_length=1)
    """Repository name, such as `tweet_eval`."""
    config: str | None = None
    """Configuration of the data set, such as `sentiment`."""
    revision: str | None = None
    """Commit, tag or branch; the commit that was resolved is recorded."""
    splits: dict[SplitName, str] = Field(
        default={"train": "train", "validation": "validation", "test": "test"}, examples=["{train: train, test: test}"]
    )
    """Our split name to the data set's own; the ones left out are cut from the training rows by seed."""

    @field_validator("splits")
    @classmethod
    def _splits_differ(cls, splits: dict[SplitName, str]) -> dict[SplitName, str]:
        own = list(splits.values())
        faults: list[tuple[Steps, str]] = [((), "`train` is missing; name the split that holds the training rows")] * (
            "train" not in splits
        )
        faults += [((name,), f"'{word}' is named twice") for name, word in splits.items() if own.count(word) > 1]
        raise_misfit(faults)
        return splits


class FilesSource(Spec):
    """Files of the user's own: CSV, TSV, JSONL or Parquet.

    A relative path starts at the folder of the study file (in `--set`, at the folder the command runs in).
    """

    kind: Literal["files"]
    all: Path | None = None
    """One file whose rows are split by seed (see `data.split`)."""
    train: Path | None = None
    """File of training rows."""
    validation: Path | None = None
    """File of validation rows; cut from the training rows by seed when left out."""
    test: Path | None = None
    """File of test rows; cut from the training rows by seed when left out."""
    format: FileFormat | None = None
    """Format of all files; by their suffix when left out."""
    encoding: str | None = None
    """Text encoding; UTF-8 is tried first, then detected and reported, when left out."""
    header: bool = True
    """Whether the first line of a CSV or TSV names the columns (otherwise they are `0`, `1`, ...)."""

    @model_validator(mode="after")
    def _one_way_to_split(self) -> FilesSource:
        if (self.all is None) == (self.train is None):
            raise ValueError("give either `all` (split by seed) or `train` (with or without `validation` and `test`)")
        if self.all is not None and (self.validation is not None or self.test is not None):
            raise ValueError(
                "`all` is split by seed: leave out `validation` and `test`, or name the first file `train`"
            )
        return self


class PackagePin(Spec):
    """One exact file of one release of a PyPI package; only the file with this hash is ever opened."""

    package: str = Field(examples=["vaderSentiment"], min_length=1)
    """Name on the package index."""
    version: str = Field(examples=["3.3.2"], min_length=1)
    """Exact version."""
    distribution: Literal["wheel", "sdist"] = "wheel"
    """Which file of the release; pip runs the set-up code of an sdist to read its metadata."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", examples=["9f86d08..."])
    """SHA-256 of the distribution file: 64 hexadecimal digits in lower case."""


class PackageSource(PackagePin):
    """Rows in a named file inside a PyPI package."""

    kind: Literal["package"]
    path: str = Field(examples=["data/reviews.csv"], min_length=1)
    """Path inside the archive; `!` enters an archive within it (`a/b.tar.gz!c.tsv`)."""
    format: FileFormat | None = None
    """Format of the file; by its suffix when left out."""
    encoding: str | None = None
    """Text encoding; UTF-8 is tried first, then detected and reported, when left out."""
    header: bool = True
    """Whether the first line of a CSV or TSV names the columns (otherwise they are `0`, `1`, ...)."""


class MovieReviewsSource(Spec):
    """10,043 rated movie-review snippets, positive or negative (Hutto & Gilbert 2014), from `vaderSentiment`."""

    kind: Literal["movie-reviews"]


class TweetsSource(Spec):
    """4,200 rated tweets in three classes (Hutto & Gilbert 2014), from `vaderSentiment`."""

    kind: Literal["tweets"]


SourceSpec = Annotated[
    HubSource | FilesSource | PackageSource | MovieReviewsSource | TweetsSource, Field(discriminator="kind")
]


class Columns(Spec):
    """Which column holds what."""

    text: str = "text"
    """Column of the text."""
    label: str = "label"
    """Column of the gold label."""
    id: str | None = None
    """Column of a unique id; made from the row's place when left out."""

    @model_validator(mode="after")
    def _text_is_not_the_label(self) -> Columns:
        if self.text == self.label:
            raise ValueError(
                f"text and label are the same column (`{self.text}`): the answer would stand in the question"
            )
        return self


class SplitSpec(Spec):
    """How rows are split when the source does not say."""

    validation: float = Field(default=0.15, ge=0, lt=1)
    """Share of the rows for validation."""
    test: float = Field(default=0.25, ge=0, lt=1)
    """Share of the rows for the test."""
    seed: int = 0
    """Seed of the split; part of the data's fingerprint."""
    stratify: bool = True
    """Keep each label's share the same in every split."""

    @model_validator(mode="after")
    def _rows_are_left(self) -> SplitSpec:
        if self.validation + self.test >= 1:
            taken = f"{self.validation:g} + {self.test:g}"
            raise ValueError(f"validation and test take all rows ({taken}); leave some for training")
        return self


class SizesSpec(Spec):
    """How many rows of each split are used; None means all."""

    train: int | None = Field(default=None, ge=1)
    """Training rows."""
    validation: int | None = Field(default=None, ge=1)
    """Validation rows."""
    test: int | None = Field(default=None, ge=1)
    """Test rows."""


class DataSpec(Spec):
    """The data of a study: a source, its columns, its splits and how it is cleaned."""

    source: SourceSpec = Field(examples=["{kind: files, all: reviews.csv}"])
    """Where the rows come from."""
    columns: Columns = Columns()
    """Which column holds what."""
    labels: tuple[str, ...] | None = None
    """Labels in order; sorted from the training rows when left out."""
    split: SplitSpec = SplitSpec()
    """How rows are split when the source does not say."""
    sizes: SizesSpec = SizesSpec()
    """How many rows of each split are used, drawn by the split's seed and stratified."""
    duplicates: Literal["keep", "drop-across", "drop-all"] = "keep"
    """`drop-across` removes training and validation rows that stand (exactly or nearly) in a later split too;
    `drop-all` also keeps one of each within a split. They are counted and shown either way."""
    near_duplicate_similarity: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of character n-grams from which two texts count as near duplicates."""
    drop_limit: float = Field(default=0.05, ge=0, le=1)
    """Share of unusable rows (empty, unlabeled, not text) above which the study is refused."""

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        listed = labels or ()
        faults: list[tuple[Steps, str]] = [
            ((at,), f"label {label!r} stands twice") for at, label in enumerate(listed) if label in listed[:at]
        ]
        if labels is not None and len(labels) < 2:
            faults.append(
                ((), f"got {len(labels)} labels; allowed: two or more; leave it out to take them from the rows")
            )
        raise_misfit(faults)
        return labels
