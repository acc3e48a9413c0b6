import json

import pytest

from whichtune.data.load import load_data
from whichtune.errors import DataError
from whichtune.spec.sources import DataSpec


def write_csv(path, rows, header="text,label"):
    path.write_text("\n".join([header, *(f"{text},{label}" for text, label in rows)]) + "\n", encoding="utf-8")
    return path


def make_rows(count, labels=("bad", "good"), mark=""):
    return [(f"{mark} text with the number {number * 7919}", labels[number % len(labels)]) for number in range(count)]


def load(**fields):
    source = {
        "kind": "files",
        **{name: fields.pop(name) for name in ("all", "train", "validation", "test", "encoding") if name in fields},
    }
    return load_data(DataSpec.model_validate({"source": source, **fields}))


@pytest.fixture
def whole(tmp_path):
    return write_csv(tmp_path / "all.csv", make_rows(100))


@pytest.fixture
def given(tmp_path):
    return {
        part: write_csv(tmp_path / f"{part}.csv", make_rows(count, mark=part))
        for part, count in (("train", 40), ("validation", 10), ("test", 20))
    }


def test_one_file_is_split_by_the_shares(whole):
    data = load(all=whole)
    assert {name: len(rows) for name, rows in data.examples.items()} == {"train": 60, "validation": 15, "test": 25}
    assert data.labels == ("bad", "good")
    assert data.report.balance["train"] == {"bad": 30, "good": 30}
    assert len({one.id for rows in data.examples.values() for one in rows}) == 100
    assert all(one.split == name for name, rows in data.examples.items() for one in rows)
    assert "all.csv" in data.report.source


def test_given_splits_stay_and_ids_are_unique_among_them(given):
    data = load(**given)
    assert {name: len(rows) for name, rows in data.examples.items()} == {"train": 40, "validation": 10, "test": 20}
    assert len({one.id for rows in data.examples.values() for one in rows}) == 70
    assert data.examples["test"][0].origin == "test.csv:2"


def test_a_missing_validation_is_cut_from_training(given):
    data = load(train=given["train"], test=given["test"])
    assert {name: len(rows) for name, rows in data.examples.items()} == {"train": 34, "validation": 6, "test": 20}
    assert {one.origin.split(":")[0] for one in data.examples["validation"]} == {"train.csv"}


def test_the_fingerprint_follows_every_leaf(whole, tmp_path):
    base = load(all=whole).fingerprint
    assert load(all=whole).fingerprint == base
    assert load(all=whole, split={"seed": 1}).fingerprint != base
    assert load(all=whole, sizes={"train": 59}).fingerprint != base
    assert load(all=whole, labels=["good", "bad"]).fingerprint != base
    moved = tmp_path / "elsewhere" / "renamed.csv"
    moved.parent.mkdir()
    moved.write_bytes(whole.read_bytes())
    assert load(all=moved).fingerprint == base
    rows = make_rows(100)
    rows[3] = (rows[3][0] + "!", rows[3][1])
    assert load(all=write_csv(tmp_path / "b.csv", rows)).fingerprint != base


def test_sizes_are_met_balanced_and_nested(whole):
    small, large = (load(all=whole, sizes={"train": size, "test": 10}) for size in (20, 40))
    assert small.report.balance["train"] == {"bad": 10, "good": 10}
    ids = [{one.id for one in data.examples["train"]} for data in (small, large)]
    assert ids[0] < ids[1]
    assert small.examples["validation"] == large.examples["validation"]


def test_a_size_that_is_not_there_is_said(whole):
    assert load(all=whole, sizes={"train": 1000}).report.notes == ("train: 1000 rows asked for, 60 there",)


def test_duplicates_are_counted_and_dropped(tmp_path):
    rows = make_rows(40)
    train = write_csv(tmp_path / "train.csv", rows)
    test = write_csv(tmp_path / "test.csv", [*make_rows(20, mark="new"), *rows[:3], ("new", "good"), ("NEW", "good")])
    kept, across, every = (
        load(train=train, test=test, duplicates=policy, split={"validation": 0.2}, near_duplicate_similarity=1.0)
        for policy in ("keep", "drop-across", "drop-all")
    )
    counts = {pair.splits: pair.exact for pair in kept.report.duplicates}
    assert counts["train", "test"] + counts["validation", "test"] == 3
    assert counts["test", "test"] == 1
    assert kept.report.dropped == ()
    assert sum(one.count for one in across.report.dropped) == 3
    assert {one.reason for one in across.report.dropped} == {"duplicate"}
    assert len(across.examples["test"]) == 25
    assert len(every.examples["test"]) == 24
    texts = {one.text.casefold() for one in across.examples["test"]}
    assert not texts & {one.text.casefold() for name in ("train", "validation") for one in across.examples[name]}


def test_sizes_are_met_after_dropping(tmp_path):
    rows = make_rows(40)
    data = load(
        train=write_csv(tmp_path / "train.csv", rows),
        test=write_csv(tmp_path / "test.csv", rows[:10]),
        duplicates="drop-across", split={"validation": 0.2}, sizes={"train": 20}, near_duplicate_similarity=1.0,
    )  # fmt: skip
    assert len(data.examples["train"]) == 20


def test_contradicting_labels_are_noted(tmp_path):
    rows = [*make_rows(100), ("same", "bad"), ("Same", "good")]
    data = load(all=write_csv(tmp_path / "a.csv", rows))
    assert data.report.notes == ("1 texts stand more than once with different labels",)


def test_unusable_rows_are_dropped_counted_and_named(tmp_path):
    rows = make_rows(100)
    rows[4], rows[9] = ("", "good"), ("fine", "")
    data = load(all=write_csv(tmp_path / "a.csv", rows))
    assert {(one.reason, one.split, one.origins) for one in data.report.dropped} == {
        ("empty", "all", ("a.csv:6",)),
        ("unlabeled", "all", ("a.csv:11",)),
    }
    with pytest.raises(DataError, match=r"2\.0% of the 100 rows of a\.csv.*a\.csv:6.*a\.csv:11"):
        load(all=tmp_path / "a.csv", drop_limit=0.01)


def test_numeric_labels_are_words_in_order_of_size(tmp_path):
    path = write_csv(tmp_path / "a.csv", make_rows(120, labels=("10", "9", "-1")))
    assert load(all=path, unlabeled=[]).labels == ("-1", "9", "10")


def test_words_for_no_label_are_dropped_and_counted_unless_they_are_labels(tmp_path):
    rows = [*make_rows(100), ("nobody agreed", "-"), ("hidden", "-1"), ("left out", "")]
    path = write_csv(tmp_path / "a.csv", rows)
    data = load(all=path)
    assert data.labels == ("bad", "good")
    assert [(one.reason, one.count, one.origins) for one in data.report.dropped] == [
        ("unlabeled", 3, ("a.csv:102", "a.csv:103", "a.csv:104"))
    ]
    assert load(all=path, labels=["bad", "good", "-"], unlabeled=["-", "-1"]).report.dropped[0].count == 2
    signs = write_csv(tmp_path / "b.csv", make_rows(100, labels=("+", "-")))
    assert "if `-`, `-1` is a label of yours, take it off `data.unlabeled`" in fault(all=signs)
    assert load(all=signs, labels=["+", "-"]).labels == ("+", "-")


@pytest.fixture
def pairs(tmp_path):
    lines = [f"the premise {n * 7919},hypothesis {n},{('yes', 'no', 'maybe')[n % 3]},{'ab'[n % 2]}" for n in range(90)]
    lines[5], lines[7] = "the premise 5, ,yes,a", "the premise 7,hypothesis 7,-,b"
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(["first,second,label,type", *lines]), encoding="utf-8")
    return path


PAIRED = {"text": "first", "pair": "second"}


def test_second_texts_and_groups_come_through(pairs):
    data = load(all=pairs, columns=PAIRED | {"group": "type"})
    one = next(one for rows in data.examples.values() for one in rows if one.origin == "pairs.csv:4")
    assert (one.text, one.pair, one.gold, one.group) == ("the premise 15838", "hypothesis 2", "maybe", "a")
    assert {(one.reason, one.origins) for one in data.report.dropped} == {
        ("empty", ("pairs.csv:7",)),
        ("unlabeled", ("pairs.csv:9",)),
    }
    assert all(one.group is None for one in load(all=pairs, columns=PAIRED).examples["test"])


def test_the_fingerprint_follows_second_texts_and_groups(pairs, tmp_path):
    columns = PAIRED | {"group": "type"}
    prints = {load(all=pairs, columns=each).fingerprint for each in (columns, PAIRED, {"text": "first"})}
    for old, new in (("hypothesis 2,", "hypothesis II,"), ("maybe,a", "maybe,b")):
        other = tmp_path / "other.csv"
        other.write_text(pairs.read_text().replace(old, new, 1))
        prints.add(load(all=other, columns=columns).fingerprint)
    assert len(prints) == 5


def test_pairs_from_jsonl_and_parquet_are_the_same(pairs, tmp_path):
    import csv

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(csv.DictReader(pairs.read_text(encoding="utf-8").splitlines()))
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    found = [load(all=path, columns=PAIRED) for path in (pairs, tmp_path / "p.jsonl", tmp_path / "p.parquet")]
    for data in found:
        assert sorted((one.text, one.pair, one.gold) for rows in data.examples.values() for one in rows) == sorted(
            (row["first"], row["second"], row["label"]) for row in rows if row["second"].strip() and row["label"] != "-"
        )


def test_only_pairs_alike_in_both_texts_are_copies(tmp_path):
    premise = "a long premise that stands in front of many hypotheses of all sorts and never changes at all"
    said = ["nobody sleeps", "it rains on friday", "the boats come home late in the evening of that day"]
    rows = [f"{premise},{said[n % 3]} {1000 + n * 79},{'ab'[n % 2]}" for n in range(60)]
    rows += [f"{premise.upper()}, {said[0]}  1000 ,b", f"{premise}s,{said[2]} 1158.,a"]
    path = tmp_path / "p.csv"
    path.write_text("\n".join(["text,pair,label", *rows]))
    data = load(all=path, columns={"pair": "pair"}, near_duplicate_similarity=0.97)
    assert (sum(one.exact for one in data.report.duplicates), sum(one.near for one in data.report.duplicates)) == (1, 1)
    assert data.report.notes == ("1 texts stand more than once with different labels",)


@pytest.mark.parametrize("labels", [("nan", "inf"), ("no", "on"), ("010", "1e3")])
def test_words_that_look_like_something_else_stay_words(tmp_path, labels):
    data = load(all=write_csv(tmp_path / "a.csv", make_rows(100, labels=labels)))
    assert set(data.labels) == set(labels)


def test_jsonl_numbers_and_csv_words_meet(tmp_path):
    lines = [json.dumps({"text": text, "label": label == "good"}) for text, label in make_rows(40, mark="train")]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    test = write_csv(tmp_path / "test.csv", make_rows(10, labels=("false", "true"), mark="test"))
    assert load(train=tmp_path / "train.jsonl", test=test).labels == ("false", "true")


def test_a_latin1_file_is_reported(tmp_path):
    lines = ["text,label", *(f"un café très agréable numéro {n},{'oui' if n % 2 else 'non'}" for n in range(60))]
    (tmp_path / "a.csv").write_bytes("\n".join(lines).encode("latin-1"))
    data = load(all=tmp_path / "a.csv")
    assert data.report.encodings == {"a.csv": "cp1252"}
    assert "café" in data.examples["train"][0].text
    assert load(all=tmp_path / "a.csv", encoding="latin-1").fingerprint == data.fingerprint


def fault(**fields):
    with pytest.raises(DataError) as caught:
        load(**fields)
    return str(caught.value)


def test_a_label_unseen_in_training_is_named(given, tmp_path):
    rows = [*make_rows(20, mark="test"), ("odd", "goood")]
    message = fault(**given | {"test": write_csv(tmp_path / "odd.csv", rows)})
    assert "odd.csv:22, in the test split, has a label unseen in training" in message
    assert "'goood'" in message
    assert "did you mean 'good'?" in message


def test_a_named_label_without_training_rows_is_unseen(given, tmp_path):
    rows = [*make_rows(20, mark="test"), ("odd", "third")]
    test = write_csv(tmp_path / "odd.csv", rows)
    assert "unseen in training" in fault(**given | {"test": test}, labels=["bad", "good", "third"])
    assert load(**given, labels=["bad", "good", "third"]).report.balance["train"]["third"] == 0


def test_a_training_label_that_is_not_named(given):
    message = fault(**given, labels=["bad", "godo"])
    assert "not one of `data.labels`" in message
    assert "train.csv:3" in message


def test_a_label_lost_to_a_size_says_so(tmp_path):
    rows = make_rows(200)
    rows[:6] = [(f"rare words number {n * 7919}", "rare") for n in range(6)]
    assert "data.sizes.train" in fault(all=write_csv(tmp_path / "a.csv", rows), sizes={"train": 4})


def test_a_single_label_is_refused(tmp_path):
    assert "one label only" in fault(all=write_csv(tmp_path / "a.csv", make_rows(50, labels=("x",))))


@pytest.mark.parametrize("part", ["validation", "test"])
def test_an_empty_split_is_refused(whole, part):
    message = fault(all=whole, split={part: 0.0})
    assert f"the {part} split is empty" in message
    assert f"`data.split.{part}`" in message


def test_an_empty_file_is_refused(given, tmp_path):
    assert "none.csv has no usable rows" in fault(**given | {"test": write_csv(tmp_path / "none.csv", [])})


def test_a_split_of_copies_only_is_refused(given, tmp_path):
    copies = write_csv(tmp_path / "copies.csv", [(text + " ", label) for text, label in make_rows(40, mark="train")])
    assert "all its rows are duplicates" in fault(**given | {"test": copies}, duplicates="drop-across")


def test_the_same_file_twice_is_refused(given):
    assert "are the same rows" in fault(**given | {"test": given["train"]})


def test_a_missing_column_is_named(whole):
    assert "has no column `txt`; allowed: text, label; did you mean 'text'?" in fault(
        all=whole, columns={"text": "txt"}
    )


def test_own_ids_make_the_split_independent_of_the_order_of_rows(tmp_path):
    rows = [(f"{text},key{place}", label) for place, (text, label) in enumerate(make_rows(60))]
    data = [
        load(all=write_csv(tmp_path / name, own, header="text,key,label"), columns={"id": "key"})
        for name, own in (("a.csv", rows), ("b.csv", rows[::-1]))
    ]
    for name in ("train", "validation", "test"):
        one, other = ({example.id for example in each.examples[name]} for each in data)
        assert one == other
