"""The built-in sets: rated texts of Hutto & Gilbert 2014 (VADER, ICWSM), inside the sdist of `vaderSentiment`.

Each line holds a number, the mean rating of twenty readers from -4 to 4, and the text. Ratings become classes at +-0.5.
"""

from __future__ import annotations

from whichtune.data.needs import Needs
from whichtune.data.reading import Reading, read_file
from whichtune.data.sources.contract import WHOLE, Rows
from whichtune.data.sources.package import describe_pin
from whichtune.data.tables import Table, choose_columns
from whichtune.fetch.pip import fetch_member
from whichtune.spec.sources import MovieReviewsSource, PackagePin, TweetsSource

VADER = PackagePin(
    package="vaderSentiment",
    version="3.3.2",
    distribution="sdist",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
_FOLDER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014"
_THRESHOLD = 0.5


def read_movie_reviews(source: MovieReviewsSource, needs: Needs) -> Rows:
    """Read the movie-review snippets with a clear rating: `negative` or `positive`."""
    del source
    return _read_rated("movieReviewSnippets_GroundTruth.txt", "movie-reviews", needs, middle=None)


def read_tweets(source: TweetsSource, needs: Needs) -> Rows:
    """Read the tweets: `negative`, `neutral` or `positive`."""
    del source
    return _read_rated("tweets_GroundTruth.txt", "tweets", needs, middle="neutral")


def _read_rated(file: str, name: str, needs: Needs, *, middle: str | None) -> Rows:
    path = fetch_member(VADER, f"{_FOLDER}/{file}")
    raw = read_file(path, Reading("tsv", "utf-8", header=False))
    labels = [_class_of(float(str(score)), middle) for score in raw.values["1"]]
    kept = [index for index, label in enumerate(labels) if label is not None]
    whole = {
        "id": [raw.values["0"][index] for index in kept],
        "text": [raw.values["2"][index] for index in kept],
        "label": [labels[index] for index in kept],
    }
    chosen = choose_columns(name, tuple(whole), needs.names)
    table = Table(
        file, tuple(whole), {column: whole[column] for column in chosen}, [raw.places[index] for index in kept]
    )
    left = len(labels) - len(kept)
    notes = (f"{left} texts rated from -{_THRESHOLD} to {_THRESHOLD} are left out",) if left else ()
    return Rows({WHOLE: table}, f"{name}: {describe_pin(VADER)}, Hutto & Gilbert 2014", notes)


def _class_of(score: float, middle: str | None) -> str | None:
    """Return the class of a mean rating; `middle` (or None: left out) at most half a point from zero."""
    if abs(score) <= _THRESHOLD:
        return middle
    return "positive" if score > 0 else "negative"
