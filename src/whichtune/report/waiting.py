"""Nothing reads test predictions before every training that a study asks for is over.

While results may still ask for more trainings (further seeds of those that lead, say), whoever looks at test scores may
end the study where they please. Until then a report shows the validation split.
"""

from __future__ import annotations

from collections.abc import Iterable

from whichtune.records.folder import StudyFolder
from whichtune.records.trial import TrialRecord
from whichtune.report.quality import SPLIT

WITHHELD = "Test figures appear once all trainings are in; until then these are validation figures."


def say_partial(uses: int) -> str:
    """Say that test scores are shown early, and what that costs."""
    told = f"uses of these test rows, by the studies beside this one: {uses:,}"
    return f"Shown before all trainings are in, as asked for; it counts as a use of the test rows ({told})."


def is_over(folder: StudyFolder) -> bool:
    """Tell whether a study asks for nothing more; so does one whose plan is not known, or older than that word."""
    plan = folder.read_plan()
    return plan is None or plan.complete


def is_withheld(folder: StudyFolder, split: str, *, partial: bool = False) -> bool:
    """Tell whether the scores of a split are not to be shown yet."""
    return split == SPLIT and not partial and not is_over(folder)


def count_waiting(folder: StudyFolder, trials: Iterable[TrialRecord]) -> int:
    """Count the final trials that a study asks for and that are not over; none where its plan is not known.

    Test predictions are not read for a verdict before the last of them is in.
    """
    plan = folder.read_plan()
    over = sum(trial.status != "running" for trial in trials)
    return 0 if plan is None else max(0 if plan.complete else 1, plan.total - over)
