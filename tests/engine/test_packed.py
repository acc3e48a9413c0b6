"""Trials in one pass are the trials alone: gradients, masks, losses, steps, predictions; and they never touch."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from whichtune.engine import packed, slots
from whichtune.engine.build import build_assembly, request_load
from whichtune.engine.encoding import encode_splits
from whichtune.engine.fit import accumulate, advance
from whichtune.engine.pace import Pace
from whichtune.engine.packed import Member, Pack, Returnable, run_packed
from whichtune.engine.predict_together import count_together
from whichtune.engine.prefix_cache import Keeping, with_prefix
from whichtune.engine.slots import Candidate, build_packed
from whichtune.engine.trial import Material, TunerTrial, count_assembly
from whichtune.engine.turns import SharedMeter, Turns
from whichtune.errors import DoesNotFitError, NonFiniteError, TrialError, UnsupportedError
from whichtune.layers.masks import Mask
from whichtune.measure.clock import PhaseClock
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.engine import PLAIN, EngineSpec
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.training import TrainingSpec

STEPS = 20
SETTINGS = [
    {"rank": 2, "alpha": 4.0, "learning_rate": 1e-3, "dropout": 0.0},
    {"rank": 8, "alpha": 16.0, "learning_rate": 1e-2, "dropout": 0.0},
    {"rank": 4, "alpha": 8.0, "learning_rate": 5e-3, "dropout": 0.0},
]
WAYS = [
    pytest.param(("bert", False, False), id="bert, padded"),
    pytest.param(("bert", True, True), id="bert, without padding, at once"),
    pytest.param(("gpt2", False, True), id="gpt2, padded, at once"),
    pytest.param(("llama", True, False), id="llama, without padding"),
]
"""Family, whether padding is left out, and whether adapters are multiplied at once, as on a GPU."""
CASES = [pytest.param(*way.values, True, id=f"{way.id}, dropout on") for way in WAYS]
CASES += [pytest.param(("bert", True, False), False, id="bert, without padding, dropout off")]
LOADED = {}
SIZES = [4, 8, 6]
"""Rows a batch of each trial."""


class Seen:
    """What a trial tells of itself."""

    def __init__(self, fail_at=None):
        self.losses, self.norms, self.scores, self.fail_at = [], [], [], fail_at

    def on_step(self, figures, total):
        if figures.step == self.fail_at:
            raise ZeroDivisionError
        self.losses.append(figures.loss)
        self.norms.append(figures.gradient_norm)

    def on_validation(self, step, score, metrics):
        self.scores.append((step, score))


@pytest.fixture
def make_trials(tiny_data, tiny_task, tiny_backbone, cache_folder):
    """The same trials twice: on one backbone together, and each on a backbone of its own."""

    def make(
        way=("bert", True, False), settings=SETTINGS, methods="lora", task=None, backbones=None, rows=8, **training
    ):
        family, unpads, batched = way
        task = task or tiny_task
        held = {"epochs": 9, "max_length": 24, "validate_every": 8, "order": "by-length"}
        trials = [held | {"batch_size": size} for size in SIZES]
        trainings = [
            TrainingSpec(**one | {name: pick(value, place) for name, value in training.items()})
            for place, one in enumerate(trials[: len(settings)])
        ]
        given = [TypeAdapter(MethodSpec).validate_python({"kind": methods} | one) for one in settings]
        if backbones is None:
            if family not in LOADED:
                LOADED[family] = tiny_backbone(family)
            plain = LOADED[family]
            trunks = (copy.deepcopy(plain.trunk) for _ in range(len(settings) + 1))
            backbones = [replace(plain, trunk=trunk, unpads=unpads) for trunk in trunks]

        def build(backbone, places):
            candidates = [
                Candidate(given[place], trainings[place].head_dropout, Streams(place + 1)) for place in places
            ]
            encoded = encode_splits(tiny_data, task, backbone.encoder, 24, cache_folder)
            material = Material(task, tiny_data, encoded)
            assemblies = build_packed(backbone, candidates, task.head())
            assemblies[0].rack.batched = batched
            return [
                TunerTrial(one, material, given[place], trainings[place], PhaseClock(), rows, (Seen(),))
                for one, place in zip(assemblies, places, strict=True)
            ]

        def build_alone(backbone, place):
            assembly = build_assembly(
                backbone, given[place], task.head(), trainings[place].head_dropout, Streams(place + 1)
            )
            encoded = encode_splits(tiny_data, task, backbone.encoder, 24, cache_folder)
            material = Material(task, tiny_data, encoded)
            return TunerTrial(assembly, material, given[place], trainings[place], PhaseClock(), rows, (Seen(),))

        together = build(backbones[0], range(len(settings)))
        alone = [build_alone(backbone, place) for place, backbone in enumerate(backbones[1:])]
        return together, alone

    return make


def pick(value, place):
    return value[place] if isinstance(value, list) else value


def prepare(trials):
    """A pack of the trials, ready to step."""
    pack = Pack(Pace(together=True))
    for place, trial in enumerate(trials):
        pack.add(Member(place, trial, trial.prepare()))
    return pack


def accumulate_together(pack):
    return pack._accumulate([pack._take(member) for member in pack.members])


def gradients(run):
    return {name: tensor.grad for name, tensor in run.assembly.attachment.trained.items()}


def stir(trials):
    """Fill B, so that what an adapter reads shows in what it gives."""
    for place, trial in enumerate(trials):
        generator = torch.Generator().manual_seed(place)
        with torch.no_grad():
            for name, tensor in trial.assembly.attachment.trained.items():
                if name.endswith(".up"):
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)


def with_dropout(rates=(0.1, 0.3, 0.0)):
    return [one | {"dropout": rate} for one, rate in zip(SETTINGS, rates, strict=True)]


@pytest.mark.parametrize("way, dropout", CASES)
def test_gradients_are_those_of_a_pass_of_its_own(make_trials, way, dropout):
    together, alone = make_trials(way, with_dropout() if dropout else SETTINGS)
    stir(together)
    stir(alone)
    pack = prepare(together)
    losses = accumulate_together(pack)
    for member, trial, loss in zip(pack.members, alone, losses, strict=True):
        run = trial.prepare()
        with run.assembly.fitting():
            assert accumulate(run) == pytest.approx(loss, rel=1e-6)
        own = gradients(run)
        assert own.keys() == gradients(member.run).keys()
        for name, gradient in gradients(member.run).items():
            apart = (gradient - own[name]).norm() / own[name].norm()
            assert apart <= 2e-6, name


@pytest.mark.parametrize("way", WAYS)
def test_masks_are_those_of_a_pass_of_its_own(make_trials, monkeypatch, way):
    """Every mask that is drawn, forward and backward, at the run's real rows, bit by bit, for batches of all widths."""
    drawn, own = [], Mask.drop

    def drop(mask, rows):
        drawn.append((mask.seed, own(mask, torch.ones_like(rows)).detach()))
        return own(mask, rows)

    together, alone = make_trials(way, with_dropout((0.2, 0.3, 0.4)))
    monkeypatch.setattr(Mask, "drop", drop)
    pack, runs = prepare(together), [trial.prepare() for trial in alone]
    widths = set()
    for _ in range(3):
        taken = [pack._take(member) for member in pack.members]
        widths.add(tuple(one.batches[0].ids.shape[1] for one in taken))
        pack._accumulate(taken)
        shared = dict(drawn)
        drawn.clear()
        for one, run in zip(taken, runs, strict=True):
            with run.assembly.fitting():
                accumulate(run)
            lone = dict(drawn)
            drawn.clear()
            assert len(lone) == 2, "one for each block's input of query and value"
            for seed, mask in lone.items():
                assert torch.equal(real_rows(shared[seed], one.batches[0]), real_rows(mask, one.batches[0]))
                assert 0 < real_rows(mask, one.batches[0]).mean() < 1
    assert any(len(set(one)) > 1 for one in widths), "batches of one pass are not all as wide"


def real_rows(mask, batch):
    """A mask's rows at real tokens, [T, E], whichever way the rows stood."""
    real, width = batch.layout.real, mask.shape[-1]
    flat = mask.reshape(-1, width)
    if len(flat) == int(real.sum()):
        return flat
    return flat.view(len(real), -1, width)[:, : real.shape[1]][real]


@pytest.mark.parametrize("way, dropout", CASES)
def test_twenty_steps_have_the_losses_of_trials_alone(make_trials, way, dropout):
    settings = with_dropout() if dropout else SETTINGS
    together, alone = make_trials(way, settings, max_steps=[STEPS, 11, 16], accumulate=[1, 2, 1])
    for outcome in run_packed(together):
        assert not isinstance(outcome, Exception)
    for trial, lone in zip(together, alone, strict=True):
        lone.run()
        seen, own = trial.listeners[0], lone.listeners[0]
        assert len(seen.losses) == lone.training.max_steps
        assert seen.losses == pytest.approx(own.losses, rel=1e-5)
        assert seen.norms == pytest.approx(own.norms, rel=1e-3)
        assert seen.scores == own.scores


def test_predictions_and_what_is_kept_are_those_of_trials_alone(make_trials):
    stopping = {"patience": 1, "min_gain": 0.01}
    together, alone = make_trials(
        settings=with_dropout(), stopping=[None, stopping, stopping], keep=["last", "best", "best"], epochs=[3, 6, 5]
    )
    outcomes = run_packed(together)
    steps = [outcome.steps for outcome in outcomes]
    assert len(set(steps)) > 1, "they end at different steps"
    for outcome, trial, lone in zip(outcomes, together, alone, strict=True):
        own = lone.run()
        assert (outcome.steps, outcome.epochs, outcome.kept_step) == (own.steps, own.epochs, own.kept_step)
        assert outcome.merged is own.merged is True
        for table, other in zip(outcome.predictions, own.predictions, strict=True):
            assert table.split == other.split
            assert table.parsed == other.parsed
            assert np.allclose(table.probabilities, other.probabilities, atol=1e-4)
        assert count_assembly(trial.assembly) == count_assembly(lone.assembly)
        kept = lone.assembly.attachment.saved
        assert list(kept) == list(trial.assembly.attachment.saved)
        for name, tensor in trial.assembly.attachment.saved.items():
            assert torch.allclose(tensor, kept[name], atol=1e-4), name


@pytest.fixture
def foretold(monkeypatch):
    """The splits that were predicted together, each with how many trials."""
    seen, own = [], packed.predict_together

    def note(trials, split, arithmetic):
        seen.append((split, len(trials)))
        return own(trials, split, arithmetic)

    monkeypatch.setattr(packed, "predict_together", note)
    return seen


@pytest.mark.parametrize("way", WAYS)
def test_few_rows_are_predicted_in_one_pass(make_trials, foretold, way):
    together, alone = make_trials(way, with_dropout(), rows=256, max_steps=20, keep=["last", "best", "best"])
    trunk = together[0].assembly.backbone.trunk
    before = {name: module.training for name, module in trunk.named_modules()}
    outcomes = run_packed(together)
    assert foretold == [("validation", 3)] * 3 + [("test", 3)]
    for outcome, trial, lone in zip(outcomes, together, alone, strict=True):
        own = lone.run()
        assert (outcome.merged, own.merged, outcome.kept_step) == (False, True, own.kept_step)
        assert [step for step, _ in trial.listeners[0].scores] == [8, 16, 20]
        assert trial.listeners[0].scores == lone.listeners[0].scores
        assert trial.clock.read().phases.keys() >= {"validate", "predict"}
        for table, other in zip(outcome.predictions, own.predictions, strict=True):
            assert (table.split, table.ids, table.parsed) == (other.split, other.ids, other.parsed)
            assert np.allclose(table.probabilities, other.probabilities, atol=1e-5)
            assert np.array_equal(table.tokens_in, other.tokens_in)
            assert (table.batch_seconds > 0).all()
    after = {name: module.training for name, module in trunk.named_modules()}
    assert {name: after[name] for name in before} == before


def test_as_many_are_predicted_together_as_make_a_batch(make_trials, foretold, ask_in_words):
    together, _ = make_trials()
    rows = len(together[0].material.encoded["validation"])
    for size, count in [(rows - 1, 0), (2 * rows - 1, 1), (2 * rows, 2), (3 * rows + 1, 3)]:
        together[0].evaluation_batch = size
        assert count_together(together, "validation") == count
    fewer = dict(together[1].material.encoded) | {"validation": together[1].material.encoded["test"].take(np.arange(2))}
    together[1].material = replace(together[1].material, encoded=fewer)
    assert count_together(together, "validation") == 0, "they have not equally many rows"
    words, _ = make_trials(("gpt2", True, False), task=ask_in_words(), rows=256)
    assert count_together(words, "validation") == 0
    pairs, _ = make_trials(rows=2 * rows, max_steps=4)
    outcomes = run_packed(pairs)
    assert foretold == [("validation", 2), ("test", 2)]
    assert [one.merged for one in outcomes] == [False, False, True], "the third is left, and predicts alone"


def test_it_is_told_of_the_split_that_was_predicted_last_whether_it_was_merged(make_trials, monkeypatch):
    own = packed.count_together
    monkeypatch.setattr(packed, "count_together", lambda trials, split: 0 if split == "test" else own(trials, split))
    together, _ = make_trials(rows=256, max_steps=8)
    assert [outcome.merged for outcome in run_packed(together)] == [True] * 3


def test_outputs_that_are_not_numbers_fail_their_own_trial(make_trials, foretold):
    together, alone = make_trials(rows=256, max_steps=8)

    class Spoiling(Seen):
        def on_step(self, figures, total):
            super().on_step(figures, total)
            if figures.step == 8:
                spoil(together[1], "head")

    together[1].listeners = (Spoiling(),)
    outcomes = run_packed(together)
    assert foretold == [("validation", 3), ("test", 2)]
    assert isinstance(outcomes[1], NonFiniteError)
    for place in (0, 2):
        own = alone[place].run()
        assert outcomes[place].predictions[-1].parsed == own.predictions[-1].parsed


@pytest.mark.parametrize("error", [DoesNotFitError("too much"), UnsupportedError("not here"), ZeroDivisionError()])
def test_where_it_cannot_be_each_predicts_alone_from_there_on(make_trials, monkeypatch, error):
    asked = []

    def refuse(trials, split, arithmetic):
        asked.append(split)
        raise error

    monkeypatch.setattr(packed, "predict_together", refuse)
    together, _ = make_trials(rows=256, max_steps=8)
    outcomes = run_packed(together)
    assert [outcome.merged for outcome in outcomes] == [True] * 3
    assert asked == ["validation"]


def test_what_was_not_found_to_be_faster_is_not_used(make_trials, foretold):
    together, _ = make_trials(rows=256, max_steps=4)
    run_packed(together, Pace(together=False))
    assert not foretold


def spoil(trial, how):
    with torch.no_grad():
        if how == "adapter":
            next(iter(trial.assembly.attachment.trained.values())).fill_(float("nan"))
        elif how == "head":
            trial.assembly.head.out.weight.fill_(float("nan"))
        else:
            trial.assembly.head.out.weight.fill_(float("inf"))


@pytest.mark.parametrize(
    "way, how",
    [pytest.param(*way.values, "adapter", id=f"{way.id}, adapter") for way in WAYS]
    + [(("bert", True, False), "head"), (("bert", False, True), "infinite head")],
)
def test_what_is_not_a_number_in_one_leaves_the_others_as_they_are(make_trials, way, how):
    """Bit by bit in the pass that all share; after it the others go on without it, as they would alone."""
    found = []
    for spoilt in (False, True):
        together, _ = make_trials(way, with_dropout(), max_steps=5)
        stir(together)
        if spoilt:
            spoil(together[1], how)
        pack = prepare(together)
        losses = accumulate_together(pack)
        found.append([(losses[place], gradients(pack.members[place].run)) for place in (0, 2)])
        assert np.isfinite(losses[1]) != spoilt
    for (loss, own), (other, others) in zip(*found, strict=True):
        assert loss == other
        assert all(torch.equal(own[name], others[name]) for name in own)


@pytest.mark.parametrize("way", WAYS[1:3])
def test_a_failed_trial_leaves_the_pass(make_trials, way):
    together, alone = make_trials(way, with_dropout(), max_steps=5)
    spoil(together[1], "adapter")
    outcomes = run_packed(together)
    assert isinstance(outcomes[1], NonFiniteError)
    for place in (0, 2):
        alone[place].run()
        assert outcomes[place].steps == 5
        assert together[place].listeners[0].losses == pytest.approx(alone[place].listeners[0].losses, rel=1e-5)
    assert not together[1].listeners[0].losses


def test_what_a_listener_raises_ends_its_own_trial(make_trials):
    together, alone = make_trials(max_steps=6)
    together[0].listeners = (Seen(fail_at=3),)
    outcomes = run_packed(together)
    assert isinstance(outcomes[0], ZeroDivisionError)
    alone[1].run()
    assert together[1].listeners[0].losses == pytest.approx(alone[1].listeners[0].losses, rel=1e-5)


def test_optimizers_move_what_is_theirs_alone(make_trials):
    together, alone = make_trials(max_steps=8)
    pack = prepare(together)
    held = [
        {id(tensor) for group in one.run.optimizer.param_groups for tensor in group["params"]} for one in pack.members
    ]
    assert len(set.union(*held)) == sum(map(len, held))
    pack.train()
    for member, trial in zip(pack.members, alone, strict=True):
        run = trial.prepare()
        for _ in range(8):
            advance(run)
        pairs = zip(member.assembly.attachment.trained.values(), run.assembly.attachment.trained.values(), strict=True)
        for tensor, own in pairs:
            state, lone = member.run.optimizer.state[tensor], run.optimizer.state[own]
            assert int(state["step"]) == int(lone["step"]) == 8
            for moment in ("exp_avg", "exp_avg_sq"):
                assert torch.allclose(state[moment], lone[moment], rtol=1e-3, atol=1e-7)
        assert member.run.schedule.get_last_lr() == run.schedule.get_last_lr()


def test_no_trial_sees_rows_of_another(make_trials, monkeypatch):
    together, alone = make_trials(max_steps=6, accumulate=[2, 1, 3])
    seen, own = {}, slots.join

    def note(batches, *given, **how):
        joint = own(batches, *given, **how)
        at = 0
        for batch, route in zip(batches, joint.routes(packed=False), strict=True):
            assert route.start == at
            at = route.stop
            width = batch.ids.shape[1]
            assert torch.equal(joint.batch.ids[route][:, :width], batch.ids)
            assert not joint.batch.layout.real[route][:, width:].any()
            assert np.array_equal(joint.batch.rows[route], batch.rows)
        seen.setdefault(len(seen), [batch.rows.tolist() for batch in batches])
        return joint

    monkeypatch.setattr(slots, "join", note)
    pack = prepare(together)
    pack.train()
    taken = [[] for _ in together]
    for trial, rows in zip(alone, taken, strict=True):
        run = trial.prepare()
        for _ in range(6):
            rows.append([batch.rows.tolist() for batch in next(run.batches)])
    passes = iter(seen.values())
    for step in range(6):
        micro = max(len(one[step]) for one in taken)
        for index in range(micro):
            assert next(passes) == [one[step][index] for one in taken if index < len(one[step])]


def test_trials_that_have_ended_leave_one_that_goes_on_alone(make_trials, monkeypatch):
    passes, own = [], slots.join
    monkeypatch.setattr(
        slots, "join", lambda batches, *given, **how: passes.append(len(batches)) or own(batches, *given, **how)
    )
    together, _ = make_trials(max_steps=[2, 9, 4])
    assert [outcome.steps for outcome in run_packed(together)] == [2, 9, 4]
    assert passes == [3, 3, 2, 2]


def test_each_comes_off_alone_and_the_last_gives_the_backbone_back(make_trials, tiny_backbone):
    together, _ = make_trials(max_steps=3)
    trunk, untouched = together[0].assembly.backbone.trunk, tiny_backbone()
    run_packed(together)
    batch = together[0].material.encoded["test"].collate(range(4))
    with together[2].assembly.predicting(merge=False), torch.no_grad():
        before = together[2].assembly(batch)
    together[0].assembly.attachment.detach()
    together[1].assembly.attachment.detach()
    together[1].assembly.attachment.detach()
    with together[2].assembly.predicting(merge=False), torch.no_grad():
        assert torch.equal(together[2].assembly(batch), before)
    together[2].assembly.attachment.detach()
    state = untouched.trunk.state_dict()
    assert trunk.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in trunk.state_dict().items())
    flags = [tensor.requires_grad for tensor in untouched.trunk.parameters()]
    assert [tensor.requires_grad for tensor in trunk.parameters()] == flags


def test_a_trunk_with_nobody_seated_does_not_run(make_trials):
    together, _ = make_trials()
    backbone, batch = together[0].assembly.backbone, together[0].material.encoded["test"].collate(range(4))
    with pytest.raises(IndexError):
        backbone.run(backbone.embed(batch), batch.layout, batch.segments)


def test_a_pass_that_does_not_fit_is_taken_apart_under_the_same_masks(make_trials, monkeypatch):
    together, alone = make_trials(settings=with_dropout(), max_steps=6, accumulate=2)
    own, calls = packed.backpropagate, []

    def break_down(taken, index):
        calls.append(index)
        if len(calls) == 6:  # in the middle of the third step
            raise DoesNotFitError("too much")
        return own(taken, index)

    monkeypatch.setattr(packed, "backpropagate", break_down)
    pace = Pace(together=True)
    outcomes = run_packed(together, pace)
    assert len(calls) == 6
    assert (pace.together, pace.reason) == (False, "too much")
    for outcome, trial, lone in zip(outcomes, together, alone, strict=True):
        lone.run()
        assert outcome.steps == 6
        assert trial.listeners[0].losses == pytest.approx(lone.listeners[0].losses, rel=1e-5)


def test_projections_that_read_no_texts_are_not_shared(make_trials):
    """DeBERTa sends its table of distances through query and key, for all texts at once."""
    together, alone = make_trials(("deberta-v2", False, False), max_steps=4)
    pace = Pace(together=True)
    run_packed(together, pace)
    assert pace.together is False
    assert "cannot share a pass" in pace.reason
    alone[1].run()
    assert together[1].listeners[0].losses == pytest.approx(alone[1].listeners[0].losses, rel=1e-5)


def test_both_ways_are_tried_in_turn_and_the_faster_is_kept(make_trials, monkeypatch):
    ways, own = [], Pack._step_together

    def note(pack, taken):
        ways.append(len(taken))
        own(pack, taken)

    monkeypatch.setattr(Pack, "_step_together", note)
    together, alone = make_trials(settings=with_dropout(), max_steps=12)
    pace = Pace()
    run_packed(together, pace)
    assert pace.together is (pace.gain >= 1.1)
    assert "of the time" in pace.reason
    assert len(ways) == (8 if pace.together else 4)
    for trial, lone in zip(together, alone, strict=True):
        lone.run()
        assert trial.listeners[0].losses == pytest.approx(lone.listeners[0].losses, rel=1e-5)


@pytest.mark.parametrize("seconds, kept", [(0.9, True), (0.95, False), (2.0, False)])
def test_what_saves_little_is_not_used(seconds, kept):
    pace = Pace()
    while pace.together is None:
        together = pace.choose(2)
        pace.note(seconds * 10 if together else 10, 10, together=together)
    assert pace.together is kept
    assert not pace.choose(1), "one alone shares with nobody"


def test_a_step_without_a_target_ends_its_own_trial(make_trials):
    together, _ = make_trials(max_steps=3)
    pack = prepare(together)
    material = together[1].material.encoded["train"]
    blank = replace(material, targets=np.full(len(material), -1))
    pack.members[1].run.batches = Returnable(iter([[blank.collate(range(4))]]))
    pack.train()
    assert isinstance(pack.members[1].error, TrialError)
    assert [member.run.step for member in pack.members] == [3, 0, 3]


def test_answers_in_words_share_a_pass(make_trials, ask_in_words):
    together, alone = make_trials(("gpt2", True, True), with_dropout(), task=ask_in_words(), max_steps=4)
    outcomes = run_packed(together)
    for outcome, trial, lone in zip(outcomes, together, alone, strict=True):
        own = lone.run()
        assert trial.listeners[0].losses == pytest.approx(lone.listeners[0].losses, rel=1e-5)
        assert outcome.predictions[-1].parsed == own.predictions[-1].parsed


@pytest.mark.parametrize("batched", [False, True])
def test_lower_precision_shares_a_pass(make_trials, batched):
    together, alone = make_trials(("bert", True, batched), settings=with_dropout(), max_steps=4, precision="bfloat16")
    assert not any(isinstance(outcome, Exception) for outcome in run_packed(together))
    for trial, lone in zip(together, alone, strict=True):
        lone.run()
        assert trial.listeners[0].losses == pytest.approx(lone.listeners[0].losses, rel=2e-2)


def test_blocks_below_all_adapters_are_replayed_for_all(make_trials, cache_folder):
    settings = [one | {"targets": ["encoder.layer.1.attention.self.query"]} for one in with_dropout()]
    together, alone = make_trials(settings=settings, max_steps=4)
    keeping = Keeping(cache_folder, 10**8, 8, "float32")
    for trial in together:
        trial.material, blocks = with_prefix(trial.assembly, trial.material, keeping)
        assert blocks == 1
    assert not any(isinstance(outcome, Exception) for outcome in run_packed(together))
    for trial, lone in zip(together, alone, strict=True):
        lone.run()
        assert trial.listeners[0].losses == pytest.approx(lone.listeners[0].losses, rel=1e-5)


@pytest.mark.parametrize("engine", [PLAIN, EngineSpec()], ids=["four bits", "unpacked once"])
def test_four_bit_trunks_are_shared_and_evaluated_unmerged(make_trials, engine):
    pytest.importorskip("bitsandbytes")
    spec = TypeAdapter(MethodSpec).validate_python({"kind": "qlora"})
    backbone = RandomBackbone(kind="random", family="llama", config={"initializer_range": 0.2})
    loaded = [load_backbone(backbone, request_load(spec, "sdpa", engine=engine)) for _ in range(3)]
    together, alone = make_trials(settings=with_dropout()[:2], methods="qlora", max_steps=4, backbones=loaded)
    outcomes = run_packed(together)
    for outcome, trial, lone in zip(outcomes, together, alone, strict=True):
        own = lone.run()
        assert outcome.merged is own.merged is False
        assert outcome.dequantized is own.dequantized is (engine is not PLAIN)
        assert trial.listeners[0].losses == pytest.approx(lone.listeners[0].losses, rel=1e-5)
        assert trial.assembly.attachment.merge_reason


def test_trials_that_cannot_share_are_not_attached(tiny_backbone, tiny_task):
    backbone = tiny_backbone()
    specs = [TypeAdapter(MethodSpec).validate_python({"kind": "lora"} | one) for one in ({}, {"targets": ["key"]})]
    with pytest.raises(UnsupportedError, match="same targets"):
        build_packed(backbone, [Candidate(one, 0.1, Streams(1)) for one in specs], tiny_task.head())


def test_every_nanosecond_is_given_once():
    class Now:
        at = 0

        def __call__(self):
            return self.at

    now = Now()
    turns = Turns(now)
    clocks = [PhaseClock(now=turns.source(place)) for place in range(2)]
    now.at = 7  # nobody's
    with turns.giving({0: 3, 1: 1}), clocks[0].phase("step"), clocks[1].phase("step"):
        now.at += 100
        with turns.giving({1: 5}):
            now.at += 10
        now.at += 100
    now.at += 50
    timelines = [clock.read() for clock in clocks]
    assert [one.phases["step"].nanoseconds for one in timelines] == [150, 60]
    assert [one.wall_nanoseconds for one in timelines] == [150, 60]


def test_clocks_of_a_pack_add_up_to_its_time(make_trials):
    together, _ = make_trials(max_steps=5)
    turns = Turns()
    for place, trial in enumerate(together):
        trial.clock = PhaseClock(now=turns.source(place))
    start = turns._now()
    run_packed(together, turns=turns)
    whole = turns._now() - start
    walls = [trial.clock.read().wall_nanoseconds for trial in together]
    assert all(walls)
    assert 0.9 * whole <= sum(walls) <= whole
    assert all(trial.clock.read().phases["step"].seconds > 0 for trial in together)


def test_one_meter_shows_each_the_peak_since_its_own_reset():
    class Meter:
        peak = 0

        def reset(self):
            self.peak = 0

        def read(self):
            return self.peak

    meter = Meter()
    shared = SharedMeter(meter)
    first, second = shared.view(), shared.view()
    meter.peak = 5
    second.reset()
    meter.peak = 3
    assert (first.read(), second.read()) == (5, 3)
    first.reset()
    assert (first.read(), second.read()) == (0, 3)
