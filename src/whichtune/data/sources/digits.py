"""Handwritten digits, as scikit-learn ships them, written once as image files."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import adler32, crc32

from whichtune.data.needs import Needs
from whichtune.data.sources.contract import WHOLE, Rows
from whichtune.data.tables import Table, choose_columns
from whichtune.fetch.cache import cache_root, fill
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.spec.sources import DigitsSource

if TYPE_CHECKING:
    import numpy as np

_NAMES = ("image", "label")
_VERSION = 1
"""Raised when the files would come out otherwise."""
_SIDE = 8
_LARGEST = 16
"""Ink of a pixel at most."""


def read_digits(source: DigitsSource, needs: Needs) -> Rows:
    """Read the digits: columns `image` (8 x 8 pixels, light ink on black) and `label`, `0` to `9`."""
    del source
    folder = fill(cache_root() / "drawn" / f"digits-{_VERSION}", _write_all)
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    names = [_name(place) for place in range(len(labels))]
    whole: dict[str, Sequence[object]] = {"image": names, "label": labels}
    chosen = choose_columns("digits", _NAMES, needs.names)
    table = Table("digits", _NAMES, {name: whole[name] for name in chosen}, range(1, len(labels) + 1), root=folder)
    about = f"digits: {len(labels):,} images of 8 x 8 pixels, Alpaydin & Kaynak 1998, as scikit-learn ships them"
    return Rows({WHOLE: table}, f"{about} (labels sha256 {fingerprint_texts(labels)[:12]})")


def encode_grey(pixels: np.ndarray) -> bytes:
    """Return [height, width] uint8 as a PNG file without compression: the same bytes with any version of any library.

    Rows have no filter, and the stream is one stored block, so it must fit into 65,535 bytes (RFC 1950, 1951, 2083).
    """
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    sizes = struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF)
    stream = b"\x78\x01\x01" + sizes + rows + struct.pack(">I", adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    body = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data)) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _write_all(folder: Path) -> None:
    import numpy as np
    from sklearn.datasets import load_digits

    ink, labels = map(np.asarray, load_digits(return_X_y=True))
    grey = (ink.reshape(-1, _SIDE, _SIDE) * 255 / _LARGEST).round().astype(np.uint8)
    for place, pixels in enumerate(grey):
        (folder / _name(place)).write_bytes(encode_grey(pixels))
    (folder / "labels.json").write_text(json.dumps([str(label) for label in labels]), encoding="utf-8")


def _name(place: int) -> str:
    return f"{place:04d}.png"
