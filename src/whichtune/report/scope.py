"""What a report's figures may be read as: by the number of trainings and of candidates."""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.report.figures import format_interval, format_score
from whichtune.report.model import CandidateRow, MetricHead
from whichtune.report.sentences import compare_models, need_third, stand_alone

INTERVALS = (
    "Intervals are 95 %: test rows and seeds are taken as random, the training rows and each candidate's settings "
    "as fixed."
)
VALIDATION = "Validation rows: settings and stopping may have been chosen on them, so these scores flatter."
ONE_ASKING = "Asked with one seed each: other draws of examples or answers may score otherwise."


def list_scope(rows: Sequence[CandidateRow], metrics: Sequence[MetricHead], split: str = "test") -> list[str]:
    """Return the scope sentences that hold; one that holds for some candidates only names them."""
    scored = [row for row in rows if row.quality]
    varied = [row for row in scored if not row.deterministic and row.family != "prompter"]
    sentences = [say_alone(scored[0], metrics[0])] if _scored_alone(scored) and metrics else []
    for count, write in ((1, compare_models), (2, need_third)):
        held = [row.candidate for row in varied if len(row.seeds) == count]
        if held:
            sentences.append(write([] if len(held) == len(varied) else held))
    drawn = [row for row in scored if not row.deterministic and row.family == "prompter" and len(row.seeds) == 1]
    if drawn:
        names = ", ".join(row.candidate for row in drawn)
        sentences.append(ONE_ASKING.replace(" each:", f" each ({names}):"))
    return sentences if split == "test" else [VALIDATION, *sentences]


def _scored_alone(scored: Sequence[CandidateRow]) -> bool:
    return len(scored) == 1 and scored[0].quality[0].mean is not None


def say_alone(row: CandidateRow, metric: MetricHead) -> str:
    """Say the score of a study's only candidate."""
    first = row.quality[0]
    return stand_alone(format_score(first.mean, metric.unit), format_interval(first.low, first.high, metric.unit))
