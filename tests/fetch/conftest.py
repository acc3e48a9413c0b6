import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An empty cache of each test's own."""
    root = tmp_path / "cache"
    monkeypatch.setenv("WHICHTUNE_CACHE", str(root))
    return root
