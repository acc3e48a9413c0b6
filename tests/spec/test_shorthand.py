import pytest

from whichtune.errors import ModelError
from whichtune.spec.shorthand import COLUMNS, TASKS, list_built_in, read_backbone_word, read_source_word
from whichtune.spec.sources import DataSpec


@pytest.mark.parametrize(
    ("word", "entry"),
    [
        ("minilm", {"kind": "minilm"}),
        ("smollm2", {"kind": "smollm2"}),
        ("dinov2-small", {"kind": "dinov2-small"}),
        ("efficientnet-lite0", {"kind": "efficientnet-lite0"}),
        ("gpt:gpt2-medium", {"kind": "gpt", "name": "gpt2-medium", "revision": None}),
        ("random", {"kind": "random", "family": "bert"}),
        ("random:roberta", {"kind": "random", "family": "roberta"}),
        ("roberta-base", {"kind": "hub", "name": "roberta-base", "revision": None}),
        ("org/model@abc123", {"kind": "hub", "name": "org/model", "revision": "abc123"}),
    ],
)
def test_words(word, entry):
    assert read_backbone_word(word) == entry


def test_an_existing_folder_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roberta-base").mkdir()
    assert read_backbone_word("roberta-base") == {"kind": "folder", "path": tmp_path / "roberta-base"}


def test_an_existing_gguf_file_is_one_and_a_gpt_may_stand_in_a_folder(tmp_path):
    file = tmp_path / "model.Q4_1.gguf"
    file.touch()
    assert read_backbone_word(str(file)) == {"kind": "gguf", "path": file}
    assert read_backbone_word(f"gpt:{tmp_path}") == {"kind": "gpt", "path": tmp_path}


@pytest.mark.parametrize("word", ["./models/bert", "a/b/c", "two words", "", "gpt:minilm", "gpt:"])
def test_neither_folder_nor_name(word):
    with pytest.raises(ModelError, match="neither a folder nor a name"):
        read_backbone_word(word)


def test_sources_of_rows_in_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_source_word("movie-reviews") == {"kind": "movie-reviews"}
    assert read_source_word("rows.csv") is None
    assert read_source_word("files") is None
    assert read_source_word("hub:rotten_tomatoes") == {"kind": "hub", "name": "rotten_tomatoes", "revision": None}
    (tmp_path / "tweets").write_text("a file of that name")
    assert read_source_word("tweets") is None
    assert (set(COLUMNS) | set(TASKS)) - {"image-folder", "daquar"} <= set(list_built_in())
    for word, columns in COLUMNS.items():
        DataSpec.model_validate({"source": {"kind": word}, "columns": columns})
