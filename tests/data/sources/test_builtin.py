from collections import Counter
from pathlib import Path

import pytest

from whichtune.data.load import load_data
from whichtune.data.needs import Needs
from whichtune.data.sources import builtin
from whichtune.errors import DataError, FetchError
from whichtune.fetch.cache import cache_root
from whichtune.spec.sources import Columns, DataSpec, MovieReviewsSource, TweetsSource

RATED = ["0.51", "0.5", "-0.5", "-0.51", "0", "4", "-4"]
REAL_CACHE = cache_root()


@pytest.fixture
def rated(tmp_path, monkeypatch):
    path = tmp_path / "rated.txt"
    lines = [f'{number}\t{score}\t"text" {number}\r\n' for number, score in enumerate(RATED, 1)]
    path.write_bytes("".join(lines).encode())
    monkeypatch.setattr(builtin, "fetch_member", lambda pin, inside: path)


@pytest.mark.usefixtures("rated")
def test_reviews_near_zero_are_left_out():
    rows = builtin.read_movie_reviews(MovieReviewsSource(kind="movie-reviews"), Needs(Columns()))
    table = rows.parts["all"]
    assert table.values["label"] == ["positive", "negative", "positive", "negative"]
    assert table.values["text"] == [f'"text" {number}' for number in (1, 4, 6, 7)]
    assert list(table.places) == [1, 4, 6, 7]
    assert rows.notes == ("3 texts rated from -0.5 to 0.5 are left out",)


@pytest.mark.usefixtures("rated")
def test_tweets_near_zero_are_neutral():
    rows = builtin.read_tweets(TweetsSource(kind="tweets"), Needs(Columns(id="id")))
    middle = ["neutral", "neutral"]
    assert rows.parts["all"].values["label"] == ["positive", *middle, "negative", "neutral", "positive", "negative"]
    assert rows.parts["all"].values["id"] == [str(number) for number in range(1, 8)]
    assert rows.notes == ()


@pytest.mark.usefixtures("rated")
def test_other_columns_are_refused():
    with pytest.raises(DataError, match="did you mean 'label'"):
        builtin.read_tweets(TweetsSource(kind="tweets"), Needs(Columns(label="labels")))


@pytest.fixture
def real(monkeypatch):
    """The real package: from the cache, or from the package index where it answers."""
    monkeypatch.setenv("WHICHTUNE_CACHE", str(REAL_CACHE))
    try:
        assert isinstance(builtin.fetch_member(builtin.VADER, f"{builtin._FOLDER}/tweets_GroundTruth.txt"), Path)
    except FetchError as error:
        pytest.skip(f"vaderSentiment cannot be fetched: {error}")


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("movie-reviews", {"negative": 5061, "positive": 4982}),
        ("tweets", {"negative": 1062, "neutral": 838, "positive": 2300}),
    ],
)
def test_the_real_sets_have_their_known_counts(kind, expected):
    data = load_data(DataSpec.model_validate({"source": {"kind": kind}}))
    assert Counter(one.gold for rows in data.examples.values() for one in rows) == expected
    if kind == "tweets":
        within = sum(pair.exact + pair.near for pair in data.report.duplicates)
        assert 100 < within < 250
