"""Styles of asking side by side, on a few rows and without a study: prompt, completion and answer of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.engine.prompting import PrompterTrial, prepare_asking
from whichtune.engine.speaking import Speaker
from whichtune.engine.trial import Material
from whichtune.errors import SpecError, did_you_mean
from whichtune.models.batch import Encoded
from whichtune.prompts.styles import INFERENCE, find_style
from whichtune.records.predictions import Predictions
from whichtune.spec.decoding import DecodingSpec
from whichtune.spec.flags import lay_flags
from whichtune.spec.merge import alike_key
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.prompts import PromptSpec, StyleName, WordingName
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import InstructionClassificationSpec, QuestionAnsweringSpec, SummarizationSpec, TaskSpec
from whichtune.tasks import build_task
from whichtune.tasks.asking import UNBOUNDED_TOKENS, fit_row, make_asking

TRUTH = ("true", "false")
ROOM_TOKENS = 16
"""Tokens of a bare answer at most."""
REASONED_ROOM_TOKENS = 192
"""Tokens of an answer with the reasoning before it at most."""
ROOM_TOKENS_OF = {"summaries": 64}
"""The same, of wordings whose answers are longer."""
OWN = "template"
"""Name of a style of the user's own."""


@dataclass(frozen=True)
class Question:
    """What is asked of every row, whatever the style."""

    wording: str
    labels: tuple[str, ...]
    """Empty where answers are texts or numbers."""
    columns: Columns
    chat: bool = True
    """Whether a prompt is a turn of a conversation, where the tokenizer has a template for one."""

    @property
    def task(self) -> TaskSpec:
        """The task that the question stands for."""
        how: dict[str, Any] = {"chat": "auto" if self.chat else "never"}
        if self.labels:
            return InstructionClassificationSpec.model_validate({"kind": "instruction-classification", **how})
        if self.wording == "summaries":
            return SummarizationSpec.model_validate({"kind": "summarization", **how})
        return QuestionAnsweringSpec.model_validate({"kind": "question-answering-by-prompt", **how})


@dataclass(frozen=True)
class Way:
    """A style by its name, or one of the user's own."""

    name: str
    method: PromptingSpec

    @property
    def shots(self) -> int:
        """Training rows that stand in each prompt."""
        style = find_style(self.method.lay_over(PromptSpec()))
        count = style.examples if self.method.shots.count is None else self.method.shots.count
        return 0 if style.worked else count


@dataclass(frozen=True)
class Attempt:
    """One row asked about in one style."""

    style: str
    text: str
    pair: str | None
    prompt: str
    completion: str
    answer: str | None
    """None where none could be read."""
    gold: str | None
    right: bool | None
    """None where the right answer is not known."""
    tokens: int
    seconds: float
    shares: Mapping[str, float] = field(default_factory=dict)
    """Label to its share of the likelihood, where labels can be scored."""


def choose_question(wording: str | None, labels: Sequence[str], *, two: bool, chat: bool) -> Question:
    """Settle what is asked: statements that are true or false, unless labels, a wording or second texts say otherwise.

    Raises SpecError where a wording needs labels that nobody names.
    """
    if wording is None:
        wording = _guess_wording(labels, two=two)
    known = {"statements": TRUTH, "inference": tuple(sorted(INFERENCE)), "problems": (), "summaries": ()}
    if not labels and wording not in known:
        remedy = "for example `--labels positive,negative`"
        raise SpecError(f"--wording {wording}: which labels are there to choose from?", remedy=remedy)
    if labels and known.get(wording) == ():
        raise SpecError(f"--labels: {wording} are answered by a text or a number", remedy="leave it out")
    own = tuple(labels) or known[wording]
    if len(own) == 1 or len(set(own)) < len(own):
        raise SpecError("--labels", value=",".join(own), allowed="two or more that differ")
    return Question(wording, own, Columns(pair="pair") if two else Columns(), chat)


def choose_ways(
    styles: Sequence[str], templates: Sequence[str], question: Question, shots: int | None, given: Mapping[str, Any]
) -> list[Way]:
    """Make a method of each style and of each template of the user's own; `given` are settings of decoding.

    `shots` counts for the styles that show training rows; a reasoning gets more room than a bare answer. Templates are
    checked here, before any model is loaded.
    """
    if not all(template.strip() for template in templates):
        raise SpecError("--template: it is empty", remedy='for example `--template "{{ text }} True or false?"`')
    own = [(OWN if len(templates) == 1 else f"{OWN}-{place}", one) for place, one in enumerate(templates, start=1)]
    named = {name: {"style": name} for name in map(find_style_name, styles)}
    named |= {name: {"template": {"query": template}} for name, template in own}
    ways = [_make_way(name, {**how, "wording": question.wording}, shots, given) for name, how in named.items()]
    for way in ways:
        make_asking(question.task, question.labels, question.columns, way.method)
    if shots is not None and not any(way.shots for way in ways):
        raise SpecError(f"--shots {shots}: none of the styles shows labelled rows", remedy="add `--style few-shot`")
    return ways


def find_style_name(word: str) -> str:
    """Return the shipped style that a word means, or say which there are."""
    known = get_args(StyleName)
    for name in known:
        if alike_key(name) == alike_key(word):
            return name
    raise SpecError("--style", value=word, allowed=", ".join(known), remedy=did_you_mean(word, known))


def find_wording_name(word: str) -> str:
    """Return the shipped wording that a word means, or say which there are."""
    known = get_args(WordingName)
    for name in known:
        if alike_key(name) == alike_key(word):
            return name
    raise SpecError("--wording", value=word, allowed=", ".join(known), remedy=did_you_mean(word, known))


@dataclass(frozen=True)
class Rows:
    """Who is asked about, and the labelled rows that styles may show."""

    asked: tuple[Example, ...]
    pool: tuple[Example, ...] = ()


def prepare(
    speaker: Speaker, ways: Sequence[Way], question: Question, rows: Rows, how: tuple[int, int]
) -> list[tuple[Way, PrompterTrial, Encoded]]:
    """Put all prompts together, so that what is wrong with any is told before the first is asked.

    `how` is the seed, of draws and of the choice of rows, and the number of rows at a time.
    """
    seed, batch = how
    splits = {"train": rows.pool, "validation": (), "test": rows.asked}
    data = DataSet(splits, question.labels, "", DataReport("the command line", {}))
    found: list[tuple[Way, PrompterTrial, Encoded]] = []
    for way in ways:
        material = Material(build_task(question.task, question.labels, question.columns), data)
        asking = prepare_asking(way.method, material, question.columns, Streams(seed))
        trial = PrompterTrial(speaker, material, asking, Streams(seed), batch)
        found.append((way, trial, trial.encode("test")))
    return found


def ask(way: Way, trial: PrompterTrial, encoded: Encoded) -> list[Attempt]:
    """Ask about every row in one style."""
    table = trial.ask("test", encoded)
    rows = trial.material.data.examples["test"]
    return [_tell(way, trial, (row, table, place)) for place, row in enumerate(rows)]


def _make_way(name: str, how: Mapping[str, Any], shots: int | None, given: Mapping[str, Any]) -> Way:
    method = PromptingSpec.model_validate({"kind": "prompting", **how})
    style = find_style(method.lay_over(PromptSpec()))
    if shots is not None and style.examples and not style.worked:
        how = {**how, "shots": {"count": shots}}
    room = ROOM_TOKENS_OF.get(str(how["wording"]), ROOM_TOKENS)
    decoding = lay_flags(DecodingSpec(max_new_tokens=REASONED_ROOM_TOKENS if style.cue else room), given)
    told = {"kind": "prompting", **how, "decoding": decoding.model_dump()}
    return Way(name, PromptingSpec.model_validate(told))


def _tell(way: Way, trial: PrompterTrial, one: tuple[Example, Predictions, int]) -> Attempt:
    row, table, place = one
    gold, answer = table.gold[place], table.parsed[place]
    shares = [] if table.probabilities is None else zip(table.labels, table.probabilities[place].tolist(), strict=True)
    return Attempt(
        style=way.name,
        text=row.text,
        pair=row.pair,
        prompt=read_prompt(trial, row),
        completion="" if table.raw is None else table.raw[place] or "",
        answer=answer,
        gold=gold,
        right=None if gold is None else answer == gold,
        tokens=0 if table.tokens_out is None else int(table.tokens_out[place]),
        seconds=0.0 if table.batch_seconds is None else float(table.batch_seconds[place]),
        shares=dict(shares),
    )


def read_prompt(trial: PrompterTrial, row: Example) -> str:
    """Return the prompt of a row as a text, cut as it was for the model."""
    encoder = trial.speaker.backbone.encoder
    longest = encoder.max_positions or UNBOUNDED_TOKENS
    return fit_row(trial.asking, row, encoder, longest - trial.asking.room).prompt.text


def _guess_wording(labels: Sequence[str], *, two: bool) -> str:
    if two:
        return "inference" if set(labels) <= INFERENCE else "pairs"
    return "statements" if {label.casefold() for label in labels} <= set(TRUTH) else "labels"
