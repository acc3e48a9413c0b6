import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from whichtune.bench.model import Asked
from whichtune.bench.peer import Done, Job, Peer, gather, take_share
from whichtune.bench.peer_models import Source, adapt, find_source
from whichtune.bench.rows import ROWS
from whichtune.bench.run import set_up
from whichtune.bench.studies import LADDER
from whichtune.engine.build import build_assembly
from whichtune.errors import InputError
from whichtune.layers.heads import HeadRequest
from whichtune.models.backbone import LoadRequest
from whichtune.models.count import count_elements
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import FolderBackbone, GgufBackbone, RandomBackbone
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.training import TrainingSpec

READ = TypeAdapter(MethodSpec)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT's own way of asking transformers
@pytest.mark.parametrize("name", LADDER)
def test_both_sides_train_as_many_numbers(name, bert_folder):
    method = READ.validate_python(LADDER[name])
    backbone = load_backbone(FolderBackbone(kind="folder", path=bert_folder), LoadRequest())
    assembly = build_assembly(backbone, method, HeadRequest(2), 0.1, Streams(1))
    own = count_elements((assembly.attachment.trained | assembly.attachment.inert).values())
    classifier = find_source(FolderBackbone(kind="folder", path=bert_folder)).read_classifier(2, "cpu")
    model = adapt(classifier, method, "SEQ_CLS")
    assert sum(one.numel() for one in model.parameters() if one.requires_grad) == own


def test_what_is_frozen_stays_in_eval_mode(bert_folder):
    method = READ.validate_python({"kind": "last-layers", "blocks": 1})
    model = adapt(Source(bert_folder).read_classifier(2, "cpu"), method, "SEQ_CLS").train()
    blocks = model.bert.encoder.layer
    assert not any(module.training for module in blocks[0].modules())
    assert all(module.training for module in blocks[1].modules())
    assert model.dropout.training
    assert not model.bert.embeddings.dropout.training


def test_what_the_peer_has_no_form_of_is_refused(bert_folder):
    model = Source(bert_folder).read_classifier(2, "cpu")
    with pytest.raises(InputError, match="allowed: lora, prompt-tuning"):
        adapt(model, READ.validate_python({"kind": "p-tuning"}), "SEQ_CLS")
    with pytest.raises(InputError, match="minilm, smollm2, folder, random"):
        find_source(GgufBackbone(kind="gguf", path="x.gguf"))


def jobs(candidates, seeds):
    method = READ.validate_python({"kind": "full"})
    return [Job(name, method, TrainingSpec(), seed) for name in candidates for seed in seeds]


def test_a_share_takes_every_candidate_and_turns_the_seeds():
    taken = take_share(jobs("abc", (1, 2, 3)), 1 / 3)
    assert [(job.candidate, job.seed) for job in taken] == [("a", 1), ("b", 2), ("c", 3)]
    assert len(take_share(jobs("ab", (1, 2, 3)), 2 / 3)) == 4
    assert sorted(take_share(jobs("a", (1, 2, 3)), 1.0), key=lambda job: job.seed) == jobs("a", (1, 2, 3))
    assert len(take_share(jobs("ab", (1,)), 0.1)) == 2


@pytest.fixture
def stage(tiny, tmp_path):
    return set_up(ROWS["lora-epoch"], Asked(("lora-epoch",), texts=24, threads=1, settings=tiny), tmp_path)


def test_seconds_are_scaled_candidate_by_candidate(stage):
    peer = Peer(stage.study, stage.data, "tuned")
    peer.read_rows()
    every = jobs("ab", (1, 2, 3))
    right = np.ones(len(stage.data.examples["test"]))
    done = [Done(every[0], 2.0, 9, 0.5, right), Done(every[3], 10.0, 9, 0.5, right)]
    side = gather(peer, every, done, 1.0)
    assert side.seconds == 1.0 + 3 * 2.0 + 3 * 10.0
    assert (side.run_trials, side.all_trials) == (2, 6)
    assert side.marks["a"].values.shape == (1, len(right))


@pytest.mark.parametrize("baseline", ["tuned", "tutorial"])
def test_the_peer_pads_as_its_baseline_does_and_reads_the_same_tokens(baseline, stage):
    peer = Peer(stage.study, stage.data, baseline)
    peer.read_rows()
    assert peer.tokens == stage.size.tokens["test"]
    rows = sorted(peer.rows["train"], key=lambda row: len(row["input_ids"]))[:4]
    width = peer.make_collator()([dict(row) for row in rows])["input_ids"].shape[1]
    assert width == (40 if baseline == "tutorial" else len(rows[-1]["input_ids"]))


def test_random_weights_are_drawn_in_the_form_that_is_asked_for():
    spec = RandomBackbone(kind="random", family="llama", dtype="bfloat16")
    source = find_source(spec)
    model = source.read_classifier(3, torch.device("cpu"))
    assert model.config.num_labels == 3
    assert {one.dtype for one in model.parameters()} == {torch.bfloat16}
    assert source.read_tokenizer()("ab")["input_ids"] != []
