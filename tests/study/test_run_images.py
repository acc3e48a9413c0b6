"""Studies of images, and of questions about images, from their source to their records, on tiny random models."""

import csv

import numpy as np
import pytest
from PIL import Image

from whichtune.data.storing import read_examples
from whichtune.engine.using import Manner, open_predictor
from whichtune.errors import InputError, ModelError
from whichtune.measure.device import pick_device
from whichtune.records.predictions import read_predictions
from whichtune.spec.study import StudySpec
from whichtune.study.plan import plan_study
from whichtune.study.run import run_study
from whichtune.study.using import open_trained, using

DIGITS = {
    "task": {"kind": "image-classification"},
    "data": {"source": {"kind": "digits"}, "sizes": {"train": 60, "validation": 20, "test": 40}},
    "backbones": {"clip": {"kind": "random", "family": "clip"}},
    "methods": {
        "frozen": {"kind": "frozen-features"},
        "lora": {"kind": "lora", "learning_rate": 1e-2},
        "zero": {"kind": "zero-shot", "templates": ("the digit {{ label }}.",)},
    },
    "seeds": (1,),
}
ON = ({"image": "resnet", "text": "bert"}, {"image": "vit", "text": "bert"})
ASKED = {
    "task": {"kind": "visual-question-answering"},
    "backbones": {name: {"kind": "random", "family": name} for name in ("resnet", "vit", "bert")},
    "methods": {
        "question": {"kind": "question-only"},
        "frozen": {"kind": "frozen-features", "on": ON, "grid": {"fusion": ("concat", "product")}},
        "lora": {"kind": "lora", "on": ON[1:], "fusion": "mlp"},
    },
    "seeds": (1,),
}


@pytest.fixture
def questions(tmp_path):
    """A CSV of questions about plain red and blue images, which lie beside it."""
    (tmp_path / "shown").mkdir()
    for place in range(24):
        colour = np.array([(220, 30, 30), (30, 30, 220)][place % 2]) - place
        Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(tmp_path / "shown" / f"{place}.png")
    path = tmp_path / "asked.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "text", "label"])
        for place in range(24):
            for word in ("red", "blue"):
                answer = "yes" if word == ("red", "blue")[place % 2] else "no"
                writer.writerow([f"shown/{place}.png", f"is it {word}?", answer])
            writer.writerow([f"shown/{place}.png", "what colour is it?", ("red", "blue")[place % 2]])
    return {"source": {"kind": "files", "all": str(path)}}


def test_images_reach_the_records(tiny_study, tmp_path, quiet):
    study = tiny_study(**DIGITS)
    outcome = run_study(study, tmp_path / "runs", quiet())
    assert [record.status for record in outcome.records] == ["finished"] * 4
    by_name = {record.method: record for record in outcome.records}
    assert by_name["zero"].family == "prompter"
    assert by_name["zero"].parameters.trainable == 0
    assert len({record.fingerprints.get("weights") for record in outcome.records}) == 3, "zero-shot loads both towers"
    table = read_predictions(outcome.folder.trial(by_name["lora"].id).predictions)["test"]
    assert table.gold_rank is not None
    assert {one.name for one in by_name["zero"].scores["test"].metrics} >= {"accuracy", "top5_accuracy", "macro_f1"}
    stored = read_examples(outcome.folder.examples)
    assert all(one.image is not None and one.text == "" for rows in stored.examples.values() for one in rows)
    again = run_study(study, tmp_path / "runs", watcher := quiet())
    assert all(found for *_, found in watcher.ended)
    assert [record.id for record in again.records] == [record.id for record in outcome.records]


def test_zero_shot_is_probed(tiny_study, tmp_path, quiet):
    given = DIGITS | {"methods": {"zero": DIGITS["methods"]["zero"]}}
    measure = {"probe": True, "probe_steps": 1, "latency_repeats": 1}
    outcome = run_study(tiny_study(**given, measure=measure), tmp_path / "runs", quiet())
    assert not outcome.probe_failures
    (probed,) = (record.probe for record in outcome.records if record.probe)
    alone = outcome.folder.read_probes()[probed].alone
    assert {one.batch for one in alone.latencies} == {1, 20}
    assert alone.step_seconds is None
    assert alone.unmeasured["step_seconds"] == "nothing is trained"


def test_a_finished_trial_answers_about_images_again(tiny_study, tmp_path, quiet):
    study = tiny_study(**DIGITS, execution={"threads": 1, "device": "cpu", "check": True})
    outcome = run_study(study, tmp_path / "runs", quiet())
    record = next(one for one in outcome.records if one.method == "frozen")
    assert record.checked
    rows = read_examples(outcome.folder.examples).examples["test"]
    with open_predictor(outcome.folder.trial(record.id).adapter, Manner(pick_device("cpu"), 16)) as predictor:
        table, _ = predictor.answer(rows)
    assert table.parsed == read_predictions(outcome.folder.trial(record.id).predictions)["test"].parsed


def test_zero_shot_answers_about_images_again(tiny_study, tmp_path, quiet):
    given = DIGITS | {"methods": {"zero": DIGITS["methods"]["zero"]}}
    outcome = run_study(tiny_study(**given), tmp_path / "runs", quiet())
    folder = outcome.folder.trial(next(one.id for one in outcome.records if one.method == "zero"))
    trained = open_trained(folder)
    assert trained.columns.image == "image"
    with using(trained, device="cpu", threads=1) as predictor:
        table, _ = predictor.answer(read_examples(outcome.folder.examples).examples["test"])
    assert table.parsed == read_predictions(folder.predictions)["test"].parsed


def test_features_change_neither_answers_nor_identity(tiny_study, tmp_path, quiet):
    given = DIGITS | {"methods": {"frozen": DIGITS["methods"]["frozen"]}}
    records = {}
    for reuse in (True, False):
        execution = {"threads": 1, "device": "cpu", "check": False, "reuse_features": reuse}
        outcome = run_study(tiny_study(**given, execution=execution), tmp_path / str(reuse), quiet())
        record = next(one for one in outcome.records if one.method == "frozen")
        assert record.device["reuse_features"] is reuse
        records[reuse] = record.id, read_predictions(outcome.folder.trial(record.id).predictions)["test"]
    assert records[True][0] == records[False][0]
    assert records[True][1].parsed == records[False][1].parsed
    assert np.allclose(records[True][1].loss, records[False][1].loss, atol=1e-5)


def test_questions_about_images_reach_the_records(tiny_study, tmp_path, quiet, questions):
    study = tiny_study(**ASKED, data=questions, execution={"threads": 1, "device": "cpu", "check": True})
    outcome = run_study(study, tmp_path / "runs", quiet())
    assert {record.status for record in outcome.records} == {"finished"}
    names = [record.candidate for record in outcome.records]
    assert names == [
        "majority", "question", "frozen[fusion=concat]@resnet+bert", "frozen[fusion=product]@resnet+bert",
        "frozen[fusion=concat]@vit+bert", "frozen[fusion=product]@vit+bert", "lora@vit+bert",
    ]  # fmt: skip
    assert all(record.checked for record in outcome.records if record.family == "tuner")
    stored = read_examples(outcome.folder.examples)
    shown = {split: {one.image.sha256 for one in rows} for split, rows in stored.examples.items()}
    assert not shown["train"] & shown["test"]
    assert not shown["validation"] & shown["test"]


def test_zero_shot_on_one_tower_is_a_row_with_its_reason(tiny_study, tmp_path, quiet):
    backbones = {name: {"kind": "random", "family": name} for name in ("vit", "resnet")}
    methods = {"zero": DIGITS["methods"]["zero"]}
    outcome = run_study(tiny_study(**DIGITS | {"backbones": backbones, "methods": methods}), tmp_path / "runs", quiet())
    records = [one for one in outcome.records if one.method == "zero"]
    assert [one.backbone for one in records] == ["vit", "resnet"]  # each has a row: they are not the same trial
    for record in records:
        assert record.status == "unsupported"
        assert record.failure.message.startswith("zero-shot needs a model with a tower for images and one for texts")
    assert outcome.exit_code == 0


def test_a_model_that_reads_something_else_is_told_before_anything_trains(tiny_study, tmp_path, quiet):
    given = DIGITS | {"backbones": {"bert": {"kind": "random", "family": "bert"}}}
    with pytest.raises(ModelError, match="reads texts, and the task gives images"):
        run_study(tiny_study(**given), tmp_path / "runs", quiet())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (DIGITS | {"methods": {"q": {"kind": "question-only"}}}, "question-only reads the question about an image"),
        (DIGITS | {"methods": {"p": {"kind": "prompting"}}}, "prompting asks a language model, which reads no images"),
        (DIGITS | {"methods": {"l": {"kind": "lora", "fusion": "mlp"}}}, "puts an image and a text together"),
        (ASKED | {"methods": {"l": {"kind": "lora"}}}, r"is read by a pair: give `on: \[\{image: ..., text: ...\}\]`"),
        (ASKED | {"methods": {"l": {"kind": "lora", "on": ("vit",)}}}, r"is read by two: `on: \[\{image: vit"),
        (ASKED | {"methods": {"z": {"kind": "zero-shot", "on": ON}}}, "it answers image-classification"),
        (
            ASKED | {"methods": {"l": {"kind": "lora", "on": ({"image": "vit", "text": "bart"},)}}},
            "'bart' is no backbone",
        ),
    ],
)
def test_what_does_not_go_together_is_one_clear_fault(tiny_study, changes, told):
    with pytest.raises(ValueError, match=told):
        tiny_study(**({"data": {"source": {"kind": "easy-vqa"}}} | changes))


def test_pairs_of_the_studys_own_are_run_without_being_named(tiny_study):
    pair = {"kind": "pair", "image": {"kind": "random", "family": "vit"}, "text": {"kind": "random", "family": "bert"}}
    given = ASKED | {"backbones": {"both": pair, "vit": {"kind": "random", "family": "vit"}}}
    study: StudySpec = tiny_study(
        **(given | {"methods": {"l": {"kind": "lora"}}}), data={"source": {"kind": "easy-vqa"}}
    )
    assert [one.candidate for one in plan_study(study)] == ["majority", "l@both"]


def test_a_question_without_an_image_is_named(tiny_study, tmp_path, quiet, questions):
    path = tmp_path / "asked.csv"
    path.write_text(path.read_text() + "shown/none.png,is it red?,yes\n../outside.png,is it red?,no\n")
    with pytest.raises(InputError, match="outside"):
        run_study(tiny_study(**ASKED, data=questions), tmp_path / "runs", quiet())
