"""What a report's figures may be read as: by the number of trainings and of candidates."""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.report.figures import format_interval, format_score
from whichtune.report.model import CandidateRow, MetricHead

INTERVALS = (
    "Intervals are 95 %: test rows and seeds are taken as random, the training rows and each candidate's settings "
    "as fixed."
)
ONE_TRAINING = "One training each: this compares these trained models, not the methods."
VALIDATION = "Validation rows: settings and stopping may have been chosen on them, so these scores flatter."
ONE_ASKING = "Asked with one seed each: other draws of examples or answers may score otherwise."
TWO_TRAININGS = "Two trainings each: intervals only; a verdict needs three."


def list_scope(rows: Sequence[CandidateRow], metric: MetricHead | None, split: str = "test") -> list[str]:
    """Return the scope sentences that hold; one that holds for some candidates only names them."""
    scored = [row for row in rows if row.quality]
    varied = [row for row in scored if not row.deterministic and row.family != "prompter"]
    sentences = [one_candidate(scored[0], metric)] if len(scored) == 1 and metric is not None else []
    for count, sentence in ((1, ONE_TRAINING), (2, TWO_TRAININGS)):
        held = [row.candidate for row in varied if len(row.seeds) == count]
        if held:
            whole = len(held) == len(varied)
            sentences.append(sentence if whole else sentence.replace(" each:", f" each ({', '.join(held)}):"))
    drawn = [row for row in scored if not row.deterministic and row.family == "prompter" and len(row.seeds) == 1]
    if drawn:
        names = ", ".join(row.candidate for row in drawn)
        sentences.append(ONE_ASKING.replace(" each:", f" each ({names}):"))
    return sentences if split == "test" else [VALIDATION, *sentences]


def one_candidate(row: CandidateRow, metric: MetricHead) -> str:
    """Say the score of a study's only candidate."""
    first = row.quality[0]
    score, interval = format_score(first.mean, metric.unit), format_interval(first.low, first.high, metric.unit)
    return f"One candidate: nothing to compare it with; its score is {score} ({interval})."
