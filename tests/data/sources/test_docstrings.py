import pytest

from whichtune.data.cleaning import Sieve
from whichtune.data.docstrings import harvest
from whichtune.data.load import load_data
from whichtune.data.needs import Needs
from whichtune.data.sources.registry import read_source
from whichtune.errors import DataError
from whichtune.spec.sources import Columns, DataSpec, DocstringsSource

COLUMNS = Columns(label="summary", id="id", group="package")
BODY = "It takes the values one after the other and adds them, and it gives the sum back as it is. " * 3


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))


def read(*packages, columns=COLUMNS):
    return read_source(DocstringsSource(kind="docstrings", packages=packages), Needs(columns))


def test_numpy_gives_some_hundred_rows_that_name_their_source():
    rows = read("numpy")
    table = rows.parts["all"]
    assert len(table) > 200
    assert rows.source.startswith(f"docstrings: {len(table)} rows of numpy 2.")
    assert "bodies of 40 words and more, rule 1, sha256 " in rows.source
    assert all(len(text.split()) >= 40 for text in table.values["text"])
    assert all(3 <= len(summary.split()) <= 30 for summary in table.values["summary"])
    examples = Sieve(Needs(COLUMNS)).sift("all", table)
    assert len({one.id for one in examples}) == len({one.text for one in examples}) == len(table)
    assert examples[0].gold == table.values["summary"][0]
    assert examples[0].group == "numpy"


def test_the_second_reading_parses_nothing_and_is_the_same(monkeypatch, tmp_path):
    folder = tmp_path / "kept_values"
    folder.mkdir()
    (folder / "__init__.py").write_text(f'"""Add the values of all.\n\n{BODY}\n"""')
    monkeypatch.syspath_prepend(str(tmp_path))
    first = read("kept_values")
    with monkeypatch.context() as patch:
        patch.setattr(harvest.ast, "parse", None)
        assert read("kept_values") == first
    (folder / "__init__.py").write_text(f'"""Add the values of others.\n\n{BODY}\n"""')
    assert read("kept_values").parts["all"].values["summary"] == ["Add the values of others."]


def test_copies_are_dropped_across_packages_and_what_is_missing_is_noted(monkeypatch, tmp_path):
    for name in ("first_values", "second_values"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f'"""Add the values of all.\n\n{BODY}\n"""')
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = read("first_values", "no_such_package_here", "second_values")
    assert rows.parts["all"].values["id"] == ["first_values"]
    assert rows.notes == ("not installed, so without rows: no_such_package_here",)


def test_no_rows_and_no_column_are_told():
    with pytest.raises(DataError, match=r"no docstrings .*got 'no_such_package_here'"):
        read("no_such_package_here")
    with pytest.raises(DataError, match="has no column `sumary`; allowed: id, text, summary, package; did you mean"):
        read("numpy", columns=Columns(label="sumary"))


@pytest.mark.parametrize("packages", [(), ("os.path",), ("../x",)])
def test_names_are_those_of_packages(packages):
    with pytest.raises(ValueError, match="packages"):
        DocstringsSource(kind="docstrings", packages=packages)


def test_summaries_are_gold_texts_and_rows_are_drawn_by_their_names(monkeypatch, tmp_path):
    folder = tmp_path / "many_values"
    folder.mkdir()
    numbers = [place * 7919 for place in range(40)]
    said = {place: f"Add value {number} to all other values there are." for place, number in enumerate(numbers)}
    parts = [
        f'def f{place}():\n    """{said[place]}\n\n    Case {number}. {BODY}\n    """'
        for place, number in enumerate(numbers)
    ]
    (folder / "__init__.py").write_text("\n\n".join(parts))
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = {"source": {"kind": "docstrings", "packages": ["many_values"]}, "columns": COLUMNS.model_dump()}
    data = load_data(DataSpec.model_validate(spec), "texts")
    assert (data.labels, data.report.rows) == ((), {"train": 24, "validation": 6, "test": 10})
    for one in (one for rows in data.examples.values() for one in rows):
        place = int(one.id.removeprefix("many_values.f"))
        assert one.gold == said[place]
        assert one.text.startswith(f"Case {numbers[place]}.")
        assert one.group == "many_values"
