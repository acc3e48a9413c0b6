import csv
import random

import pytest

from whichtune.spec.study import StudySpec

WORDS = {"good": ["fine", "great", "lovely", "bright"], "bad": ["dull", "poor", "awful", "grim"]}


class Quiet:
    """A watcher that keeps what it was told."""

    def __init__(self):
        self.ended, self.notes, self.steps = [], [], 0

    def on_data(self, report):
        self.report = report

    def on_trial(self, planned, place, total):
        pass

    def on_trial_end(self, record, *, found):
        self.ended.append((record.candidate, record.seed, record.status, found))

    def on_step(self, figures, total):
        self.steps += 1

    def on_validation(self, step, score, metrics):
        pass

    def on_note(self, text):
        self.notes.append(text)


@pytest.fixture
def quiet():
    return Quiet


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A CSV of 80 short texts in two classes."""
    path = tmp_path_factory.mktemp("data") / "tiny.csv"
    draw = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for index in range(80):
            gold = ("good", "bad")[index % 2]
            writer.writerow([" ".join(draw.choices(WORDS[gold], k=6)) + f" {index}", gold])
    return path


@pytest.fixture
def tiny_study(table, tmp_path, monkeypatch):
    """A study of two methods on a tiny random BERT, without probes and checks unless asked for."""
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))

    def make(**changes):
        spec = {
            "name": "tiny",
            "data": {"source": {"kind": "files", "all": str(table)}},
            "backbones": {"bert": {"kind": "random", "family": "bert"}},
            "methods": {"majority": {"kind": "majority"}, "lora": {"kind": "lora", "learning_rate": 1e-2}},
            "training": {"epochs": 1, "batch_size": 16, "max_length": 40},
            "seeds": (1, 2),
            "execution": {"threads": 1, "device": "cpu", "check": False},
            "measure": {"probe": False},
        }
        return StudySpec.model_validate(spec | changes)

    return make
