"""Bytes to text: UTF-8 first, then a detected encoding that is reported, never replacement characters."""

from __future__ import annotations

import codecs
import re
from encodings.aliases import aliases

from charset_normalizer import from_bytes

from whichtune.errors import DataError, did_you_mean

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 256 * 1024
_WESTERN = "cp1252"
_PAGES = (
    _WESTERN, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258",
    "koi8_r", "cp932", "euc_jp", "gb18030", "big5", "cp949",
)  # fmt: skip
"""What text files are in, if not in Unicode; DOS and Mac code pages fit Western text by accident far more often."""
_WIDE = ("utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be")


def decode(raw: bytes, name: str, encoding: str | None = None) -> tuple[str, str | None]:
    """Return the text of a file and its encoding, None for UTF-8; `name` is what messages call the file.

    An encoding that was given wins. Otherwise a byte-order mark decides, then UTF-8 is tried, then the encoding is
    detected from the lines that are not ASCII.
    """
    if encoding is not None:
        return _decode_as(raw, name, encoding), _unless_utf8(encoding)
    marked = next((word for mark, word in _MARKS if raw.startswith(mark)), None)
    if marked is not None:
        return _decode_as(raw, name, marked), None if marked == "utf-8-sig" else marked
    try:
        if b"\0" not in raw:
            return raw.decode("utf-8"), None
        fault = "NUL bytes"
    except UnicodeDecodeError as error:
        fault = f"byte {error.start} (line {_line_of(raw, error.start)})"
    detected = _detect(raw)
    if detected is None:
        raise DataError(
            f"{name} is not UTF-8 text ({fault}), and its encoding could not be detected",
            remedy="name it with `encoding`, or save the file as UTF-8",
        )
    return _decode_as(raw, name, detected), detected


def _decode_as(raw: bytes, name: str, encoding: str) -> str:
    try:
        codecs.lookup(encoding)
        text = raw.decode(encoding)
    except LookupError:
        raise DataError(
            "no such text encoding", value=encoding, allowed="Python's names, such as utf-8, latin-1, cp1252",
            remedy=did_you_mean(encoding, [*aliases, *aliases.values(), "utf-8", "latin-1"]),
        ) from None  # fmt: skip
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        raise DataError(
            f"{name} cannot be read as {encoding}: byte {start} (line {_line_of(raw, start)}) does not fit",
            remedy="name its true `encoding`, or leave it out to have it detected",
        ) from None
    return text.removeprefix("\ufeff")


def _detect(raw: bytes) -> str | None:
    """Guess an encoding from the lines that are not ASCII.

    Short texts fit several code pages equally well; then it is the Western European one, which is the most common.
    """
    wide = b"\0" in raw
    lines = raw if wide else b"\n".join(re.findall(rb"[^\n]*[\x80-\xff][^\n]*", raw))
    # The sample is a multiple of four bytes: wide characters must not be cut in half.
    matches = from_bytes(lines[:_SAMPLE_BYTES], cp_isolation=list(_WIDE if wide else _PAGES))
    best = matches.best()
    if best is None:
        return None
    western = any(
        _WESTERN in match.could_be_from_charset and match.coherence >= best.coherence and match.chaos <= best.chaos
        for match in matches
    )
    return (_WESTERN if western else best.encoding).replace("_", "-")


def _unless_utf8(encoding: str) -> str | None:
    plain = codecs.lookup(encoding).name
    return None if plain in ("utf-8", "utf-8-sig", "ascii") else plain


def _line_of(raw: bytes, position: int) -> int:
    return raw.count(b"\n", 0, position) + 1
