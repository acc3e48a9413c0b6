"""Few-shot classification by label likelihood against `lm-eval`'s Hugging Face backend: SmolLM2, movie reviews.

    python benchmarks/few_shot.py [--rounds 3] [--items 200] [--shots 8] [--batches 1 4 8] [--quick]

Eight fixed, balanced training rows stand in front of every review; both sides score the words `negative` and
`positive` behind each prompt, with the same weights in memory, in float32, on as many threads as there are cores. Ours
starts from examples and is timed from making the prompts to the table of predictions; `lm-eval` is given finished
prompts and is timed in `loglikelihood`, with its logits cache on, as it is by default. The batch size of `lm-eval` is
the fastest of those given, tried on 16 items before the rounds; ours is what `execution.evaluation_batch` of a study
sets. Beside the wall time the processor time is compared, on which other work on the machine tells less.

Before any round it is checked that both sides see the same token ids. Exits with 1 when the two differ in the likelier
label of an item whose labels are more than 1e-3 nats apart, or when the ratio is below the one that is meant.
`--quick` takes 40 items and one round, and asks for no ratio.
"""

import argparse
import json
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from whichtune.bench.alternate import Comparison, alternate
from whichtune.data.load import load_data
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.prompting import PrompterTrial, prepare_asking
from whichtune.engine.speaking import Speaker
from whichtune.engine.trial import Material
from whichtune.engine.writing import Interview, answer_in_words
from whichtune.measure.modes import modes
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import SmolLM2Backbone
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.prompts import ShotsSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import DataSpec
from whichtune.spec.tasks import InstructionClassificationSpec
from whichtune.tasks import build_task
from whichtune.tasks.asking import encode_words, fit_row

OUT = Path("benchmarks/out/few_shot.json")
MEANT = 7.0
"""How many times as fast as `lm-eval` is meant."""
APART = 1e-3
"""Nats between the two likeliest labels above which both sides must name the same one."""
QUICK_ITEMS = 40
TRIED_ITEMS = 16
"""Items on which batch sizes of `lm-eval` are tried."""
TASK = InstructionClassificationSpec(kind="instruction-classification", scoring="likelihood", chat="never")


class Watch:
    """Wall and processor seconds since it was made."""

    def __init__(self):
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self):
        return time.perf_counter() - self.wall, time.process_time() - self.processor


class Ours:
    """A prompter's trial with likelihood scoring, built as a study builds it."""

    def __init__(self, items, shots, batch):
        sizes = {"train": 200, "validation": 100, "test": items}
        spec = DataSpec.model_validate({"source": {"kind": "movie-reviews"}, "sizes": sizes})
        data = load_data(spec)
        material = Material(build_task(TASK, data.labels), data)
        method = PromptingSpec(kind="prompting", style="few-shot", shots=ShotsSpec(count=shots))
        backbone = load_backbone(SmolLM2Backbone(kind="smollm2"), LoadRequest(dtype="float32"))
        asking = prepare_asking(method, material, spec.columns, Streams(1))
        speaker = Speaker(backbone, Arithmetic("float32", backbone.device))
        self.trial = PrompterTrial(speaker, material, asking, Streams(1), batch)
        self.examples = data.examples["test"]
        self.gaps, self.processor = np.zeros((items, len(asking.labels))), []

    @property
    def encoder(self):
        return self.trial.speaker.backbone.encoder

    def run(self):
        trial = self.trial
        watch = Watch()
        interview = Interview(trial.speaker, trial.asking, trial.batch, depth="glance")
        with modes((), trial.speaker.backbone.trunk):
            table = answer_in_words(interview, "test", self.examples, trial.encode("test"))
        seconds, processor = watch.read()
        self.processor.append(processor)
        self.gaps = behind_best(np.log(table.probabilities))
        return seconds

    def prompts(self):
        """The prompts as texts, and the labels' words behind them, as `lm-eval` is given them."""
        room = self.encoder.max_positions - self.trial.asking.room
        texts = [fit_row(self.trial.asking, one, self.encoder, room).prompt.text for one in self.examples]
        return texts, [f" {word}" for word in self.trial.asking.words()]

    def tokens(self):
        """What both sides must score: the ids of each prompt, and of each label's word behind it."""
        prompts = self.trial.encode("test").prompts()
        words = encode_words(self.trial.asking, self.encoder, self.examples[0])
        return [(prompts.row(row).tolist(), word) for row in range(len(prompts)) for word in words]


class Theirs:
    """`lm-eval`'s backend around the same trunk, tied to the same token table."""

    def __init__(self, ours):
        trunk = ours.trial.speaker.backbone.trunk
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(trunk.config)
        setattr(model, model.base_model_prefix, trunk)
        model.tie_weights()
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=ours.encoder.tokenizer)
        tokenizer.eos_token_id = tokenizer.pad_token_id = ours.encoder.ends[0]
        self.model = HFLM(model, tokenizer=tokenizer, batch_size=1)
        texts, self.words = ours.prompts()
        self.requests = [
            Instance("loglikelihood", {}, (text, word), place)
            for place, text in enumerate(texts)
            for word in self.words
        ]
        self.gaps, self.processor = np.zeros((len(texts), len(self.words))), []

    def run(self):
        (seconds, processor), scores = self.score(self.requests)
        self.processor.append(processor)
        self.gaps = behind_best(scores)
        return seconds

    def score(self, requests):
        watch = Watch()
        answers = self.model.loglikelihood(requests, disable_tqdm=True)
        return watch.read(), np.array([score for score, _ in answers]).reshape(-1, len(self.words))

    def tokens(self):
        return [self.model._encode_pair(*request.args) for request in self.requests]

    def tune(self, batches):
        """Set the batch size that is the fastest on a few items; return the processor seconds of each."""
        some = self.requests[: TRIED_ITEMS * len(self.words)]
        self.score(some[: len(self.words)])
        tried = {}
        for size in batches:
            self.model.batch_size_per_gpu = size
            tried[size] = self.score(some)[0][1]
        self.model.batch_size_per_gpu = min(tried, key=tried.get)
        return tried


def behind_best(scores):
    """How far each label is behind the best of its row, in nats: free of what labels share."""
    return scores - scores.max(axis=1, keepdims=True)


def compare(ours, theirs):
    """Return what the two sides' answers have in common, and the items in which they differ though they must not."""
    second = -np.sort(theirs, axis=1)[:, -2]
    other = ours.argmax(axis=1) != theirs.argmax(axis=1)
    return {
        "items": len(ours),
        "apart": int((second > APART).sum()),
        "other_label": np.flatnonzero(other & (second > APART)).tolist(),
        "greatest_difference_nats": float(np.abs(ours - theirs).max()),
    }


def measure(asked):
    ours = Ours(asked.items, asked.shots, asked.batch)
    theirs = Theirs(ours)
    tokens = ours.tokens()
    if [(list(context), list(word)) for context, word in theirs.tokens()] != tokens:
        sys.exit("the two sides do not see the same token ids")
    lengths = [len(context) for context, _ in tokens]
    print(
        f"{asked.items} reviews, {asked.shots} fixed examples, prompts of {min(lengths)} to {max(lengths)} tokens, "
        f"{torch.get_num_threads()} threads, float32, the same token ids on both sides"
    )
    tried = theirs.tune(asked.batches)
    shares = ", ".join(f"{size}: {seconds / min(tried.values()):.2f}" for size, seconds in tried.items())
    print(f"lm-eval's batch size: processor seconds over the fastest's: {shares}")
    ours.run()
    ours.processor.clear()
    sides = {"lm-eval": theirs.run, "whichtune": ours.run}
    comparison = alternate(sides, asked.rounds)
    agreement = compare(ours.gaps, theirs.gaps)
    print(comparison)
    processor = {"lm-eval": theirs.processor, "whichtune": ours.processor}
    return comparison, agreement, {"processor_seconds": processor, "lm_eval_batches": tried}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16, help="rows of ours at a time")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8], help="rows of lm-eval's to try")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ITEMS} items, one round, no ratio asked for")
    asked = parser.parse_args()
    if asked.quick:
        asked.items, asked.rounds = QUICK_ITEMS, 1
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    comparison, agreement, more = measure(asked)
    ratio = comparison.ratio("lm-eval")
    wrong = agreement["other_label"]
    print(
        f"same likelier label in all but {len(wrong)} of {agreement['apart']} items whose labels are more than {APART} "
        f"nats apart; greatest difference {agreement['greatest_difference_nats']:.1e} nats"
    )
    slow = not asked.quick and ratio < MEANT
    told = "" if asked.quick else f", meant {MEANT}: {'BELOW' if slow else 'reached'}"
    processor = Comparison(more["processor_seconds"]).ratio("lm-eval")
    print(f"lm-eval's time over whichtune's: {ratio:.2f}{told}; processor time: {processor:.2f}")
    ratios = {"ratio": ratio, "processor_ratio": processor}
    found = {"asked": vars(asked), "seconds": dict(comparison.seconds), **ratios, **agreement, **more}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if wrong or slow else 0


if __name__ == "__main__":
    sys.exit(main())
