"""The legal sentences of a verdict, and nothing else.

Each function writes one of them; `is_legal` knows their forms. Names and figures are all that varies, and parts that
have nothing to say are left out: what would settle a question where no number of rows or seeds alone would, and the
guess where there is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from whichtune.report.figures import enumerate_words, format_amount, format_score
from whichtune.report.limits import UNITS, UNMEASURED, Breach
from whichtune.report.quality import format_margin
from whichtune.stats.power import Needs

NO_BETTER = "No candidate is shown to beat the baseline."
ONE_TRAINING = "One training each: this compares these trained models, not the methods."
TWO_TRAININGS = "Two trainings each: intervals only; a verdict needs three."
EVERY_CHEAPER_BELOW = "Every cheaper one is shown more than {margin} below."
MORE_OF_BOTH = "more items and more seeds"

_SCORE = r"-?[\d,]+(?:\.\d+)?(?:e[+-]?\d+)?"
_AMOUNT = rf"{_SCORE} (?:points?|nats|count)"
_RANGE = rf"\({_SCORE}\.\.{_SCORE}\)"
_NEEDS = r"(?:[\d,]+ items(?: or [\d,]+ seeds)?|[\d,]+ seeds)"
_OVER = rf"(?:{_SCORE} (?:{'|'.join(unit for unit, _ in UNITS.values())})|{UNMEASURED})"
_LIMIT = rf"(?:{'|'.join(UNITS)})"
LEGAL: tuple[re.Pattern[str], ...] = tuple(
    re.compile(form, re.DOTALL)
    for form in (
        rf"Use .+: the cheapest shown to be at most {_AMOUNT} below the best \(95 %; estimate {_AMOUNT}, at most "
        rf"{_AMOUNT}\)\.(?: Cheaper .+ is not settled(?:: about {_NEEDS} would settle it)?\."
        rf"| Every cheaper one is shown more than {_AMOUNT} below\.)?",
        rf"Not enough data for a margin of {_AMOUNT}; the smallest these data can promise is {_AMOUNT} \(.+\)\."
        rf"(?: Best guess, not shown: .+, {_AMOUNT} below, up to {_AMOUNT} not excluded"
        rf"(?:; needed: (?:{_NEEDS}|{MORE_OF_BOTH}))?\.)?",
        re.escape(NO_BETTER),
        r"One training each(?: \(.+\))?: this compares these trained models, not the methods\.",
        rf"Within the limits: .+\.(?: The limits cost {_AMOUNT} {_RANGE} against the best outside them\.)?",
        r"\d+ of \d+ trainings of .+ collapsed; not recommended without restarts\.",
        r"Two trainings each(?: \(.+\))?: intervals only; a verdict needs three\.",
        rf"One candidate: nothing to compare it with; its score is {_SCORE} {_RANGE}\.",
        rf"No candidate is within the limits; the nearest is .+, over {_LIMIT} by {_OVER}\.",
        r"Cost unknown: .+ \(.+\): (?:it|each) may be cheaper or dearer than any other\.",
    )
)
"""Forms of the ten sentences, in the order in which the documentation numbers them."""


def is_legal(sentence: str) -> bool:
    """Tell whether a sentence is one that a verdict may hold."""
    return any(form.fullmatch(sentence) for form in LEGAL)


def recommend(name: str, estimate: float, bound: float, margin: float, unit: str) -> str:
    """Write that a candidate is shown to be good enough."""
    return (
        f"Use {name}: the cheapest shown to be at most {format_margin(margin, unit)} below the best "
        f"(95 %; estimate {format_amount(estimate, unit)}, at most {write_bound(bound, unit, margin)})."
    )


def leave_open(name: str, needs: Needs) -> str:
    """Write that a cheaper candidate is not settled, and what would settle it."""
    told = _needs(needs)
    return (
        f"Cheaper {name} is not settled: about {told} would settle it." if told else f"Cheaper {name} is not settled."
    )


def rule_out_cheaper(margin: float, unit: str) -> str:
    """Write that no cheaper candidate is good enough."""
    return EVERY_CHEAPER_BELOW.format(margin=format_margin(margin, unit))


def promise(name: str, bound: float, margin: float, unit: str) -> str:
    """Write that nothing is shown, and what the data can promise."""
    return (
        f"Not enough data for a margin of {format_margin(margin, unit)}; the smallest these data can promise is "
        f"{write_bound(bound, unit, margin)} ({name})."
    )


def guess(name: str, shortfall: tuple[float, float], margin: float, unit: str, needs: Needs) -> str:
    """Write a guess with its estimated and its greatest shortfall, and what would show it."""
    estimate, bound = shortfall
    told = _needs(needs) or (MORE_OF_BOTH if estimate < margin else "")
    return (
        f"Best guess, not shown: {name}, {format_amount(estimate, unit)} below, up to "
        f"{write_bound(bound, unit, margin)} not excluded{f'; needed: {told}' if told else ''}."
    )


def compare_models(names: Sequence[str]) -> str:
    """Write that single trainings were compared; of some candidates only, if names are given."""
    return _named(ONE_TRAINING, names)


def need_third(names: Sequence[str]) -> str:
    """Write that two trainings make no verdict."""
    return _named(TWO_TRAININGS, names)


def price_limits(within: Sequence[str], cost: tuple[float, float, float] | None, unit: str) -> str:
    """Write who is within the limits, and how much better the best outside is, with its interval."""
    told = f"Within the limits: {enumerate_words(within)}."
    if cost is None:
        return told
    value, low, high = cost
    amount, ends = format_amount(value, unit), f"{format_score(low, unit)}..{format_score(high, unit)}"
    return f"{told} The limits cost {amount} ({ends}) against the best outside them."


def collapse(name: str, collapsed: int, trainings: int) -> str:
    """Write how many trainings of a candidate collapsed."""
    return f"{collapsed} of {trainings} trainings of {name} collapsed; not recommended without restarts."


def stand_alone(score: str, interval: str) -> str:
    """Write the score of an only candidate, figures already written."""
    return f"One candidate: nothing to compare it with; its score is {score} ({interval})."


def miss_costs(names: Mapping[str, Sequence[str]]) -> str:
    """Write whose cost is not known, by the reason: what is called the cheapest was not weighed against them."""
    told = "; ".join(f"{', '.join(own)} ({reason})" for reason, own in names.items())
    who = "it" if sum(map(len, names.values())) == 1 else "each"
    return f"Cost unknown: {told}: {who} may be cheaper or dearer than any other."


def exclude_all(name: str, breach: Breach) -> str:
    """Write that every candidate breaks a limit, and which is nearest."""
    return f"No candidate is within the limits; the nearest is {name}, over {breach.limit} by {breach.over}."


def write_bound(value: float, unit: str, margin: float) -> str:
    """Write a bound rounded up, with so many digits that it is on the same side of the margin as it was."""
    scale = 100.0 if unit == "share" else 1.0
    decimals = 1 if unit == "share" else 3
    limit = margin * scale
    for digits in range(decimals, decimals + 4):
        shown = math.ceil(round(value * scale * 10**digits, 6)) / 10**digits
        if (shown <= limit) == (value <= margin):
            return format_amount(shown / scale, unit, digits)
    return format_amount(value, unit, decimals + 4)


def _named(sentence: str, names: Sequence[str]) -> str:
    return sentence.replace(" each:", f" each ({', '.join(names)}):") if names else sentence


def _needs(needs: Needs) -> str:
    parts = [
        f"{count:,} {what}" for count, what in ((needs.items, "items"), (needs.seeds, "seeds")) if count is not None
    ]
    return " or ".join(parts)
