from whichtune.cli.progress import describe_data
from whichtune.data.examples import DataReport


def test_rows_are_shown_by_label_where_there_are_labels():
    balance = {"train": {"bad": 3, "good": 4}, "test": {"bad": 1, "good": 0}}
    lines = describe_data(DataReport("made", balance, rows={"train": 7, "test": 1}))
    assert lines == ["data: made", "  train: 7 rows (bad 3, good 4)", "  test: 1 rows (bad 1, good 0)"]


def test_rows_are_shown_by_number_where_gold_are_texts():
    lines = describe_data(DataReport("made", {}, rows={"train": 30, "test": 8}, notes=("odd",)))
    assert lines == ["data: made", "  train: 30 rows", "  test: 8 rows", "  odd"]
