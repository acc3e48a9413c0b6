"""Which columns of a source a task needs."""

from __future__ import annotations

from dataclasses import dataclass

from whichtune.errors import DataError
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import Reads


@dataclass(frozen=True)
class Needs:
    """Which columns a task reads: those of its texts, of its image, or of both; None for what it does not."""

    columns: Columns
    reads: Reads = "text"

    @property
    def text(self) -> str | None:
        """Column of the text."""
        return None if self.reads == "image" else self.columns.text

    @property
    def pair(self) -> str | None:
        """Column of the second text."""
        return self.columns.pair if self.reads == "text" else None

    @property
    def image(self) -> str | None:
        """Column of the image."""
        return None if self.reads == "text" else self.columns.image

    @property
    def texts(self) -> int:
        """Texts of a row."""
        return sum(name is not None for name in (self.text, self.pair))

    @property
    def names(self) -> tuple[str, ...]:
        """Every column to read."""
        optional = (self.pair, self.image, self.columns.id, self.columns.group)
        named = (self.text, self.columns.label, *optional)
        return tuple(name for name in named if name is not None)

    def check(self) -> None:
        """Refuse columns that make no sense for what is read."""
        if self.image is None:
            return
        if self.columns.pair is not None:
            raise DataError(
                f"`data.columns.pair` names `{self.columns.pair}`, but this task reads an image and at most one text",
                remedy="leave `data.columns.pair` out",
            )
        clash = {"text": self.text, "label": self.columns.label}
        for field, name in clash.items():
            if name == self.image:
                raise DataError(
                    f"image and {field} are the same column (`{name}`)",
                    remedy=f"set `data.columns.image` or `data.columns.{field}`",
                )
