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


def test_two_encoders_in_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image, text = {"kind": "dinov2-small"}, {"kind": "minilm"}
    assert read_backbone_word("dinov2-small+minilm") == {"kind": "pair", "image": image, "text": text}
    assert read_backbone_word("random:vit+random:bert")["image"] == {"kind": "random", "family": "vit"}
    (tmp_path / "a+b").mkdir()
    assert read_backbone_word("a+b") == {"kind": "folder", "path": tmp_path / "a+b"}
    (tmp_path / "a+b.gguf").touch()
    assert read_backbone_word("a+b.gguf") == {"kind": "gguf", "path": tmp_path / "a+b.gguf"}
    with pytest.raises(ModelError, match=r"'a\+minilm\+c': neither"):
        read_backbone_word("a+minilm+c")
    with pytest.raises(ModelError, match="neither a folder nor a name"):
        read_backbone_word("minilm+")


def test_a_folder_of_images_in_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/cat", "photos/dog", "cut/Train/cat", "cut/val/cat", "odd/train/cat", "odd/cat", "rows"):
        (tmp_path / name).mkdir(parents=True)
    assert read_source_word("photos") == {"kind": "image-folder", "all": tmp_path / "photos"}
    cut = {"kind": "image-folder", "train": tmp_path / "cut" / "Train", "validation": tmp_path / "cut" / "val"}
    assert read_source_word("cut") == cut
    assert read_source_word("odd") == {"kind": "image-folder", "all": tmp_path / "odd"}
    (tmp_path / "rows" / "a.csv").write_text("text\n")
    assert read_source_word("rows") is None
    (tmp_path / "digits").mkdir()
    assert read_source_word("digits")["kind"] == "image-folder"
