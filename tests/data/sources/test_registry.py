from typing import get_args

from whichtune.data.sources.registry import READERS
from whichtune.spec.sources import SourceSpec


def test_every_kind_of_source_has_a_reader_and_no_other():
    assert set(READERS) == set(get_args(get_args(SourceSpec)[0]))
