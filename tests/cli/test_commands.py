"""The command line as a user meets it: exit codes, one clear message, no traceback, JSON for scripts."""

import json
import subprocess
import sys

import pytest

GOOD = "\n".join(
    f"{text} {index},{label}" for index in range(40) for text, label in [("a fine day", "good"), ("a grim one", "bad")]
)
STUDY = """
name: tiny
data:
  source: {{kind: files, {files}}}
backbones:
  bert: {backbone}
methods:
  majority: {{kind: majority}}
  lora: {{kind: lora, learning_rate: 1e-2{method}}}
training: {{epochs: 1, batch_size: 16, max_length: 40}}
seeds: [1]
execution: {{threads: 1, device: cpu, check: false}}
measure: {{probe: false}}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "rows.csv").write_text("text,label\n" + GOOD, encoding="utf-8")
    return tmp_path


def write_study(place, files="all: rows.csv", backbone="{kind: random}", method=""):
    (place / "study.yaml").write_text(STUDY.format(files=files, backbone=backbone, method=method))
    return "study.yaml"


def call(*arguments):
    return subprocess.run([sys.executable, "-m", "whichtune", *arguments], capture_output=True, text=True, check=False)


def test_a_study_from_file_to_report(place):
    ended = call("run", write_study(place), "--json")
    assert ended.returncode == 0, ended.stderr
    names = [candidate["candidate"] for candidate in json.loads(ended.stdout)["candidates"]]
    assert sorted(names) == ["lora@bert", "majority"]
    listed = json.loads(call("list", "--json").stdout)
    assert [line["name"] for line in listed] == ["tiny"]
    text = call("report", "runs/tiny").stdout
    assert "majority" in text
    assert "lora" in text
    assert max(map(len, text.splitlines())) <= 80
    trial = next((place / "runs/tiny/trials").iterdir()).name
    assert json.loads(call("show", trial[:8], "--json").stdout)["id"] == trial
    assert call("show", trial[:8]).returncode == 0
    for form in ("markdown", "csv", "pairs-csv"):
        assert call("report", "runs/tiny", "--format", form, "--out", f"out.{form}").returncode == 0
        assert "lora" in (place / f"out.{form}").read_text()
    assert call("report", "runs/tiny", "--out", "page.txt").returncode == 0
    assert "majority" in (place / "page.txt").read_text()


def spoil_column(place):
    return write_study(place, files="all: rows.csv}\n  columns: {text: txet")


def spoil_label(place):
    (place / "test.csv").write_text("text,label\nodd,ugly\n")
    return write_study(place, files="train: rows.csv, test: test.csv")


def spoil_split(place):
    (place / "test.csv").write_text("text,label\n")
    return write_study(place, files="train: rows.csv, test: test.csv")


def spoil_weights(place):
    (place / "model").mkdir()
    (place / "model" / "config.json").write_text('{"model_type": "bert"}')
    return write_study(place, backbone="{kind: folder, path: model}")


def spoil_rows(place):
    (place / "rows.csv").write_text("text,label\n" + GOOD + "\none,two,three\n")
    return write_study(place)


SPOILT = {
    "a typo": (lambda place: write_study(place, method=", rnak: 4"), ["study.yaml:9", "rnak", "'rank'"]),
    "a missing column": (spoil_column, ["txet", "'text'"]),
    "an unseen label": (spoil_label, ["test.csv:2", "ugly", "bad, good"]),
    "an empty split": (spoil_split, ["test.csv", "no usable rows"]),
    "a folder without weights": (spoil_weights, ["model", "weights", "config.json"]),
    "ragged rows": (spoil_rows, ["rows.csv:82"]),
    "no such file": (lambda place: write_study(place, files="all: rwos.csv"), ["rwos.csv", "rows.csv"]),
    "more blocks than there are": (
        lambda place: write_study(place, backbone="{kind: random, keep_blocks: 9}"),
        ["9", "2"],
    ),
    "the label as the text": (
        lambda place: write_study(place, files="all: rows.csv}\n  columns: {text: label"),
        ["label"],
    ),
    "a misspelt target": (lambda place: write_study(place, method=", targets: [qurey]"), ["qurey", "'query'"]),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_bad_input_is_one_clear_message(fault, place):
    spoil, words = SPOILT[fault]
    ended = call("run", spoil(place))
    told = " ".join(ended.stderr.split())
    assert ended.returncode == 2, told
    assert "Traceback" not in told
    for word in words:
        assert word in told, told


def test_latin_1_is_read_and_reported(place):
    (place / "rows.csv").write_bytes(
        ("text,label\n" + GOOD.replace("fine", "très belle journée d'été")).encode("latin-1")
    )
    ended = call("run", write_study(place))
    assert ended.returncode == 0, ended.stderr
    assert "encoding of" in ended.stderr
    example = (place / "runs/tiny/examples.parquet").read_bytes()
    assert example


def test_a_wrong_hash_is_refused(place):
    from whichtune.errors import FetchError
    from whichtune.fetch.pip import verify_file

    (place / "file.whl").write_bytes(b"not what was pinned")
    with pytest.raises(FetchError, match="0" * 64):
        verify_file(place / "file.whl", "0" * 64)


@pytest.mark.parametrize("arguments", [("report", "nowhere"), ("show", "abc"), ("report", ".", "--format", "html")])
def test_what_is_not_there(arguments, place):
    ended = call(*arguments)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_debug_shows_the_traceback(place):
    ended = call("--debug", "report", "nowhere")
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr


def test_init_writes_a_study_that_runs_as_it_is(place):
    assert call("init", "rows.csv", "minilm").returncode == 0
    told = (place / "study.yaml").read_text()
    assert "kind: lora" in told
    assert "#" in told
    ended = call("init", "rows.csv", "minilm")
    assert ended.returncode == 2, "an existing file is not overwritten"


def test_the_command_line_is_light():
    heavy = ("torch", "pandas", "ruamel", "yaml", "transformers", "numpy", "pyarrow")
    code = f"import sys, whichtune.cli; print(*[name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""


def test_doctor_and_help(place):
    ended = call("doctor", "--json")
    assert ended.returncode == 0, ended.stdout
    assert {"area", "name", "status", "value", "remedy"} <= set(json.loads(ended.stdout)[0])
    assert "Exit codes" in call("--help").stdout


@pytest.mark.parametrize("setting", ["training.max_length=4096", "training.precision=float16", "execution.device=tpu"])
def test_wrong_settings_are_told_before_anything_trains(setting, place):
    ended = call("run", write_study(place), "--set", setting)
    assert ended.returncode == 2, ended.stderr
    assert "allowed" in ended.stderr
    assert not list(place.glob("runs/*/trials/*"))


def test_a_runs_folder_that_cannot_be_made(place):
    ended = call("run", write_study(place), "--runs", "rows.csv")
    assert ended.returncode == 2
    assert "--runs" in ended.stderr


def test_a_prompt_without_room_is_told_before_anything_trains(place):
    changes = ["--set", "methods.lora.kind=prompt-tuning", "--set", "methods.lora.virtual_tokens=100"]
    ended = call("run", write_study(place), *changes)
    assert ended.returncode == 2, ended.stderr
    assert "beside 100 virtual rows: got 40; allowed: at most 28" in " ".join(ended.stderr.split())
    assert not list((place / "runs").glob("*/trials/*/trial.json"))


def test_a_place_that_cannot_be_written_is_one_clear_message(place):
    assert call("run", write_study(place), "--json").returncode == 0
    ended = call("report", "runs/tiny", "--format", "csv", "--out", "/proc/nowhere/x.csv")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "/proc/nowhere" in ended.stderr
