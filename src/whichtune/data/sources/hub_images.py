"""Images of a data set on the hub: their bytes into the cache, under their hash; paths as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whichtune.errors import DataError
from whichtune.fetch.pictures import find_inside, keep_picture


def list_images(split: Any, column: str, name: str, own: Path | None = None) -> list[str | None]:
    """Return the file of each row's image, None where a row has none; bytes are written to the cache once.

    A path must lie in the folder `own` of a data set that is one, or in the hub's cache. Rows are read one by one and
    not decoded, so no more than one image is held.
    """
    from datasets import Image

    if not isinstance(split.features[column], Image):
        raise DataError(
            f"{name}: the column `{column}` holds no images",
            value=type(split.features[column]).__name__,
            remedy="name a column of images with `data.columns.image`; for paths use a `files` source",
        )
    plain = split.select_columns([column]).cast_column(column, Image(decode=False))
    roots = _roots(own)
    return [_find_file(cell, f"{name}:{place}", roots) for place, cell in enumerate(_cells(plain, column), start=1)]


def _cells(split: Any, column: str) -> Iterator[Mapping[str, Any] | None]:
    for row in split:
        yield row[column]


def _roots(own: Path | None) -> list[Path]:
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    return [*([] if own is None else [own]), Path(config.HF_DATASETS_CACHE), Path(HF_HUB_CACHE)]


def _find_file(cell: Mapping[str, Any] | None, origin: str, roots: Sequence[Path]) -> str | None:
    if cell is None:
        return None
    if cell.get("bytes") is not None:
        return str(keep_picture(cell["bytes"]))
    path = cell.get("path")
    if not path:
        return None
    found = next((inside for root in roots if (inside := find_inside(root, str(path))) is not None), None)
    if found is None:
        raise DataError(
            f"{origin}: the image lies outside of the data set and of the hub's cache",
            value=str(path),
            remedy="use a `files` source with `data.columns.image_root` for images of your own",
        )
    return str(found)
