"""A model as it was released, to write with."""

import numpy as np
import pytest
import torch

from whichtune.engine.speaking import Opening, read_prompts
from whichtune.engine.using import Manner, open_model
from whichtune.errors import ModelError
from whichtune.methods.contracts import unchanged
from whichtune.models.batch import Encoded
from whichtune.spec.backbones import RandomBackbone

CPU = Manner(torch.device("cpu"), batch=2)


def test_an_encoder_does_not_write():
    with pytest.raises(ModelError, match="'bert' scores no next token"):
        open_model(RandomBackbone(kind="random"), CPU)


def test_nothing_stands_in_front_of_a_released_models_texts():
    speaker = open_model(RandomBackbone(kind="random", family="gpt"), CPU)
    assert speaker.inputs is unchanged
    assert not speaker.backbone.trunk.training
    prompt = Encoded(np.array([5, 6, 7], np.int32), np.array([0, 3]), np.array([-1]))
    with torch.no_grad():
        read = read_prompts(speaker, prompt, [0], Opening(0))
    assert read.state.lengths.tolist() == [3]
