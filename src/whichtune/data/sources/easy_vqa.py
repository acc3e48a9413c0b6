"""easy-VQA (Zhou 2019): questions about drawn shapes, inside the wheel `easy-vqa`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from whichtune.data.needs import Needs
from whichtune.data.sources.contract import Rows
from whichtune.data.sources.package import describe_pin
from whichtune.data.tables import Table, choose_columns
from whichtune.errors import DataError
from whichtune.fetch.pip import fetch_member
from whichtune.spec.sources import EasyVqaSource, PackagePin

EASY_VQA = PackagePin(
    package="easy-vqa", version="1.0", sha256="fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f"
)
SHAPES = ("circle", "rectangle", "triangle")
_NAMES = ("image", "text", "label", "kind")


def read_easy_vqa(source: EasyVqaSource, needs: Needs) -> Rows:
    """Read the questions of both splits: columns `image`, `text`, `label`, `kind`."""
    del source
    folder = fetch_member(EASY_VQA, "easy_vqa/data")
    parts = {part: _table_of(folder / part, part, needs) for part in ("train", "test")}
    return Rows(parts, f"easy-vqa: {describe_pin(EASY_VQA)}, Zhou 2019")


def name_kind(question: str) -> str:
    """Return which of the four kinds a question is: what colour, what shape, yes-no colour, yes-no shape.

    The colours are asked for by "what color is" and "what is the color of", the shapes by "what shape is" and "what is
    the ... shape"; any other question is answered by yes or no, and names a shape (circle, rectangle, triangle) or,
    where it names none, a colour.
    """
    words = question.lower().rstrip("?").split()
    if words[:1] == ["what"]:
        return "what colour" if "color" in words else "what shape"
    return "yes-no shape" if any(shape in words for shape in SHAPES) else "yes-no colour"


def _table_of(folder: Path, part: str, needs: Needs) -> Table:
    path = folder / "questions.json"
    try:
        rows: list[tuple[str, str, int]] = json.loads(path.read_text(encoding="utf-8"))
        whole: dict[str, Sequence[object]] = {
            "image": [f"images/{number}.png" for _, _, number in rows],
            "text": [question for question, _, _ in rows],
            "label": [answer for _, answer, _ in rows],
            "kind": [name_kind(question) for question, _, _ in rows],
        }
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}", remedy=f"delete {folder.parent} and try again") from error
    chosen = choose_columns("easy-vqa", _NAMES, needs.names)
    values = {name: whole[name] for name in chosen}
    return Table(f"easy-vqa/{part}", _NAMES, values, range(1, len(rows) + 1), root=folder)
