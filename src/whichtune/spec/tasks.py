"""What is predicted from what, and how it is scored."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from whichtune.spec.base import Spec
from whichtune.spec.decoding import DecodingSpec
from whichtune.spec.prompts import PromptSpec

Scoring = Literal["generation", "likelihood"]
Reads = Literal["text", "image", "pair"]
"""What a model is given: texts, images, or an image and a text, each read by an encoder of its own."""
Answers = Literal["labels", "texts"]


class TaskBase(Spec):
    """What every task says of its rows."""

    reads: ClassVar[Reads] = "text"
    texts: ClassVar[int | None] = 1
    """Texts of a row; None where rows may have one or two."""
    answers: ClassVar[Answers] = "labels"


class TextClassificationSpec(TaskBase):
    """One label for one text."""

    kind: Literal["text-classification"]
    metric: Literal["accuracy", "macro_f1", "weighted_f1", "loss"] = "accuracy"
    """The metric that choices and comparisons use; all are reported."""


class PairClassificationSpec(TaskBase):
    """One label for two texts: inference, paraphrase, an answer to a question."""

    texts: ClassVar[int | None] = 2
    kind: Literal["pair-classification"]
    metric: Literal["accuracy", "macro_f1", "weighted_f1", "loss"] = "accuracy"
    """The metric that choices and comparisons use; all are reported."""


class ImageClassificationSpec(TaskBase):
    """One label for one image."""

    reads: ClassVar[Reads] = "image"
    texts: ClassVar[int | None] = 0
    kind: Literal["image-classification"]
    metric: Literal["accuracy", "top5_accuracy", "macro_f1", "weighted_f1", "loss"] = "accuracy"
    """The metric that choices and comparisons use; all are reported."""


class VisualQuestionAnsweringSpec(TaskBase):
    """One of a closed set of answers to a question about an image.

    Image and question are read by an encoder each; a head over both chooses the answer (`fusion` of the method).
    """

    reads: ClassVar[Reads] = "pair"
    kind: Literal["visual-question-answering"]
    metric: Literal["accuracy", "top5_accuracy", "macro_f1", "weighted_f1", "loss"] = "accuracy"
    """The metric that choices and comparisons use; all are reported."""


class LanguageTaskBase(TaskBase):
    """A task that a causal language model answers in words, behind a prompt.

    Tuners train on the prompt of a row followed by its answer, the loss on the answer alone. While training,
    validations measure the loss; early stopping and `keep: best` go by it.
    """

    texts: ClassVar[int | None] = None
    """Rows may have one text or two."""
    room: ClassVar[int] = 64
    """Tokens of an answer at most, where nothing is said of it."""

    prompt: PromptSpec = PromptSpec()
    """How a row becomes a prompt; `prompting` methods may ask otherwise."""
    chat: Literal["auto", "never"] = "auto"
    """`auto`: a prompt is the user's turn of a conversation where the tokenizer has a chat template."""
    decoding: DecodingSpec = DecodingSpec()
    """How answers are written."""


class InstructionClassificationSpec(LanguageTaskBase):
    """One label for a row, given as a word behind a prompt."""

    room: ClassVar[int] = 16
    kind: Literal["instruction-classification"]
    metric: Literal["accuracy", "macro_f1", "weighted_f1", "loss"] = "accuracy"
    """The metric that choices and comparisons use; all are reported."""
    scoring: Scoring = "generation"
    """Which answer counts: what the model writes, or the likeliest of the label words. Both are reported."""


class SummarizationSpec(LanguageTaskBase):
    """A shorter text for a text, scored by ROUGE (Lin 2004) and by the loss of the given summary."""

    answers: ClassVar[Answers] = "texts"
    kind: Literal["summarization"]
    metric: Literal["rougeL", "rouge1", "rouge2", "rougeLsum", "loss"] = "rougeL"
    """The metric that choices and comparisons use; all are reported."""


class QuestionAnsweringSpec(LanguageTaskBase):
    """An answer that a named parser reads off the completion: a number, true or false, a letter; exact match."""

    answers: ClassVar[Answers] = "texts"
    kind: Literal["question-answering-by-prompt"]
    metric: Literal["exact_match", "loss"] = "exact_match"
    """The metric that choices and comparisons use; all are reported."""


TaskSpec = Annotated[
    TextClassificationSpec
    | PairClassificationSpec
    | ImageClassificationSpec
    | VisualQuestionAnsweringSpec
    | InstructionClassificationSpec
    | SummarizationSpec
    | QuestionAnsweringSpec,
    Field(discriminator="kind"),
]
