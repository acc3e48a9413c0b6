"""Run the rows that are asked for, one after another, each with its sides in turn."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch

from whichtune.bench.alternate import alternate
from whichtune.bench.limits import Size, count_weights, count_work, measure_rate
from whichtune.bench.memory import compare_memory
from whichtune.bench.model import Asked, Report, RowResult, SideRun
from whichtune.bench.ours import run_ours
from whichtune.bench.parity import POINTS, compare_sides
from whichtune.bench.peer import Peer, list_jobs, run_peer
from whichtune.bench.peer_search import run_peer_search
from whichtune.bench.peer_words import WritingPeer
from whichtune.bench.rows import FINE_TUNING, ROWS, Row, count_texts, rounds_of, share_of
from whichtune.bench.studies import MADE, build_study, write_made_texts
from whichtune.bench.verdicts import compare_verdicts
from whichtune.data.examples import DataSet
from whichtune.data.load import load_data
from whichtune.errors import InputError
from whichtune.measure.device import describe_device, peak_flops, pick_device, set_threads
from whichtune.measure.environment import read_git, read_versions
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.blank import build_blank
from whichtune.models.load import load_backbone
from whichtune.models.quiet import silence_libraries
from whichtune.models.tiny import configure_random
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.merge import deep_merge
from whichtune.spec.study import StudySpec
from whichtune.tasks import build_task

Tell = Callable[[str], None]
WARM_TEXTS = 16
CARD_SHARE = 0.40
"""Part of the card's bf16 peak that `gpu-dense` is meant to reach."""


@dataclass(frozen=True)
class Stage:
    """What both sides of a row work on."""

    study: StudySpec
    data: DataSet
    backbone: Backbone
    size: Size


def run_bench(asked: Asked, command: str, tell: Tell, keep: Callable[[Report], None] = lambda _: None) -> Report:
    """Run every row; a row that fails is a row that says so. `keep` is given the report after every row."""
    start = time.perf_counter()
    threads, device = set_threads(asked.threads), pick_device("auto")
    report = Report(
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        baseline=asked.baseline,
        machine=describe_device(device, threads),
        versions=read_versions(),
        git=dict(told) if (told := read_git()) is not None else None,
        matrix_flops_per_second=measure_rate(device),
    )
    with _quietly():
        for name in asked.rows:
            tell(f"{name}: {ROWS[name].title}")
            report.rows.append(run_row(ROWS[name], asked, report, tell))
            report.seconds = time.perf_counter() - start
            keep(report)
    return report


@contextmanager
def _quietly() -> Generator[None]:
    """Keep the libraries' advice off the terminal: a script would leave it there, and nobody would read it."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), silence_libraries():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def run_row(row: Row, asked: Asked, report: Report, tell: Tell) -> RowResult:
    """Run one row to its end, whatever happens; wrong input alone ends the command."""
    if row.gpu and not torch.cuda.is_available():
        command = f"`whichtune bench --rows {row.name}` on a machine with one runs it"
        target = row.targets.get(asked.baseline)
        return RowResult(row.name, row.title, "not run", target=target, notes=[f"no GPU here; {command}"])
    try:
        if row.kind == "memory":
            return _judge_memory(row, asked, tell)
        if row.kind == "outside":
            return _judge_outside(row, asked, report, tell)
        return measure_row(row, asked, report, tell)
    except InputError:
        raise
    except Exception as error:  # the other rows are still worth having
        told = " ".join(str(error).split())[:300]
        return RowResult(row.name, row.title, "failed", notes=[f"{type(error).__name__}: {told}"])


def measure_row(row: Row, asked: Asked, report: Report, tell: Tell) -> RowResult:
    """Run both sides of a row's study in turn and judge what came out."""
    with tempfile.TemporaryDirectory() as place:
        stage = set_up(row, asked, Path(place))
        _warm_up(row, replace(asked, texts=WARM_TEXTS), Path(place))
        sides: dict[str, list[SideRun]] = {"peer": [], "whichtune": []}

        def run(side: str, work: Callable[[], SideRun]) -> float:
            done = work()
            sides[side].append(done)
            tell(f"{row.name}: {side} {done.seconds:.1f} s ({done.run_trials} of {done.all_trials} trials run)")
            return done.seconds

        share = share_of(row, asked)
        both = {
            "peer": lambda: run("peer", lambda: run_other(row, stage, asked, (share, tell))),
            "whichtune": lambda: run("whichtune", lambda: run_ours(stage.study, loading=not row.gpu)),
        }
        compared = alternate(both, rounds_of(row, asked))
    own, peer = sides["whichtune"], sides["peer"]
    result = RowResult(row.name, row.title, "met", target=row.targets.get(asked.baseline))
    result.ratios, result.measured = compared.ratios("peer"), compared.ratio("peer")
    result.own_seconds, result.peer_seconds = compared.seconds["whichtune"], compared.seconds["peer"]
    result.texts = len(stage.data.examples["train"])
    result.peer_trials = f"{peer[0].run_trials} of {peer[0].all_trials}"
    shares = [one.outside for one in own if one.outside is not None]
    result.outside = median(shares) if shares else None
    result.phases = dict(own[0].phases)
    result.agreements = compare_sides(own[0], peer[0])
    _judge(row, result, own[0], peer[0])
    _limit(row, result, stage, report)
    return result


def set_up(row: Row, asked: Asked, place: Path) -> Stage:
    """Read data and backbone once, so that everything is fetched, and count what there is to do."""
    assert row.study is not None  # noqa: S101 - rows of studies have one
    tree = row.study(count_texts(row, asked))
    if tree["data"]["source"].get("all") == MADE and row.letters is not None:
        sizes = sum(tree["data"]["sizes"].values())
        made = write_made_texts(place / f"{sizes}-{MADE}", 2 * sizes, row.letters)
        tree = deep_merge(tree, {"data": {"source": {"all": str(made)}}})
    study = build_study(tree, asked.threads, asked.settings)
    data = load_data(study.data, study.task.answers, study.task.reads)
    (name,) = study.backbones
    spec = study.backbone(name)
    if isinstance(spec, RandomBackbone):
        backbone = build_blank(configure_random(spec), "random")
    else:
        backbone = load_backbone(spec, LoadRequest())
    task = build_task(study.task, data.labels, study.data.columns)
    lengths = {
        split: task.encode(examples, backbone.reader, study.training.max_length).lengths
        for split, examples in data.examples.items()
    }
    size = Size(
        blocks=len(backbone.blocks),
        weights=count_weights(backbone),
        tokens={split: int(own.sum()) for split, own in lengths.items()},
        rows={split: len(own) for split, own in lengths.items()},
    )
    return Stage(study, data, backbone, size)


def _warm_up(row: Row, asked: Asked, place: Path) -> None:
    """Run one short trial on both sides: what a process pays once is no part of a comparison."""
    stage = set_up(row, asked, place)
    study = stage.study
    name = next(iter(study.methods))
    method = study.methods[name].model_copy(update={"grid": {}})
    training = study.training.model_copy(update={"epochs": 1.0, "max_steps": 1})
    changes = {"methods": {name: method}, "training": training, "seeds": (1,), "search": None}
    short = replace(stage, study=study.model_copy(update=changes))
    run_other(replace(row, kind="words" if row.kind == "words" else "study"), short, asked, (1.0, lambda _: None))
    run_ours(short.study, loading=not row.gpu)


def run_other(row: Row, stage: Stage, asked: Asked, how: tuple[float, Tell]) -> SideRun:
    """Run the peer of a row: a share of its trials."""
    given = (stage.study, stage.data, asked.baseline)
    if row.kind == "words":
        return run_peer(WritingPeer(*given, reader=stage.backbone.encoder), *how)
    peer = Peer(*given, loading=not row.gpu)
    return run_peer_search(peer, *how) if row.kind == "search" else run_peer(peer, *how)


def _judge(row: Row, result: RowResult, own: SideRun, peer: SideRun) -> None:
    """Say whether the row counts and whether its target is met."""
    if row.kind == "search":
        same, told = compare_verdicts(own.marks, peer.marks, POINTS)
        result.agreements = [replace(one, fault="" if "apart" in one.fault else one.fault) for one in result.agreements]
        result.notes += told
        if not same:
            result.state = "results differ"
    if any(one.fault for one in result.agreements):
        result.state = "results differ"
    elif result.state == "met" and result.target is not None and (result.measured or 0.0) < result.target:
        result.state = "missed"


def _limit(row: Row, result: RowResult, stage: Stage, report: Report) -> None:
    """Work out what the machine's own rate of matrix products would allow."""
    if row.kind == "search":
        return
    work = count_work(list_jobs(stage.study), stage.size)
    rate = report.matrix_flops_per_second
    if row.gpu:
        rate = measure_rate(pick_device("auto"), torch.bfloat16)
        peak = peak_flops(report.machine.get("name"), "bfloat16") or rate
        reached = work / median(result.own_seconds) / peak
        result.notes.append(f"{100 * reached:.0f} % of the card's bf16 peak of {peak / 1e12:,.0f} TFLOP/s")
        if row.name == "gpu-dense" and reached < CARD_SHARE and result.state == "met":
            result.state = "missed"
    result.limit = median(result.peer_seconds) / (work / rate)


def _judge_outside(row: Row, asked: Asked, report: Report, tell: Tell) -> RowResult:
    """Take the greatest share of the fine-tuning rows; where none ran, run our side of the first alone."""
    shares = {one.row: one.outside for one in report.rows if one.row in FINE_TUNING and one.outside is not None}
    if not shares:
        first = ROWS[FINE_TUNING[0]]
        with tempfile.TemporaryDirectory() as place:
            stage = set_up(first, asked, Path(place))
            done = run_ours(stage.study)
        tell(f"{row.name}: {first.name}, our side alone, {done.seconds:.1f} s")
        shares = {first.name: done.outside or 0.0}
    measured, target = max(shares.values()), row.targets[asked.baseline]
    notes = [", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())]
    state = "met" if measured <= target else "missed"
    return RowResult(row.name, row.title, state, "share", target, measured, notes=notes)


def _judge_memory(row: Row, asked: Asked, tell: Tell) -> RowResult:
    """Compare a step's bytes; the losses and gradients of both sides must be the same."""
    found = compare_memory(tell)
    measured, target = found.ratio, row.targets[asked.baseline]
    state = "results differ" if found.faults else "met" if measured <= target else "missed"
    return RowResult(row.name, row.title, state, "share", target, measured, notes=[*found.told, *found.faults])
