"""Advice on studies of every kind, measured in this process on tiny random models."""

import csv
import json
import random

import numpy as np
import pytest
from PIL import Image

from whichtune.errors import InputError, TrialError
from whichtune.report.model import Figure
from whichtune.spec.study import StudySpec
from whichtune.study import gauging
from whichtune.study.advice_tables import lay_out_advice
from whichtune.study.advising import advise
from whichtune.study.advising_model import Advice, Gauged
from whichtune.study.plan import list_candidates
from whichtune.study.run import run_study


def measure_here(folder, request):
    """Do what the measuring process does, in this one."""
    gauging.main(str(folder.path), json.dumps(request))
    return Gauged.model_validate_json((folder.path / gauging.ANSWER).read_text())


@pytest.fixture
def advised():
    def ask(study, **settings):
        return advise(study, lambda told: None, **({"measure": measure_here} | settings))

    return ask


def by_name(advice):
    return {one.estimate.candidate: one for one in advice.candidates}


def figures_of(estimate):
    return {name: figure for name, figure in estimate if isinstance(figure, Figure)}


TRAINED = ("trainable", "training_seconds", "step_seconds", "operations", "saved_bytes", "adapter_bytes")
ASKED = ("validation_seconds", "test_seconds", "answer_seconds", "peak_bytes", "probe_seconds")


def require_whole(one):
    """Every figure that there can be is there and above nothing; every other has a reason."""
    estimate = one.estimate
    names = {"baseline": ASKED[:3], "prompter": ASKED, "tuner": TRAINED + ASKED}[estimate.family]
    for name, figure in figures_of(estimate).items():
        if name in names:
            assert figure.value is not None, (estimate.candidate, name, figure.reason)
            assert figure.value > 0, (estimate.candidate, name)
        assert figure.value is not None or figure.reason or name == "shared_seconds", (estimate.candidate, name)
    assert one.least_seconds.value > 0
    assert one.place is not None
    assert one.reason


METHODS = {
    "majority": {"kind": "majority"},
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "grid": {"rank": (2, 4)}},
    "features": {"kind": "frozen-features"},
    "again": {"kind": "frozen-features", "head_learning_rate": 1e-2},
    "p": {"kind": "p-tuning", "virtual_tokens": 3, "training": {"accumulate": 2}},
    "asked": {"kind": "prompting"},
}


@pytest.fixture(scope="module")
def texts(table, tmp_path_factory):
    """Advice on a study of texts, and the study."""
    patch = pytest.MonkeyPatch()
    patch.setenv("WHICHTUNE_CACHE", str(tmp_path_factory.mktemp("advised")))
    study = make_study(table)
    yield advise(study, lambda told: None, measure=measure_here), study
    patch.undo()


def make_study(table, **changes):
    spec = {
        "name": "tiny",
        "data": {"source": {"kind": "files", "all": str(table)}},
        "backbones": {"bert": {"kind": "random", "family": "bert"}},
        "methods": METHODS,
        "training": {"epochs": 2, "batch_size": 16, "max_length": 40},
        "seeds": (1, 2, 3),
        "search": {"trials": 2, "best": 1, "repeats": 1},
        "execution": {"threads": 1, "device": "cpu", "check": False},
        "measure": {"probe_steps": 1, "latency_repeats": 1},
    }
    return StudySpec.model_validate(spec | changes)


def test_every_candidate_is_estimated(texts):
    advice, study = texts
    found = by_name(advice)
    assert set(found) == {one.candidate for one in list_candidates(study)}
    for name, one in found.items():
        if name != "asked@bert":
            require_whole(one)
    assert found["full@bert"].estimate.trainable.value > found["lora[rank=4]@bert"].estimate.trainable.value
    assert found["full@bert"].estimate.peak_bytes.value > found["lora[rank=2]@bert"].estimate.peak_bytes.value
    assert found["p@bert"].estimate.steps < found["full@bert"].estimate.steps
    assert [one.candidate for one in advice.bases] == ["lora[rank=2]@bert"]


def test_blocks_that_run_once_a_text_are_paid_once(table, advised, cache_folder):
    found = []
    for reused in (True, False):
        methods = {"last": {"kind": "last-layers"}, "other": {"kind": "last-layers", "learning_rate": 1e-4}}
        advice = advised(make_study(table, methods=methods, engine={"reuse_prefix": reused}))
        one, other = (by_name(advice)[f"{name}@bert"].estimate for name in methods)
        assert one.shares == other.shares
        found.append(one)
    kept, plain = found
    assert plain.shares is None
    assert plain.shared_seconds.value is None
    assert kept.shares == "bert, 1 blocks"
    assert kept.shared_seconds.value > 0
    assert "its frozen blocks, the first 1, run once a text" in kept.notes
    assert kept.operations.value == plain.operations.value, "a probe runs the whole trunk"
    assert plain.training_seconds.value == pytest.approx(plain.steps * plain.step_seconds.value, rel=0.1)
    assert kept.training_seconds.value < 0.95 * kept.steps * kept.step_seconds.value


def test_what_makes_no_sense_is_told_and_comes_last(texts):
    advice, _ = texts
    last = advice.candidates[-1]
    assert last.estimate.candidate == "asked@bert"
    assert "scores no next token" in last.estimate.unsupported
    assert (last.place, last.reason, last.least_seconds.value) == (None, last.estimate.unsupported, 0)
    assert [one.place for one in advice.candidates[:-1]] == list(range(1, len(advice.candidates)))
    assert advice.candidates[0].estimate.family == "baseline"
    costs = [one.cost.value for one in advice.candidates[1:-1]]
    assert costs == sorted(costs)


def test_trainings_are_those_of_the_study(texts):
    """Two rates, the entry's own, the best once more; three seeds; at most a rate beyond, repeated, and 5 seeds."""
    found = by_name(texts[0])
    assert (found["majority"].least_trainings, found["majority"].most_trainings) == (1, 1)
    assert (found["full@bert"].least_trainings, found["full@bert"].most_trainings) == (4 + 3, 4 + 3 + 2 + 5)
    one = found["full@bert"].estimate
    least = 4 * (one.training_seconds.value + one.validation_seconds.value) + 3 * one.run_seconds
    assert found["full@bert"].least_seconds.value == pytest.approx(least)
    assert texts[0].least_trainings == sum(one.least_trainings for one in found.values())


def test_features_are_paid_for_once(texts):
    found = by_name(texts[0])
    first, second = found["features@bert"], found["again@bert"]
    assert first.estimate.shares == second.estimate.shares is not None
    passed = first.estimate.shared_seconds.value
    assert passed > 0
    searched, final = first.estimate.searched_seconds, first.estimate.run_seconds
    assert first.least_seconds.value == pytest.approx(4 * searched + 3 * final + passed)
    assert found["full@bert"].estimate.shared_seconds.value is None


def test_advice_is_laid_out_and_read_back(texts):
    advice, study = texts
    assert Advice.model_validate_json(advice.model_dump_json()) == advice
    titles = [section.title for section in lay_out_advice(advice, study.cost.predictions)]
    assert titles == [
        "One training of each",
        "All that the study will ask for",
        "What to try first",
        "Not worth a try here",
        "Notes",
        "What this rests on",
        "Not counted",
    ]


def test_limits_are_marked(table, tmp_path, monkeypatch, advised):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path))
    limits = {"adapter_mb": 0.01, "train_minutes": 1000}
    study = make_study(
        table, limits=limits, methods={name: METHODS[name] for name in ("full", "features")}, search=None
    )
    found = by_name(advised(study))
    assert found["features@bert"].place == 2
    assert found["full@bert"].place is None
    assert found["full@bert"].reason.startswith("beyond `limits.adapter_mb`: about ")
    small = {"kind": "process", "name": None, "memory_bytes": 10**6}
    monkeypatch.setattr("whichtune.study.advising.describe_device", lambda *_: small)
    assert "does not fit" in by_name(advised(study))["features@bert"].reason


def test_estimates_are_what_the_records_say(table, tmp_path, monkeypatch, advised, quiet):
    """Sizes and steps exactly, for the same code counts them; times are for a benchmark."""
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    study = make_study(table, search=None, seeds=(1,), measure={"probe": False})
    found = by_name(advised(study))
    for record in run_study(study, tmp_path / "runs", quiet()).records:
        estimate = found[record.candidate].estimate
        if record.family == "tuner":
            assert estimate.trainable.value == record.parameters.trainable
            assert (estimate.adapter_bytes.value, estimate.steps) == (record.adapter_bytes, record.steps)
        assert (estimate.unsupported is not None) == (record.status == "unsupported")


@pytest.mark.parametrize("kind", ["instruction-classification", "summarization"])
def test_answers_in_words(table, tmp_path, monkeypatch, advised, kind):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path))
    prompt = {"template": {"query": "{{ text }} =>", "stop": []}}
    study = make_study(
        table,
        task={"kind": kind, "prompt": prompt, "decoding": {"max_new_tokens": 6}},
        backbones={"gpt": {"kind": "random", "family": "gpt", "config": {"initializer_range": 0.2}}},
        methods={name: METHODS[name] for name in ("asked", "p")} | {"lora": {"kind": "lora"}},
        training={"epochs": 1, "batch_size": 16, "max_length": 80, "stopping": {}},
    )
    advice = advised(study)
    for one in advice.candidates:
        require_whole(one)
    assert [one.estimate.family for one in advice.candidates] == ["baseline", "prompter", "tuner", "tuner"]
    assert by_name(advice)["asked@gpt"].estimate.notes
    assert any("early stopping" in note for note in by_name(advice)["lora@gpt"].estimate.notes)


def test_images_and_class_names(tiny_study, advised):
    study = tiny_study(
        task={"kind": "image-classification"},
        data={"source": {"kind": "digits"}, "sizes": {"train": 40, "validation": 20, "test": 20}},
        backbones={"clip": {"kind": "random", "family": "clip"}, "resnet": {"kind": "random", "family": "resnet"}},
        methods={
            "features": {"kind": "frozen-features"},
            "full": {"kind": "full"},
            "zero": {"kind": "zero-shot", "templates": ("a {{ label }}",), "on": ("clip",)},
        },
    )
    advice = advised(study)
    for one in advice.candidates:
        if one.estimate.candidate != "zero@clip":
            require_whole(one if study.measure.probe else one.model_copy())
    zero = by_name(advice)["zero@clip"].estimate
    assert zero.test_seconds.value > 0
    assert len(advice.bases) == 3, "zero-shot loads both towers"


def test_questions_about_images(tiny_study, tmp_path, advised):
    draw = random.Random(0)
    path = tmp_path / "asked.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "text", "label"])
        for place in range(20):
            colour = np.array([(220, 30, 30), (30, 30, 220)][place % 2]) - place
            Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(tmp_path / f"{place}.png")
            for word in ("red", "blue"):
                writer.writerow([f"{place}.png", f"is it {word}?", draw.choice(("yes", "no"))])
    on = ({"image": "vit", "text": "bert"},)
    study = tiny_study(
        task={"kind": "visual-question-answering"},
        data={"source": {"kind": "files", "all": str(path)}},
        backbones={name: {"kind": "random", "family": name} for name in ("vit", "bert")},
        methods={
            "question": {"kind": "question-only"},
            "features": {"kind": "frozen-features", "on": on, "fusion": "mlp"},
            "lora": {"kind": "lora", "on": on},
        },
    )
    for one in advised(study).candidates:
        require_whole(one)


def test_a_process_that_fails_leaves_reasons(table, advised):
    def fail(folder, request):
        raise TrialError("the measuring process failed: out of memory")

    found = by_name(advised(make_study(table), measure=fail))
    assert found["full@bert"].estimate.peak_bytes.reason == "the measuring process failed: out of memory"
    assert found["full@bert"].most_seconds.value is None
    assert found["majority"].place == 1


def test_faults_of_the_input_are_raised(table, advised):
    with pytest.raises(InputError, match="no such module"):
        advised(make_study(table), measure=lambda folder, request: Gauged(fault="no such module"))
    with pytest.raises(InputError, match="nowhere"):
        advised(make_study(table, methods={"lora": {"kind": "lora", "targets": ("nowhere",)}}))
