"""Forgetting: what tuning left of what a language model was good at, on the same held-out rows before and after.

The untouched backbone is measured once, before anything trains; each final trial of a tuner when it is over, put
together again from its saved adapter. So it costs no trial any time, decides no outcome, and can be asked for later.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import cast

from whichtune.data.examples import Example
from whichtune.data.general_text import LEAST_ROWS, count_overlap, read_general_text
from whichtune.data.load import load_data
from whichtune.data.splitting import take
from whichtune.engine.adapter import load_adapter
from whichtune.engine.guards import fitting_in_memory
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.retaining import judge_labels, judge_texts
from whichtune.engine.speaking import Speaker
from whichtune.errors import DataError, InputError, ModelError, ReadingError, SpecError, TrialError
from whichtune.fetch.atomic import write_text
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.measure.modes import modes
from whichtune.records.retention import (
    MeasuredText,
    MeasuredTexts,
    RetentionFigures,
    RetentionRows,
    read_rows,
    write_rows,
)
from whichtune.records.trial import TrialRecord
from whichtune.spec.digest import digest
from whichtune.spec.retention import OtherLabelsSpec, RetentionSpec, TextLossSpec
from whichtune.spec.tasks import InstructionClassificationSpec
from whichtune.study.execute import Desk
from whichtune.study.plan import Fingerprints, Planned, family_of, name_load, plan_study
from whichtune.tasks import build_task
from whichtune.tasks.asking import Asking
from whichtune.tasks.contract import WrittenTask

NOT_CAUSAL = "not a causal language model"
VERSION = 1
"""Raised when the same rows and weights would no longer give the same figures."""


@dataclass(frozen=True)
class Measure:
    """One measure with its rows read."""

    name: str
    spec: RetentionSpec
    examples: tuple[Example, ...]
    fingerprint: str
    """Of the rows, and of everything else that comes from where they are."""
    about: MeasuredText
    asking: Asking | None = None
    """How labels are asked for; None where texts are judged."""

    def judge(self, speaker: Speaker, size: int) -> RetentionRows:
        """Measure a model in its predicting state."""
        if self.asking is None:
            return judge_texts(speaker, self.examples, self.spec.max_length, size)
        return judge_labels(speaker, self.asking, self.examples, self.spec.max_length, size)


@dataclass(frozen=True)
class Before:
    """What the untouched backbone gave, or why there is nothing."""

    id: str
    rows: RetentionRows | None = None
    reason: str | None = None


@dataclass(frozen=True)
class After:
    """What a tuned model gave, or why there is nothing."""

    rows: RetentionRows | None = None
    merged: bool | None = None
    reason: str | None = None


@dataclass
class Retention:
    """The measures of one study."""

    desk: Desk
    known: Fingerprints
    say: Callable[[str], None]
    measures: list[Measure] = field(default_factory=list)
    befores: dict[str, Before] = field(default_factory=dict)

    def prepare(self) -> None:
        """Measure every backbone that is to be tuned; refuse measures that none of them can be given."""
        for planned in plan_study(self.desk.shared.study) if self.measures else ():
            if family_of(planned.method) == "tuner":
                for measure in self.measures:
                    self._measure_untouched(planned, measure)
        self._write_texts()
        if self.measures and all(one.reason == NOT_CAUSAL for one in self.befores.values()):
            why = "its backbones score no next token" if self.befores else "nothing is tuned"
            raise SpecError(
                f"measure.retention: no method of this study tunes a causal language model ({why})",
                value=", ".join(one.name for one in self.measures),
                remedy="leave it out, or tune a causal backbone that scores tokens, such as `smollm2` or `gpt2`",
            )

    def take(self, planned: Planned, record: TrialRecord) -> None:
        """Measure a final trial that tuned something, unless that was done; a measure that fails fails no trial."""
        if planned.role != "final" or record.status != "finished" or family_of(planned.method) != "tuner":
            return
        befores = {one.name: self._measure_untouched(planned, one) for one in self.measures}
        missing = [one for one in self.measures if not _is_taken(record, one.name, befores[one.name])]
        if not missing:
            return
        folder = self.desk.folder.trial(record.id)
        found = self._measure_tuned(planned, record, [one for one in missing if befores[one.name].rows is not None])
        for measure in missing:
            before, after = befores[measure.name], found.get(measure.name, After())
            if after.rows is not None:
                write_rows(folder.retention(before.id), after.rows)
            record.retention[measure.name] = _describe(measure, before, after)
        folder.write(record)

    def _measure_untouched(self, planned: Planned, measure: Measure) -> Before:
        """Return what the backbone gave as the method loads it: read back, or measured now."""
        identifier = self._identify(planned, measure)
        if identifier not in self.befores:
            path = self.desk.folder.retention(identifier)
            rows, reason = read_rows(path), None
            if rows is None:
                rows, reason = self._judge_untouched(planned, measure)
            if rows is not None and not path.is_file():
                write_rows(path, rows)
            self.befores[identifier] = Before(identifier, rows, reason)
        return self.befores[identifier]

    def _judge_untouched(self, planned: Planned, measure: Measure) -> tuple[RetentionRows | None, str | None]:
        shared = self.desk.shared
        try:
            backbone = shared.load(str(planned.backbone), self.desk.request(planned))
            if backbone.output is None:
                return None, NOT_CAUSAL
            self.say(f"forgetting, {measure.name}: {planned.backbone} untouched")
            speaker = Speaker(backbone, self._arithmetic(planned))
            spending = self.desk.ledger.spending("forgetting, untouched", str(planned.backbone))
            with spending, modes((), backbone.trunk), fitting_in_memory(shared.device):
                return measure.judge(speaker, shared.evaluation_rows), None
        except ReadingError:  # the trial will say so, as a row
            return None, NOT_CAUSAL
        except ModelError as error:
            raise SpecError(f"measure.retention.{measure.name} on {planned.backbone}: {error}") from error
        except TrialError as error:
            return None, str(error)

    def _measure_tuned(self, planned: Planned, record: TrialRecord, measures: Sequence[Measure]) -> dict[str, After]:
        """Return what the tuned model gave by measure."""
        found: dict[str, After] = {}
        try:
            with self.desk.ledger.spending("forgetting, tuned", record.id), self._speaking(planned, record) as speaking:
                speaker, merged, room = speaking
                for measure in measures:
                    found[measure.name] = self._judge_tuned(measure, speaker, merged, room)
        except Exception as error:  # the trial is over and good; what went wrong here stands beside it
            told = f"{type(error).__name__}: {error}"
            self.say(f"forgetting, {record.candidate} seed {record.seed}: {told}")
            self.desk.shared.drop()
            found |= {one.name: After(reason=told) for one in measures if one.name not in found}
        return found

    def _judge_tuned(self, measure: Measure, speaker: Speaker, merged: bool, room: int | None) -> After:
        if room is not None and measure.spec.max_length > room:
            told = f"the model has room for {room} tokens beside the virtual rows, and `max_length` is greater"
            return After(reason=told)
        return After(measure.judge(speaker, self.desk.shared.evaluation_rows), merged)

    @contextmanager
    def _speaking(self, planned: Planned, record: TrialRecord) -> Generator[tuple[Speaker, bool, int | None]]:
        """Put the tuned model together; yield it with whether it is merged, and the tokens that virtual rows leave."""
        shared, folder = self.desk.shared, self.desk.folder.trial(record.id)
        backbone = shared.load(str(planned.backbone), self.desk.request(planned))
        assembly = load_adapter(folder.adapter, backbone)
        try:
            with fitting_in_memory(shared.device), assembly.predicting() as merged:
                front, most = assembly.attachment.rows_in_front, backbone.reader.max_positions
                room = most - front if front and most is not None else None
                yield Speaker(backbone, self._arithmetic(planned), assembly.attachment.inputs), merged, room
        finally:
            assembly.attachment.detach()
        if not shared.intact():
            raise TrialError("frozen tensors of the backbone are not what they were before")

    def _arithmetic(self, planned: Planned) -> Arithmetic:
        shared = self.desk.shared
        return Arithmetic(shared.study.training_of(planned.method).precision, shared.device)

    def _identify(self, planned: Planned, measure: Measure) -> str:
        """Hash the rows, how they are asked, and the weights as they are loaded and run."""
        study, loaded = self.desk.shared.study, name_load(planned)
        model = [self.known.weights[loaded], self.known.tokenizers[loaded], self.known.manners[loaded]]
        spec = study.backbone(str(planned.backbone)).model_dump(mode="json", include={"dtype", "keep_blocks"})
        request = self.desk.request(planned)
        stored = None if request.quantization is None else asdict(request.quantization)
        how = [spec, request.dtype, stored, study.training_of(planned.method).precision]
        how += ["widened"] if request.widen else []
        asked = measure.spec.model_dump(mode="json", include={"kind", "max_length", "prompt", "chat"})
        return digest([VERSION, measure.fingerprint, asked, model, how])

    def _write_texts(self) -> None:
        path = self.desk.folder.retention_texts
        if not self.measures:
            path.unlink(missing_ok=True)
            return
        write_text(path, MeasuredTexts(texts=[one.about for one in self.measures]).model_dump_json(indent=1))


def open_retention(desk: Desk, known: Fingerprints, say: Callable[[str], None]) -> Retention:
    """Read what a study measures forgetting on, and measure its backbones; wrong input is told here."""
    measures: list[Measure] = []
    held = desk.folder.read_retention_texts().texts
    for name, spec in desk.shared.study.measure.retention.items():
        with desk.ledger.spending("forgetting, rows", name):
            one = _read_texts(name, spec) if isinstance(spec, TextLossSpec) else _read_labels(name, spec)
            measures.append(one)
            _count_trained(one, desk, held, say)
    retention = Retention(desk, known, say, measures)
    retention.prepare()
    return retention


def _read_texts(name: str, spec: TextLossSpec) -> Measure:
    read = read_general_text(name, spec)
    about = MeasuredText(
        name=name,
        kind=spec.kind,
        source=read.source,
        rows=len(read.examples),
        found=read.found,
        empty=read.empty,
    )
    return Measure(name, spec, read.examples, read.fingerprint, about)


def _read_labels(name: str, spec: OtherLabelsSpec) -> Measure:
    try:
        data = load_data(spec.data, "labels", "text")
        task = InstructionClassificationSpec(
            kind="instruction-classification", prompt=spec.prompt, chat=spec.chat, scoring="likelihood"
        )
        asking = cast(WrittenTask, build_task(task, data.labels, spec.data.columns)).asking
    except InputError as error:
        raise type(error)(f"measure.retention.{name}: {error}") from error
    examples = tuple(take(data.examples["test"], spec.rows, spec.data.split))
    if len(examples) < LEAST_ROWS:
        raise DataError(f"measure.retention.{name}: its test split has {len(examples)} rows", allowed="two or more")
    about = MeasuredText(
        name=name,
        kind=spec.kind,
        source=f"{data.report.source}, test rows",
        rows=len(examples),
        found=len(data.examples["test"]),
        empty=sum(one.count for one in data.report.dropped if one.split in {"test", "all"}),
    )
    parts = [part for one in examples for part in (one.id, one.text, one.pair or "", one.gold or "")]
    columns = spec.data.columns.model_dump_json()
    return Measure(name, spec, examples, fingerprint_texts([*data.labels, columns, *parts]), about, asking)


def _count_trained(measure: Measure, desk: Desk, held: Iterable[MeasuredText], say: Callable[[str], None]) -> None:
    """Count the rows that the study trains on, or take what was counted before, and say so: they are not held out."""
    about, data = measure.about, desk.shared.data
    similarity = desk.shared.study.data.near_duplicate_similarity
    about.counted_for = digest([measure.fingerprint, data.fingerprint, similarity])
    known = next((one for one in held if one.counted_for == about.counted_for), None)
    if known is None:
        found = count_overlap(measure.examples, data, similarity)
        about.trained_exactly, about.trained_nearly = found.exact, found.near or 0
    else:
        about.trained_exactly, about.trained_nearly = known.trained_exactly, known.trained_nearly
    if about.trained_exactly or about.trained_nearly:
        counts = f"{about.trained_exactly} of {about.rows} rows stand among the training rows"
        say(f"forgetting, {measure.name}: {counts}, {about.trained_nearly} more nearly so: those are not held out")


def _is_taken(record: TrialRecord, name: str, before: Before) -> bool:
    held = record.retention.get(name)
    return held is not None and held.id == before.id and (held.after is not None or held.never)


def _describe(measure: Measure, before: Before, after: After) -> RetentionFigures:
    known = before.rows
    return RetentionFigures(
        id=before.id,
        kind=measure.spec.kind,
        before=None if known is None else known.value,
        after=None if after.rows is None else after.rows.value,
        rows=None if known is None else len(known.ids),
        counted=None if known is None else int(known.counts.sum()),
        cut=None if known is None else known.cut,
        left_out=None if known is None else known.left_out,
        merged=after.merged,
        reason=before.reason if known is None else after.reason,
        never=before.reason == NOT_CAUSAL,
    )
