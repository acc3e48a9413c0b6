"""Loading without chatter: progress bars and log lines of the model libraries, off for the length of a block."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def silence_libraries() -> Generator[None]:
    """Turn off progress bars and log lines below errors, and put everything back after."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as told

    level, bars, hub_bars = told.get_verbosity(), told.is_progress_bar_enabled(), not are_progress_bars_disabled()
    told.set_verbosity(told.CRITICAL)
    told.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        told.set_verbosity(level)
        if bars:
            told.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()


@contextmanager
def silence_four_bit() -> Generator[None]:
    """Turn off what `bitsandbytes` says while it is loaded, by itself or by PEFT.

    On processors with bfloat16 products it warns that a kernel of a model hub is missing, which it does well without.
    """
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
