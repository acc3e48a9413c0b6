"""Class names as texts: what a model with two towers compares an image with."""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.errors import SpecError, did_you_mean
from whichtune.prompts.templates import Template, compile_template
from whichtune.spec.zero_shot import ZeroShotSpec

SLOT = "label"
"""The one name a template may use, and must."""


def write_classes(spec: ZeroShotSpec, labels: Sequence[str]) -> list[list[str]]:
    """Fill the class name of each label into every template: one list a label, in the templates' order.

    Words for a label that is not there, two labels of one name and a template without a name in it are refused.
    """
    templates = [_compile(place, source) for place, source in enumerate(spec.templates, start=1)]
    return [[template.render({SLOT: name}) for template in templates] for name in name_classes(spec, labels)]


def name_classes(spec: ZeroShotSpec, labels: Sequence[str]) -> list[str]:
    """Return the name of each label, in their order; upper and lower case are one, as the towers read them."""
    for label in spec.words:
        if label not in labels:
            allowed = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
            remedy = did_you_mean(label, labels)
            raise SpecError(
                "words: a name for a label that the data does not have", value=label, allowed=allowed, remedy=remedy
            )
    names = [" ".join(spec.words.get(label, label.replace("_", " ")).split()) for label in labels]
    owners: dict[str, str] = {}
    for label, name in zip(labels, names, strict=True):
        if not name:
            raise SpecError(
                "words: the name of a label is empty", value=label, remedy=f"give one: `words: {{{label}: ...}}`"
            )
        other = owners.setdefault(name.casefold(), label)
        if other != label:
            remedy = f"tell them apart in `words`, such as `{label}: ...`"
            raise SpecError(f"the labels '{other}' and '{label}' have one name", value=name, remedy=remedy)
    return names


def _compile(place: int, source: str) -> Template:
    template = compile_template(f"templates, number {place}", source, (SLOT,))
    if SLOT not in template.used:
        remedy = "put {{ label }} where the class name stands"
        raise SpecError(f"{template.name}: all classes would read alike", value=source, remedy=remedy)
    return template
