import pytest

from whichtune.data.examples import Example
from whichtune.errors import DataError, SpecError
from whichtune.prompts.prompt import build_prompt, make_recipe
from whichtune.prompts.styles import find_style, list_styles, list_wordings
from whichtune.spec.prompts import PromptSpec, StyleName, WordingName
from whichtune.spec.sources import Columns

TRUTH = ("false", "true")
BATS = Example("test:1", "test", "Bats are blind.", "false", "s.json:1")


def recipe(columns=None, labels=TRUTH, **spec):
    return make_recipe(PromptSpec.model_validate(spec), labels, columns or Columns())


def test_the_styles_and_wordings_of_the_file_are_those_of_the_spec():
    assert list_styles() == StyleName.__args__
    assert list_wordings() == WordingName.__args__


@pytest.mark.parametrize("style", list_styles())
@pytest.mark.parametrize("wording", list_wordings())
def test_any_style_goes_with_any_wording(style, wording, make_rows):
    labels = {"statements": TRUTH, "inference": ("contradiction", "entailment", "neutral")}
    labels |= dict.fromkeys(("labels", "pairs", "multiple-choice"), ("a", "b"))
    pair = Columns(text="premise", pair="hypothesis") if wording in ("inference", "pairs") else Columns()
    worked = style == "chain-of-thought"
    own = {"style": style, "wording": wording}
    if worked and wording in ("labels", "pairs", "multiple-choice", "summaries"):
        own["template"] = find_style(PromptSpec(style=style)).model_copy(update={"examples": 0})
    made = recipe(pair, labels.get(wording, ()), **own)
    item = Example("test:1", "test", "the text", None, "s:1", "the second")
    prompt = build_prompt(made, item)
    assert "the text" in prompt.text
    assert "{{" not in prompt.text
    assert ("the second" in prompt.text) == (wording in ("inference", "pairs") and style != "short-published")


def test_a_few_shot_prompt_letter_by_letter():
    rows = [
        Example("a", "train", "Water is wet.", "true", "s:2"),
        Example("b", "train", "2 + 2 = 5.", "false", "s:3"),
    ]
    prompt = build_prompt(recipe(style="few-shot", wording="statements"), BATS, rows, rows)
    head = (
        "Is the statement true or false? Answer with one word, true or false.\n\n"
        "Statement: Water is wet.\nAnswer: true\n\nStatement: 2 + 2 = 5.\nAnswer: false"
    )
    assert prompt.text == f"{head}\n\nStatement: Bats are blind.\nAnswer:"
    assert prompt.shared_prefix == head
    assert [(part.kind, part.id) for part in prompt.parts] == [
        ("instruction", ""),
        ("example", "a"),
        ("example", "b"),
        ("query", "test:1"),
    ]


def test_the_shared_head_ends_where_a_row_has_other_examples(make_rows):
    made, rows = recipe(style="few-shot", labels=("negative", "positive")), make_rows(4)
    prompt = build_prompt(made, BATS, [rows[0], rows[2]], [rows[0], rows[1]])
    assert prompt.shared_prefix == "\n\n".join(part.text for part in prompt.parts[:2])
    assert prompt.text.startswith(prompt.shared_prefix + "\n\n")
    assert build_prompt(made, BATS, rows[:2]).shared_prefix == made.instruction
    assert build_prompt(recipe(style="short-and-direct"), BATS).shared_prefix == ""


def test_the_published_short_prompt_is_word_for_word():
    prompt = build_prompt(recipe(style="short-published", wording="statements"), BATS)
    assert prompt.text == "Classify the sentiment as positive or negative: Bats are blind.."
    assert prompt.parts[0].kind == "query"


def test_worked_examples_hold_a_reasoning_and_are_shared():
    made = recipe(style="chain-of-thought", wording="statements", words={"true": "yes", "false": "no"})
    prompt = build_prompt(made, BATS)
    assert prompt.shared_prefix.endswith("wires are made of it. The answer is yes.")
    assert prompt.text.endswith("\n\nStatement: Bats are blind.\nReasoning:")
    assert made.reader.cue == "the answer is"


def test_words_stand_for_labels_in_examples_options_and_targets():
    made = recipe(words={"true": "right", "false": "wrong"}, style="one-shot")
    assert made.instruction == "Which label fits the text: wrong or right? Answer with the label alone."
    assert made.completion_of(BATS) == " wrong"
    assert build_prompt(made, BATS, [BATS]).parts[1].text == "Text: Bats are blind.\nLabel: wrong"
    assert made.reader.read(" Wrong!") == "false"


def test_columns_go_by_their_own_names_too():
    columns = Columns(text="premise", pair="hypothesis", label="gold")
    own = {"query": "{{ premise }}|{{ hypothesis }}|{{ text }}|{{ pair }}"}
    item = Example("1", "test", "a", None, "s:1", "b")
    assert build_prompt(recipe(columns, template=own), item).text == "a|b|a|b"
    with pytest.raises(DataError, match="json:1 has no second text"):
        build_prompt(recipe(columns, template=own), BATS)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"template": {"query": "{{ review }}"}}, r"template\.query .*'review'; allowed: .*text"),
        ({"template": {"query": "{{ answer }}"}}, r"template\.query .*'answer'"),
        ({"template": {"instruction": "{{ text }}"}}, "template.instruction names a column"),
        ({"template": {"example": "{{ reasoning }}"}}, r"template\.example .*'reasoning'"),
        ({"wording": "inference"}, r"wording\.item .*'pair'"),
        ({"style": "chain-of-thought"}, "worked examples: got 4; allowed: as many as the wording has"),
        ({"words": {"true": "t", "false": "T"}}, "stands for"),
    ],
)
def test_templates_that_do_not_fit_the_data_are_refused(spec, told):
    with pytest.raises((SpecError, ValueError), match=told):
        recipe(**spec)


def test_a_worked_answer_must_be_a_label():
    with pytest.raises(SpecError, match="is no label: got 'true'; allowed: a, b"):
        recipe(labels=("a", "b"), style="chain-of-thought", wording="statements")


def test_a_multiple_choice_is_asked_and_answered_by_letters():
    made = recipe(labels=("red", "blue"), wording="multiple-choice", style="one-shot")
    item = Example("1", "test", "the sky", "blue", "s:1")
    prompt = build_prompt(made, item, [item])
    assert made.instruction.endswith("Answer with its letter.\nA) red\nB) blue")
    assert prompt.parts[1].text == "Text: the sky\nAnswer: B"
    assert made.completion_of(item) == " B"
    assert made.reader.read(" b.") == "blue"


def test_no_part_ends_with_a_space():
    made = recipe(template={"instruction": "Judge. ", "query": "{{ text }}\nAnswer: \n"})
    assert build_prompt(made, BATS).text == "Judge.\n\nBats are blind.\nAnswer:"


def test_a_recipe_is_another_when_any_part_of_it_changes():
    base = recipe(style="few-shot").fingerprint
    others = [
        recipe(style="zero-shot"),
        recipe(style="few-shot", wording="statements"),
        recipe(style="few-shot", words={"true": "right"}),
        recipe(Columns(text="review"), style="few-shot"),
        recipe(template={"instruction": "{{ ask }}", "examples": 5}),
    ]
    assert len({base, *(one.fingerprint for one in others)}) == 6
    # A style by its name and the same one written out are one recipe.
    assert recipe(template={"instruction": "{{ ask }}", "examples": 4}).fingerprint == base
    prompts = {build_prompt(made, BATS).fingerprint for made in others}
    assert len(prompts) == 3  # examples are the caller's, and a column's name is not in the text


def test_a_gold_answer_is_expected_as_it_is_read():
    reader = recipe(labels=(), wording="problems").reader
    assert reader.read("0.20 dollars") == reader.expect("$0.2") == "0.2"
    assert reader.expect("unknown") == "unknown"
    assert recipe().reader.expect("true") == "true"
    assert recipe(labels=(), wording="summaries").reader.expect(" a ") == "a"


def test_the_number_of_examples_is_the_styles_or_the_users():
    assert recipe(style="few-shot").shots == 4
    assert recipe(style="few-shot", shots={"count": 7}).shots == 7
    assert recipe(style="zero-shot", shots={"count": 2}).shots == 2
    made = recipe(style="chain-of-thought", wording="statements", shots={"count": 2})
    assert made.shots == 0
    assert [part.kind for part in build_prompt(made, BATS).parts] == ["instruction", "example", "example", "query"]
