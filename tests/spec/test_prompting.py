import pytest
from pydantic import ValidationError

from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.prompts import PromptSpec

HELD = PromptSpec.model_validate(
    {
        "style": "expert", "wording": "statements", "words": {"a": "yes"}, "shots": {"choice": "per-item"},
        "template": {"query": "{{ text }}?"}, "own_wording": {"ask": "What?"},
    }
)  # fmt: skip


def lay(**method):
    return PromptingSpec.model_validate({"kind": "prompting"} | method).lay_over(HELD)


def test_what_is_left_out_is_as_the_task_has_it():
    assert lay() == HELD


def test_a_style_by_name_replaces_the_tasks_template():
    laid = lay(style="few-shot")
    assert (laid.style, laid.template) == ("few-shot", None)
    assert (laid.own_wording, laid.words, laid.shots) == (HELD.own_wording, HELD.words, HELD.shots)


def test_a_template_of_its_own_replaces_the_tasks():
    laid = lay(template={"query": "{{ text }}!"})
    assert (laid.style, laid.template.query) == ("expert", "{{ text }}!")


def test_wordings_words_and_examples_are_replaced_one_by_one():
    laid = lay(wording="labels")
    assert (laid.wording, laid.own_wording, laid.style) == ("labels", None, "expert")
    assert lay(own_wording={"ask": "Why?"}).own_wording.ask == "Why?"
    assert lay(words={"b": "no"}).words == {"b": "no"}
    assert lay(shots={"count": 3}).shots.choice == "fixed"


def test_settings_of_decoding_must_be_some():
    assert PromptingSpec(kind="prompting", decoding={"max_new_tokens": 200}).decoding == {"max_new_tokens": 200}
    with pytest.raises(ValidationError, match="temprature"):
        PromptingSpec(kind="prompting", decoding={"temprature": 1})
    with pytest.raises(ValidationError, match="beam search draws nothing"):
        PromptingSpec(kind="prompting", decoding={"beams": 2, "temperature": 1})


def test_a_prompter_trains_nothing():
    for field in ({"learning_rate": 1e-3}, {"training": {"epochs": 1}}, {"pooling": "mean"}):
        with pytest.raises(ValidationError):
            PromptingSpec.model_validate({"kind": "prompting"} | field)


def test_styles_can_stand_in_a_grid():
    assert PromptingSpec(kind="prompting", grid={"style": ("zero-shot", "few-shot")}).grid["style"]
    with pytest.raises(ValidationError, match="learning_rate"):
        PromptingSpec(kind="prompting", grid={"learning_rate": (1.0,)})


def test_two_labels_with_one_word_are_refused():
    with pytest.raises(ValidationError, match=r"the word 'Yes' stands for 'a' too"):
        PromptSpec(words={"a": "yes ", "b": "Yes"})
