"""`prompt`: what each style asks, gets and reads, at 80 columns and as JSON."""

import json

import pytest

from whichtune.prompts.parsers import AnswerReader

PLAIN = ("--threads", "1", "--device", "cpu")
STATEMENTS = ["The Great Pyramid of Giza is located in Egypt.", "Bats are blind."]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_lines(ended):
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def test_styles_side_by_side(whichtune, gpt_folder):
    flags = ("--init-from", gpt_folder, "--style", "zero-shot,few_shot,expert", "--max_new_tokens", 6, *PLAIN)
    found = read_lines(whichtune("prompt", *STATEMENTS, *flags, "--json"))
    assert [(one["style"], one["text"]) for one in found] == [
        (style, text) for style in ("zero-shot", "few-shot", "expert") for text in STATEMENTS
    ]
    bats = {one["style"]: one for one in found if one["text"] == STATEMENTS[1]}
    assert bats["zero-shot"]["prompt"] == (
        "Is the statement true or false? Answer with one word, true or false.\n\nStatement: Bats are blind.\nAnswer:"
    )
    shown = bats["few-shot"]["prompt"].split("\n\n")
    assert len(shown) == 6
    assert shown[-1] == "Statement: Bats are blind.\nAnswer:"
    assert sorted(part.rpartition(" ")[2] for part in shown[1:5]) == ["false", "false", "true", "true"]
    assert bats["expert"]["prompt"].startswith("You are a fact-checker")
    reader = AnswerReader("true-false", {"true": "true", "false": "false"}, ("\n\n",))
    for one in found:
        assert one["answer"] == reader.read(one["completion"])
        assert (one["gold"], one["right"]) == (None, None)
        assert sum(one["shares"].values()) == pytest.approx(1)
        assert 0 < one["tokens"] <= 6
    page = whichtune("prompt", *STATEMENTS, *flags)
    assert max(map(len, page.out.splitlines())) <= 80
    for word in (*STATEMENTS, "few-shot", "[13 lines]", "likeliest label", "accuracy"):
        assert word in page.out
    whole = whichtune("prompt", *STATEMENTS, *flags, "--full").out
    assert "[13 lines]" not in whole
    assert whole.count("Statement:") == 2 * (1 + 5 + 1)


def test_rows_with_labels_are_scored(whichtune, gpt_folder, place):
    (place / "own.csv").write_text("text,label\nfine,good\ngrim,bad\ndull,bad\n")
    flags = ("--init-from", gpt_folder, "--file", "own.csv", *PLAIN)
    found = read_lines(whichtune("prompt", *flags, "--style", "one-shot", "--examples", "own.csv", "--json"))
    assert [one["gold"] for one in found] == ["good", "bad", "bad"]
    assert all(one["right"] == (one["answer"] == one["gold"]) for one in found)
    assert all(one["prompt"].count("Text: ") == 2 and "Which label fits" in one["prompt"] for one in found)
    for one in found:
        assert one["prompt"].count(f"Text: {one['text']}") == 1, "a row is never its own example"
    page = whichtune("prompt", *flags, "--template", "{{ text }} is {{ options }}?", "--style", "zero-shot,expert")
    assert page.code == 0, page.err
    assert "right answer: good" in page.out
    assert "template" in page.out
    right = [one["right"] for one in read_lines(whichtune("prompt", *flags, "--style", "expert", "--json"))]
    assert f"{100 * sum(right) / 3:.1f}" in next(line for line in page.out.splitlines() if line.startswith("expert"))


def test_standard_input_pairs_and_numbers(whichtune, gpt_folder):
    flags = ("--init-from", gpt_folder, "--max-new-tokens", 16, "--json", *PLAIN)
    (one,) = read_lines(whichtune("prompt", *flags, "--wording", "inference", stdin=b"It rains.\tIt is wet.\n"))
    assert (one["text"], one["pair"]) == ("It rains.", "It is wet.")
    assert one["prompt"].endswith("Premise: It rains.\nHypothesis: It is wet.\nAnswer:")
    assert set(one["shares"]) == {"contradiction", "entailment", "neutral"}
    ended = whichtune("prompt", *flags, "--wording", "problems", "--style", "few-shot", "--shots", 2, "2 + 2 = ?")
    (one,) = read_lines(ended)
    assert (one["prompt"].count("Problem:"), one["shares"]) == (3, {})
    reasoned = whichtune("prompt", *flags, "--style", "chain-of-thought", "Bats are blind.")
    assert "Reasoning:" in read_lines(reasoned)[0]["prompt"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["x"], ["--init-from smollm2"]),
        (["--init-from", "random:gpt"], ["no statement", "--file"]),
        (["--init-from", "random:gpt", ""], ["statement 1 is empty"]),
        (["--init-from", "random:gpt", "--style", "few-shto", "x"], ["--style", "'few-shot'"]),
        (["--init-from", "random:gpt", "--wording", "statment", "x"], ["--wording", "'statements'"]),
        (["--init-from", "random:gpt", "--template", "{{ txt }}", "x"], ["txt", "'text'"]),
        (["--init-from", "random:gpt", "--template", "", "x"], ["--template", "empty"]),
        (["--init-from", "random:gpt", "--wording", "labels", "x"], ["--labels positive,negative"]),
        (["--init-from", "random:gpt", "--labels", "a,a", "x"], ["--labels", "differ"]),
        (["--init-from", "random:gpt", "--labels", "good,goods", "x"], ["beginning of the word"]),
        (["--init-from", "random:gpt", "--wording", "problems", "--labels", "a,b", "x"], ["--labels", "number"]),
        (["--init-from", "random:gpt", "--wording", "pairs", "--labels", "a,b", "x"], ["second text", "tab"]),
        (["--init-from", "random:gpt", "--shots", 2, "x"], ["--shots 2", "few-shot"]),
        (["--init-from", "random:gpt", "--style", "few-shot", "--labels", "a,b", "x"], ["--examples"]),
        (["--init-from", "random:gpt", "--style", "few-shot", "--examples", "statments", "x"], ["'statements'"]),
        (["--init-from", "random:gpt", "--style", "few-shot", "x"], ["too long", "up to 112"]),
        (["--init-from", "random:bert", "x"], ["scores no next token"]),
        (["--init-from", "random:gpt", "--top-k", 0, "x"], ["--top-k", "at least 1"]),
        (["--init-from", "random:gpt", "--file", "nowhere.csv"], ["nowhere.csv"]),
    ],
)
def test_wrong_input_is_one_message(whichtune, flags, words):
    ended = whichtune("prompt", *flags)
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.told
