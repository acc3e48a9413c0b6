"""From a data spec to a data set: read, sift, split, count, fingerprint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress

from whichtune.data.cleaning import SHOWN, Sieve
from whichtune.data.duplicates import Families, count_conflicts, count_duplicates, find_families, mark_duplicates
from whichtune.data.examples import SPLITS, DataReport, DataSet, Dropped, Example
from whichtune.data.image_notes import note_images
from whichtune.data.needs import Needs
from whichtune.data.sources.contract import WHOLE, Rows
from whichtune.data.sources.registry import read_source
from whichtune.data.splitting import cut_images, cut_splits, take
from whichtune.errors import DataError, did_you_mean
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.spec.sources import DataSpec, SplitSpec
from whichtune.spec.tasks import Answers, Reads

Splits = Mapping[str, Sequence[Example]]
Cut = Callable[[Sequence[Example], Mapping[str, float], SplitSpec], dict[str, list[Example]]]
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def load_data(spec: DataSpec, answers: Answers = "labels", reads: Reads = "text") -> DataSet:
    """Read, clean, split and size the data of a study; each fault is one message with its remedy.

    What a task `reads` says which columns are looked at: an image has no text. Where rows are an image and a text,
    splits are cut by image, so that none stands in two of them. Where answers are texts there are no labels to name,
    count, note or draw by. Duplicates are counted among the rows that the study uses; where they are to be dropped,
    among all rows, before sizes are taken, so that the sizes are met.
    """
    spec = _without_labels(spec) if answers == "texts" else spec
    needs = Needs(spec.columns, reads)
    needs.check()
    source = read_source(spec.source, needs)
    sieve = Sieve(needs, frozenset(spec.unlabeled), spec.labels or (), answers)
    whole = _cut(spec, _sift(spec, source, sieve), cut_splits if reads != "pair" else cut_images)
    if spec.duplicates == "keep":
        chosen = _size(spec, whole)
        families, gone = find_families(chosen, spec.near_duplicate_similarity), ()
        duplicates = count_duplicates(chosen, families)
    else:
        families = find_families(whole, spec.near_duplicate_similarity)
        duplicates = count_duplicates(whole, families)
        left, gone = _drop(spec, whole, families)
        chosen = _size(spec, left)
    labels: tuple[str, ...] = ()
    about_labels: list[str] = []
    if answers == "labels":
        labels = choose_labels(spec.labels, chosen)
        about_labels = [*_note_rare(labels, chosen), *_note_conflicts(spec, whole, chosen, families)]
    report = DataReport(
        source=source.source,
        balance={name: _balance(rows, labels) for name, rows in chosen.items()} if labels else {},
        dropped=(*sieve.tell(), *gone),
        duplicates=duplicates,
        encodings={table.name: table.encoding for table in source.parts.values() if table.encoding},
        notes=(*source.notes, *_note_sizes(spec, chosen), *about_labels, *note_images(chosen)),
        rows={name: len(rows) for name, rows in chosen.items()},
    )
    return DataSet(chosen, labels, fingerprint_data(chosen, labels), report)


def _without_labels(spec: DataSpec) -> DataSpec:
    """Return the spec for answers that are texts: rows are drawn by their ids alone, whatever `stratify` says."""
    if spec.labels is not None:
        raise DataError(
            f"`data.labels` is given, but this task has no labels: its answers are the texts of `{spec.columns.label}`",
            value=", ".join(spec.labels),
            remedy="leave `data.labels` out, or choose a task that is answered by a label",
        )
    return spec.model_copy(update={"split": spec.split.model_copy(update={"stratify": False})})


def _note_rare(labels: Sequence[str], splits: Splits) -> Iterator[str]:
    """Name labels that a split has no row of: their figures there mean nothing."""
    for name in SPLITS:
        missing = sorted(set(labels) - {one.gold for one in splits[name]})
        if missing:
            yield f"no {name} rows of {', '.join(missing[:8])}{', ...' if len(missing) > 8 else ''}"


def choose_labels(given: tuple[str, ...] | None, splits: Splits) -> tuple[str, ...]:
    """Return the labels in order; a label that training does not know, or a lone one, is refused."""
    known = {example.gold for example in splits["train"] if example.gold is not None}
    labels = given or tuple(sorted(known, key=_label_order))
    if len(labels) < 2:
        raise DataError(
            "the training rows have one label only", value=", ".join(labels), allowed="two or more",
            remedy="check `columns.label`",
        )  # fmt: skip
    if len(set(labels)) < len(labels):
        raise DataError("`data.labels` names a label twice", value=list(labels), remedy="name each once")
    for name in SPLITS:
        allowed = set(labels) if name == "train" else known & set(labels)
        unknown = [example for example in splits[name] if example.gold not in allowed]
        if unknown:
            raise _unknown_label(name, unknown, labels, named=given is not None)
    return labels


def fingerprint_data(splits: Splits, labels: Sequence[str]) -> str:
    """Hash ids, texts, gold answers, labels, groups, splits and the bytes of images (not where they lie), in order."""
    examples = [(name, one) for name in SPLITS for one in splits[name]]
    plain = all(one.pair is None and one.group is None for _, one in examples)
    form = [] if plain else ["second texts and groups"]
    rows = (part for name, one in examples for part in (name, one.id, one.text, one.gold or ""))
    more = () if plain else (part for _, one in examples for part in (one.pair or "", one.group or ""))
    images = [one.image.sha256 for _, one in examples if one.image is not None]
    form += ["images"] * bool(images)
    return fingerprint_texts([*form, str(len(labels)), *labels, *rows, *more, *images])


def _sift(spec: DataSpec, source: Rows, sieve: Sieve) -> dict[str, list[Example]]:
    sifted: dict[str, list[Example]] = {}
    for part, table in source.parts.items():
        sifted[part] = sieve.sift(part, table)
        sieve.require_usable(part, table, spec.drop_limit)
        if not sifted[part]:
            remedy = "check `data.columns`" if len(table) else "give a file with rows below its header"
            raise DataError(f"{table.name} has no usable rows", remedy=remedy)
    return sifted


def _cut(spec: DataSpec, sifted: Mapping[str, list[Example]], cut_rows: Cut) -> dict[str, list[Example]]:
    """Take given splits as they are and cut the missing ones off the training rows by seed."""
    whole = sifted[WHOLE] if WHOLE in sifted else sifted["train"]
    missing = [name for name in ("validation", "test") if name not in sifted]
    asked = {name: float(getattr(spec.split, name)) for name in missing}
    cut = cut_rows(whole, asked, spec.split)
    splits = {name: cut[name] if name in cut else sifted[name] for name in SPLITS}
    for name in SPLITS:
        _require_rows(name, splits[name], f"give it more rows, a file of its own, or a greater `data.split.{name}`")
    return splits


def _drop(spec: DataSpec, splits: Splits, families: Families) -> tuple[Splits, tuple[Dropped, ...]]:
    marks = mark_duplicates(families, within=spec.duplicates == "drop-all")
    kept: dict[str, list[Example]] = {}
    gone: list[Dropped] = []
    for name, rows in splits.items():
        lost = [example.origin for example in compress(rows, marks[name].tolist())]
        kept[name] = list(compress(rows, (~marks[name]).tolist()))
        if lost:
            gone.append(Dropped("duplicate", name, len(lost), tuple(lost[:SHOWN])))
        _require_rows(name, kept[name], "all its rows are duplicates: see `data.duplicates`")
    return kept, tuple(gone)


def _size(spec: DataSpec, splits: Splits) -> dict[str, tuple[Example, ...]]:
    return {name: tuple(take(splits[name], getattr(spec.sizes, name), spec.split)) for name in SPLITS}


def _require_rows(name: str, rows: Sequence[Example], remedy: str) -> None:
    if not rows:
        raise DataError(f"the {name} split is empty", remedy=remedy)


def _note_sizes(spec: DataSpec, chosen: Splits) -> list[str]:
    asked = {name: getattr(spec.sizes, name) for name in SPLITS}
    return [
        f"{name}: {asked[name]} rows asked for, {len(chosen[name])} there"
        for name in SPLITS
        if asked[name] is not None and asked[name] > len(chosen[name])
    ]


def _note_conflicts(spec: DataSpec, whole: Splits, chosen: Splits, families: Families) -> list[str]:
    torn = count_conflicts(chosen if spec.duplicates == "keep" else whole, families)
    what = "images" if any(one.image is not None for one in chosen["train"]) else "texts"
    if what == "images" and any(one.text for one in chosen["train"]):
        what = "questions about one image"
    return [f"{torn} {what} stand more than once with different labels"] if torn else []


def _balance(rows: Sequence[Example], labels: Sequence[str]) -> dict[str, int]:
    counts = Counter(example.gold for example in rows)
    return {label: counts[label] for label in labels}


def _label_order(label: str) -> tuple[int, float, str]:
    """Numbers by their size, words by the alphabet, numbers first."""
    return (0, float(label), label) if _NUMBER.fullmatch(label) else (1, 0.0, label)


def _unknown_label(name: str, unknown: Sequence[Example], labels: Sequence[str], *, named: bool) -> DataError:
    where = "not one of `data.labels`" if named and unknown[0].gold not in labels else "unseen in training"
    more = f" ({len(unknown)} {name} rows like it)" if len(unknown) > 1 else ""
    shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
    near = did_you_mean(str(unknown[0].gold), [label for label in labels if label != unknown[0].gold])
    mend = "correct the row, take it out, or give training rows of this label (more with a greater `data.sizes.train`)"
    return DataError(
        f"{unknown[0].origin}, in the {name} split, has a label {where}{more}",
        value=unknown[0].gold,
        allowed=shown,
        remedy=f"{near} {mend}".strip(),
    )
