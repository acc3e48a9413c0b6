"""Every error whichtune raises on purpose, as one tree.

WhichtuneError                    exit code 1
|-- InputError                    what the user gave is wrong: exit code 2, no traceback
|   |-- SpecError                 the study file, an override or a flag
|   |-- DataError                 rows, columns, labels, splits
|   |-- FetchError                a download, a hash, an archive
|   |-- ModelError                weights, tokenizer, anatomy, target names
|   |   `-- ReadingError          a model that reads texts was given images, or the other way round
|   `-- RecordError               a study or trial folder that cannot be read
`-- TrialError                    ends one trial; the study goes on
    |-- NonFiniteError            a loss or gradient that is not a number
    |-- DeadGradientError         a trained tensor that never had a gradient
    |-- DoesNotFitError           not enough memory at the held batch size
    |-- UnsupportedError          this method on this backbone makes no sense, with the reason
    |-- PrunedError               a search trial that its pruner ended early
    |-- WorkerError               the process that a trial ran in ended before the trial did
    `-- AdapterError              a saved adapter that does not give the same logits back
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_VALUE = 200
"""Characters of a value that a message holds."""


class WhichtuneError(Exception):
    """Any failure that whichtune expects and explains."""

    exit_code = 1


class InputError(WhichtuneError):
    """Something the user gave is wrong; the message names the thing, the value, what is allowed and the remedy."""

    exit_code = 2

    def __init__(self, thing: str, *, value: object = None, allowed: str = "", remedy: str = "") -> None:
        self.thing = thing
        self.value = value
        self.allowed = allowed
        self.remedy = remedy
        super().__init__(sentence(thing, value, allowed, remedy))


class SpecError(InputError):
    """The study file, an override or a flag asks for something that does not exist."""


class DataError(InputError):
    """The rows, columns, labels or splits of the data cannot be used as asked."""


class FetchError(InputError):
    """A file could not be fetched, or is not the file that was pinned."""


class ModelError(InputError):
    """The weights, tokenizer or structure of a backbone cannot be used as asked."""


class ReadingError(ModelError):
    """A backbone reads something else than it is given."""


class RecordError(InputError):
    """A study or trial folder cannot be read."""


class TrialError(WhichtuneError):
    """One trial cannot go on; the others do."""


class NonFiniteError(TrialError):
    """A loss or a gradient stopped being a number."""


class DeadGradientError(TrialError):
    """A tensor that should train has not received a gradient."""


class DoesNotFitError(TrialError):
    """The trial needs more memory than there is at its held batch size."""


class UnsupportedError(TrialError):
    """The method makes no sense on this backbone or task, for the reason given."""


class PrunedError(TrialError):
    """A search trial was ended early, since others were better by then."""

    def __init__(self, step: int, validations: int) -> None:
        self.step = step
        super().__init__(f"ended by successive halving at step {step}, validation {validations}")


class WorkerError(TrialError):
    """A worker process ended, or could not start."""


class AdapterError(TrialError):
    """A saved adapter, loaded in a fresh process, does not give the same logits."""


def sentence(thing: str, value: object = None, allowed: str = "", remedy: str = "") -> str:
    """Put a fault into the one form all messages share: thing, value, allowed, remedy."""
    parts = [thing if value is None else f"{thing}: got {cut_value(repr(value))}"]
    if allowed:
        parts.append(f"allowed: {allowed}")
    if remedy:
        parts.append(remedy)
    return "; ".join(parts)


def cut_value(text: str) -> str:
    """Keep the beginning of a value that is too long for a message."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text):,} characters)"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the nearest known words, or an empty string when none is near."""
    alike = {name.replace("_", "-"): name for name in map(str, known)}
    near = get_close_matches(word.replace("_", "-"), list(alike), n=3, cutoff=0.6)
    if not near:
        return ""
    return "did you mean " + " or ".join(f"'{alike[name]}'" for name in near) + "?"
