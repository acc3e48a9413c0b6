import pytest

from whichtune.data.examples import Example


@pytest.fixture(scope="session")
def make_rows():
    def make(count=12, labels=("negative", "positive"), prefix="train"):
        return [
            Example(f"{prefix}:{at}", prefix, f"{prefix} text {at}", labels[at % len(labels)], f"a.csv:{at}")
            for at in range(count)
        ]

    return make
