import ast
import operator
import re
from fractions import Fraction

import pytest

from whichtune.data.load import load_data
from whichtune.data.needs import Needs
from whichtune.data.sources.registry import read_source
from whichtune.data.sources.word_problems import list_word_problems
from whichtune.prompts.numbers import canonical_number, read_last_number
from whichtune.prompts.styles import find_wording
from whichtune.spec.prompts import PromptSpec
from whichtune.spec.sources import Columns, DataSpec, WordProblemsSource

ROWS = list_word_problems()
BY_ID = [pytest.param(row, id=row["id"]) for row in ROWS]
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
EQUATION = re.compile(r"([-\d.][-+*/(). \d]*?) = (-?[\d./]*\d)")


def compute(expression):
    def value(node):
        if isinstance(node, ast.BinOp):
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp):
            assert isinstance(node.op, ast.USub)
            return -value(node.operand)
        assert isinstance(node, ast.Constant)
        return Fraction(str(node.value))

    return value(ast.parse(expression.strip(), mode="eval").body)


def test_there_are_a_hundred_and_no_two_are_alike():
    assert len(ROWS) == len({row["text"] for row in ROWS}) == len({row["id"] for row in ROWS}) == 100
    assert {row["topic"] for row in ROWS} == {
        "money", "percent", "travel", "rates", "ages", "geometry", "counting", "measures",
    }  # fmt: skip


@pytest.mark.parametrize("row", BY_ID)
def test_a_program_agrees_with_the_answer_and_every_step(row):
    assert compute(row["check"]) == Fraction(row["answer"])
    assert canonical_number(row["answer"]) == row["answer"]
    assert row["solution"].endswith(f" The answer is {row['answer']}.")
    assert read_last_number(row["solution"]) == row["answer"]
    steps = EQUATION.findall(row["solution"])
    assert len(steps) == row["solution"].count("=")
    for left, right in steps:
        assert compute(left) == Fraction(right), (left, right)


@pytest.mark.parametrize("row", BY_ID)
def test_the_answer_is_made_of_the_numbers_of_the_problem(row):
    # What every reader knows: a hundredth, an hour, a thousandth, half, a quarter, a triangle, a pair of legs.
    known = {"1", "2", "3", "4", "60", "100", "180", "1000"}
    given = {canonical_number(one) for one in re.findall(r"\d+(?:\.\d+)?", row["text"])} | known
    assert {canonical_number(one) for one in re.findall(r"\d+(?:\.\d+)?", row["check"])} <= given


def test_the_electricity_bill_is_solved_by_its_equation():
    bills = [row for row in ROWS if "150 kilowatt-hours" in row["text"]]
    [bill] = bills
    rate = Fraction(bill["answer"])
    assert 150 * rate + 100 * (rate + 5) == 5500
    assert bill["split"] == "test"


def test_problems_that_differ_in_numbers_alone_stand_in_one_split():
    splits = {}
    for row in ROWS:
        splits.setdefault(row["id"].rstrip("ab"), set()).add(row["split"])
    assert len(splits) == 50
    assert all(len(own) == 1 for own in splits.values())


def test_they_are_read_split_as_they_are():
    source = WordProblemsSource(kind="word-problems")
    rows = read_source(source, Needs(Columns(label="answer", id="id", group="topic")))
    assert {part: len(table) for part, table in rows.parts.items()} == {"train": 20, "validation": 20, "test": 60}
    assert rows.source.startswith("word-problems: 100 of our own (sha256 ")
    assert rows.parts["test"].values["answer"][0] == "22"
    read = read_source(source, Needs(Columns(label="solution")))
    assert read.parts["train"].values["solution"][0].endswith("The answer is 420.")


def test_worked_examples_of_prompts_are_right_and_not_among_them():
    for worked in find_wording(PromptSpec(wording="problems")).worked:
        assert worked.text not in {row["text"] for row in ROWS}
        for left, right in EQUATION.findall(worked.reasoning):
            assert compute(left) == Fraction(right)
        assert read_last_number(worked.reasoning) == worked.answer


def test_answers_are_gold_texts_split_as_they_are():
    columns = {"label": "answer", "id": "id", "group": "topic"}
    data = load_data(DataSpec.model_validate({"source": {"kind": "word-problems"}, "columns": columns}), "texts")
    assert (data.labels, data.report.dropped) == ((), ())
    assert data.report.rows == {"train": 20, "validation": 20, "test": 60}
    golds = {one.id: one.gold for rows in data.examples.values() for one in rows}
    assert golds == {row["id"]: row["answer"] for row in ROWS}
    assert len(set(golds.values())) > 50
