"""`generate`: the completions of `transformers`, of the trial's own study, and none that depend on the batch."""

import json
import sys
from pathlib import Path

import pytest

from whichtune.data.storing import read_examples
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import read_predictions

PLAIN = ("--threads", "1", "--device", "cpu")
PROMPTS = ["A fine film", "Dull. ", "lovely, bright and never too long"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def read_lines(ended):
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def test_greedy_completions_are_those_of_transformers(whichtune, gpt_folder):
    from transformers import AutoTokenizer, GPT2LMHeadModel

    tokenizer, model = AutoTokenizer.from_pretrained(gpt_folder), GPT2LMHeadModel.from_pretrained(gpt_folder)
    ids = tokenizer(PROMPTS[0], return_tensors="pt", add_special_tokens=False).input_ids
    wanted = model.generate(ids, attention_mask=ids > -1, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    flags = ("--init_from", gpt_folder, "--max_new_tokens", 12, *PLAIN)
    ended = whichtune("generate", PROMPTS[0], *flags)
    assert ended.code == 0, ended.err
    text = tokenizer.decode(wanted, skip_special_tokens=True)
    assert ended.out == f"{text}\n"
    assert "1 completion, " in ended.told
    (line,) = read_lines(whichtune("generate", "--start", PROMPTS[0], *flags, "--json"))
    ended_itself = int(wanted[-1]) == tokenizer.eos_token_id
    assert (line["text"], line["tokens"], line["ended"]) == (text, len(wanted) - ended_itself, ended_itself)
    assert set(line) == {"prompt", "sample", "text", "tokens", "ended", "seconds"}


def test_prompts_come_from_anywhere_in_batches_of_any_size(whichtune, gpt_folder, place):
    flags = ("generate", "--init-from", gpt_folder, "--max-new-tokens", 6, *PLAIN)
    wanted = read_lines(whichtune(*flags, *PROMPTS, "--json", "--batch", 1))
    (place / "prompts.txt").write_text("\n".join(PROMPTS) + "\n\n")
    (place / "prompts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in PROMPTS))
    for more in (("--batch", 3), ("--file", "prompts.txt"), ("--file", "prompts.jsonl")):
        prompts = PROMPTS if more[0] == "--batch" else []
        found = read_lines(whichtune(*flags, *prompts, *more, "--json"))
        assert [(one["prompt"], one["text"]) for one in found] == [(one["prompt"], one["text"]) for one in wanted]
    ended = whichtune(*flags, stdin="\r\n".join(PROMPTS).encode())
    assert ended.out == "".join(f"--- {' '.join(one['prompt'].split())}\n{one['text']}\n" for one in wanted)


def test_samples_hang_on_the_seed_alone(whichtune, gpt_folder):
    flags = ("generate", "--init-from", gpt_folder, "--max-new-tokens", 8, "--temperature", 1, "--json", *PLAIN)
    four = read_lines(whichtune(*flags, *PROMPTS[:2], "--num-samples", 2))
    assert [one["sample"] for one in four] == [1, 2, 1, 2]
    assert len({one["text"] for one in four}) == 4
    again = read_lines(whichtune(*flags, *PROMPTS[:2], "--num-samples", 2, "--batch", 1))
    assert [one["text"] for one in again] == [one["text"] for one in four]
    assert read_lines(whichtune(*flags, PROMPTS[0], "--seed", 1))[0]["text"] != four[0]["text"]
    beams = ("--temperature", 0, "--beams", 3, "--no-repeat-ngram", 2)
    assert read_lines(whichtune(*flags, *beams, PROMPTS[0]))[0]["text"] != four[0]["text"]


def test_a_terminal_shows_what_a_pipe_gets(whichtune, gpt_folder, monkeypatch):
    flags = ("generate", PROMPTS[0], "--init-from", gpt_folder, "--max-new-tokens", 12, *PLAIN)
    piped = whichtune(*flags)
    pieces = []
    monkeypatch.setattr("whichtune.cli.writing.show_piece", pieces.append)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert whichtune(*flags).out == "\n"
    assert "".join(pieces) == piped.out[:-1]
    assert len(pieces) > 2


@pytest.mark.parametrize("name", ["lora", "prompting"])
def test_asked_as_in_training_a_trial_writes_what_it_wrote_there(whichtune, writers, name):
    study = StudyFolder(writers[name])
    trial = next(one for one in study.read_trials() if not one.baseline)
    rows = read_examples(study.examples).examples["test"][:4]
    stored = read_predictions(study.trial(trial.id).predictions, "test")["test"]
    texts = [one.text for one in rows]
    found = read_lines(whichtune("generate", *texts, "--trial", study.trial(trial.id).path, "--ask", "--json", *PLAIN))
    known = {one: place for place, one in enumerate(stored.ids)}
    places = [known[one.id] for one in rows]
    assert [one["text"] for one in found] == [stored.raw[place] for place in places]
    assert [one["answer"] for one in found] == [stored.parsed[place] for place in places]
    shown = whichtune("generate", texts[0], "--trial", study.trial(trial.id).path, "--ask", *PLAIN)
    assert "answer: " in shown.out


def test_resume_is_the_newest_trial_that_can_write(whichtune, writers, trained):
    flags = ("--max-new-tokens", 5, "--temperature", 1.0, "--top-k", 200, "--json", *PLAIN)
    (first,) = read_lines(whichtune("generate", "--init-from", "resume", "--out-dir", writers["lora"], "x", *flags))
    trial = next(one for one in StudyFolder(writers["lora"]).read_trials() if not one.baseline)
    named = ("--trial", trial.id[:10], "--runs", writers["lora"].parent)
    assert read_lines(whichtune("generate", *named, "x", *flags))[0]["text"] == first["text"]
    assert read_lines(whichtune("generate", "--init-from", writers["lora"], "x", *flags))[0]["text"] == first["text"]
    ended = whichtune("generate", "--init-from", "resume", "--out-dir", trained, "x")
    assert ended.code == 2
    assert "no finished trial that can write" in ended.told


def test_a_trial_with_a_head_or_without_a_model_is_refused(whichtune, trained):
    for one in StudyFolder(trained).read_trials():
        ended = whichtune("generate", "--trial", StudyFolder(trained).trial(one.id).path, "x")
        assert ended.code == 2, ended.err
        assert ("is a baseline" if one.baseline else "`whichtune predict`") in ended.told


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["x"], ["no model", "--init-from", "--out-dir"]),
        (["--init-from", "random:gpt"], ["no prompt", "--file", "standard input"]),
        (["--init-from", "random:gpt", " "], ["prompt 1 is empty"]),
        (["--init-from", "resume", "x"], ["--out-dir"]),
        (["--init-from", "resume", "--out-dir", "nowhere", "x"], ["nowhere: no study"]),
        (["--init-from", "random:bert", "x"], ["scores no next token", "smollm2"]),
        (["--init-from", "random:gpt", "--chat", "x"], ["no chat template"]),
        (["--init-from", "random:gpt", "--ask", "x"], ["no prompt of its own", "whichtune prompt"]),
        (["--init-from", "random:gpt", "--ask", "--chat", "x"], ["--ask and --chat"]),
        (["--init-from", "random:gpt", "--num-samples", 2, "x"], ["--temperature"]),
        (["--init-from", "random:gpt", "--beams", 2, "--temperature", 1, "x"], ["--beams", "draws nothing"]),
        (["--init-from", "random:gpt", "--top_p", 2, "x"], ["--top-p: got 2.0", "at most 1"]),
        (["--init-from", "random:gpt", "--max-new-tokens", 500, "x"], ["context", "at most 128"]),
        (["--init-from", "random:gpt", "--tmperature", 1, "x"], ["--temperature"]),
        (["--init-from", "random:gpt", "--file", "nowhere.txt"], ["nowhere.txt"]),
        (["--init-from", "./nowhere", "x"], ["./nowhere", "neither a folder nor a name"]),
        (["--trial", "abc", "--init-from", "smollm2", "x"], ["twice"]),
        (["--trial", "abc", "x"], ["no trial"]),
    ],
)
def test_wrong_input_is_one_message(whichtune, flags, words):
    ended = whichtune("generate", *flags)
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.told


def test_a_table_without_a_column_of_texts(whichtune, place):
    Path("rows.csv").write_text("txt\nfine\n")
    ended = whichtune("generate", "--init-from", "random:gpt", "--file", "rows.csv")
    assert (ended.code, "no column `text`" in ended.told) == (2, True)


def test_a_terminal_is_left_as_it_is():
    from whichtune.cli.writing import calm

    assert calm("a\x1b[31m\rb\x07\n\tné 👩‍👧") == "a[31mb\n\tné 👩‍👧"
