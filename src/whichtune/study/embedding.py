"""Embeddings of any data by a frozen encoder, written as files that others can use.

They lie in the store that studies use too: what a study has embedded is found, and the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from pydantic import TypeAdapter
from torch.nn import functional

from whichtune.data.examples import Example
from whichtune.engine.embedding import How, embed_rows, key_embeddings
from whichtune.engine.features import find_distinct
from whichtune.errors import DataError, ModelError, SpecError
from whichtune.fetch.atomic import write_text, writing
from whichtune.fetch.cache import cache_root
from whichtune.fetch.fingerprint import fingerprint_file
from whichtune.measure.device import mkl_lags, pick_device
from whichtune.measure.environment import read_versions
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.batch import Encoded
from whichtune.models.image_batch import EncodedImages
from whichtune.models.image_encoder import ImageEncoder
from whichtune.models.load import load_backbone
from whichtune.models.towers import Reading
from whichtune.spec.backbones import BackboneBase, Encoder
from whichtune.spec.shorthand import read_backbone_word
from whichtune.study.rows_to_embed import Chosen
from whichtune.tasks.reading import pictures_of

FILES = ("embeddings.npy", "rows.parquet", "embeddings.json")
MAX_LENGTH = 128
"""Tokens of a text at most, where nothing is said of it."""
CHUNK_ROWS = 4096
"""Rows written at a time."""
State = Literal["computed", "found", "resumed"]


@dataclass(frozen=True)
class Way:
    """How a row becomes an embedding."""

    pooling: str | None = None
    """As a study's methods name it; when None the mean of a text's rows, unless the model has an embedding of its own,
    and the family's own way for images."""
    normalise: bool = False
    """Whether rows get length 1, so that their product is the cosine."""
    max_length: int | None = None
    """Tokens of a text at most; 128 when None."""
    batch_size: int = 64
    """Rows a forward pass; part of the key, since it decides the last bits."""


class Watcher(Protocol):
    """What is told while embeddings are computed."""

    def on_split(self, split: str, rows: int, done: int) -> None:
        """A split begins; of its distinct rows so many are there already."""
        ...

    def on_rows(self, rows: int) -> None:
        """So many rows go through the encoder now."""
        ...


@dataclass(frozen=True)
class Part:
    """One split, embedded."""

    split: str
    rows: int
    distinct: int
    """Different texts or images."""
    cut: int
    """Texts cut to the length."""
    state: State
    """Whether anything had to be computed."""
    seconds: float
    key: str
    """Name of its file in the store: a hash of all that decides the embeddings."""
    table: np.ndarray = field(repr=False)
    """[distinct, F], memory-mapped and read-only."""
    places: np.ndarray = field(repr=False)
    """[rows]: which row of the table is whose."""


@dataclass(frozen=True)
class Watched:
    """Encoded rows that tell when they are read."""

    encoded: Encoded | EncodedImages
    watcher: Watcher

    def __len__(self) -> int:
        return len(self.encoded)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoded, name)

    def collate(self, rows: Sequence[int] | np.ndarray) -> Any:
        """Lay rows out, as the encoded rows do."""
        self.watcher.on_rows(len(rows))
        return self.encoded.collate(rows)


def open_encoder(word: str, reads: Reading, *, image_size: int | None = None, device: str = "auto") -> Backbone:
    """Load the encoder that a word stands for; of CLIP and SigLIP the tower for what is read."""
    entry = read_backbone_word(word)
    if entry["kind"] == "pair":
        raise ModelError("--backbone: two encoders", value=word, remedy="embed images and texts one after the other")
    if image_size is not None and reads == "text":
        raise SpecError("--image-size is about images, and texts are embedded", value=image_size, remedy="leave it out")
    spec: BackboneBase = TypeAdapter[Any](Encoder).validate_python({**entry, "image_size": image_size})
    chosen = pick_device(device)
    backbone = load_backbone(cast(Any, spec), LoadRequest(reads=reads, widen=mkl_lags(chosen)))
    backbone.trunk.to(chosen)
    return backbone


def choose_pooling(backbone: Backbone) -> str:
    """Return how rows become one where nothing is said: as both halves of a pair of encoders do."""
    own = backbone.anatomy
    embeds = own.shared_space is not None or own.pooler_reads == "rows" or own.pooling != "first"
    return "default" if own.reads == "image" or embeds else "mean"


def embed_splits(backbone: Backbone, chosen: Chosen, way: Way, watcher: Watcher) -> list[Part]:
    """Embed every split; what was computed before, by this command or by a study, is found."""
    return [_embed_split(backbone, split, rows, way, watcher) for split, rows in chosen.examples.items() if rows]


def _embed_split(backbone: Backbone, split: str, examples: Sequence[Example], way: Way, watcher: Watcher) -> Part:
    start = perf_counter()
    encoded = _encode(backbone, examples, way.max_length)
    if isinstance(encoded, EncodedImages):
        distinct, places = encoded.distinct(), encoded.places
    else:
        distinct, places = find_distinct(encoded)
    # As a study's features are made, so that both find one another's; lengths are made 1 when rows are written.
    how = How(0, way.pooling or choose_pooling(backbone), normalise=False, batch_size=way.batch_size)
    key = key_embeddings(backbone, distinct, how)
    place = cache_root() / "embeddings" / f"{key}.npy"
    done = _count_done(place, len(distinct))
    state: State = "found" if done == len(distinct) else "resumed" if done else "computed"
    watcher.on_split(split, len(distinct), done)
    table = embed_rows(backbone, cast(Any, Watched(distinct, watcher)), how, cache_root())
    return Part(split, len(examples), len(distinct), encoded.cut, state, perf_counter() - start, key, table, places)


def _encode(backbone: Backbone, examples: Sequence[Example], max_length: int | None) -> Encoded | EncodedImages:
    targets = np.full(len(examples), -1)
    if isinstance(backbone.reader, ImageEncoder):
        if max_length is not None:
            remedy = "leave it out"
            raise SpecError("--max-length is about texts, and images are embedded", value=max_length, remedy=remedy)
        return backbone.reader.encode(pictures_of(examples), targets)
    length = MAX_LENGTH if max_length is None else max_length
    encoded = backbone.encoder.encode([one.text for one in examples], targets, length)
    bare = np.flatnonzero(encoded.lengths == 0)
    if len(bare):
        one = examples[bare[0]]
        raise DataError(f"{one.origin}: the tokenizer leaves nothing of its text", value=one.text)
    return encoded


def _count_done(place: Path, rows: int) -> int:
    """Count the rows that an earlier run has left in the store."""
    if place.is_file():
        return rows
    shards = place.with_name(f"{place.name}.shards")
    return sum(len(np.load(path, mmap_mode="r")) for path in shards.glob("*.npy")) if shards.is_dir() else 0


def require_folder(out: Path) -> None:
    """Refuse a place where the files cannot be, before anything is computed."""
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out}: is a file", remedy="give a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / FILES[-1]).is_file():
        raise DataError(f"--out {out}: holds other files", remedy="give a new folder")


def write_embeddings(out: Path, word: str, backbone: Backbone, chosen: Chosen, parts: list[Part], way: Way) -> Any:
    """Write rows, embeddings and what they are; the last file stands only where the others are whole."""
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (out / name).unlink(missing_ok=True)
    examples = [one for part in parts for one in chosen.examples[part.split]]
    width = parts[0].table.shape[1]
    with writing(out / FILES[0]) as temporary:
        whole = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(examples), width))
        start = 0
        for rows in _read_chunks(parts, normalise=way.normalise):
            whole[start : start + len(rows)] = rows
            start += len(rows)
        whole.flush()
    _write_rows(out / FILES[1], chosen, examples)
    about = describe(word, backbone, chosen, parts, way)
    about["files"] = {name: fingerprint_file(out / name) for name in FILES[:2]}
    write_text(out / FILES[2], json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    return about


def _read_chunks(parts: list[Part], *, normalise: bool) -> Iterator[np.ndarray]:
    """Yield the embeddings of all rows in order, a few thousand at a time."""
    for part in parts:
        for start in range(0, part.rows, CHUNK_ROWS):
            rows = part.table[part.places[start : start + CHUNK_ROWS]]
            yield functional.normalize(torch.from_numpy(rows), dim=1).numpy() if normalise else rows


def _write_rows(path: Path, chosen: Chosen, examples: Sequence[Example]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[str | None]] = {
        "id": [one.id for one in examples],
        "split": [one.split for one in examples],
    }
    if chosen.reads == "image":
        pictures = pictures_of(examples)
        columns |= {"image": [one.path for one in pictures], "sha256": [one.sha256 for one in pictures]}
    else:
        columns["text"] = [one.text for one in examples]
    if any(one.gold is not None for one in examples):
        columns["label"] = [one.gold for one in examples]
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def describe(word: str, backbone: Backbone, chosen: Chosen, parts: list[Part], way: Way) -> dict[str, Any]:
    """Return what embeddings are of and what decided them, as plain values."""
    reader = backbone.reader
    images = isinstance(reader, ImageEncoder)
    form = {"image_size": reader.side} if images else {"max_length": way.max_length or MAX_LENGTH}
    return {
        "shape": [sum(part.rows for part in parts), int(parts[0].table.shape[1])],
        "dtype": "float32",
        "model": word,
        "origin": backbone.origin,
        "family": backbone.anatomy.family,
        "weights": backbone.fingerprint,
        "reader": {"reads": chosen.reads, **form, "fingerprint": reader.fingerprint},
        "pooling": way.pooling or choose_pooling(backbone),
        "normalise": way.normalise,
        "batch_size": way.batch_size,
        "device": backbone.device.type,
        "data": {
            "source": chosen.source,
            "column": chosen.column,
            "left_out": dict(chosen.left_out),
            "cut": sum(part.cut for part in parts),
        },
        "splits": {
            part.split: {"rows": part.rows, "distinct": part.distinct, "key": part.key, "state": part.state}
            for part in parts
        },
        "seconds": round(sum(part.seconds for part in parts), 3),
        "notes": [*backbone.notes, *chosen.notes],
        "versions": read_versions(),
    }
