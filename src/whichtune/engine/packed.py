"""Several LoRA trials in one pass over one frozen backbone (T1).

Each trial keeps what is its own: batches, masks, head, loss, optimizer, schedule, clipping, stop rule and scores.
Shared is the trunk alone. In it rows never meet rows of another text, adapters are given their own trial's rows alone,
and every loss is a root of the backward pass by itself; so what is not a number in one trial stays in it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import cast

import torch
from torch import Tensor, nn

from whichtune.engine.fit import Run, StepFigures, accumulate, move, tell
from whichtune.engine.guards import fitting_in_memory
from whichtune.engine.pace import Pace
from whichtune.engine.predict_together import count_together, predict_together
from whichtune.engine.slots import SlotAssembly, join_batches, run_together
from whichtune.engine.trial import Outcome, TunerTrial
from whichtune.engine.turns import Turns
from whichtune.errors import DoesNotFitError, TrialError, UnsupportedError
from whichtune.layers.laid_masks import RetracingKey
from whichtune.layers.masks import seed_modules
from whichtune.measure.device import synchroniser
from whichtune.measure.modes import holding_modes, wanted_modes
from whichtune.models.batch import Batch, Batched


class Returnable(Iterator[list[Batched]]):
    """Batches of which the last ones taken can be given back."""

    def __init__(self, batches: Iterator[list[Batched]]) -> None:
        self._batches = batches
        self._returned: list[list[Batched]] = []

    def __next__(self) -> list[Batched]:
        return self._returned.pop() if self._returned else next(self._batches)

    def give_back(self, batches: list[Batched]) -> None:
        """Let these be the next ones."""
        self._returned.append(batches)


@dataclass(eq=False)
class Member:
    """One trial of a pack."""

    place: int
    trial: TunerTrial
    run: Run
    error: Exception | None = None
    """What ended it; the others go on."""

    @property
    def assembly(self) -> SlotAssembly:
        """Its model."""
        return cast(SlotAssembly, self.run.assembly)

    @property
    def done(self) -> bool:
        """Nothing is left to train."""
        return self.error is not None or self.run.done


@dataclass(frozen=True)
class Taken:
    """One step's batches of one member."""

    member: Member
    batches: list[Batched]
    targets: float
    micro_step: int

    @property
    def tokens(self) -> int:
        """Real rows of all of them."""
        return sum(one.tokens for one in self.batches)

    def give_back(self) -> None:
        """Let the step be taken anew, as if it had not been begun."""
        run = self.member.run
        cast(Returnable, run.batches).give_back(self.batches)
        cast(RetracingKey, run.key).go_back(self.micro_step)
        run.optimizer.zero_grad(set_to_none=True)


def run_packed(
    trials: Sequence[TunerTrial], pace: Pace | None = None, turns: Turns | None = None
) -> list[Outcome | Exception]:
    """Train trials of `build_packed` side by side; predict few rows together, else with each alone, merged if it can.

    Returned is what each trial's `run` would return or raise. `pace` says whether steps are taken together, and
    afterwards why; without one they are. The trials' clocks may run on `turns`, by which a shared pass is shared out by
    tokens.
    """
    pack = Pack(pace or Pace(together=True), turns)
    outcomes: dict[int, Outcome | Exception] = {}
    with ExitStack() as stack:
        with pack.turn(dict.fromkeys(range(len(trials)), 1)):
            plain = stack.enter_context(trials[0].dequantizing())
        for place, trial in enumerate(trials):
            with pack.turn({place: 1}):
                try:
                    pack.add(Member(place, trial, trial.prepare()))
                except Exception as error:  # as of any trial: its own failure
                    outcomes[place] = error
        pack.train()
        pack.foretell_tests()
        for member in pack.members:
            with pack.turn({member.place: 1}):
                outcomes[member.place] = _conclude(member, dequantized=plain)
    return [outcomes[place] for place in range(len(trials))]


def _conclude(member: Member, *, dequantized: bool) -> Outcome | Exception:
    try:
        return member.error or replace(member.trial.conclude(member.run), dequantized=dequantized)
    except Exception as error:  # as of any trial: its own failure
        return error


@dataclass
class Pack:
    """Members that train side by side, a step of each in turn or one shared pass for all."""

    pace: Pace
    turns: Turns | None = None
    members: list[Member] = field(default_factory=list)
    predicts_apart: bool = False
    """A split could not be predicted for several together."""
    _modes: tuple[tuple[Member, ...], tuple[tuple[nn.Module, bool], ...]] | None = None

    def add(self, member: Member) -> None:
        """Take a prepared member in."""
        member.run.batches = Returnable(member.run.batches)
        self.members.append(member)

    def train(self) -> None:
        """Train every member to its end; what goes wrong in one is left on it alone."""
        while live := [member for member in self.members if not member.done]:
            together = self.pace.choose(len(live))
            taken = [one for member in live if (one := self._take(member))]
            if together and len(taken) > 1:
                self._step_together(taken)
            elif taken:
                self._step_apart(taken)

    @contextmanager
    def turn(self, shares: Mapping[int, float]) -> Generator[None]:
        """Give the time inside to some members."""
        with nullcontext() if self.turns is None else self.turns.giving(shares):
            yield

    def _take(self, member: Member) -> Taken | None:
        """Draw one step's batches; a step without a target ends its member."""
        run = member.run
        batches = next(run.batches)
        device = None if run.weights is None else run.weights.device
        targets = sum(run.task.count(one.targets.to(device), run.weights) for one in batches)
        if targets:
            return Taken(member, batches, targets, run.key.micro_step)
        member.error = TrialError(f"step {run.step + 1} has no valid target; check labels and `max_length`")
        return None

    def _step_apart(self, taken: Sequence[Taken]) -> None:
        """Take a step of each member, one after another, as `fit` does."""
        with self._timing(taken, together=False):
            steps = [(one.member, self._move_alone(one)) for one in taken]
        self._settle(steps)

    def _move_alone(self, taken: Taken) -> StepFigures | None:
        member, run = taken.member, taken.member.run
        taken.give_back()
        with self._stepping(member), member.assembly.fitting():
            return move(run, accumulate(run))
        return None

    def _step_together(self, taken: Sequence[Taken]) -> None:
        """Take a step of each member from one shared pass; where it cannot be, give it up for good and step apart."""
        try:
            with self._timing(taken, together=True):
                losses = self._accumulate(taken)
                steps = [(one.member, self._move(one.member, loss)) for one, loss in zip(taken, losses, strict=True)]
        except (DoesNotFitError, UnsupportedError) as error:
            reason = str(error)
        else:
            self._settle(steps)
            return
        self.pace.refuse(reason)
        self._step_apart(taken)

    def _accumulate(self, taken: Sequence[Taken]) -> list[float]:
        """Add up every member's gradients of one step; return their losses."""
        members = [one.member for one in taken]
        device = members[0].assembly.device
        parts: dict[int, list[Tensor]] = {member.place: [] for member in members}
        with ExitStack() as stack:
            stack.enter_context(self.turn({one.member.place: max(one.tokens, 1) for one in taken}))
            for member in members:
                stack.enter_context(member.run.clock.phase("step"))
            stack.enter_context(holding_modes(self._find_modes(members)))
            stack.enter_context(fitting_in_memory(device))
            for index in range(max(len(one.batches) for one in taken)):
                group = [one for one in taken if index < len(one.batches)]
                for one, share in zip(group, backpropagate(group, index), strict=True):
                    parts[one.member.place].append(share)
            return torch.stack([torch.stack(own).sum() for own in parts.values()]).tolist()

    def _move(self, member: Member, loss: float) -> StepFigures | None:
        with self._stepping(member):
            return move(member.run, loss)
        return None

    @contextmanager
    def _stepping(self, member: Member) -> Generator[None]:
        """Give the time inside to one member's step; what goes wrong is left on it."""
        phase, memory = member.run.clock.phase("step"), fitting_in_memory(member.assembly.device)
        with self.turn({member.place: 1}), _failing_alone(member), phase, memory:
            yield

    def _settle(self, steps: Sequence[tuple[Member, StepFigures | None]]) -> None:
        """Tell of the steps that were taken, and validate whose time it is."""
        told: list[Member] = []
        for member, figures in steps:
            if figures is not None:
                with self.turn({member.place: 1}), _failing_alone(member):
                    tell(member.run, figures)
                    told.append(member)
        due = [member for member in told if member.run.keeper.is_due(member.run.step)]
        self._foretell(due, "validation", "validate")
        for member in due:
            with self.turn({member.place: 1}), _failing_alone(member):
                member.run.keeper.consider(member.run.step)
            member.trial.foretold.clear()

    def foretell_tests(self) -> None:
        """Put the kept weights of all that came through back, and predict their test rows together where they can."""
        sound = [one for one in self.members if one.error is None and one.run.failure is None and one.trial.tests]
        for member in sound:
            with self.turn({member.place: 1}), _failing_alone(member):
                member.run.keeper.put_back()
        self._foretell([member for member in sound if member.error is None], "test", "predict")

    def _foretell(self, members: Sequence[Member], split: str, phase: str) -> None:
        """Predict a split for members together, as many as make a batch; each finds its own when it asks."""
        if len(members) < 2 or not self.pace.together or self.predicts_apart:
            return
        size = count_together([one.trial for one in members], split)
        if size < 2:
            return
        for start in range(0, len(members) - 1, size):
            self._predict_together(members[start : start + size], split, phase)

    def _predict_together(self, members: Sequence[Member], split: str, phase: str) -> None:
        trials = [one.trial for one in members]
        with ExitStack() as stack:
            stack.enter_context(self.turn({one.place: 1 for one in members}))
            for member in members:
                stack.enter_context(member.run.clock.phase(phase))
            try:
                tables = predict_together(trials, split, members[0].run.arithmetic)
            except Exception:  # each predicts alone, from here on, and says what is wrong
                self.predicts_apart = True
                return
        for trial, table in zip(trials, tables, strict=True):
            if table is not None:
                trial.foretold[split] = table

    @contextmanager
    def _timing(self, taken: Sequence[Taken], *, together: bool) -> Generator[None]:
        """Tell the pace how long a step of all members takes."""
        wait = synchroniser(taken[0].member.assembly.device) if self.pace.together is None else None
        start = perf_counter()
        yield
        if wait is not None:
            wait()
        self.pace.note(perf_counter() - start, sum(one.tokens for one in taken), together=together)

    def _find_modes(self, members: Sequence[Member]) -> tuple[tuple[nn.Module, bool], ...]:
        """Which module trains; looked up anew when a member has left."""
        if self._modes is None or self._modes[0] != tuple(members):
            active = [module for member in members for module in member.assembly.attachment.active]
            root = nn.ModuleList([members[0].assembly.backbone.trunk, *active])
            self._modes = tuple(members), wanted_modes(active, root)
        return self._modes[1]


def backpropagate(taken: Sequence[Taken], index: int) -> list[Tensor]:
    """Run one batch of each member through the trunk at once and add up gradients; return each one's share of loss."""
    runs = [one.member.run for one in taken]
    assemblies = [one.member.assembly for one in taken]
    backbone = assemblies[0].backbone
    batches = [cast(Batch, one.batches[index]) for one in taken]
    joint = join_batches(assemblies, batches)
    for run in runs:
        run.key.advance()
    outputs: list[Tensor] = []
    with runs[0].arithmetic.forward():
        hidden = run_together(assemblies, joint)
        for run, assembly, rows, batch in zip(runs, assemblies, hidden, joint.members, strict=True):
            # The trunk is in eval mode and draws nothing: the head's is the first draw, as in a pass of its own.
            seed_modules(run.key.derive("modules"), backbone.device)
            attachment = assembly.attachment
            outputs.append(assembly.head.answer(backbone, rows, batch.layout, attachment.pooling))
    shares: list[Tensor] = []
    for one, run, own, batch in zip(taken, runs, outputs, joint.members, strict=True):
        shares.append(run.task.loss(own, batch.targets, run.weights)[0] / one.targets)
    torch.autograd.backward([run.arithmetic.scaler.scale(share) for run, share in zip(runs, shares, strict=True)])
    return [share.detach() for share in shares]


@contextmanager
def _failing_alone(member: Member) -> Generator[None]:
    """Leave what goes wrong inside on the member."""
    try:
        yield
    except Exception as error:  # a listener's, too: the others go on
        member.error = error
