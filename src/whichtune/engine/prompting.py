"""One trial of a prompter: nothing is trained; the untouched model is asked about every row."""

from __future__ import annotations

from dataclasses import dataclass, replace

from whichtune.engine.speaking import Speaker
from whichtune.engine.trial import EVALUATED, Material, Outcome
from whichtune.engine.writing import Interview, answer_in_words
from whichtune.errors import DataError
from whichtune.measure.clock import PhaseClock
from whichtune.measure.modes import modes
from whichtune.methods import PROMPTERS
from whichtune.models.batch import Encoded
from whichtune.prompts.choosing import Neighbours
from whichtune.records.predictions import Predictions
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import Columns
from whichtune.tasks.asking import Asking, encode_asked, make_asking


@dataclass(frozen=True)
class PrompterTrial:
    """A prompter's trial on a loaded model."""

    speaker: Speaker
    material: Material
    asking: Asking
    streams: Streams
    batch: int

    def run(self, clock: PhaseClock) -> Outcome:
        """Ask about the validation and the test split."""
        tables: list[Predictions] = []
        with clock.phase("encode"):
            encoded = {split: self.encode(split) for split in EVALUATED}
        for split, rows in encoded.items():
            with clock.phase("validate" if split == "validation" else "predict"):
                tables.append(self.ask(split, rows))
        return Outcome(tables, encoded=encoded)

    def encode(self, split: str) -> Encoded:
        """Turn the prompts of a split into token ids."""
        return encode_asked(self.asking, self.material.data.examples[split], self.speaker.backbone.encoder)

    def ask(self, split: str, encoded: Encoded) -> Predictions:
        """Ask about a split's rows."""
        interview = Interview(self.speaker, self.asking, self.batch, self.streams.derive("sample", "answers"))
        with modes((), self.speaker.backbone.trunk):
            return answer_in_words(interview, split, self.material.data.examples[split], encoded)


def prepare_asking(
    method: PromptingSpec, material: Material, columns: Columns, streams: Streams, neighbours: Neighbours | None = None
) -> Asking:
    """Put together how a prompter asks: its prompt, and the examples of each row."""
    asking = make_asking(material.task.spec, material.task.labels, columns, method)
    _require_unseen(asking, material)
    if not asking.recipe.shots:
        return asking
    train = material.data.examples["train"]
    chooser = PROMPTERS[type(method)].choose(method, asking.recipe, train, streams, neighbours)
    return replace(asking, shots=chooser.choose, fixed=chooser.fixed())


def _require_unseen(asking: Asking, material: Material) -> None:
    """Refuse worked examples that are rows to be asked about: their answers would stand in the prompt."""
    style, wording = asking.recipe.style, asking.recipe.wording
    worked = {(one.text.strip(), (one.pair or "").strip()) for one in wording.worked[: style.examples]}
    for split in EVALUATED if style.worked else ():
        for row in material.data.examples[split]:
            if (row.text.strip(), (row.pair or "").strip()) in worked:
                raise DataError(
                    f"{row.origin}, in the {split} split, is a worked example of the prompt",
                    value=row.text[:60],
                    remedy="take it out of `worked`, or out of the data",
                )
