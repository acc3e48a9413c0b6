import json
import subprocess
import sys

import pytest

from whichtune.cli.sniff import sniff
from whichtune.cli.starter import write_starter
from whichtune.data.reading import SUFFIXES, Reading
from whichtune.errors import DataError, ModelError, SpecError
from whichtune.spec.members import kinds, specs
from whichtune.spec.methods import HypothesisOnlySpec, LeadSpec, MethodSpec, QuestionOnlySpec
from whichtune.spec.peft import PeftSpec
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.read import read_study
from whichtune.spec.search import SearchSpec
from whichtune.spec.training import TrainingSpec
from whichtune.spec.verdict import LimitsSpec
from whichtune.spec.zero_shot import ZeroShotSpec

LEFT_OUT = {HypothesisOnlySpec, LeadSpec, PeftSpec, PromptingSpec, QuestionOnlySpec, ZeroShotSpec}
"""Methods that need a second text, an answer in words, or an extra."""
TEXTS = [f"this film was number {place} of the evening, and so on" for place in range(60)]
LABELS = ["neg", "pos", "no"]


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "rows" / "my reviews.csv"
    path.parent.mkdir()
    lines = [f'{place},"{text}",{LABELS[place % 3]}' for place, text in enumerate(TEXTS)]
    path.write_text("\n".join(["nr,opinion,mood", *lines]), encoding="utf-8")
    return path


def test_the_file_reads_back_with_every_method_at_its_defaults(reviews, tmp_path):
    out = tmp_path / "studies" / "new.yaml"
    text = write_starter(reviews, "minilm", out)
    assert out.read_text(encoding="utf-8") == text
    for scale in (None, "small"):
        spec = read_study(out, scale=scale)
        assert spec.data.source.all == reviews
        assert (spec.data.columns.text, spec.data.columns.label) == ("opinion", "mood")
        assert spec.backbones["main"].kind == "minilm"
        assert list(spec.methods) == [kinds(one)[0] for one in specs(MethodSpec) if one not in LEFT_OUT]
        for method in spec.methods.values():
            assert method == type(method)(kind=method.kind)
    assert read_study(out).training == TrainingSpec()
    assert read_study(out, scale="small").seeds == (1,)
    assert sum(read_study(out, scale="small").data.sizes.model_dump().values()) <= len(TEXTS)


def test_comments_say_rows_labels_and_what_each_setting_does(reviews, tmp_path):
    text = write_starter(reviews, "minilm", tmp_path / "s.yaml")
    head = " ".join(text.partition("\n\n")[0].replace("#", "").split())
    assert "60 rows; 3 labels in `mood`: neg (20), pos (20), no (20)." in head
    assert "rank: 8  # Rank of each adapter." in text
    assert "One of: default, first, mean, last." in text
    for member in specs(MethodSpec):
        assert (f"  {kinds(member)[0]}:\n" in text) == (member not in LEFT_OUT)
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("model", "kind", "field", "value"),
    [
        ("roberta-base", "hub", "name", "roberta-base"),
        ("org/model", "hub", "name", "org/model"),
        ("minilm", "minilm", "kind", "minilm"),
    ],
)
def test_models_by_name(reviews, tmp_path, model, kind, field, value):
    write_starter(reviews, model, tmp_path / "s.yaml")
    backbone = read_study(tmp_path / "s.yaml").backbones["main"]
    assert (backbone.kind, getattr(backbone, field)) == (kind, value)


def test_a_folder_is_a_model_and_a_missing_one_an_error(reviews, tmp_path):
    (tmp_path / "bert").mkdir()
    write_starter(reviews, str(tmp_path / "bert"), tmp_path / "deep" / "s.yaml")
    assert read_study(tmp_path / "deep" / "s.yaml").backbones["main"].path == tmp_path / "bert"
    for model in (str(tmp_path / "gone"), "./gone", "a/b/c", "two words"):
        with pytest.raises(ModelError, match="neither a folder nor a name"):
            write_starter(reviews, model, tmp_path / "other.yaml")
    assert not (tmp_path / "other.yaml").exists()


def test_a_file_that_is_there_is_kept(reviews, tmp_path):
    out = tmp_path / "s.yaml"
    out.write_text("mine")
    with pytest.raises(SpecError, match="is there already"):
        write_starter(reviews, "minilm", out)
    assert out.read_text() == "mine"
    write_starter(reviews, "minilm", out, overwrite=True)
    assert read_study(out).name == "my-reviews"


@pytest.mark.parametrize("suffix", [".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".pq"])
def test_other_formats(tmp_path, suffix):
    rows = [{"id": place, "body": text, "stars": LABELS[place % 3]} for place, text in enumerate(TEXTS)]
    path = tmp_path / f"rows{suffix}"
    if suffix in (".parquet", ".pq"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix in (".jsonl", ".ndjson"):
        path.write_text("\n\n".join(map(json.dumps, rows)))
    else:
        path.write_text(
            "\n".join("\t".join(map(str, row)) for row in [rows[0].keys(), *(row.values() for row in rows)])
        )
    seen = sniff(path)
    assert (seen.rows, seen.whole, seen.text, seen.label) == (60, True, "body", "stars")
    assert seen.labels == {"neg": 20, "pos": 20, "no": 20}


def test_every_format_that_can_be_read_is_known(tmp_path):
    for suffix in SUFFIXES:
        with pytest.raises(DataError, match="no file"):
            sniff(tmp_path / f"gone{suffix}")


def test_the_format_can_be_said(reviews, tmp_path):
    copy = tmp_path / "reviews.txt"
    copy.write_bytes(reviews.read_bytes())
    assert sniff(copy, how=Reading(format="csv")) == sniff(reviews)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_only_the_first_rows_are_looked_at(tmp_path, monkeypatch, suffix):
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr("whichtune.cli.sniff._MOST_ROWS", 40)
    rows = [{"body": text, "stars": LABELS[place % 3]} for place, text in enumerate(TEXTS)]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=16)
    elif suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        path.write_text("\n".join(["body,stars", *(f'"{row["body"]}",{row["stars"]}' for row in rows)]))
    seen = sniff(path)
    assert (seen.rows, seen.whole, sum(seen.labels.values())) == (40, False, 40)


def test_numeric_labels_and_other_encodings(tmp_path):
    path = tmp_path / "latin.csv"
    lines = [f"{place % 2},café número {place} à la carte très bon,{place * 0.37}" for place in range(40)]
    path.write_bytes("\n".join(["y,words,score", *lines]).encode("latin-1"))
    seen = sniff(path)
    assert (seen.text, seen.label, seen.labels) == ("words", "y", {"0": 20, "1": 20})


@pytest.fixture
def make_pairs(tmp_path):
    """A file of sixty pairs under three columns of your names."""

    def make(*names, label="gold"):
        path = tmp_path / "pairs.csv"
        rows = [
            f'"{text}",the {place} films were long and good,{LABELS[place % 3]}' for place, text in enumerate(TEXTS)
        ]
        path.write_text("\n".join([",".join([*names, label]), *rows]))
        return path

    return make


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("premise", "hypothesis"), ("premise", "hypothesis")),
        (("hypothesis", "premise"), ("premise", "hypothesis")),
        (("sentence1", "sentence2"), ("sentence1", "sentence2")),
        (("text_b", "text_a"), ("text_a", "text_b")),
        (("said", "meant"), ("said", "meant")),
        (("review", "remarks"), ("review", None)),
        (("a", "b"), ("a", "b")),
    ],
)
def test_two_texts_are_a_pair(make_pairs, names, found):
    seen = sniff(make_pairs(*names))
    assert (seen.text, seen.pair, seen.label) == (*found, "gold")


def test_a_file_of_pairs_becomes_a_study_of_pairs(make_pairs, tmp_path):
    write_starter(make_pairs("premise", "hypothesis"), "minilm", tmp_path / "s.yaml")
    spec = read_study(tmp_path / "s.yaml")
    assert spec.task.kind == "pair-classification"
    assert (spec.data.columns.text, spec.data.columns.pair, spec.data.columns.label) == (
        "premise",
        "hypothesis",
        "gold",
    )
    assert "hypothesis-only" in spec.methods
    write_starter(make_pairs("premise", "hypothesis"), "minilm", tmp_path / "one.yaml", text="premise")
    assert read_study(tmp_path / "one.yaml").task.kind == "text-classification"
    write_starter(make_pairs("x", "review"), "minilm", tmp_path / "two.yaml", text="review", pair="x")
    assert read_study(tmp_path / "two.yaml").data.columns.pair == "x"


def write_columns(path, columns):
    import csv

    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerows([columns, *zip(*columns.values(), strict=True)])
    return path


ARTICLES = [f"({place} people) said:\n\n{text}, {text}, and more of it." for place, text in enumerate(TEXTS)]
SUMMARIES = [f"Film number {place} was seen .\nThen another ." for place in range(60)]
QUESTIONS = [f"There are {place} films. How many seats are needed for two people each?" for place in range(60)]


@pytest.mark.parametrize("answer", ["highlights", "summary"])
def test_articles_and_summaries_become_a_study_of_a_language_model(tmp_path, answer):
    columns = {"id": [f"x{place}" for place in range(60)], "article": ARTICLES, answer: SUMMARIES}
    text = write_starter(write_columns(tmp_path / "news.csv", columns), None, tmp_path / "s.yaml")
    for scale in (None, "small"):
        spec = read_study(tmp_path / "s.yaml", scale=scale)
        assert spec.task.kind == "summarization"
        assert (spec.data.columns.text, spec.data.columns.label) == ("article", answer)
        assert (spec.backbones["main"].kind, list(spec.methods)) == ("smollm2", ["lead", "prompting", "lora"])
        for method in spec.methods.values():
            assert method == type(method)(kind=method.kind)
    assert f"the answers to `article` are texts in `{answer}`" in " ".join(text.replace("#", "").split())
    assert read_study(tmp_path / "s.yaml").training.max_length == 512
    write_starter(tmp_path / "news.csv", "random:gpt2", tmp_path / "other.yaml")
    assert read_study(tmp_path / "other.yaml").backbones["main"].family == "gpt2"


def test_questions_with_numbers_become_a_study_of_a_language_model(tmp_path):
    columns = {"nr": range(60), "question": QUESTIONS, "answer": [2 * place for place in range(60)]}
    write_starter(write_columns(tmp_path / "sums.csv", columns), None, tmp_path / "s.yaml")
    spec = read_study(tmp_path / "s.yaml")
    assert spec.task.kind == "question-answering-by-prompt"
    assert (spec.data.columns.text, spec.data.columns.label) == ("question", "answer")
    assert (spec.backbones["main"].kind, list(spec.methods)) == ("smollm2", ["majority", "prompting", "lora"])


@pytest.mark.parametrize(
    ("columns", "text", "label", "answers"),
    [
        ({"body": ARTICLES, "short": SUMMARIES}, None, "short", "texts"),
        ({"title": SUMMARIES, "body": ARTICLES}, "body", "title", "texts"),
        ({"body": QUESTIONS, "seats": range(60)}, None, "seats", "numbers"),
        ({"body": QUESTIONS, "answer": range(60), "solution": ARTICLES}, None, "answer", "numbers"),
        ({"body": QUESTIONS, "seats": range(60), "label": LABELS * 20}, None, None, "labels"),
        ({"body": ARTICLES, "summary": SUMMARIES, "label": LABELS * 20}, None, None, "labels"),
        ({"body": ARTICLES, "summary": SUMMARIES, "overall": [1, 2, 3, 4, 5] * 12}, None, None, "labels"),
        ({"body": ARTICLES, "answer": range(60), "mood": LABELS * 20}, None, None, "labels"),
        ({"question": QUESTIONS, "answer": [3, 4] * 30}, None, None, "labels"),
    ],
)
def test_answers_in_words_are_told_from_labels(tmp_path, columns, text, label, answers):
    path = write_columns(tmp_path / "x.csv", columns)
    seen = sniff(path, text=text, label=label, in_words=True)
    assert seen.answers == answers
    assert (seen.labels == {}) == (answers != "labels")
    if label is not None:
        assert (seen.text, seen.label) == ("body", label)
        assert sniff(path, text=text, label=label).answers == "labels"


def test_columns_can_be_named(reviews):
    assert sniff(reviews, text="mood", label="nr").labels["0"] == 1
    with pytest.raises(DataError, match=r"no column 'mod'; allowed: nr, opinion, mood; did you mean 'mood'"):
        sniff(reviews, label="mod")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n2,2\n3,2\n", "cannot tell which column is the text; allowed: a, b; name it with --text"),
        (
            "text,b\nfirst one,2\nsecond one,2\n",
            "cannot tell which column is the label; allowed: b; name it with --label",
        ),
        ("a,b\n", "no rows"),
        ("", "is empty"),
    ],
)
def test_what_cannot_be_told_is_one_clear_error(tmp_path, text, told):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        write_starter(path, "minilm", tmp_path / "s.yaml")
    assert not (tmp_path / "s.yaml").exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.txt", b"a", "format of x.txt .*rename"), ("x.jsonl", b'{"a": 1}\n{"a"\n', ":2 is not JSON"),
        ("x.jsonl", b"[1]\n", ":1 holds a JSON list"),
        ("x.parquet", b"nothing", "cannot be read as Parquet"),
        ("x.csv", b'a,b\n"' + b"x" * 200_000, ":2 is not valid CSV"), ("x.csv", b"a,b\n1\n", ":2 has 1"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        sniff(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no file"):
        sniff(tmp_path / "gone.csv")


def test_it_loads_neither_torch_nor_yaml():
    code = "import sys, whichtune.cli.starter;"
    code += "print([name for name in ('torch', 'ruamel', 'pandas', 'pyarrow') if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_search_and_limits_are_offered_as_comments_that_can_be_taken_in(reviews, tmp_path):
    out = tmp_path / "s.yaml"
    text = write_starter(reviews, "minilm", out)
    assert read_study(out).search is None
    out.write_text(text.replace("# search: {", "search: {").replace("# limits: {", "limits: {"), encoding="utf-8")
    study = read_study(out)
    assert study.search == SearchSpec()
    assert set(study.limits.given()) == set(LimitsSpec.model_fields)


def test_one_label_is_refused_as_a_run_would(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("text,label\n" + "".join(f"a fine day number {place},good\n" for place in range(30)))
    with pytest.raises(DataError, match=r"one label in `label` only: got 'good'; allowed: two or more"):
        write_starter(path, None, tmp_path / "s.yaml", text="text", label="label")
    assert not (tmp_path / "s.yaml").exists()


@pytest.mark.parametrize(
    ("model", "answer", "told"),
    [
        ("minilm", "summary", r"minilm writes nothing, and the answers in `summary` are texts; .*name `smollm2`"),
        ("dinov2-small", "label", r"dinov2-small reads images, and the rows are texts; .*name `minilm`"),
    ],
)
def test_a_built_in_model_that_cannot_read_the_rows_is_refused(tmp_path, model, answer, told):
    values = SUMMARIES if answer == "summary" else LABELS * 20
    path = write_columns(tmp_path / "a.csv", {"text": ARTICLES, answer: values})
    with pytest.raises(ModelError, match=told):
        write_starter(path, model, tmp_path / "s.yaml")
    write_starter(path, None, tmp_path / "s.yaml")
