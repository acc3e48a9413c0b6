"""Commands on images: a trial by flags, its answers to new images, a study file, embeddings."""

import csv
import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from whichtune.cli.sniff import sniff, sniff_images, sniff_questions
from whichtune.cli.starter import write_starter
from whichtune.errors import DataError, ModelError
from whichtune.records.folder import StudyFolder
from whichtune.spec.read import load_stored_study, read_study

PLAIN = ("--no-check", "--no-probe", "--threads", "1", "--device", "cpu")
QUIET = ("--threads", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(path, label, noise):
    """Write an image that is light for `day` and dark for `night`."""
    light = 170 if label == "day" else 10
    pixels = np.array([[[light + noise.randrange(70)] * 3 for _ in range(8)] for _ in range(8)], np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Two class folders of 24 images each."""
    root, noise = tmp_path_factory.mktemp("photos") / "photos", random.Random(0)
    for number in range(48):
        label = ("day", "night")[number % 2]
        draw(root / label / f"{number}.png", label, noise)
    return root


@pytest.fixture(scope="session")
def seen(photos, tmp_path_factory):
    """The folder of a tiny trial on images, and the cache it was made with."""
    from whichtune.cli import main

    place = tmp_path_factory.mktemp("seen")
    flags = "train --method full --init-from random:vit --image-size 16 --lr 1e-2 --epochs 3 --batch_size 8"
    patch = pytest.MonkeyPatch()
    patch.setenv("WHICHTUNE_CACHE", str(place / "cache"))
    fixed = ["--data", str(photos), "--out-dir", str(place / "tiny"), *PLAIN]
    patch.setattr(sys, "argv", ["whichtune", *flags.split(), *fixed])
    patch.setattr(sys, "tracebacklimit", 1000, raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    patch.undo()
    assert not ended.value.code
    return place / "tiny"


@pytest.fixture(autouse=True)
def cache(seen, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(seen.parent / "cache"))


def read(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_train_takes_a_folder_and_settings_of_the_model(seen, photos):
    study, _ = load_stored_study(seen / "study.yaml")
    assert (study.task.kind, study.data.source.kind, study.data.source.all) == (
        "image-classification",
        "image-folder",
        photos,
    )
    assert study.backbones["main"].image_size == 16
    trial = next(one for one in StudyFolder(seen).read_trials() if not one.baseline)
    accuracy = next(one.value for one in trial.scores["test"].metrics if one.name == "accuracy")
    assert accuracy == 1.0


def test_predict_takes_a_folder_a_pattern_an_image_and_a_table(whichtune, seen, place):
    noise = random.Random(1)
    for name, label in (("a", "day"), ("b", "night"), ("c", "day")):
        draw(place / "new" / f"{name}.png", label, noise)
    (place / "new" / "d.png").write_bytes((place / "new" / "a.png").read_bytes()[:40])
    done = whichtune("predict", seen, "new", "--out", "new.csv", *QUIET)
    assert (done.code, "4 rows; 1 broken-image" in done.told) == (0, True)
    rows = read(place / "new.csv")
    assert [one["image"] for one in rows] == ["a.png", "b.png", "c.png", "d.png"]
    assert [one["prediction"] for one in rows] == ["day", "night", "day", ""]
    assert (rows[3]["reason"], "text" in rows[0]) == ("broken-image", False)
    shares = [float(one["probability_day"]) for one in rows[:3]]
    done = whichtune("predict", seen, "new/[bc].png", *QUIET)
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [one["id"] for one in told] == ["b.png", "c.png"]
    assert [one["probability_day"] for one in told] == pytest.approx(shares[1:], abs=1e-6)
    assert json.loads(whichtune("predict", seen, "new/a.png", *QUIET).out)["prediction"] == "day"
    (place / "rows.csv").write_text("nr,file\nx,new/c.png\ny,new/z.png\n")
    assert whichtune("predict", seen, "rows.csv", "--image", "file", "--id", "nr", "--out", "o.csv", *QUIET).code == 0
    assert [(one["id"], one["prediction"], one["reason"]) for one in read(place / "o.csv")] == [
        ("x", "day", ""),
        ("y", "", "no-image-file"),
    ]
    (place / "bare.csv").write_text("file\nc.png\n")
    whole = whichtune("predict", seen, "bare.csv", "--image", "file", "--image-root", "new", *QUIET)
    assert json.loads(whole.out)["prediction"] == "day"


def test_evaluate_takes_class_folders_and_a_table(whichtune, seen, photos, place):
    done = whichtune("evaluate", seen, "--data", photos, "--json", "--out", "all.csv", *QUIET)
    found = json.loads(done.out)
    assert found["rows"] == len(read(place / "all.csv")) == 48
    accuracy = next(one for one in found["metrics"] if one["name"] == "accuracy")
    right = [one["gold"] == one["prediction"] for one in read(place / "all.csv")]
    assert accuracy["value"] == pytest.approx(np.mean(right))
    (place / "rows.csv").write_text(f"file,is\n{photos.name}/day/0.png,day\n{photos.name}/night/1.png,night\n")
    root = ("--image-root", photos.parent)
    done = whichtune("evaluate", seen, "--data", "rows.csv", "--image", "file", "--label", "is", *root, *QUIET)
    assert "2 rows scored" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rows.csv",), "has no column `image`; allowed: file, is; name it with `--image`"),
        (("rows.csv", "--text", "file"), "--text: the trial reads images and no texts"),
        (("rows.csv", "--pair", "file"), "--pair: the trial reads images and no texts"),
        (("rows.csv", "--image", "file", "--image-root", "gone"), "--image-root: no such folder"),
        (("-",), "standard input is a text a line, and the trial reads images"),
        (("-", "--image", "file"), "--image: standard input is a text a line"),
        (("nothing",), "no images in nothing"),
    ],
)
def test_what_a_trial_on_images_does_not_take(whichtune, seen, place, arguments, told):
    (place / "rows.csv").write_text("file,is\nx.png,day\n")
    (place / "nothing").mkdir()
    done = whichtune("predict", seen, *arguments, *QUIET, stdin=b"a\n")
    assert (done.code, told in done.told) == (2, True), done.told


def test_a_trial_on_texts_has_no_images(whichtune, trained, place):
    (place / "rows.csv").write_text("review\nfine\n")
    done = whichtune("predict", trained, "rows.csv", "--image", "review", *QUIET)
    assert (done.code, "--image: the trial reads texts and no images" in done.told) == (2, True)


def test_train_takes_a_table_of_images_and_split_folders(whichtune, photos, place):
    names = [path.relative_to(photos.parent).as_posix() for path in sorted(photos.glob("*/*.png"))]
    table = photos.parent / "table.csv"
    table.write_text("\n".join(["shown,is", *(f"{name},{name.split('/')[1]}" for name in names)]) + "\n")
    flags = ("--init-from", "random:vit", "--method", "frozen-features", "--max-iters", "2", *PLAIN)
    done = whichtune("train", "--data", table, "--out-dir", "of-table", *flags)
    assert (done.code, "columns of table.csv: image `shown`, label `is`" in done.told) == (0, True), done.told
    study, _ = load_stored_study(place / "of-table" / "study.yaml")
    assert (study.task.kind, study.data.columns.image) == ("image-classification", "shown")
    noise = random.Random(2)
    for part in ("train", "val", "test"):
        for number, label in enumerate(("day", "night") * 3):
            draw(place / "split" / part / label / f"{number}.png", label, noise)
    done = whichtune("train", "--data", "split", "--out-dir", "of-split", *flags)
    source = load_stored_study(place / "of-split" / "study.yaml")[0].data.source
    assert (done.code, source.validation.name, source.all) == (0, "val", None)
    done = whichtune("embed", "--backbone", "random:vit", "--data", "split", "--out", "out", "--json", *QUIET)
    found = json.loads(done.out)["splits"]
    assert {split: (one["rows"], one["state"]) for split, one in found.items()} == dict.fromkeys(
        ("train", "validation", "test"), (6, "found")
    )


def test_train_asks_two_encoders_for_questions(place, whichtune, photos):
    table = photos.parent / "asked.csv"
    names = [path.relative_to(photos.parent).as_posix() for path in sorted(photos.glob("*/*.png"))]
    lines = [f"{name},is it bright?,{'yes' if '/day/' in name else 'no'}" for name in names]
    table.write_text("\n".join(["image,question,answer", *lines]) + "\n")
    columns = ("--image", "image", "--text", "question", "--label", "answer")
    flags = ("--init-from", "random:vit+random:bert", "--image-size", "16", "--method", "frozen-features")
    done = whichtune("train", "--data", table, *columns, *flags, "--max-iters", "2", "--out-dir", "asked", *PLAIN)
    assert done.code == 0, done.told
    study, _ = load_stored_study(place / "asked" / "study.yaml")
    assert (study.task.kind, study.backbones["main"].image.image_size) == ("visual-question-answering", 16)
    done = whichtune("predict", "asked", table, "--out", "o.csv", *QUIET)
    assert (done.code, len(read(place / "o.csv"))) == (0, 48)
    assert [*read(place / "o.csv")[0]][:4] == ["id", "image", "text", "prediction"]
    done = whichtune("predict", "asked", table, "--text", "image", *QUIET)
    assert "text and image are the same column" in done.told


def test_init_on_a_folder_and_a_table(whichtune, photos, place):
    done = whichtune("init", photos, "--model", "dinov2-small", "--out", "s.yaml")
    assert done.code == 0, done.told
    study = read_study(place / "s.yaml")
    assert (study.task.kind, study.data.source.all) == ("image-classification", photos)
    assert "48 images; 2 labels, a folder each: day (24), night (24)." in " ".join(done.out.replace("#", "").split())
    assert list(study.methods) == ["majority", "frozen-features", "last-layers", "lora", "prompt-tuning", "full"]
    for method in study.methods.values():
        assert method == type(method)(kind=method.kind)
    assert read_study(place / "s.yaml", scale="small").seeds == (1,)
    table = place / "rows.csv"
    table.write_text("shown,is\n" + "".join(f"photos/{place}.jpg,{'ab'[place % 2]}\n" for place in range(20)))
    write_starter(table, None, place / "t.yaml")
    study = read_study(place / "t.yaml")
    assert (study.backbones["main"].kind, study.data.columns.image) == ("dinov2-small", "shown")
    assert study.data.columns.label == "is"
    with pytest.raises(ModelError, match=r"minilm reads texts, and the rows are images; .*name `dinov2-small`"):
        write_starter(table, "minilm", place / "v.yaml")
    assert "the model is named twice" in whichtune("init", table, "minilm", "--model", "minilm", "--out", "u.yaml").told


@pytest.mark.parametrize(
    ("model", "left_out"),
    [
        ("efficientnet-lite0", {"lora", "prompt-tuning"}),
        ("microsoft/resnet-50", {"lora", "prompt-tuning"}),
        ("microsoft/swin-tiny-patch4-window7-224", {"prompt-tuning"}),
        ("google/vit-base-patch16-224-in21k", set()),
    ],
)
def test_methods_that_a_family_has_no_place_for_are_left_out(photos, place, model, left_out):
    write_starter(photos, model, place / "s.yaml")
    every = {"majority", "frozen-features", "last-layers", "lora", "prompt-tuning", "full"}
    assert set(read_study(place / "s.yaml").methods) == every - left_out


def test_a_folder_of_one_class_is_refused_as_a_run_would(photos, place):
    shutil.copytree(photos / "day", place / "single" / "day")
    with pytest.raises(DataError, match="one class folder only: got 'day'; allowed: two or more; give each class"):
        write_starter(place / "single", None, place / "s.yaml")
    assert not (place / "s.yaml").exists()


def test_a_table_of_texts_is_none_of_images(place):
    path = place / "rows.csv"
    lines = [f"{number}.png,this is product number {number},{'ab'[number % 2]}" for number in range(20)]
    path.write_text("\n".join(["picture,about,label", *lines]))
    assert sniff_images(path) is None
    named = sniff_images(path, image="picture")
    assert (named.image, named.label, named.text) == ("picture", "label", "")
    with pytest.raises(DataError, match=r"no column 'pcture'.*did you mean 'picture'"):
        sniff_images(path, image="pcture")


def test_a_column_of_images_is_no_label_and_no_text(place):
    path = place / "rows.csv"
    lines = [f"{number % 9}.png,this is product number {number},{number}" for number in range(20)]
    path.write_text("\n".join(["picture,about,price", *lines]))
    with pytest.raises(DataError, match="cannot tell which column is the label; allowed: price"):
        sniff(path)


def test_questions_about_images_are_told_apart_from_texts_and_from_images(place):
    path = place / "asked.csv"
    lines = [f"{number // 2}.png,is it {number % 3}?,{('yes', 'no')[number % 2]}" for number in range(20)]
    path.write_text("\n".join(["image,question,answer", *lines]))
    with pytest.raises(DataError, match=r"holds? images, and questions in `question`.*visual-question-answering"):
        write_starter(path, "minilm", place / "s.yaml")
    assert not (place / "s.yaml").exists()
    named = sniff_images(path, image="image")
    assert (named.image, named.label) == ("image", "answer")
    seen = sniff_questions(path)
    assert (seen.image, seen.text, seen.label, seen.labels) == ("image", "question", "answer", {"yes": 10, "no": 10})
    with pytest.raises(DataError, match=r"no column 'qestion'.*did you mean 'question'"):
        sniff_questions(path, text="qestion")


def test_a_folder_of_images_has_no_columns(photos, place):
    with pytest.raises(DataError, match="--label: a folder of images has no columns"):
        write_starter(photos, "minilm", place / "s.yaml", label="mood")


def test_embed_tells_shape_and_what_was_found(whichtune, photos, place):
    asked = ("embed", "--backbone", "random:vit", "--data", photos, "--out", "out", *QUIET)
    done = whichtune(*asked)
    assert (done.code, "out: 48 x 32 float32" in done.out, "computed" in done.out) == (0, True, True)
    assert max(map(len, done.out.splitlines())) <= 80
    assert np.load(place / "out" / "embeddings.npy").shape == (48, 32)
    again = json.loads(whichtune(*asked, "--json").out)
    assert (again["splits"]["all"]["state"], again["shape"]) == ("found", [48, 32])
    for arguments, told in (
        (("--backbone", "random:bert", "--data", photos), "reads texts, and the task gives images"),
        (("--backbone", "random:vit", "--data", "movie-reviews", "--image", "x"), "holds texts alone"),
        (("--backbone", "not/a/model", "--data", photos), "neither a folder nor a name"),
        (("--backbone", "random:vit", "--data", "gone"), "no such data: gone"),
    ):
        done = whichtune("embed", *arguments, "--out", "other", *QUIET)
        assert (done.code, told in done.told) == (2, True), done.told
    assert not (place / "other").exists()


def test_help_loads_no_reader_of_images():
    heavy = ("torch", "numpy", "pandas", "yaml", "PIL", "pyarrow")
    code = (
        "import sys; from whichtune.cli import main; sys.argv = ['whichtune', 'embed', '--help']\ntry: main()\n"
        f"except SystemExit: print('loaded', [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded []\n")
