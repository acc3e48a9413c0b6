import sys
from types import ModuleType, SimpleNamespace

import pytest

from whichtune.data.cleaning import Sieve
from whichtune.data.load import load_data
from whichtune.data.needs import Needs
from whichtune.data.sources import hub
from whichtune.errors import DataError
from whichtune.spec.sources import Columns, DataSpec, HubSource

COMMIT = "a" * 40


class FakeSplit(SimpleNamespace):
    """What we use of a split: columns, features, values, and the addresses it was made from."""

    @property
    def column_names(self):
        return list(self.columns)

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column):
        return self.columns[column]


def make_split(address="hf://datasets/some/set@" + "b" * 40 + "/train.parquet"):
    features = {"text": SimpleNamespace(dtype="string"), "label": SimpleNamespace(names=["neg", "pos"])}
    columns = {"text": ["x", "y", "z"], "label": [1, 0, -1]}
    return FakeSplit(columns=columns, features=features, info=SimpleNamespace(download_checksums={address: {}}))


@pytest.fixture
def fake(monkeypatch):
    """A library that gives two splits, and what it was asked for."""
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        return {"train": make_split(), "test": make_split()}

    module = ModuleType("datasets")
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def answer(monkeypatch, result):
    """Let the hub answer a question for a commit with a value or an error."""

    def dataset_info(self, name, **kwargs):
        if isinstance(result, Exception):
            raise result
        return SimpleNamespace(sha=result)

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)


def read(**fields):
    fields = {"splits": {"train": "train", "test": "test"}} | fields
    return hub.read_hub(HubSource(kind="hub", name="some/set", **fields), Needs(Columns()))


def test_the_resolved_commit_is_loaded_and_recorded(fake, monkeypatch):
    answer(monkeypatch, COMMIT)
    rows = read(revision="main", config="plain")
    assert fake == [(("some/set", "plain"), {"revision": COMMIT})]
    assert rows.source == f"hub: some/set (plain) at {COMMIT}"
    assert set(rows.parts) == {"train", "test"}


def test_class_numbers_become_names_and_minus_one_none(fake, monkeypatch):
    answer(monkeypatch, COMMIT)
    table = read().parts["test"]
    assert table.values["label"] == ["pos", "neg", None]
    assert table.origin(0) == "some/set/test:1"


def test_two_text_columns_and_a_hidden_label_come_through(fake, monkeypatch):
    answer(monkeypatch, COMMIT)
    split = make_split()
    split.columns |= {"hypothesis": ["a", "b", "c"], "genre": ["x", "x", "y"]}
    split.features |= {"hypothesis": SimpleNamespace(), "genre": SimpleNamespace()}
    sys.modules["datasets"].load_dataset = lambda *args, **kwargs: {"train": split, "test": split}
    spec = HubSource(kind="hub", name="some/set", splits={"train": "train", "test": "test"})
    columns = Columns(pair="hypothesis", group="genre")
    kept = Sieve(Needs(columns)).sift("train", hub.read_hub(spec, Needs(columns)).parts["train"])
    assert [(one.text, one.pair, one.gold, one.group) for one in kept] == [
        ("x", "a", "pos", "x"),
        ("y", "b", "neg", "x"),
    ]


def test_a_commit_is_not_asked_for(fake, monkeypatch):
    answer(monkeypatch, AssertionError("asked"))
    assert COMMIT in read(revision=COMMIT).source


def test_offline_the_cache_tells_the_commit(fake, monkeypatch):
    answer(monkeypatch, ConnectionError("no network"))
    assert "b" * 40 in read().source


def test_an_unknown_commit_is_said(fake, monkeypatch):
    answer(monkeypatch, ConnectionError("no network"))
    monkeypatch.setattr(hub, "_commit_of", lambda loaded: None)
    rows = read()
    assert "unknown commit" in rows.source
    assert rows.notes


def test_a_missing_split_names_those_there_are(fake, monkeypatch):
    answer(monkeypatch, COMMIT)
    with pytest.raises(DataError, match="no split `tset`, named for `test`; allowed: train, test; did you mean 'test'"):
        read(splits={"train": "train", "test": "tset"})
    with pytest.raises(DataError, match="leave `validation` out"):
        read(splits={"train": "train", "validation": "validation"})


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ConnectionError("Couldn't reach the Hub"), "load it once with a network"),
        (OSError("offline mode is enabled"), "HF_HUB_OFFLINE"),
        (ValueError("BuilderConfig 'x' not found."), "check `name`, `config` and `revision`"),
    ],
)
def test_whatever_the_library_raises_is_one_message(fake, monkeypatch, error, remedy):
    answer(monkeypatch, COMMIT)

    def load_dataset(*args, **kwargs):
        raise error

    sys.modules["datasets"].load_dataset = load_dataset
    with pytest.raises(DataError, match="cannot load the data set some/set") as caught:
        read()
    assert remedy in str(caught.value)


def test_a_real_folder_in_the_hubs_layout_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    folder = tmp_path / "set"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text(f"text,label\n{split} one,1\n{split} two,0\n", encoding="utf-8")
    source = HubSource(kind="hub", name=str(folder), splits={"train": "train", "test": "test"})
    rows = hub.read_hub(source, Needs(Columns()))
    assert rows.parts["test"].values == {"text": ["test one", "test two"], "label": [1, 0]}
    assert "folder sha256" in rows.source


def test_cnn_dailymail_on_the_hub_is_read_with_its_configuration_and_columns(fake, monkeypatch):
    """Its layout there: configuration `3.0.0`, splits train, validation and test, columns article, highlights, id."""
    answer(monkeypatch, COMMIT)
    features = {name: SimpleNamespace(dtype="string") for name in ("article", "highlights", "id")}
    columns = {
        split: {
            "article": [f'(CNN) -- {split} said "{n * 7919}".\n\nMore on page {n}.' for n in range(8)],
            "highlights": [f"Page {n} says more .\nSo does {split} ." for n in range(8)],
            "id": [f"{split}{n:038x}" for n in range(8)],
        }
        for split in ("train", "validation", "test")
    }
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        info = SimpleNamespace(download_checksums={})
        return {split: FakeSplit(columns=own, features=features, info=info) for split, own in columns.items()}

    sys.modules["datasets"].load_dataset = load_dataset
    source = {"kind": "hub", "name": "cnn_dailymail", "config": "3.0.0"}
    named = {"text": "article", "label": "highlights", "id": "id"}
    data = load_data(DataSpec.model_validate({"source": source, "columns": named}), "texts")
    assert asked == [(("cnn_dailymail", "3.0.0"), {"revision": COMMIT})]
    assert data.report.source == f"hub: cnn_dailymail (3.0.0) at {COMMIT}"
    assert (data.labels, data.report.rows) == ((), {"train": 8, "validation": 8, "test": 8})
    for split, own in columns.items():
        found = [(one.text, one.gold, one.id) for one in data.examples[split]]
        assert found == list(zip(own["article"], own["highlights"], own["id"], strict=True))
