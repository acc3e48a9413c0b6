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
        text = raw.decode(encoding)
    except LookupError:
        raise DataError(
            "no such text encoding", value=encoding, allowed="Python's names, such as utf-8, latin-1, cp1252",
            remedy=did_you_mean(encoding, aliases),
        ) from None  # fmt: skip
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        raise DataError(
            f"{name} cannot be read as {encoding}: byte {start} (line {_line_of(raw, start)}) does not fit",
            remedy="name its true `encoding`, or leave it out to have it detected",
        ) from None
    return text.removeprefix("\ufeff")


def _detect(raw: bytes) -> str | None:
    """Guess an encoding; Western European where that is as likely as the best guess, since it is the most common."""
    lines = raw if b"\0" in raw else b"\n".join(re.findall(rb"[^\n]*[\x80-\xff][^\n]*", raw))
    # Wide characters must not be cut in half.
    matches = from_bytes(lines[: _SAMPLE_BYTES // 4 * 4])
    best = matches.best()
    if best is None:
        return None
    if b"\0" in raw and not best.encoding.startswith(("utf_16", "utf_32")):
        return None
    alike = [match.encoding for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)]
    for encoding in ("cp1252", "latin_1", best.encoding):
        if (encoding in alike or encoding == best.encoding) and _fits(raw, encoding):
            return encoding.replace("_", "-")
    return None


def _fits(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeError:
        return False
    return True


def _unless_utf8(encoding: str) -> str | None:
    plain = codecs.lookup(encoding).name
    return None if plain in ("utf-8", "utf-8-sig", "ascii") else plain


def _line_of(raw: bytes, position: int) -> int:
    return raw.count(b"\n", 0, position) + 1
