"""The frozen prefix: derived from what a method did, never declared by it."""

from __future__ import annotations

from whichtune.methods.contracts import Attachment, unchanged
from whichtune.models.backbone import Backbone


def frozen_prefix(backbone: Backbone, attachment: Attachment) -> int:
    """Count the first blocks whose output no training step can change.

    It ends at the first block that owns a trained or wrapped module. It is 0 if something below or beside the blocks
    trains, or if the method changes the embedded rows.
    """
    if attachment.inputs is not unchanged:
        return 0
    touched = [name.removeprefix("trunk.") for name in attachment.trained if name.startswith("trunk.")]
    touched += list(attachment.matched)
    fronts = [f"{backbone.block_path(index)}." for index in range(len(backbone.blocks))]
    below = tuple(f"{name}." for name in (*backbone.anatomy.embeddings, *backbone.anatomy.shared))
    if any(f"{path}.".startswith(below) for path in touched):
        return 0
    owners = [index for index, front in enumerate(fronts) if any(path.startswith(front) for path in touched)]
    return min(owners, default=len(fronts))
