"""Zero-shot against the forward pass of the whole models in `transformers`, on tiny checkpoints with random weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import normalize
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.engine.matching import MatchingTrial, require_shared
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.trial import Material
from whichtune.errors import DataError, UnsupportedError
from whichtune.fetch.pictures import inspect_picture
from whichtune.measure.clock import PhaseClock
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import FolderBackbone, PairBackbone, RandomBackbone
from whichtune.spec.tasks import ImageClassificationSpec
from whichtune.spec.zero_shot import ZeroShotSpec
from whichtune.tasks import build_task

LABELS = ("circle", "red_square", "very long word")
FAMILIES = ("clip", "siglip")
TEMPLATES = ("a photo of a {{ label }}.", "{{ label }}", "the {{ label }}, drawn")
WIDTH = 48
"""Positions of the tower of texts."""


def make_tokenizer():
    """A tokenizer of bytes whose special tokens stand behind them, as CLIP's do: the end token has the highest id."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "[CLS]", "[PAD]", "[SEP]"]
    backend = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    backend.add_special_tokens(words[-3:])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    template = {"single": "[CLS] $A [SEP]", "special_tokens": [("[CLS]", 256), ("[SEP]", 258)]}
    backend.post_processor = processors.TemplateProcessing(**template)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]", pad_token="[PAD]")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Save a checkpoint with both towers a family, weights wide enough to tell inputs apart."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = sizes | {"vocab_size": 259, "max_position_embeddings": WIDTH}
    text |= {"bos_token_id": 256, "pad_token_id": 257, "eos_token_id": 258}
    image = sizes | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(3)
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=24))
    siglip = SiglipModel(SiglipConfig(text_config=text, vision_config=image))
    edges = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    sized = {"clip": CLIPImageProcessorPil(**edges), "siglip": SiglipImageProcessorPil(size=edges["crop_size"])}
    places = {}
    for family, model in (("clip", clip), ("siglip", siglip)):
        with torch.no_grad():
            for tensor in model.parameters():
                if tensor.ndim >= 2 and family == "clip":  # SigLIP's start wide enough
                    tensor.mul_(4)
            model.logit_scale.fill_(2.5)
            if family == "siglip":
                model.logit_bias.fill_(-3)
        places[family] = tmp_path_factory.mktemp(family)
        model.save_pretrained(places[family])
        make_tokenizer().save_pretrained(places[family])
        sized[family].save_pretrained(places[family])
    return places, {"clip": clip.eval(), "siglip": siglip.eval()}, sized


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Draw a few images of uneven sizes."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = []
    for place in range(7):
        size = (40 + place, 50, 3)
        path = folder / f"{place}.png"
        Image.fromarray(draw.integers(0, 256, size, dtype=np.uint8)).save(path)
        found.append(inspect_picture(path))
    return found


def data_of(pictures):
    rows = {
        split: tuple(
            Example(f"{split}:{place}", split, "", LABELS[place % 3], f"x:{place}", image=picture)
            for place, picture in enumerate(pictures)
        )
        for split in ("train", "validation", "test")
    }
    return DataSet(rows, LABELS, "tiny-pictures", DataReport("tiny", {}))


def trial_of(pair, pictures, labels=LABELS, precision="float32", **fields):
    method = ZeroShotSpec(kind="zero-shot", **fields)
    task = build_task(ImageClassificationSpec(kind="image-classification"), labels)
    return MatchingTrial(pair, Material(task, data_of(pictures)), method, 4, Arithmetic(precision, torch.device("cpu")))


def load_pair(folder):
    spec = FolderBackbone(kind="folder", path=folder)
    return load_backbone(spec, LoadRequest(reads="pair"))


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path))


def read_texts(family, texts):
    """What the model is given of texts in the family's way: SigLIP's take all positions, pad tokens and all."""
    tokenizer = make_tokenizer()
    if family == "siglip":
        ids = tokenizer(texts, padding="max_length", max_length=WIDTH, return_tensors="pt")["input_ids"]
        return {"input_ids": ids}
    made = tokenizer(texts, padding=True, return_tensors="pt")
    return {name: made[name] for name in ("input_ids", "attention_mask")}


def pixels_of(processor, pictures):
    images = [Image.open(one.path).convert("RGB") for one in pictures]
    return processor(images=images, return_tensors="pt")["pixel_values"]


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("family", FAMILIES)
def test_one_template_gives_the_logits_of_the_whole_model(family, checkpoints, pictures):
    places, whole, sized = checkpoints
    trial = trial_of(load_pair(places[family]), pictures)
    encoded = trial.encode("test")
    with trial.assembly.predicting():
        ours = trial.assembly(encoded.collate(range(len(pictures))))
    texts = [f"a photo of a {label.replace('_', ' ')}." for label in LABELS]
    with torch.no_grad():
        theirs = whole[family](**read_texts(family, texts), pixel_values=pixels_of(sized[family], pictures))
    theirs = theirs.logits_per_image
    assert float(ours.std()) > 1e-2
    assert (ours - theirs).abs().max() < 1e-5
    outcome = trial.run(PhaseClock())
    validated, tested = outcome.predictions
    assert (validated.split, tested.split) == ("validation", "test")
    assert tested.parsed == [LABELS[index] for index in theirs.argmax(dim=1)]
    assert np.allclose(tested.probabilities, theirs.softmax(dim=1).numpy(), atol=1e-5)
    assert tested.gold == [LABELS[place % 3] for place in range(len(pictures))]


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("family", FAMILIES)
def test_several_templates_are_averaged_at_unit_length(family, checkpoints, pictures):
    places, whole, sized = checkpoints
    trial = trial_of(load_pair(places[family]), pictures, templates=TEMPLATES, words={"circle": "round  thing"})
    with trial.assembly.predicting():
        ours = trial.assembly(trial.encode("test").collate(range(len(pictures))))
    rows = []
    with torch.no_grad():
        for name in ("round thing", "red square", "very long word"):
            texts = [f"a photo of a {name}.", name, f"the {name}, drawn"]
            found = whole[family](**read_texts(family, texts), pixel_values=pixels_of(sized[family], pictures[:1]))
            rows.append(normalize(found.text_embeds, dim=1).mean(dim=0))
        image = whole[family](**read_texts(family, ["x"]), pixel_values=pixels_of(sized[family], pictures)).image_embeds
    space = require_shared(trial.pair)
    theirs = space.scale * normalize(image, dim=1) @ normalize(torch.stack(rows), dim=1).T + space.bias
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("family", FAMILIES)
def test_neither_batch_nor_half_precision_around_it_decides(family, checkpoints, pictures):
    pair = load_pair(checkpoints[0][family])
    whole, small = trial_of(pair, pictures), trial_of(pair, pictures, precision="bfloat16")
    encoded = whole.encode("test")
    with whole.assembly.predicting():
        together = whole.assembly(encoded.collate(range(len(pictures))))
        alone = torch.cat([whole.assembly(encoded.collate([row])) for row in range(len(pictures))])
    assert (together - alone).abs().max() < 1e-5 * float(together.std()) + 1e-5
    with small.assembly.predicting(), small.arithmetic.forward():
        logits = small.assembly(encoded.collate(range(len(pictures))))
    assert logits.dtype == torch.float32
    before = {name: tensor.clone() for name, tensor in pair.trunk.state_dict().items()}
    whole.run(PhaseClock())
    assert all(torch.equal(before[name], tensor) for name, tensor in pair.trunk.state_dict().items())
    assert not any(True for _ in whole.assembly.head.parameters())


def test_encoders_without_a_shared_space_are_refused(pictures):
    spec = PairBackbone(
        kind="pair",
        image=RandomBackbone(kind="random", family="vit"),
        text=RandomBackbone(kind="random", family="bert"),
    )
    with pytest.raises(UnsupportedError, match=r"random vit.* has none: use CLIP or SigLIP"):
        require_shared(load_backbone(spec, LoadRequest(reads="pair")))


def test_towers_of_two_models_are_refused(checkpoints):
    places, _, _ = checkpoints
    ends = {"image": places["clip"], "text": places["siglip"]}
    spec = PairBackbone(kind="pair", **{role: FolderBackbone(kind="folder", path=path) for role, path in ends.items()})
    with pytest.raises(UnsupportedError, match="both towers of one model; these are two"):
        require_shared(load_backbone(spec, LoadRequest(reads="pair")))


@pytest.mark.usefixtures("cached")
def test_a_class_name_that_does_not_fit_is_refused(checkpoints, pictures):
    pair = load_pair(checkpoints[0]["clip"])
    with pytest.raises(DataError, match=r"class name in its template is too long.*48 tokens"):
        trial_of(pair, pictures, words={"circle": "o" * 60}).assembly  # noqa: B018 - the property reads the names
