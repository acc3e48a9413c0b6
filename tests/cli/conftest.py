"""The command line in this process: what it prints, and its exit code."""

import io
import random
import sys
from dataclasses import dataclass

import pytest

from whichtune.cli import main

WORDS = {"+good": ["fine", "great", "lovely", "bright"], "-bad": ["dull", "poor", "awful", "grim"]}
"""Label to words of its rows; spreadsheets take such labels for formulas."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def told(self):
        return " ".join(self.err.split())


@pytest.fixture
def whichtune(monkeypatch, capsys):
    """Run a command as `main` does, with bytes on its standard input if any."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["whichtune", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(ended.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """A CSV of 96 short texts in two classes, its columns under names of their own."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    draw = random.Random(0)
    rows = [(f"r{place}", tuple(WORDS)[place % 2]) for place in range(96)]
    lines = [f"{own},{' '.join(draw.choices(WORDS[gold], k=draw.randint(2, 6)))},{gold}" for own, gold in rows]
    path.write_text("key,review,verdict\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(reviews, tmp_path_factory):
    """The folder that `train` makes of a tiny trial."""
    place = tmp_path_factory.mktemp("trained")
    patch = pytest.MonkeyPatch()
    patch.setenv("WHICHTUNE_CACHE", str(place / "cache"))
    flags = "--method full --backbone random:bert --lr 1e-2 --epochs 4 --batch_size 8 --max-length 40 --id key"
    fixed = ["--data", str(reviews), "--out-dir", str(place / "tiny"), *PLAIN]
    patch.setattr(sys, "argv", ["whichtune", "train", *flags.split(), *fixed])
    patch.setattr(sys, "tracebacklimit", 1000, raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    patch.undo()
    assert not ended.value.code
    return place / "tiny"


PLAIN = ("--no-check", "--no-probe", "--threads", "1", "--device", "cpu")
