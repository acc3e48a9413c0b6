import pytest
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging

from whichtune.models.quiet import silence_libraries


def state():
    return logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()


def test_silence_ends_with_the_block_even_on_an_error():
    before, inside = state(), []

    def fail_quietly():
        with silence_libraries():
            inside.append(state())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_quietly()
    assert inside == [(logging.CRITICAL, False, True)]
    assert state() == before
