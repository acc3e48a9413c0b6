"""For every family: one text alone gives the rows it has in a padded batch, whichever side is padded."""

import numpy as np
import pytest
import torch

from whichtune.models.batch import collate
from whichtune.models.families import TEXT_FAMILIES

TEXTS = ["a fine film", "dull", "x" * 60, "nothing at all happens, twice"]
SCRIPTS = {
    "arabic": "فيلم جميل جدًّا، ومؤثر",
    "hebrew": "סֶרֶט נהדר, ממש",
    "chinese": "这部电影非常好看。",
    "emoji": "👩‍👩‍👧‍👦 😂🔥 ok",
    "mixed": "good — جيد — טוב — 好 — 🙂",
    "latin": "a fine film",
}
VARIANTS = [(family, {}) for family in sorted(TEXT_FAMILIES)] + [
    ("deberta-v2", {"share_att_key": False, "conv_kernel_size": 3, "type_vocab_size": 2}),
    ("deberta-v2", {"position_biased_input": True, "relative_attention": False}),
    ("albert", {"num_hidden_groups": 2}),
]


def give_rows(backbone, encoded, rows, side="right"):
    """The hidden rows of each sequence at its real positions."""
    batch = collate(encoded, rows, side=side)
    with torch.no_grad():
        hidden = backbone.run(backbone.embed(batch), batch.layout, batch.segments)
        pooled = backbone.pool(hidden, batch.layout)
    return [one[real] for one, real in zip(hidden, batch.layout.real, strict=True)], pooled


def encode(backbone, texts):
    return backbone.encoder.encode(texts, np.zeros(len(texts)), 128)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("family", "config"), VARIANTS, ids=str)
@pytest.mark.parametrize("texts", [TEXTS, list(SCRIPTS.values())], ids=["latin", "scripts"])
def test_a_text_alone_has_the_rows_it_has_in_a_batch(family, config, side, texts, tiny_backbone):
    backbone = tiny_backbone(family, **config)
    encoded = encode(backbone, texts)
    together, pooled = give_rows(backbone, encoded, range(len(texts)), side)
    spread = float(torch.cat(together).std())
    for index in range(len(texts)):
        alone, one = give_rows(backbone, encoded, [index])
        assert float((alone[0] - together[index]).abs().max()) < 1e-5 * spread
        assert float((one[0] - pooled[index]).abs().max()) < 1e-5 * float(pooled.std())
    assert not any(torch.allclose(pooled[0], other, atol=1e-3) for other in pooled[1:]), "texts can be told apart"


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_goes_through_the_byte_tokenizer_unharmed(script, tiny_backbone):
    backbone = tiny_backbone("distilbert")
    encoded = encode(backbone, [SCRIPTS[script]])
    ids = encoded.row(0).tolist()
    assert (ids[0], ids[-1], len(ids)) == (0, 2, len(SCRIPTS[script].encode()) + 2)
    assert backbone.encoder.tokenizer.decode(ids, skip_special_tokens=True) == SCRIPTS[script]
