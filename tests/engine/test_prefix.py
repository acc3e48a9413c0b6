import pytest
from pydantic import TypeAdapter

from whichtune.engine.prefix import frozen_prefix
from whichtune.spec.methods import MethodSpec

PREFIXES = {
    "full": ({"kind": "full"}, 0),
    "last block": ({"kind": "last-layers", "blocks": 1}, 2),
    "last two": ({"kind": "last-layers", "blocks": 2}, 1),
    "head": ({"kind": "frozen-features"}, 3),
    "head and pooler": ({"kind": "frozen-features", "pooler": True}, 3),
    "lora": ({"kind": "lora"}, 0),
    "lora with all biases": ({"kind": "lora", "bias": "all"}, 0),
    "lora in one place": ({"kind": "lora", "targets": ["encoder.layer.2.output.dense"]}, 2),
}


@pytest.mark.parametrize("case", PREFIXES)
def test_the_prefix_ends_where_something_trains_or_is_wrapped(case, tiny_backbone, tiny_trial):
    settings, blocks = PREFIXES[case]
    backbone = tiny_backbone(num_hidden_layers=3)
    trial = tiny_trial(backbone, TypeAdapter(MethodSpec).validate_python(settings))
    assert frozen_prefix(backbone, trial.assembly.attachment) == blocks


def test_virtual_rows_leave_no_prefix(tiny_backbone, tiny_trial):
    backbone = tiny_backbone()
    attachment = tiny_trial(
        backbone, TypeAdapter(MethodSpec).validate_python({"kind": "frozen-features"})
    ).assembly.attachment
    attachment.inputs = lambda embedded, layout: (embedded, layout.prepend(1))
    assert frozen_prefix(backbone, attachment) == 0
