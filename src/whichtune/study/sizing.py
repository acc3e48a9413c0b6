"""What a trial of a size is trained on, and for how long."""

from __future__ import annotations

from dataclasses import replace

from whichtune.data.chains import draw_chain, share_out, subset
from whichtune.engine.batches import plan_steps
from whichtune.engine.trial import Material
from whichtune.spec.sources import SplitSpec
from whichtune.spec.training import TrainingSpec
from whichtune.study.plan import Planned
from whichtune.study.sharing import Shared


def cut_material(material: Material, planned: Planned, spec: SplitSpec) -> Material:
    """Leave a trial the labelled rows of its size, as its seed draws them; all of them where it has no size."""
    if planned.labels is None:
        return material
    places = draw_chain(material.data, planned.labels, planned.seed, spec)
    encoded = {name: rows.take(places[name]) for name, rows in material.encoded.items()}
    return replace(material, data=subset(material.data, places), encoded=encoded)


def training_at(planned: Planned, shared: Shared) -> TrainingSpec:
    """Return the held settings of a trial; one of a size takes as many steps as on all rows, unless epochs are held.

    With the epochs of all rows a few rows would be a few steps, and a curve would show too little training where it
    means to show too few labels (Zhang et al. 2021; Mosbach et al. 2021). Validations come after the same steps, too.
    """
    study = shared.study
    training = study.training_of(planned.method)
    if planned.labels is None or study.sizes_hold == "epochs":
        return training
    whole = plan_steps(len(shared.data.examples["train"]), training)
    rows, _ = share_out(planned.labels, shared.data)
    epochs = whole.total / plan_steps(rows, training).per_epoch
    return training.model_copy(update={"epochs": epochs, "validate_every": training.validate_every or whole.per_epoch})
