"""One trial of zero-shot classification: images against class names, by a model with a tower for each.

Nothing is trained (Radford et al. 2021, sections 3.1.2 to 3.1.4). The names of the classes are read once and become
the rows that a head without parameters compares every image with; from there on the tower of images is predicted with
like any other model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from whichtune.engine.assembly import Assembly
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.predict import by_length, predict
from whichtune.engine.trial import EVALUATED, Material, Outcome
from whichtune.errors import DataError, UnsupportedError
from whichtune.layers.matching import MatchingHead
from whichtune.measure.clock import PhaseClock
from whichtune.measure.modes import modes
from whichtune.methods.contracts import Attachment, Theory
from whichtune.models.backbone import Backbone
from whichtune.models.batch import Batch, Encoded, EncodedRows
from whichtune.models.pair import Pair
from whichtune.models.shared_space import SharedSpace
from whichtune.prompts.class_names import write_classes
from whichtune.records.predictions import Predictions
from whichtune.spec.zero_shot import ZeroShotSpec


@dataclass(frozen=True)
class MatchingTrial:
    """A trial of `zero-shot` on both towers of one checkpoint.

    The probabilities of its predictions are a softmax over the classes: of CLIP what it was trained with; SigLIP gives
    each pair of image and text a probability of its own, and the softmax only says how it ranks these classes.
    """

    pair: Pair
    material: Material
    method: ZeroShotSpec
    batch: int
    """Images, or texts, a forward pass."""
    arithmetic: Arithmetic

    def run(self, clock: PhaseClock) -> Outcome:
        """Read the class names, and compare the images of the validation and the test split with them."""
        tables: list[Predictions] = []
        with clock.phase("encode"):
            encoded = {split: self.encode(split) for split in EVALUATED}
        with clock.phase("attach"):
            assembly = self.assembly
        for split, rows in encoded.items():
            with clock.phase("validate" if split == "validation" else "predict"):
                given = (self.material.data.examples[split], rows)
                table, _ = predict(assembly, self.material.task, split, given, self.batch, self.arithmetic)
                tables.append(table)
        return Outcome(tables, encoded=encoded)

    def encode(self, split: str) -> EncodedRows:
        """Size the images of a split as the tower reads them."""
        return self.material.task.encode(self.material.data.examples[split], self.pair.parts["image"].reader, 0)

    @cached_property
    def assembly(self) -> Assembly:
        """The tower of images with the class names as its head: a function from a batch of images to logits."""
        return build_matcher(self.pair, self.material.task.labels, self.method, self.batch, self.arithmetic)


def build_matcher(
    pair: Pair, labels: Sequence[str], method: ZeroShotSpec, batch: int, arithmetic: Arithmetic
) -> Assembly:
    """Read the class names with the tower of texts, and put them behind the tower of images."""
    space = require_shared(pair)
    rows = embed_classes(pair.parts["text"], write_classes(method, labels), batch, arithmetic)
    nothing = Attachment(
        trained={},
        inert={},
        saved={},
        active=(),
        theory=Theory(0),
        detach=lambda: None,
        merge_reason="nothing stands beside the trunk: nothing was trained",
    )
    return Assembly(pair.parts["image"], MatchingHead(rows, space).to(pair.device), nothing)


def require_shared(pair: Pair) -> SharedSpace:
    """Return how alike rows of the two towers are, or say why they cannot be compared."""
    image, text = pair.parts["image"], pair.parts["text"]
    if image.shared is None or text.shared is None:
        lacks = image if image.shared is None else text
        raise UnsupportedError(
            f"zero-shot compares an image with class names in the space that both towers of a model share, and "
            f"{lacks.origin} ({lacks.anatomy.family}) has none: use CLIP or SigLIP"
        )
    if image.origin != text.origin or image.shared != text.shared:
        raise UnsupportedError(
            f"zero-shot needs both towers of one model; these are two: {image.origin}, and {text.origin}"
        )
    return image.shared


def embed_classes(text: Backbone, classes: Sequence[Sequence[str]], batch: int, arithmetic: Arithmetic) -> Tensor:
    """Return one row a class, [L, F] float32 of length one: the mean over its texts' rows, themselves of length one."""
    encoded = _encode(text, [one for texts in classes for one in texts])
    rows = torch.empty(len(encoded), text.feature_width(), device=text.device)
    with modes((), text.trunk), torch.no_grad(), arithmetic.forward():
        for some in by_length(encoded, batch):
            assert isinstance(some, Batch)  # noqa: S101 - texts become nothing else
            moved = some.to(text.device)
            hidden = text.run(text.embed(moved), moved.layout, moved.segments)
            rows[torch.from_numpy(some.rows).to(text.device)] = text.pool(hidden, moved.layout).float()
    means = normalize(rows, dim=1).reshape(len(classes), -1, rows.shape[1]).mean(dim=1)
    return normalize(means, dim=1)


def _encode(text: Backbone, texts: Sequence[str]) -> Encoded:
    """Turn texts into token ids; one that does not fit whole is refused, since its class name may be what is cut."""
    most = text.encoder.max_positions
    assert most is not None  # noqa: S101 - towers of texts have a table of positions
    encoded = text.encoder.encode(texts, np.full(len(texts), -1), most)
    if encoded.over_long:
        long = texts[encoded.over_long[0]]
        remedy = "shorten the template, or the class name in `words`"
        raise DataError(
            "a class name in its template is too long", value=long[:120], allowed=f"{most} tokens", remedy=remedy
        )
    return encoded
