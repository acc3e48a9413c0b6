"""Soft prompts: where rows come from, where they stand, and that batches, padding and folding change nothing."""

from functools import wraps
from types import SimpleNamespace

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from whichtune.engine.guards import require_room
from whichtune.engine.trial import count_assembly
from whichtune.errors import ModelError, UnsupportedError
from whichtune.methods import TUNERS
from whichtune.methods.prompt_starts import choose_tokens, list_words, table_of
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import collate
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.grids import expand_grid
from whichtune.spec.methods import MethodSpec

KINDS = {
    "prompt-tuning": {"kind": "prompt-tuning", "virtual_tokens": 5},
    "read virtual": {"kind": "prompt-tuning", "virtual_tokens": 5, "read": "virtual"},
    "mean": {"kind": "prompt-tuning", "virtual_tokens": 5, "pooling": "mean"},
    "rows of every block": {"kind": "prompt-tuning", "virtual_tokens": 5, "deep": True},
    "mlp": {"kind": "p-tuning", "virtual_tokens": 5, "encoder_width": 12},
    "lstm": {"kind": "p-tuning", "virtual_tokens": 5, "encoder": "lstm", "encoder_layers": 2, "encoder_width": 9},
    "deep": {"kind": "p-tuning", "virtual_tokens": 5, "encoder": "none", "deep": True, "initialise": "vocabulary"},
    "deep mlp": {"kind": "p-tuning", "virtual_tokens": 5, "encoder": "mlp", "deep": True},
}


def spec_of(**fields):
    return TypeAdapter(MethodSpec).validate_python(fields)


@pytest.fixture
def prompted(tiny_backbone, tiny_trial):
    def make(family="bert", **fields):
        trial = tiny_trial(tiny_backbone(family), spec_of(**fields))
        return trial, trial.assembly

    return make


def logits_of(assembly, encoded, rows, side="right", merge=False):
    with assembly.predicting(merge=merge):
        return assembly(collate(encoded, rows, side=side))


@pytest.mark.parametrize("kind", KINDS)
def test_one_by_one_equals_a_padded_batch_on_either_side(kind, prompted):
    trial, assembly = prompted(**KINDS[kind])
    encoded = trial.material.encoded["train"]
    together = logits_of(assembly, encoded, range(8))
    left = logits_of(assembly, encoded, range(8), side="left")
    alone = torch.cat([logits_of(assembly, encoded, [row]) for row in range(8)])
    assert encoded.lengths[:8].min() < encoded.lengths[:8].max()
    assert (together - alone).abs().max() < 1e-5 * together.std()
    if "virtual" not in kind:
        assert (together - left).abs().max() < 1e-5 * together.std()


@pytest.mark.parametrize("kind", KINDS)
def test_folded_rows_give_the_same_logits(kind, prompted):
    trial, assembly = prompted(**KINDS[kind])
    encoded = trial.material.encoded["train"]
    plain = logits_of(assembly, encoded, range(4))
    with assembly.predicting() as merged:
        folded = assembly(collate(encoded, range(4)))
    assert merged == (kind in {"mlp", "lstm", "deep mlp"})
    assert torch.equal(plain, folded)
    assert torch.equal(plain, logits_of(assembly, encoded, range(4)))


@pytest.mark.parametrize("kind", KINDS)
def test_theory_counts_rows_encoder_and_head(kind, prompted):
    _, assembly = prompted(**KINDS[kind])
    counts, _ = count_assembly(assembly)
    assert counts.trainable_theory == counts.trainable
    by_hand = {
        "prompt-tuning": 5 * 32,
        "rows of every block": 2 * 5 * 32,
        "deep": 5 * 2 * 2 * 32,
        "mlp": 5 * 32 + 32 * 12 + 12 + 12 * 12 + 12 + 12 * 32 + 32,
    }
    if kind in by_hand:
        assert counts.added == by_hand[kind]


def test_prompt_rows_move_the_logits_and_the_text_keeps_its_place(prompted):
    trial, assembly = prompted(kind="prompt-tuning", virtual_tokens=4)
    batch = collate(trial.material.encoded["train"], range(4))
    embedded = assembly.backbone.embed(batch)
    rows, layout = assembly.attachment.inputs(embedded, batch.layout)
    assert rows.shape[1] == embedded.shape[1] + 4
    assert torch.equal(rows[:, 4:], embedded)
    assert torch.equal(layout.first, torch.full((4,), 4))
    assert not layout.read[:, :4].any()
    before = logits_of(assembly, trial.material.encoded["train"], range(4))
    with torch.no_grad():
        assembly.attachment.trained["added.rows"].mul_(-3)
    assert (logits_of(assembly, trial.material.encoded["train"], range(4)) - before).abs().max() > 1e-3


def test_rows_start_from_words_of_the_vocabulary(prompted):
    _, assembly = prompted(kind="prompt-tuning", virtual_tokens=6, initialise="vocabulary")
    table, rows = table_of(assembly.backbone), assembly.attachment.trained["added.rows"]
    found = [int((table == row).all(dim=1).nonzero()[0]) for row in rows]
    assert set(found) <= set(list_words(assembly.backbone))
    assert not set(list_words(assembly.backbone)) & {0, 1, 2}


def test_rows_start_from_a_phrase_repeated_to_their_number(prompted):
    _, assembly = prompted(kind="prompt-tuning", virtual_tokens=5, initialise="phrase", phrase="ab")
    ids = assembly.backbone.encoder.tokenizer.encode("ab", add_special_tokens=False).ids
    wanted = table_of(assembly.backbone)[torch.tensor([*ids, *ids, ids[0]])]
    assert torch.equal(assembly.attachment.trained["added.rows"], wanted)


def test_random_rows_have_the_spread_of_the_token_table(prompted):
    _, assembly = prompted(kind="prompt-tuning", virtual_tokens=64, initialise="random")
    table, rows = table_of(assembly.backbone).detach(), assembly.attachment.trained["added.rows"].detach()
    assert float(rows.std()) == pytest.approx(float(table.std()), rel=0.1)


def test_deep_rows_start_from_keys_and_values_of_real_words(prompted):
    """With a phrase in the prefix, a text sees what it would see with the phrase's frozen rows before it."""
    _, assembly = prompted(
        kind="p-tuning", deep=True, encoder="none", initialise="phrase", phrase="fine", virtual_tokens=4
    )
    backbone = assembly.backbone
    tokens = torch.tensor(backbone.encoder.tokenizer.encode("fine", add_special_tokens=False).ids)
    assert len(tokens) == 4
    rows = assembly.attachment.trained["added.rows"]
    block = backbone.blocks[0].attention.self
    embedded = backbone.trunk.embeddings(inputs_embeds=table_of(backbone)[tokens][None])
    assert torch.allclose(rows[:, :64], torch.cat([block.key(embedded), block.value(embedded)], dim=2)[0], atol=1e-6)


def test_deep_rows_equal_attention_over_them_written_out(prompted):
    """Block by block: softmax over [prefix keys, text keys], by hand, for one text."""
    trial, assembly = prompted(kind="p-tuning", deep=True, encoder="none", initialise="random", virtual_tokens=3)
    batch = collate(trial.material.encoded["train"], [1])
    with assembly.predicting():
        ours = assembly(batch)
    backbone, config = assembly.backbone, assembly.backbone.trunk.config
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    length = batch.ids.shape[1]
    places = torch.arange(3, 3 + length)[None]
    hidden = backbone.trunk.embeddings(
        inputs_embeds=backbone.embed(batch), position_ids=places, token_type_ids=batch.segments
    )
    pairs = assembly.attachment.trained["added.rows"].detach().split(32, dim=1)

    def split(rows):
        return rows.reshape(1, -1, heads, width).transpose(1, 2)

    with assembly.predicting():
        for index, block in enumerate(backbone.blocks):
            own = block.attention.self
            key = torch.cat([pairs[2 * index][None], own.key(hidden)], dim=1)
            value = torch.cat([pairs[2 * index + 1][None], own.value(hidden)], dim=1)
            scores = split(own.query(hidden)) @ split(key).transpose(-1, -2) / width**0.5
            context = (scores.softmax(dim=-1) @ split(value)).transpose(1, 2).reshape(1, length, -1)
            attended = block.attention.output(context, hidden)
            hidden = block.output(block.intermediate(attended), attended)
        expected = assembly.head(backbone.trunk.pooler(hidden))
    assert (ours - expected).abs().max() < 1e-5


def test_rows_of_every_block_start_from_what_reaches_it(prompted):
    """With a phrase, each block is given the rows it was given when the frozen trunk read the phrase."""
    spec = {"kind": "prompt-tuning", "deep": True, "initialise": "phrase", "phrase": "fine", "virtual_tokens": 4}
    _, assembly = prompted("electra", **spec)
    backbone = assembly.backbone
    tokens = torch.tensor([backbone.encoder.tokenizer.encode("fine", add_special_tokens=False).ids])
    assembly.attachment.detach()
    states = backbone.trunk(tokens, output_hidden_states=True).hidden_states
    rows = assembly.attachment.trained["added.rows"]
    assert rows.shape == (2, 4, 32), "as wide as blocks are, not as the token table is"
    assert torch.allclose(rows, torch.stack([states[0][0], states[1][0]]), atol=1e-6)


def test_random_rows_of_every_block_have_the_spread_of_what_reaches_it(prompted):
    known = prompted(kind="prompt-tuning", deep=True, initialise="vocabulary", virtual_tokens=64)[1]
    drawn = prompted(kind="prompt-tuning", deep=True, initialise="random", virtual_tokens=64)[1]
    spreads = [one.attachment.trained["added.rows"].detach().std(dim=(1, 2)) for one in (known, drawn)]
    assert torch.allclose(spreads[0], spreads[1], rtol=0.1)


def watch_blocks(backbone):
    """Keep what each block is given and what it makes of it; attach after this, so that nothing stands behind it."""
    seen = []

    def watched(inner):
        def forward(*args, **named):
            made = inner(*args, **named)
            seen.append((args[0], made[0] if isinstance(made, tuple) else made))
            return made

        return wraps(inner)(forward)

    for block in backbone.blocks:
        block.forward = watched(block.forward)
    return seen


@pytest.mark.parametrize("family", ["bert", "electra", "distilbert", "deberta-v2", "gpt", "gpt2", "llama"])
def test_every_block_is_given_rows_of_its_own_before_what_was_made_of_the_text(family, tiny_backbone, tiny_trial):
    backbone = tiny_backbone(family)
    seen = watch_blocks(backbone)
    trial = tiny_trial(backbone, spec_of(kind="prompt-tuning", deep=True, virtual_tokens=3))
    assembly, seen[:] = trial.assembly, []
    rows = assembly.attachment.trained["added.rows"].detach()
    batch = collate(trial.material.encoded["train"], range(4))
    with assembly.predicting():
        assembly(batch)
    assert len(seen) == len(rows) == 2
    for own, (given, _) in zip(rows, seen, strict=True):
        assert given.shape == (4, 3 + batch.ids.shape[1], 32)
        assert torch.equal(given[:, :3], own.expand(4, 3, 32))
    assert torch.equal(seen[1][0][:, 3:], seen[0][1][:, 3:])
    assert not torch.equal(seen[1][0][:, :3], seen[0][1][:, :3])


@pytest.mark.parametrize("kind", KINDS)
def test_detaching_leaves_no_trace(kind, prompted):
    trial, assembly = prompted(**KINDS[kind])
    backbone = assembly.backbone
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    trial.run()
    assembly.attachment.detach()
    after = backbone.trunk.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks or "forward" in vars(module) for module in backbone.trunk.modules())


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "mpnet"])
@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_blocks_give_the_same_gradients(kind, family, prompted):
    gradients = []
    for recompute in (False, True):
        trial, assembly = prompted(family, **KINDS[kind])
        assembly.checkpoints = recompute
        batch = collate(trial.material.encoded["train"], range(4))
        with assembly.fitting():
            for module in (assembly.backbone.trunk, assembly.head):
                module.eval()
            assembly(batch).square().sum().backward()
        gradients.append({name: tensor.grad.clone() for name, tensor in assembly.attachment.trained.items()})
        assembly.attachment.detach()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-7) for name in gradients[0])
    assert all(gradient.any() for gradient in gradients[0].values())


def test_dropout_of_a_prompt_encoder_stops_when_predicting(prompted):
    trial, assembly = prompted(
        kind="p-tuning", encoder="lstm", encoder_layers=2, encoder_width=8, encoder_dropout=0.5, virtual_tokens=4
    )
    encoded = trial.material.encoded["train"]
    first, second = (logits_of(assembly, encoded, range(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, logits_of(assembly, encoded, range(4), merge=True))
    with assembly.fitting():
        noisy = [assembly(collate(encoded, range(4))) for _ in range(2)]
    assert not torch.equal(*noisy)


@pytest.mark.parametrize("fields", [{"kind": "p-tuning", "encoder": "none"}, {"kind": "prompt-tuning"}])
def test_deep_prompts_out_of_sight_say_why_not(fields, prompted):
    with pytest.raises(UnsupportedError, match="a row sees near ones"):
        prompted("modernbert", deep=True, **fields)


def test_a_grid_over_encoders_leaves_each_its_own_rate():
    entry = spec_of(kind="p-tuning", deep=True, grid={"encoder": ["mlp", "none"]})
    rates = {name: one.learning_rate for name, one in expand_grid("p", entry)}
    assert rates == {"p[encoder=mlp]": 1e-3, "p[encoder=none]": 3e-2}


def test_a_length_that_leaves_no_room_is_refused(prompted):
    _, assembly = prompted(kind="prompt-tuning", virtual_tokens=20)
    require_room(assembly, 108)
    with pytest.raises(ModelError, match=r"beside 20 virtual rows.*109.*at most 108"):
        require_room(assembly, 109)


def test_the_head_may_have_a_rate_of_its_own(prompted):
    trial, _ = prompted(kind="prompt-tuning", learning_rate=0.2, head_learning_rate=1e-3)
    groups = trial.prepare().optimizer.param_groups
    assert [group["initial_lr"] for group in groups] == [0.2, 1e-3, 1e-3]
    same, _ = prompted(kind="prompt-tuning", learning_rate=0.2, head_learning_rate=None)
    assert {group["initial_lr"] for group in same.prepare().optimizer.param_groups} == {0.2}


@pytest.mark.parametrize(
    "fields, told",
    [
        ({"kind": "prompt-tuning", "initialise": "phrase"}, "phrase"),
        ({"kind": "prompt-tuning", "phrase": "x"}, "has no use"),
        ({"kind": "p-tuning", "encoder": "none"}, "deep: true"),
        ({"kind": "p-tuning", "encoder": "lstm", "deep": True}, "at the input only"),
        ({"kind": "p-tuning", "deep": True, "read": "virtual"}, "nothing to read"),
        ({"kind": "p-tuning", "encoder_layers": 3}, "encoder_layers.*no use"),
        ({"kind": "p-tuning", "encoder": "none", "deep": True, "encoder_width": 8}, "encoder_width.*no use"),
        ({"kind": "p-tuning", "encoder": "lstm", "encoder_layers": 1, "encoder_dropout": 0.1}, "of one layer"),
    ],
)
def test_settings_that_contradict_each_other_are_told(fields, told):
    with pytest.raises(ValidationError, match=told):
        spec_of(**fields)


@pytest.mark.parametrize("fields", [{"kind": "p-tuning", "encoder": "none"}, {"kind": "prompt-tuning"}])
def test_deep_prompts_on_shared_blocks_say_why_not(fields, prompted):
    with pytest.raises(UnsupportedError, match="layers of the family 'albert' share theirs"):
        prompted("albert", deep=True, **fields)


def test_a_phrase_without_tokens_is_refused():
    nothing = SimpleNamespace(encode=lambda text, add_special_tokens: SimpleNamespace(ids=[]))
    backbone = SimpleNamespace(encoder=SimpleNamespace(tokenizer=nothing))
    spec = spec_of(kind="prompt-tuning", initialise="phrase", phrase="\u00ad")
    with pytest.raises(ModelError, match="no token"):
        choose_tokens(backbone, spec, torch.Generator())


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "prompt-tuning"},
        {"kind": "prompt-tuning", "deep": True},
        {"kind": "p-tuning", "deep": True, "encoder": "none"},
        {"kind": "peft", "tuner": "p_tuning"},
        {"kind": "peft", "tuner": "prefix_tuning"},
    ],
)
def test_texts_that_take_all_positions_leave_none_for_rows_in_front(method):
    spec = spec_of(**method)
    anatomy = load_backbone(RandomBackbone(kind="random", family="siglip"), LoadRequest()).anatomy
    assert "fills every text up to all its positions" in (TUNERS[type(spec)].supports(spec, anatomy, None) or "")
