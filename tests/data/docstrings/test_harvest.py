import sys

import pytest

from whichtune.data.docstrings.harvest import Installed, find_installed, harvest, list_sources

BODY = "It takes the values one after the other and adds them, and it gives the sum back as it is. " * 3
DOC = f'"""Add the values {{}}.\n\n{BODY}\n"""'


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "sums_of_values"
    (folder / "tests").mkdir(parents=True)
    (folder / "deep").mkdir()
    (folder / "__init__.py").write_text(DOC.format("of all") + "\nraise RuntimeError('imported')\n")
    (folder / "b.py").write_text(
        f"class Sum:\n    {DOC.format('in turn')}\n    def add(self):\n        {DOC.format('once')}\n"
        f"        def inner():\n            {DOC.format('inside')}\n"
    )
    (folder / "deep" / "a.py").write_text(f"async def gather():\n    {DOC.format('at once')}\n")
    (folder / "broken.py").write_text('"""\nno end')
    (folder / "tests" / "test_a.py").write_text(DOC.format("in a test"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return find_installed("sums_of_values")


def test_docstrings_are_read_by_file_and_place_and_nothing_is_imported(package):
    rows = list(harvest(package))
    assert [(row.id, row.summary) for row in rows] == [
        ("sums_of_values", "Add the values of all."),
        ("sums_of_values.b.Sum", "Add the values in turn."),
        ("sums_of_values.b.Sum.add", "Add the values once."),
        ("sums_of_values.deep.a.gather", "Add the values at once."),
    ]
    assert {row.package for row in rows} == {"sums_of_values"}
    assert {" ".join(row.text.split()) for row in rows} == {BODY.strip()}
    assert "sums_of_values" not in sys.modules
    assert package.version == "of unknown version"


def test_what_is_not_installed_or_is_one_file_is_not_found(monkeypatch):
    assert find_installed("no_such_package_here") is None
    assert find_installed("typing_extensions") is None
    assert find_installed("__main__") is None
    assert find_installed("sklearn").version == find_installed("sklearn").version != "of unknown version"


def test_the_standard_library_is_found_without_what_is_installed_into_it():
    library = find_installed("python")
    assert isinstance(library, Installed)
    parts = {part for file in list_sources(library) for part in file.relative_to(library.folder).parts[:-1]}
    assert "asyncio" in parts
    assert not parts & {"site-packages", "test", "idlelib"}
