import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.data.examples import Example
from whichtune.errors import DataError
from whichtune.prompts.fitting import Cut, Ruler, fit_prompt
from whichtune.prompts.prompt import build_prompt, make_recipe
from whichtune.spec.prompts import PromptSpec
from whichtune.spec.sources import Columns

WORDS = Ruler(lambda text: len(text.split()), lambda text, count: " ".join(text.split()[:count]))
CHARACTERS = Ruler(len, lambda text, count: text[:count])
RECIPE = make_recipe(PromptSpec(wording="summaries"), (), Columns(label="summary"))


def row(text):
    return Example("test:1", "test", text, "a summary", "a.csv:1")


def test_a_short_row_is_left_alone():
    fitted = fit_prompt(RECIPE, row("one two"), 100, WORDS)
    assert fitted.cut is None
    assert fitted.prompt == build_prompt(RECIPE, row("one two"))
    assert fitted.tokens == WORDS.count_tokens(fitted.prompt.text)


def test_only_the_article_is_cut_and_the_cut_is_told():
    item = row(" ".join(f"w{n}" for n in range(50)))
    fitted = fit_prompt(RECIPE, item, 20, WORDS)
    assert fitted.tokens == 20
    assert fitted.cut == Cut("test:1", "a.csv:1", 50, 12)
    assert fitted.prompt.text.startswith("Summarize the text in one sentence.\n\nText: w0 w1")
    assert fitted.prompt.text.endswith("w11\nSummary:")


def test_examples_are_not_cut():
    example = Example("train:1", "train", "word " * 30, "short", "a.csv:2")
    fitted = fit_prompt(RECIPE, row("long " * 40), 60, WORDS, ([example], [example]))
    assert fitted.tokens <= 60
    assert fitted.prompt.parts[1] == build_prompt(RECIPE, row("x"), [example]).parts[1]


def test_a_prompt_too_long_without_its_text_is_refused():
    with pytest.raises(DataError, match=r"a\.csv:1: the prompt is too long.* got '8 tokens'; allowed: up to 7"):
        fit_prompt(RECIPE, row("one two"), 7, WORDS)


@given(st.text(min_size=1, max_size=80), st.integers(54, 140), st.sampled_from(["{{ item }}", "{{ text }}{{ text }}"]))
def test_the_budget_is_kept_and_what_stays_is_the_beginning(text, budget, query):
    recipe = make_recipe(PromptSpec.model_validate({"template": {"query": query}}), ("a", "b"), Columns())
    fitted = fit_prompt(recipe, row(text), budget, CHARACTERS)
    assert fitted.tokens == len(fitted.prompt.text) <= budget
    if fitted.cut is None:
        assert fitted.prompt == build_prompt(recipe, row(text))
    else:
        shown = build_prompt(recipe, row(text[: fitted.cut.kept_tokens]))
        assert fitted.prompt == shown


def test_of_two_texts_the_longer_one_is_cut():
    recipe = make_recipe(PromptSpec(wording="pairs"), ("a", "b"), Columns(pair="second"))
    item = Example("test:1", "test", "a short question", None, "a.csv:1", pair=" ".join(f"w{n}" for n in range(60)))
    fitted = fit_prompt(recipe, item, 40, WORDS)
    assert fitted.tokens <= 40
    assert "a short question" in fitted.prompt.text
    assert "w0" in fitted.prompt.text
    assert "w59" not in fitted.prompt.text
