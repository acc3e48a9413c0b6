"""From a data spec to a data set: read, sift, split, count, fingerprint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from whichtune.data.cleaning import SHOWN, Sieve
from whichtune.data.duplicates import count_duplicates, drop_duplicates, find_twins
from whichtune.data.examples import SPLITS, DataReport, DataSet, Dropped, Example
from whichtune.data.sources import SourceRows, read_source
from whichtune.data.splitting import cut_splits, take
from whichtune.errors import DataError, did_you_mean
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.spec.sources import DataSpec


def load_data(spec: DataSpec) -> DataSet:
    """Read, clean and split the data of a study; faults are told once, with the remedy."""
    source = read_source(spec.source)
    sieve = Sieve(spec.columns)
    sifted = {part: sieve.sift(part, table) for part, table in source.tables.items()}
    _require_usable(spec, source, sieve)
    splits = {name: sorted_split for name, sorted_split in _split(spec, sifted).items()}
    for name in SPLITS:
        _require_rows(name, splits[name])
    twins = find_twins(splits, spec.near_duplicate_similarity)
    duplicates = count_duplicates(splits, twins)
    dropped = list(sieve.told())
    if spec.duplicates != "keep":
        splits, gone = drop_duplicates(splits, twins, within=spec.duplicates == "drop-all")
        dropped += [Dropped("duplicate", name, len(lost), tuple(lost[:SHOWN])) for name, lost in gone.items() if lost]
    chosen = {name: tuple(take(splits[name], getattr(spec.sizes, name), spec.split)) for name in SPLITS}
    for name in SPLITS:
        _require_rows(name, chosen[name])
    labels = choose_labels(spec, chosen)
    report = DataReport(
        source=source.told,
        balance={name: _balance(rows, labels) for name, rows in chosen.items()},
        dropped=tuple(dropped),
        duplicates=duplicates,
        encodings={path: name for table in source.tables.values() for path, name in table.encodings.items()},
        notes=source.notes,
    )
    return DataSet(chosen, labels, fingerprint_data(chosen, labels), report)


def choose_labels(spec: DataSpec, splits: Mapping[str, Sequence[Example]]) -> tuple[str, ...]:
    """Return the labels in order; a label that training does not know, or a lone one, is refused."""
    known = {one.gold for one in splits["train"]}
    labels = spec.labels or tuple(sorted(known, key=_label_order))
    if len(labels) < 2:
        raise DataError(
            "the training rows have one label only",
            value=", ".join(labels),
            allowed="two or more",
            remedy="check `columns.label`",
        )
    for name in SPLITS:
        for one in splits[name]:
            if one.gold not in (known if name != "train" else labels) or one.gold not in labels:
                raise _unknown_label(name, one, labels)
    return labels


def fingerprint_data(splits: Mapping[str, Sequence[Example]], labels: Sequence[str]) -> str:
    """Hash ids, texts, labels and splits, in order."""
    rows = (part for name in SPLITS for one in splits[name] for part in (name, one.id, one.text, one.gold))
    return fingerprint_texts([*labels, "", *rows])


def _split(spec: DataSpec, sifted: Mapping[str, list[Example]]) -> dict[str, list[Example]]:
    """Take given splits as they are and cut the missing ones off the training rows by seed."""
    whole = sifted.get("all", sifted.get("train", []))
    missing = [name for name in ("validation", "test") if name not in sifted]
    asked = {name: float(getattr(spec.split, name)) for name in missing}
    cut = cut_splits(whole, asked, spec.split)
    return {name: cut[name] if name in cut else sifted[name] for name in SPLITS}


def _require_usable(spec: DataSpec, source: SourceRows, sieve: Sieve) -> None:
    for part, table in source.tables.items():
        lost = [one for one in sieve.told() if one.split == part]
        share = sum(one.count for one in lost) / max(1, len(table.rows))
        if share > spec.drop_limit:
            told = "; ".join(f"{one.count} {one.reason} ({', '.join(one.origins)})" for one in lost)
            raise DataError(
                f"{share:.1%} of the {part} rows cannot be used: {told}",
                allowed=f"up to {spec.drop_limit:.1%}",
                remedy="check `columns`, mend the rows, or raise `data.drop_limit`",
            )


def _require_rows(name: str, rows: Sequence[Example]) -> None:
    if not rows:
        raise DataError(f"the {name} split is empty", remedy="give it a file of its own, or a share under `data.split`")


def _balance(rows: Sequence[Example], labels: Sequence[str]) -> dict[str, int]:
    counts = Counter(one.gold for one in rows)
    return {label: counts[label] for label in labels}


def _label_order(label: str) -> tuple[int, float, str]:
    """Numbers by their size, words by the alphabet, numbers first."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def _unknown_label(name: str, one: Example, labels: Sequence[str]) -> DataError:
    where = "no label of `data.labels`" if name == "train" else "a label unseen in training"
    shown = ", ".join(labels[:20])
    return DataError(
        f"{one.origin} ({name}): {where}",
        value=one.gold,
        allowed=shown,
        remedy=did_you_mean(one.gold, labels) or "correct the row, or give training rows of this label",
    )
