"""Wrong input for tasks answered in words: one clear message, exit code 2, no traceback, before anything trains."""

import re

import pytest
from ruamel.yaml import YAML

SHORT = {"template": {"query": "{{ text }} =>", "example": "{{ text }} => {{ answer }}"}}
INSTRUCTION = {"kind": "instruction-classification", "prompt": SHORT}
SUMMARIES = {"kind": "summarization", "prompt": SHORT}
ASKED = {"asked": {"kind": "prompting"}}
GOOD = {"label": "label"}
CASES = {
    "a template that names a missing column": (
        {"task": INSTRUCTION | {"prompt": {"template": {"query": "{{ txet }} =>"}}}},
        r"template\.query names something that is not there.*txet.*did you mean 'text'",
    ),
    "a method's template that names a missing column": (
        {"methods": {"asked": {"kind": "prompting", "template": {"query": "{{ article }}"}}}},
        r"template\.query names something that is not there.*article",
    ),
    "an instruction that names a column": (
        {"task": INSTRUCTION | {"prompt": {"template": {"query": "{{ text }}", "instruction": "{{ text }}"}}}},
        r"template\.instruction names a column",
    ),
    "a template that does not parse": (
        {"task": INSTRUCTION | {"prompt": {"template": {"query": "{{ text"}}}},
        r"template\.query",
    ),
    "a word that is the beginning of another": (
        {"task": INSTRUCTION | {"prompt": SHORT | {"words": {"good": "a", "bad": "able"}}}},
        r"the word of the label 'good' is the beginning of the word of 'bad'",
    ),
    "one word for two labels": (
        {"task": INSTRUCTION | {"prompt": SHORT | {"words": {"good": "yes", "bad": "Yes"}}}},
        r"the word '(Yes|yes)' stands for '(good|bad)' too",
    ),
    "a word for a label that is not there": (
        {"task": INSTRUCTION | {"prompt": SHORT | {"words": {"godo": "yes"}}}},
        r"a label that the data do not have.*godo.*did you mean 'good'",
    ),
    "examples in the task's own prompt": (
        {"task": INSTRUCTION | {"prompt": {"style": "few-shot"}}},
        r"task\.prompt puts training rows into every prompt.*set it on a method instead",
    ),
    "a reasoning in the task's own prompt": (
        {"task": INSTRUCTION | {"prompt": {"style": "zero-shot-chain-of-thought"}}},
        r"task\.prompt asks for a reasoning",
    ),
    "first sentences as labels": (
        {"methods": {"lead": {"kind": "lead"}} | ASKED},
        r"methods\.lead.*lead writes summaries, and instruction-classification asks for none",
    ),
    "the second text of rows that have one": (
        {"methods": {"guess": {"kind": "hypothesis-only"}} | ASKED},
        r"methods\.guess.*reads the second text alone",
    ),
    "labels from the second text of problems": (
        {
            "task": {"kind": "question-answering-by-prompt"},
            "columns": {"pair": "more"},
            "methods": {"guess": {"kind": "hypothesis-only"}} | ASKED,
        },
        r"methods\.guess.*hypothesis-only guesses labels, and question-answering-by-prompt has none",
    ),
    "the most frequent summary": (
        {"task": SUMMARIES, "methods": {"most": {"kind": "majority"}} | ASKED},
        r"methods\.most.*use `lead`",
    ),
    "weights of classes": (
        {"training": {"class_weights": "balanced"}},
        r"training\.class_weights.*instruction-classification learns words and has no classes to weigh",
    ),
    "balanced draws of texts": (
        {"task": SUMMARIES, "training": {"sampling": "balanced"}},
        r"training\.sampling.*summarization has no classes to draw by",
    ),
    "labels of texts": (
        {"task": SUMMARIES, "labels": ["a", "b"]},
        r"data\.labels.*summarization has no labels",
    ),
    "more answer than row": (
        {"training": {"max_length": 12}},
        r"decoding\.max_new_tokens: got 16; allowed: below 12",
    ),
    "more examples than rows": (
        {"methods": {"asked": {"kind": "prompting", "shots": {"count": 500}}}},
        r"500 examples are asked for, the pool has \d+",
    ),
    "a prompt longer than the context": (
        {"task": INSTRUCTION | {"prompt": {"template": {"query": "x" * 300 + " {{ text }}"}}}},
        r"rows\.csv:\d+: the prompt is too long even without the row's text",
    ),
    "beams that draw": (
        {"methods": {"asked": {"kind": "prompting", "decoding": {"beams": 2, "temperature": 1}}}},
        r"methods\.asked.*beam search draws nothing",
    ),
    "a setting of decoding that is none": (
        {"methods": {"asked": {"kind": "prompting", "decoding": {"max_tokens": 2}}}},
        r"methods\.asked\.decoding.*max_tokens.*did you mean",
    ),
    "a method's beams that draw as the task says": (
        {
            "task": INSTRUCTION | {"decoding": {"temperature": 1.0}},
            "methods": {"asked": {"kind": "prompting", "decoding": {"beams": 2}}},
        },
        r"methods\.asked\.decoding.*beam search draws nothing",
    ),
    "an answer that must be longer than it may be": (
        {"task": INSTRUCTION | {"decoding": {"min_new_tokens": 20}}},
        r"min_new_tokens.*20 is more than `max_new_tokens` \(16\)",
    ),
    "a style that is none": (
        {"methods": {"asked": {"kind": "prompting", "style": "fewshot"}}},
        r"methods\.asked\.style.*fewshot",
    ),
    "no backbone to ask": (
        {"backbones": {}},
        r"methods\.asked.*prompting needs a backbone",
    ),
    "the answers' column is not there": (
        {"task": SUMMARIES, "columns": {"label": "summary"}},
        r"summary",
    ),
}  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    rows = [f"text number {at},{('good', 'bad')[at % 2]},more {at}" for at in range(40)]
    (tmp_path / "rows.csv").write_text("text,label,more\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def write(place, changes):
    data = {"source": {"kind": "files", "all": "rows.csv"}}
    for name in ("columns", "labels"):
        if name in changes:
            data[name] = changes[name]
    study = {
        "name": "words",
        "task": changes.get("task", INSTRUCTION),
        "data": data,
        "backbones": changes.get("backbones", {"tiny": {"kind": "random", "family": "gpt"}}),
        "methods": changes.get("methods", ASKED | {"lora": {"kind": "lora"}}),
        "training": {"epochs": 1, "batch_size": 16, "max_length": 64} | changes.get("training", {}),
        "seeds": [1],
        "execution": {"threads": 1, "device": "cpu", "check": False},
        "measure": {"probe": False},
    }
    with (place / "study.yaml").open("w", encoding="utf-8") as handle:
        YAML(typ="safe", pure=True).dump(study, handle)


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_one_clear_message(case, place, whichtune):
    changes, message = CASES[case]
    write(place, changes)
    ended = whichtune("run", "study.yaml")
    assert ended.code == 2, ended.err or ended.out
    assert "Traceback" not in ended.err
    assert re.search(message, ended.told), ended.told
    trials = place / "runs" / "words" / "trials"
    assert not trials.exists() or not list(trials.iterdir()), "nothing was trained"
