"""Rows from a data set on the Hugging Face hub, or in a folder in the hub's layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whichtune.data.needs import Needs
from whichtune.data.sources.contract import Rows
from whichtune.data.sources.hub_images import list_images
from whichtune.data.tables import Table, choose_columns
from whichtune.errors import DataError, did_you_mean
from whichtune.fetch.fingerprint import fingerprint_folder
from whichtune.spec.sources import HubSource

_COMMIT = re.compile(r"[0-9a-f]{40}")


def read_hub(source: HubSource, needs: Needs) -> Rows:
    """Load the splits that a source names, at one commit, which is recorded.

    A branch or tag is resolved first and the commit then loaded. Offline, what `datasets` has in its cache is used,
    and the commit is read from there where it is known.
    """
    local = Path(source.name).expanduser()
    if local.is_dir():
        revision: str | None = f"folder sha256 {fingerprint_folder(local)[:12]}"
        loaded = _load(source, str(local), None)
    else:
        revision = _resolve(source)
        loaded = _load(source, source.name, revision or source.revision)
        revision = revision or _commit_of(loaded)
    _check_splits(source, list(loaded))
    folder = local if local.is_dir() else None
    tables = {
        part: _table_of(loaded[own], f"{source.name}/{own}", needs, folder) for part, own in source.splits.items()
    }
    where = source.name + (f" ({source.config})" if source.config else "")
    notes = () if revision else ("the commit of the data set is not known: it was read from an offline cache",)
    return Rows(tables, f"hub: {where} at {revision or 'an unknown commit'}", notes)


def _resolve(source: HubSource) -> str | None:
    """Return the commit of the named revision, or None where the hub cannot be asked; a missing one is a fault."""
    if source.revision is not None and _COMMIT.fullmatch(source.revision):
        return source.revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return HfApi().dataset_info(source.name, revision=source.revision, timeout=20).sha
    except RevisionNotFoundError as error:
        raise DataError(
            f"data set {source.name} has no revision", value=source.revision, remedy="name a commit, tag or branch"
        ) from error
    except RepositoryNotFoundError as error:
        raise DataError(
            "no such data set on the hub",
            value=source.name,
            remedy="check its name; a private one needs `hf auth login`",
        ) from error
    except Exception:  # offline in any of a dozen ways; the loader below says which if its cache is empty
        return None


def _load(source: HubSource, name: str, revision: str | None) -> Any:
    """Load all splits. Whatever the library raises becomes one message: its own name neither field nor remedy."""
    from datasets import load_dataset

    try:
        loaded = load_dataset(name, source.config, revision=revision)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        offline = any(
            word in f"{type(error).__name__} {said}".lower() for word in ("offline", "connect", "reach", "timed out")
        )
        remedy = (
            "the hub cannot be reached and the data set is not in the cache: load it once with a network "
            "(and without HF_HUB_OFFLINE), or use a `files` source"
            if offline
            else "check `name`, `config` and `revision`"
        )
        raise DataError(
            f"cannot load the data set {source.name}: {type(error).__name__}: {said}", remedy=remedy
        ) from error
    return loaded


def _check_splits(source: HubSource, there: list[str]) -> None:
    for part, own in source.splits.items():
        if own not in there:
            raise DataError(
                f"data set {source.name} has no split `{own}`, named for `{part}`", allowed=", ".join(there),
                remedy=did_you_mean(own, there) or f"leave `{part}` out of `splits`: it is then cut from training",
            )  # fmt: skip


def _table_of(split: Any, name: str, needs: Needs, own: Path | None) -> Table:
    names = tuple(split.column_names)
    chosen = choose_columns(name, names, needs.names)
    images = needs.image if needs.image in chosen else None
    values = {column: _values_of(split, column) for column in chosen if column != images}
    if images is not None:
        values[images] = list_images(split, images, name, own)
    return Table(name, names, values, range(1, len(split) + 1))


def _values_of(split: Any, column: str) -> Sequence[object]:
    """The values of a column; class numbers become their names, and -1 (the hub's sign of no label) None."""
    values = list(split[column])
    names = getattr(split.features[column], "names", None)
    if names is None:
        return values
    return [names[value] if value is not None and value >= 0 else None for value in values]


def _commit_of(loaded: Any) -> str | None:
    """Find the commit among the addresses that a cached data set says it was made from."""
    for split in loaded.values():
        for address in split.info.download_checksums or {}:
            found = re.search(r"@([0-9a-f]{40})/", str(address))
            if found:
                return found[1]
    return None
