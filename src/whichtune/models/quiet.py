"""Loading without chatter: progress bars and log lines of the model libraries, off for the length of a block."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def silence_libraries() -> Generator[None]:
    """Turn off progress bars and log lines below errors, and put everything back after."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    level, bars, hub_bars = logging.get_verbosity(), logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()
