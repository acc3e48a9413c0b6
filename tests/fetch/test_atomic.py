import pytest

from whichtune.fetch.atomic import write_text, writing


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "record.json"
    write_text(path, "old")

    def fail():
        with writing(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_takes_the_name_at_the_end_only(tmp_path):
    path = tmp_path / "record.json"
    with writing(path) as temporary:
        temporary.write_text("ä", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "ä"
