"""The peer: a script with Hugging Face Trainer and PEFT that runs the same trials one after another.

It tokenizes once, loads the model for each trial, trains the same rows for the same epochs in random batches of the
same size, scores the validation rows after every epoch, and predicts the test rows with the last weights.
"""

from __future__ import annotations

import gc
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import transformers

from whichtune.bench.model import Baseline, Marks, SideRun
from whichtune.bench.peer_models import Source, adapt, find_source
from whichtune.data.examples import DataSet
from whichtune.measure.device import pick_device, set_threads, synchroniser
from whichtune.spec.methods import MethodSpec
from whichtune.spec.study import StudySpec
from whichtune.spec.training import TrainingSpec
from whichtune.study.plan import Planned, plan_study

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Job:
    """One trial of the peer."""

    candidate: str
    method: MethodSpec
    training: TrainingSpec
    seed: int
    tests: bool = True


@dataclass(frozen=True)
class Done:
    """What a trial of the peer gave."""

    job: Job
    seconds: float
    steps: int
    validated: float
    """Score on the validation rows, higher being better."""
    values: np.ndarray | None
    """[test rows] float64: 1 for a right label, or minus the loss."""


@dataclass
class Peer:
    """What all trials of one script share."""

    study: StudySpec
    data: DataSet
    baseline: Baseline
    loading: bool = True
    """Whether loading a model counts."""
    source: Source = field(init=False)
    device: torch.device = field(init=False)
    binary = True
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])

    def __post_init__(self) -> None:
        (spec,) = self.study.backbones.values()
        self.source, self.device = find_source(spec), pick_device(self.study.execution.device)

    @property
    def tokens(self) -> int:
        """Tokens of the test rows."""
        return sum(len(row["input_ids"]) for row in self.rows["test"])

    @property
    def evaluation_batch(self) -> int:
        """Rows that are predicted at once: the study's own, where it names a number."""
        asked = self.study.execution.evaluation_batch
        return asked if isinstance(asked, int) else EVALUATION_BATCH

    def read_rows(self) -> None:
        """Tokenize every split, all texts at once."""
        self.tokenizer = self.source.read_tokenizer()
        places = {label: place for place, label in enumerate(self.data.labels)}
        for split, examples in self.data.examples.items():
            texts = [example.text for example in examples]
            told = self.tokenizer(texts, truncation=True, max_length=self.study.training.max_length)
            columns = {name: told[name] for name in self.tokenizer.model_input_names if name in told}
            self.rows[split] = [
                {**{name: column[row] for name, column in columns.items()}, "label": places[str(example.gold)]}
                for row, example in enumerate(examples)
            ]

    def make_collator(self) -> Any:
        """Pad to the longest of the batch, or to the greatest length as tutorials do."""
        whole = self.baseline == "tutorial"
        length = self.study.training.max_length if whole else None
        return transformers.DataCollatorWithPadding(
            self.tokenizer, padding="max_length" if whole else True, max_length=length
        )

    def make_model(self, job: Job) -> Any:
        """Load the model and adapt it."""
        model = self.source.read_classifier(len(self.data.labels), self.device)
        model.config.pad_token_id = self.tokenizer.pad_token_id
        return adapt(model, job.method, "SEQ_CLS")

    def run_trial(self, job: Job) -> Done:
        """Load, train, validate, predict: what a script does for one trial."""
        wait = synchroniser(self.device) or (lambda: None)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            transformers.set_seed(job.seed)
            model = self.make_model(job)
            wait()
            loaded = time.perf_counter()
            trainer = self.make_trainer(model, job, folder)
            trainer.train()
            validated, values = self.finish(trainer, job)
            wait()
            seconds = time.perf_counter() - (start if self.loading else loaded)
        steps = int(trainer.state.global_step)
        del trainer, model
        gc.collect()
        return Done(job, seconds, steps, validated, values)

    def finish(self, trainer: Any, job: Job) -> tuple[float, np.ndarray | None]:
        """Return the last validation's score, and each test row's, where the test rows are asked for."""
        validated = [line["eval_accuracy"] for line in trainer.state.log_history if "eval_accuracy" in line][-1]
        if not job.tests:
            return validated, None
        told = trainer.predict(self.rows["test"])
        return validated, (told.predictions.argmax(-1) == told.label_ids).astype(np.float64)

    def make_trainer(self, model: Any, job: Job, folder: str) -> Any:
        """Make the Trainer of one trial."""
        make: Any = transformers.Trainer
        trainer = make(
            model=model,
            args=self.make_arguments(job, folder),
            train_dataset=self.rows["train"],
            eval_dataset=self.rows["validation"],
            data_collator=self.make_collator(),
            compute_metrics=_score,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        return trainer

    def make_arguments(self, job: Job, folder: str, **more: Any) -> Any:
        """Set the Trainer as the study is set; it logs and saves nothing."""
        training = job.training
        return transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=training.epochs,
            max_steps=training.max_steps or -1,
            per_device_train_batch_size=training.batch_size,
            per_device_eval_batch_size=self.evaluation_batch,
            gradient_accumulation_steps=training.accumulate,
            learning_rate=job.method.learning_rate,  # type: ignore[union-attr]
            weight_decay=training.weight_decay,
            max_grad_norm=training.clip_norm or 0.0,
            lr_scheduler_type=training.schedule,
            bf16=training.precision == "bfloat16",
            eval_strategy="epoch",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=self.device.type == "cpu",
            dataloader_pin_memory=False,
            seed=job.seed,
            **more,
        )


def _score(told: Any) -> dict[str, float]:
    return {"accuracy": float(np.mean(told.predictions.argmax(-1) == told.label_ids))}


def list_jobs(study: StudySpec) -> list[Job]:
    """List the final trials of a study, its baseline left out."""
    return [make_job(study, one) for one in plan_study(study) if one.backbone is not None]


def make_job(study: StudySpec, planned: Planned) -> Job:
    """Turn a planned trial of ours into one of the peer."""
    return Job(planned.candidate, planned.method, study.training_of(planned.method), planned.seed)


def take_share(jobs: Sequence[Job], share: float) -> list[Job]:
    """Take a share of the trials, the same number of each candidate and one at least, seeds in turn."""
    taken: list[Job] = []
    for place, (_, own) in enumerate(itertools.groupby(jobs, key=lambda job: job.candidate)):
        held = list(own)
        count = max(1, round(len(held) * share))
        taken += [held[(place + step) % len(held)] for step in range(count)]
    return taken


def run_peer(peer: Peer, share: float, tell: Callable[[str], None]) -> SideRun:
    """Run a share of a study's trials; the seconds of each candidate are scaled to all of its trials."""
    set_threads(peer.study.execution.threads)
    start = time.perf_counter()
    peer.read_rows()
    reading = time.perf_counter() - start
    jobs = list_jobs(peer.study)
    done: list[Done] = []
    for job in take_share(jobs, share):
        done.append(peer.run_trial(job))
        tell(f"Trainer + PEFT: {job.candidate} seed {job.seed}, {done[-1].seconds:.1f} s")
    return gather(peer, jobs, done, reading)


def gather(peer: Peer, jobs: Sequence[Job], done: Sequence[Done], reading: float) -> SideRun:
    """Add up the trials of one script, scaled to those that it did not run."""
    ids = tuple(example.id for example in peer.data.examples["test"])
    names = list(dict.fromkeys(job.candidate for job in jobs))
    own = {name: [one for one in done if one.job.candidate == name] for name in names}
    wanted = {name: sum(job.candidate == name for job in jobs) for name in names}
    seconds = sum(wanted[name] * float(np.mean([one.seconds for one in own[name]])) for name in names)
    values = {name: [one.values for one in own[name] if one.values is not None] for name in names}
    return SideRun(
        seconds=reading + seconds,
        run_trials=len(done),
        all_trials=len(jobs),
        steps={name: frozenset(one.steps for one in own[name]) for name in names},
        tokens=dict.fromkeys(names, peer.tokens),
        marks={name: Marks(ids, np.stack(held), peer.binary) for name, held in values.items() if held},
    )
