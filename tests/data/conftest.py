import pytest

from whichtune.data.examples import Example


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An empty cache of each test's own."""
    root = tmp_path / "cache"
    monkeypatch.setenv("WHICHTUNE_CACHE", str(root))
    return root


@pytest.fixture
def make_examples():
    """Examples from texts (or a count of them) with labels that repeat."""

    def make(texts, labels=("a", "b"), split="train"):
        texts = [f"text {number}" for number in range(texts)] if isinstance(texts, int) else texts
        return [
            Example(f"{split}:{place}", split, text, labels[place % len(labels)], f"{split}.csv:{place}")
            for place, text in enumerate(texts)
        ]

    return make
