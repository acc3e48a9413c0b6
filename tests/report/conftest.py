"""A small factory of records: authored, seeded studies that no model ever made."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from whichtune.fetch.atomic import write_text
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions, write_predictions
from whichtune.records.trial import (
    AloneCost,
    Failure,
    LatencyFigures,
    Parameters,
    Phase,
    Probe,
    TrialRecord,
)
from whichtune.spec.read import resolve_study
from whichtune.spec.write import dump_study
from whichtune.stats.scores import score_answers, score_instruction, score_predictions, score_summaries

LABELS = ("negative", "positive")
DATA = {
    "source": "reviews.csv (sha256 ab12)",
    "balance": {"train": {"negative": 60, "positive": 40}, "test": {"negative": 150, "positive": 150}},
    "dropped": [{"reason": "empty", "split": "train", "count": 2, "origins": ["reviews.csv:7", "reviews.csv:9"]}],
    "duplicates": [{"splits": ["train", "test"], "exact": 3, "near": 1, "pairs": []}],
    "encodings": {"reviews.csv": "latin-1"},
    "notes": ["3 labels look alike"],
}


@dataclass
class StudyMaker:
    """Writes a study's folder piece by piece."""

    folder: StudyFolder
    rows: int = 300
    metric: str = "accuracy"
    count: int = 0

    def write_spec(self, **over) -> None:
        methods = {"majority": {"kind": "majority"}, "lora": {"kind": "lora"}, "full": {"kind": "full"}}
        raw = {
            "name": "reviews",
            "task": {"kind": "text-classification", "metric": self.metric},
            "data": {"source": {"kind": "movie-reviews"}},
            "backbones": {"minilm": {"kind": "minilm"}},
            "methods": methods,
            "reference": {"lora": {"values": {"accuracy": 0.91, "training_seconds": 768, "rouge": 1.5}, "source": "A"}},
        }
        write_text(self.folder.spec, dump_study(resolve_study(raw | over), {"threads": 2}))

    def add(self, candidate: str, seed: int = 1, *, share: float = 0.8, **over) -> TrialRecord:
        """Write one finished trial whose answers are right about so often."""
        self.count += 1
        record = self.blank(candidate, seed)
        predictions = self.predict(candidate, seed, share)
        record.scores = {"test": score_predictions(predictions, LABELS, self.metric)}
        record.phases = {
            "step": Phase(seconds=10.0 + seed, peak_bytes=10**9),
            "predict": Phase(seconds=0.5),
            "other": Phase(seconds=2.0),
        }
        record.wall_seconds = 12.5 + seed
        if not record.baseline:
            record.parameters = Parameters(trunk=22_713_216, head=770, added=73_728, trainable=74_498)
            record.adapter_bytes = 300_000
            record.cuts = {"train": 4, "test": 0}
        record.status = "finished"
        for name, value in over.items():
            setattr(record, name, value)
        folder = self.folder.trial(record.id)
        folder.write(record)
        write_predictions(folder.predictions, [predictions])
        return record

    def fail(self, candidate: str, seed: int = 1, *, status="failed", message: str = "loss is nan") -> TrialRecord:
        self.count += 1
        record = self.blank(candidate, seed)
        record.status = status
        if status != "running":
            record.failure = Failure(kind="NonFiniteError", message=message, traceback="Traceback:\n  line [bold]")
            record.wall_seconds = 3.0
        self.folder.trial(record.id).write(record)
        return record

    def blank(self, candidate: str, seed: int) -> TrialRecord:
        method = candidate.partition("@")[0].partition("[")[0]
        baseline = method == "majority"
        return TrialRecord(
            id=f"{self.count:04d}{'a' * 12}",
            study="reviews",
            candidate=candidate,
            method=method,
            kind=method if method in {"majority", "full"} else "lora",
            backbone=None if baseline else "minilm",
            baseline=baseline,
            seed=seed,
            deterministic=baseline,
            status="running",
            settings={"kind": method, "rank": 8, "targets": ["query", "value"], "grid": {}},
            training=None if baseline else {"epochs": 3, "max_length": 128, "stopping": None},
            identity={"seed": seed},
            started_at=f"2026-01-01T00:{self.count:02d}:00+00:00",
            device={"name": "cpu", "threads": 2},
        )

    def predict(self, candidate: str, seed: int, share: float) -> Predictions:
        items = np.random.default_rng(5).random(self.rows)
        own = np.random.default_rng([seed, *candidate.encode()])
        gold = np.arange(self.rows) % 2
        right = own.random(self.rows) * 0.3 + items * 0.7 < share
        parsed = [LABELS[each] for each in np.where(right, gold, 1 - gold)]
        return Predictions(
            split="test",
            ids=[f"r{place}" for place in range(self.rows)],
            gold=[LABELS[each] for each in gold],
            parsed=["negative"] * self.rows if candidate == "majority" else parsed,
            confidence=own.uniform(0.5, 1, self.rows).astype(np.float32),
            loss=np.where(right, 0.2, 1.5).astype(np.float32) + own.random(self.rows).astype(np.float32) / 10,
            labels=LABELS,
        )

    def probe(self, candidate: str, **over) -> str:
        latencies = [
            LatencyFigures(batch=rows, merged=merged, median_seconds=0.004 * rows, p95_seconds=0.005 * rows)
            for rows in (1, 64)
            for merged in ((False, True) if candidate.startswith("lora") else (False,))
        ]
        alone = AloneCost(
            steps=5,
            step_seconds=0.123,
            peak_bytes=1_234_567_890,
            forward_flops=1.5e11,
            backward_flops=2.5e11,
            latencies=latencies,
            unmeasured={"saved_bytes": "the kernel keeps its own"},
        ).model_copy(update=over)
        identifier = candidate.replace("@", "-")
        probe = Probe(id=identifier, candidate=candidate, method="x", device="cpu", threads=2, alone=alone)
        write_text(self.folder.probe(identifier), probe.model_dump_json())
        return identifier

    def surround(self) -> None:
        """Write what stands beside the trials: data report and shared costs."""
        write_text(self.folder.data_report, json.dumps(DATA))
        lines = [{"what": "load", "about": "minilm", "seconds": 1.5}, {"what": "load", "seconds": 0.5}]
        write_text(self.folder.costs("main"), "".join(json.dumps(line) + "\n" for line in lines))

    def plan(self, total: int, *trials: TrialRecord) -> None:
        listed = [{"id": one.id, "candidate": one.candidate, "seed": one.seed} for one in trials]
        write_text(self.folder.plan, json.dumps({"total": total, "trials": listed}))

    def fill(self, seeds: int = 3) -> None:
        """Write a whole study: a baseline, two tuners, a failure, an unsupported trial, one that runs."""
        self.surround()
        self.add("majority", share=0.5)
        for seed in range(1, seeds + 1):
            for candidate, share in (("lora@minilm", 0.84), ("full@minilm", 0.85)):
                self.add(candidate, seed, share=share, probe=self.probe(candidate), checked=True)
        self.fail("lora[rank=64]@minilm", 1)
        self.fail("last-layers@minilm", 1, status="unsupported", message="this family has no pooler")
        self.fail("lora[rank=64]@minilm", 2, status="running")


@pytest.fixture
def maker(tmp_path: Path) -> StudyMaker:
    made = StudyMaker(StudyFolder(tmp_path / "reviews-small"))
    made.write_spec()
    return made


WORDS = ("return", "the", "sum", "of", "two", "numbers", "sort", "a", "list", "in", "place", "when", "key", "given")
SCORED = {
    "instruction-classification": lambda one: score_instruction(one, LABELS),
    "summarization": score_summaries,
    "question-answering-by-prompt": score_answers,
}


@dataclass
class LanguageMaker(StudyMaker):
    """Writes a study whose answers are written in words."""

    kind: str = "instruction-classification"
    backbone: str = "smol"
    groups: bool = False

    def write_spec(self, **over) -> None:
        source = "docstrings" if self.kind == "summarization" else "statements"
        super().write_spec(
            **{
                "task": {"kind": self.kind},
                "data": {"source": {"kind": source}},
                "backbones": {"smol": {"kind": "smollm2"}},
                "methods": {"lora": {"kind": "lora"}, "zero-shot": {"kind": "prompting"}},
                "reference": {},
            }
            | over
        )

    def say(self, candidate: str, seed: int = 1, *, share: float = 0.8, garbage: float = 0.0, **over) -> TrialRecord:
        """Write one finished trial of a prompter, a tuner or a baseline."""
        self.count += 1
        record = self.blank(candidate, seed)
        name = record.method
        record.family = {"majority": "baseline", "lead": "baseline", "lora": "tuner"}.get(name, "prompter")
        record.kind = "prompting" if record.family == "prompter" else name
        record.baseline = record.deterministic = record.family == "baseline"
        record.backbone = None if record.baseline else "smol"
        if record.family != "tuner":
            record.training = None
        table = self.write_words(record, share, garbage)
        record.scores = {"test": SCORED[self.kind](table)}
        record.phases = {"predict": Phase(seconds=4.0), "other": Phase(seconds=0.5)}
        if record.family == "tuner":
            record.phases["step"] = Phase(seconds=20.0)
            record.parameters = Parameters(trunk=134_515_008, head=0, added=460_800, trainable=460_800)
        if record.family == "prompter":
            record.parameters = Parameters(trunk=134_515_008, head=0, added=0)
        record.wall_seconds, record.status = 4.5, "finished"
        for field, value in over.items():
            setattr(record, field, value)
        folder = self.folder.trial(record.id)
        folder.write(record)
        write_predictions(folder.predictions, [table])
        return record

    def write_words(self, record: TrialRecord, share: float, garbage: float) -> Predictions:
        own = np.random.default_rng([record.seed, *record.candidate.encode()])
        items = np.random.default_rng(5)
        gold = [self.gold_of(items, place) for place in range(self.rows)]
        parsed = [self.answer_to(own, each, share, garbage) for each in gold]
        silent, blank = record.baseline, np.full(self.rows, np.nan, np.float32)
        labels = LABELS if self.kind == "instruction-classification" else ()
        shares = own.dirichlet([2.0, 1.0], self.rows).astype(np.float32)
        return Predictions(
            split="test",
            ids=[f"r{place}" for place in range(self.rows)],
            gold=gold,
            parsed=parsed,
            confidence=blank if silent else own.uniform(0.5, 1, self.rows).astype(np.float32),
            loss=blank if silent else own.uniform(0.1, 2, self.rows).astype(np.float32),
            probabilities=shares if labels and not silent else None,
            group=[f"topic-{place % 3}" for place in range(self.rows)] if self.groups else None,
            raw=None if silent else [f"The answer:\n\t{each} \x1b[31m{'.' * 90}" for each in parsed],
            tokens_in=None if silent else np.full(self.rows, 41, np.int32),
            tokens_out=None if silent else own.integers(3, 6, self.rows).astype(np.int32),
            batch_seconds=None if silent else np.full(self.rows, 0.025, np.float32),
            labels=labels,
        )

    def gold_of(self, items, place: int) -> str:
        if self.kind == "instruction-classification":
            return LABELS[place % 2]
        return " ".join(items.choice(WORDS, 6)) if self.kind == "summarization" else str(items.integers(0, 99))

    def answer_to(self, own, gold: str, share: float, garbage: float) -> str | None:
        if own.random() < garbage:
            return None
        if self.kind == "summarization":
            return " ".join(word if own.random() < share else "an other" for word in gold.split())
        if own.random() < share:
            return gold
        return LABELS[1 - LABELS.index(gold)] if gold in LABELS else "100"

    def time(self, candidate: str, **ratios: float) -> str:
        """Write a probe with prefill and decode times; `ratios` are those of each form to the plain model."""
        figures = [
            LatencyFigures(
                batch=rows,
                merged=way == "merged",
                plain=way == "plain",
                phase=phase,
                tokens=64 if phase == "prefill" else 1,
                median_seconds=seconds * rows**0.5 * ratio,
                p95_seconds=seconds * rows**0.5 * ratio * 1.05,
            )
            for rows in (1, 16)
            for way, ratio in {"plain": 1.0, **ratios}.items()
            for phase, seconds in (("prefill", 0.12), ("decode", 0.02))
        ]
        return self.probe(candidate, latencies=figures)


@pytest.fixture
def speaker(tmp_path: Path):
    """Return a function that starts a study of one kind of task answered in words."""

    def start(kind: str = "instruction-classification", **over) -> LanguageMaker:
        made = LanguageMaker(StudyFolder(tmp_path / kind), kind=kind, **({"rows": 60} | over))
        made.write_spec()
        return made

    return start


SHAPES = ("blue", "circle", "no", "red", "square", "triangle", "yes")
ASKED = (
    ("What color is the shape?", ("red", "blue"), "what-colour"),
    ("What shape is in the image?", ("circle", "square", "triangle"), "what-shape"),
    ("Is there a red circle?", ("yes", "no"), "yes-no"),
    ("Is there a circle to the left of the square?", ("yes", "no"), "yes-no"),
)


@dataclass
class ImageMaker(StudyMaker):
    """Writes a study of questions about drawn shapes (or, with `texts` off, of the shapes alone)."""

    texts: bool = True
    groups: bool = True
    thumbnails: bool = True

    def write_spec(self, **over) -> None:
        kind = "visual-question-answering" if self.texts else "image-classification"
        source = {"kind": "easy-vqa"} if self.texts else {"kind": "digits"}
        pair = {"kind": "pair", "image": {"kind": "dinov2-small"}, "text": {"kind": "minilm"}}
        super().write_spec(
            **{
                "task": {"kind": kind},
                "data": {"source": source},
                "backbones": {"dino": pair if self.texts else pair["image"]},
                "methods": {"mlp": {"kind": "frozen-features"}, "majority": {"kind": "majority"}},
                "reference": {},
            }
            | over
        )
        self.write_rows()

    def question_of(self, place: int) -> tuple[str, str, str]:
        """Return question, gold answer and kind of a row."""
        if not self.texts:
            return "", SHAPES[(place * place + place // 7) % len(SHAPES)], "drawn"
        text, answers, kind = ASKED[place % len(ASKED)]
        return text, answers[(place // len(ASKED)) % len(answers)], kind

    def write_rows(self) -> None:
        rows = [("train", f"t{place}", place) for place in range(40)]
        rows += [("test", f"r{place}", place) for place in range(self.rows)]
        asked = [self.question_of(place) for _, _, place in rows]
        columns = {
            "id": [name for _, name, _ in rows],
            "split": [split for split, _, _ in rows],
            "text": [text for text, _, _ in asked],
            "gold": [gold for _, gold, _ in asked],
            "origin": [f"shapes/{split}:{place + 1}" for split, _, place in rows],
            "group": [kind if self.groups else None for _, _, kind in asked],
        }
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        if self.thumbnails:
            drawn = [draw(gold) if split == "test" else None for (split, _, _), (_, gold, _) in zip(rows, asked)]  # noqa: B905
            table = table.append_column("thumbnail", pa.array(drawn, pa.binary()))
        self.folder.path.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.folder.examples)

    def see(self, candidate: str, seed: int = 1, shares: dict[str, float] | float = 0.8, **over) -> TrialRecord:
        """Write one finished trial, right about so often by kind of question; wrong answers lean to the next label."""
        self.count += 1
        record = self.blank(candidate, seed)
        record.baseline = record.deterministic = record.method in {"majority", "question-only"}
        own, asked = np.random.default_rng([seed, *candidate.encode()]), [*map(self.question_of, range(self.rows))]
        hard = np.random.default_rng(7).random(self.rows)
        wanted = np.array([shares if isinstance(shares, float) else shares[kind] for _, _, kind in asked])
        right = own.random(self.rows) * 0.3 + hard * 0.7 < wanted
        gold = [SHAPES.index(answer) for _, answer, _ in asked]
        told = [each if hit else (each + 1) % len(SHAPES) for each, hit in zip(gold, right, strict=True)]
        table = Predictions(
            split="test",
            ids=[f"r{place}" for place in range(self.rows)],
            gold=[SHAPES[each] for each in gold],
            parsed=[SHAPES[each] for each in told],
            confidence=own.uniform(0.5, 1, self.rows).astype(np.float32),
            loss=np.where(right, 0.2, 1.5).astype(np.float32),
            group=[kind for _, _, kind in asked] if self.groups else None,
            gold_rank=np.where(right, 0, own.integers(1, 7, self.rows)).astype(np.int16),
            labels=SHAPES,
        )
        record.scores = {"test": score_predictions(table, SHAPES, self.metric)}
        record.phases, record.wall_seconds, record.status = {"predict": Phase(seconds=1.0)}, 1.0, "finished"
        for name, value in over.items():
            setattr(record, name, value)
        folder = self.folder.trial(record.id)
        folder.write(record)
        write_predictions(folder.predictions, [table])
        return record


def draw(shape: str) -> bytes:
    """Draw one of the shapes, or what stands for another label, as a small PNG."""
    picture = Image.new("RGB", (32, 24), "red" if shape == "red" else "lightblue")
    pen = ImageDraw.Draw(picture)
    if shape == "circle":
        pen.ellipse((8, 4, 24, 20), fill="black")
    elif shape == "triangle":
        pen.polygon([(16, 3), (26, 21), (6, 21)], fill="black")
    elif shape == "square":
        pen.rectangle((8, 4, 24, 20), fill="black")
    else:
        pen.text((6, 6), shape, fill="black")
    held = io.BytesIO()
    picture.save(held, "PNG")
    return held.getvalue()


@pytest.fixture
def viewer(tmp_path: Path):
    """Return a function that starts a study about images."""

    def start(**over) -> ImageMaker:
        made = ImageMaker(StudyFolder(tmp_path / "shapes"), **over)
        made.write_spec()
        return made

    return start
