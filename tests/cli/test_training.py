import json
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from whichtune.cli.training import choose_data
from whichtune.errors import SpecError
from whichtune.records.folder import StudyFolder
from whichtune.spec.read import load_stored_study

PLAIN = ("--no-check", "--no-probe", "--threads", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_trial_by_flags_has_the_baseline_beside_it(trained):
    spec, _ = load_stored_study(trained / "study.yaml")
    assert (spec.data.columns.text, spec.data.columns.label, spec.data.columns.id) == ("review", "verdict", "key")
    assert (spec.training.epochs, spec.training.batch_size, spec.methods["full"].learning_rate) == (4, 8, 1e-2)
    assert [one.kind for one in StudyFolder(trained).read_trials()] == ["majority", "full"]


def test_the_same_command_finds_it_finished(whichtune, reviews):
    flags = ("train", "--method", "lora", "--backbone", "random:bert", "--data", reviews, "--epochs", 1, "--rank", 2)
    first = whichtune(*flags, "--out-dir", "runs/a", *PLAIN)
    assert first.code == 0, first.err
    assert "columns of reviews.csv: text `review`, label `verdict`" in first.err
    trial = StudyFolder(Path("runs/a")).read_trials()[1]
    assert f"Trial {trial.id}: finished" in first.out
    assert trial.settings["rank"] == 2
    again = whichtune(*flags, "--out_dir", "runs/a", *PLAIN, "--json")
    assert again.err.count("finished before") == 2
    told = json.loads(again.out)
    assert told["trial"] == trial.id
    assert Path(told["folder"], "trial.json").is_file()
    assert len(told["comparison"]["candidates"]) == 2


def test_flags_go_over_a_study_file(whichtune, reviews, place):
    (place / "study.yaml").write_text(
        f"""
name: wide
data: {{source: {{kind: files, all: {reviews}}}, columns: {{text: review, label: verdict}}}}
backbones: {{bert: {{kind: random}}}}
methods: {{lora: {{kind: lora, rank: 2}}, full: {{kind: full}}}}
training: {{epochs: 1, batch_size: 32, max_length: 40}}
seeds: [3, 4]
"""
    )
    ended = whichtune("train", "study.yaml", "--method", "lora", "--alpha", 4, "--out-dir", "runs/one", *PLAIN)
    assert ended.code == 0, ended.err
    one = StudyFolder(place / "runs/one").read_trials()[1]
    assert (one.settings["rank"], one.settings["alpha"], one.seed) == (2, 4.0, 3)
    assert one.training["batch_size"] == 32
    assert whichtune("train", "study.yaml", "--scale", "none", "--method", "full", *PLAIN).code == 2


def test_files_of_any_name_and_format(whichtune, reviews, place):
    table = pa_csv.read_csv(reviews)
    pq.write_table(table, place / "rows.pq")
    (place / "rows.txt").write_text(reviews.read_text().replace(",", "\t"))
    common = ("train", "--method", "majority", "--class-weights", "balanced", *PLAIN)
    for name, flags in (("rows.pq", ()), ("rows.txt", ("--format", "tsv"))):
        ended = whichtune(*common, "--data", name, "--out-dir", f"runs/{name}", *flags)
        assert ended.code == 0, ended.err
        assert f"columns of {name}: text `review`, label `verdict`" in ended.err
    spec, _ = load_stored_study(Path("runs/rows.pq/study.yaml"))
    assert spec.training.class_weights == "balanced"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--data", "study file"]),
        (["--data", "reviews.csv", "--method", "lora", "--rnak", 4], ["--rnak", "--rank"]),
        (["--data", "reviews.csv", "--method", "lora"], ["--backbone"]),
        (["--data", "reviews.csv", "--method", "lora", "--rank", "many"], ["--rank", "integer"]),
        (["--data", "reviews.csv", "--method", "lora", "--bias", "som"], ["--bias", "lora-only"]),
        (
            ["--data", "reviews.csv", "--method", "full", "--rank", 4, "--backbone", "random"],
            ["no such setting of full"],
        ),
        (["--data", "reviews.csv", "--method", "full", "--text", "reveiw", "--backbone", "random"], ["'review'"]),
        (
            ["--data", "reviews.csv", "--method", "full", "--backbone", "random", "--epochs", -1],
            ["--epochs -1", "above 0"],
        ),
        (
            ["--data", "reviews.csv", "--method", "full", "--backbone", "random", "--class-weights", "equal"],
            ["--class-weights", "inverse-root"],
        ),
        (["--data", "reviews.csv", "--method", "majority", "--out-dir", "my run"], ["--out-dir: got 'my run'"]),
        (["--data", "nowhere.csv", "--method", "majority"], ["nowhere.csv"]),
        (["nowhere.yaml", "--method", "majority"], ["nowhere.yaml"]),
        (["--scale", "small", "--data", "reviews.csv"], ["--scale"]),
        (["--init-from", "resume", "--out-dir", "runs/a"], ["--init-from", "same command"]),
        (["--data", "reviews.csv", "--task", "summarisation", "--rank", 2], ["--task", "'summarization'"]),
        (
            ["--data", "reviews.csv", "--method", "lora", "--backbone", "random:gpt", "--max-new-tokens", 5],
            ["--max-new-tokens 5", "text-classification"],
        ),
    ],
)
def test_wrong_flags_are_one_message_before_anything_is_made(whichtune, reviews, place, flags, words):
    (place / "reviews.csv").write_bytes(reviews.read_bytes())
    ended = whichtune("train", *flags)
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.told
    assert not list(place.glob("runs/*/trials/*"))


def test_a_language_model_without_data_learns_the_built_in_reviews(capsys):
    given, task = choose_data({"data.sizes.test": 5}, None, "gpt2-medium")
    assert (given["data.source.all"], task) == ("movie-reviews", "instruction-classification")
    assert (given["data.sizes.validation"], given["data.sizes.test"]) == (200, 5)
    told = capsys.readouterr().err
    assert "--data movie-reviews --task instruction-classification --sizes-validation 200 --sizes-test 5" in told
    for word, task in (("roberta-base", None), (None, None), ("smollm2", "summarization")):
        with pytest.raises(SpecError, match="--data: no rows"):
            choose_data({}, task, word)


def test_prompting_is_a_trial_without_training(writers):
    spec, _ = load_stored_study(writers["prompting"] / "study.yaml")
    assert (spec.task.kind, spec.methods["prompting"].style) == ("instruction-classification", "one-shot")
    assert spec.methods["prompting"].decoding == {"max_new_tokens": 12}
    families = [one.known_family for one in StudyFolder(writers["prompting"]).read_trials()]
    assert families == ["baseline", "prompter"]


def test_the_flags_of_other_tools(writers):
    spec, _ = load_stored_study(writers["lora"] / "study.yaml")
    method = spec.methods["lora"]
    assert (method.rank, method.alpha, method.learning_rate) == (4, 16, 1e-2)
    assert (spec.training.max_steps, spec.training.accumulate, spec.backbones["main"].kind) == (6, 1, "folder")
    (trial,) = [one for one in StudyFolder(writers["lora"]).read_trials() if not one.baseline]
    assert trial.steps == 6
