"""The proof by running catches an anatomy that is wrong."""

from dataclasses import replace

import pytest

from whichtune.errors import ModelError
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.models.rehearse import rehearse
from whichtune.spec.backbones import RandomBackbone


@pytest.mark.parametrize("family", ["bert", "roberta", "camembert", "xlm-roberta"])
def test_the_families_of_the_table_pass_it_too(tiny_backbone, family):
    rehearse(tiny_backbone(family))


def test_a_wrong_offset_is_noticed(tiny_backbone):
    right = tiny_backbone("roberta")
    with pytest.raises(ModelError, match="roberta: without padding, its hidden rows differ"):
        rehearse(replace(right, anatomy=replace(right.anatomy, position_offset=0)))


def test_a_family_that_looks_at_padding_is_refused():
    spec = RandomBackbone(kind="random", family="nystromformer")
    with pytest.raises(ModelError, match=r"nystromformer: .*, its hidden rows differ"):
        load_backbone(spec, LoadRequest())
