"""The peer of a task answered in words: the same prompts and answers, written by `generate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from whichtune.bench.peer import Job, Peer
from whichtune.bench.peer_models import adapt
from whichtune.models.batch import Encoded
from whichtune.models.encoder import TextEncoder
from whichtune.spec.tasks import LanguageTaskBase
from whichtune.tasks import build_task

UNLABELLED = -100
"""What the loss of `transformers` skips."""


@dataclass
class WritingPeer(Peer):
    """Trains on answers behind prompts, with labels on the answers alone."""

    reader: TextEncoder | None = None
    """Makes the same token ids as our side's; the making counts."""
    binary = False

    @property
    def tokens(self) -> int:
        """Tokens of the test rows' prompts."""
        return sum(row["labels"].count(UNLABELLED) for row in self.rows["test"])

    def read_rows(self) -> None:
        """Encode every split."""
        assert self.reader is not None  # noqa: S101 - given where the row is set up
        self.tokenizer = self.source.read_tokenizer()
        task = build_task(self.study.task, self.data.labels, self.study.data.columns)
        for split, examples in self.data.examples.items():
            encoded = task.encode(examples, self.reader, self.study.training.max_length)
            assert isinstance(encoded, Encoded)  # noqa: S101 - these are texts
            assert encoded.starts is not None  # noqa: S101 - with answers
            self.rows[split] = [_lay_row(encoded, row, int(encoded.starts[row])) for row in range(len(encoded))]

    def make_collator(self) -> Any:
        """Pad inputs and labels to the longest of the batch, or to the greatest length."""
        whole = self.baseline == "tutorial"
        return transformers.DataCollatorForSeq2Seq(
            self.tokenizer,
            padding="max_length" if whole else True,
            max_length=self.study.training.max_length if whole else None,
            label_pad_token_id=UNLABELLED,
        )

    def make_model(self, job: Job) -> Any:
        """Load the language model and adapt it."""
        return adapt(self.source.read_writer(self.device), job.method, "CAUSAL_LM")

    def make_trainer(self, model: Any, job: Job, folder: str) -> Any:
        """Make a Trainer that keeps the losses of its validations alone."""
        make: Any = transformers.Trainer
        trainer = make(
            model=model,
            args=self.make_arguments(job, folder, prediction_loss_only=True),
            train_dataset=self.rows["train"],
            eval_dataset=self.rows["validation"],
            data_collator=self.make_collator(),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        return trainer

    @torch.no_grad()
    def finish(self, trainer: Any, job: Job) -> tuple[float, np.ndarray | None]:
        """Write answers to the validation rows, and to the test rows with the loss of the given ones."""
        model = trainer.model.eval()
        validated = [-line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line][-1]
        self._write(model, "validation")
        if not job.tests:
            return validated, None
        self._write(model, "test")
        return validated, self._judge(model, "test")

    def _batches(self, split: str) -> list[list[dict[str, Any]]]:
        rows, size = self.rows[split], self.evaluation_batch
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _write(self, model: Any, split: str) -> None:
        task = self.study.task
        assert isinstance(task, LanguageTaskBase)  # noqa: S101 - a task in words
        side, self.tokenizer.padding_side = self.tokenizer.padding_side, "left"
        for rows in self._batches(split):
            prompts = [row["input_ids"][: row["labels"].count(UNLABELLED)] for row in rows]
            inputs = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(self.device)
            pad = self.tokenizer.pad_token_id
            model.generate(**inputs, max_new_tokens=task.decoding.max_new_tokens, do_sample=False, pad_token_id=pad)
        self.tokenizer.padding_side = side

    def _judge(self, model: Any, split: str) -> np.ndarray:
        """Return minus the mean loss of each row's answer."""
        collate, found = self.make_collator(), list[np.ndarray]()
        for rows in self._batches(split):
            batch = {name: one.to(self.device) for name, one in collate([dict(row) for row in rows]).items()}
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
            labels = batch["labels"][:, 1:]
            losses = torch.nn.functional.cross_entropy(
                logits.float().transpose(1, 2), labels, ignore_index=UNLABELLED, reduction="none"
            )
            found.append((-losses.sum(1) / (labels != UNLABELLED).sum(1)).double().cpu().numpy())
        return np.concatenate(found)


def _lay_row(encoded: Encoded, row: int, start: int) -> dict[str, Any]:
    ids = encoded.row(row).tolist()
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": [UNLABELLED] * start + ids[start:],
    }
