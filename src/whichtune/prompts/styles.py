"""The styles and wordings that are shipped: data in one file, read once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

from whichtune.spec.prompts import PromptSpec, StyleSpec, WordingSpec


def find_style(spec: PromptSpec) -> StyleSpec:
    """Return the style of a prompt: the user's own, or the one that is named."""
    return spec.template or StyleSpec.model_validate(_read_shipped()["styles"][spec.style])


def find_wording(spec: PromptSpec) -> WordingSpec:
    """Return the wording of a prompt: the user's own, or the one that is named."""
    return spec.own_wording or WordingSpec.model_validate(_read_shipped()["wordings"][spec.wording])


def list_styles() -> tuple[str, ...]:
    """Return the names of the styles that are shipped."""
    return tuple(_read_shipped()["styles"])


def list_wordings() -> tuple[str, ...]:
    """Return the names of the wordings that are shipped."""
    return tuple(_read_shipped()["wordings"])


@lru_cache(maxsize=1)
def _read_shipped() -> Mapping[str, Mapping[str, Any]]:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(
        files("whichtune.prompts").joinpath("styles.yaml").read_text(encoding="utf-8")
    )
