"""Writing YAML that reads back to the same values, in any YAML reader: version 1.1 ones too."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from whichtune.spec.study import StudySpec

_PLAIN = re.compile(r"(\.{0,2}/|[A-Za-z_])[A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")
_RESERVED = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dump_study(spec: StudySpec, decisions: Mapping[str, Any]) -> str:
    """Write a resolved study and the decisions taken by measurement; `load_stored_study` gives both back.

    Every setting stands in it, defaults too, so that a later version with other defaults still reads the same study.
    Paths are written absolute, since the file lies in another folder than the one it came from.
    """
    head = (
        "# The resolved study of this folder. A resumed run uses the decisions below again; a new one ignores them.\n"
    )
    return head + write_yaml({**spec.model_dump(), "decisions": dict(decisions)})


def write_yaml(values: Mapping[str, Any]) -> str:
    """Write a mapping, a setting a line; lists stand on one line."""
    return "".join(f"{line}\n" for line in _lines(values, ""))


def write_scalar(value: Any) -> str:
    """Write one value on one line, quoted where a reader could take the word for something else."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{write_scalar(str(key))}: {write_scalar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(write_scalar, value)) + "]"
    if isinstance(value, PurePath):
        return write_scalar(os.path.abspath(value))  # noqa: PTH100 - links stay as written
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED else _quote(value)
    return _number(value) if isinstance(value, float) else json.dumps(value)


def _lines(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        head = f"{indent}{write_scalar(str(key))}:"
        if isinstance(value, Mapping) and value:
            yield head
            yield from _lines(value, indent + "  ")
        else:
            yield f"{head} {write_scalar(value)}"


def _quote(text: str) -> str:
    return '"' + "".join(_SHORT.get(char) or (char if char.isprintable() else _escape(char)) for char in text) + '"'


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _number(value: float) -> str:
    """Write a float that stays one: 1e-05 is a word to YAML 1.1, 1.0e-05 is a number to both versions."""
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, exponent, power = repr(value).partition("e")
    return mantissa + (".0" if "." not in mantissa else "") + exponent + power
