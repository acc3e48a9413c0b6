import pytest

from whichtune.bench.model import Asked
from whichtune.bench.peer import list_jobs
from whichtune.bench.rows import QUICK_ROWS, ROWS, choose_rows, count_texts, read_share, rounds_of, share_of
from whichtune.bench.studies import build_study
from whichtune.errors import InputError

STUDIES = [name for name, row in ROWS.items() if row.study is not None]
TRIALS = {"reviews": 21, "lora-epoch": 1, "last-layer": 9, "frozen-features": 3, "docstrings": 3, "gpu-short": 8}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_valid_and_measures_nothing_that_the_peer_does_not_do(name):
    study = build_study(ROWS[name].study(64), 1, ())
    assert not study.execution.check
    assert not study.measure.probe
    assert study.contender_seeds == 0
    assert study.execution.threads == 1
    assert len(list_jobs(study)) == TRIALS.get(name, len(list_jobs(study)))


def test_rows_are_chosen_by_name_in_the_order_of_the_table():
    assert choose_rows("memory, lora_epoch", quick=False) == ("lora-epoch", "memory")
    assert choose_rows(None, quick=True) == QUICK_ROWS
    assert choose_rows(None, quick=False) == tuple(ROWS)


@pytest.mark.parametrize("told", ["lora-epok", ","])
def test_an_unknown_row_is_refused(told):
    with pytest.raises(InputError, match="--rows") as refused:
        choose_rows(told, quick=False)
    assert "lora-epoch" in str(refused.value)


@pytest.mark.parametrize("told, share", [("1/3", 1 / 3), ("0.25", 0.25), ("1", 1.0), (None, None)])
def test_shares_are_read(told, share):
    assert read_share(told) == share


@pytest.mark.parametrize("told", ["0", "2", "1/0", "third", "-1/2"])
def test_a_share_that_is_none_is_refused(told):
    with pytest.raises(InputError, match="peer-share"):
        read_share(told)


def test_what_is_asked_for_goes_over_what_a_row_has():
    row = ROWS["lora-epoch"]
    assert (count_texts(row, Asked(("x",))), rounds_of(row, Asked(("x",)))) == (2000, 3)
    assert (count_texts(row, Asked(("x",), quick=True)), rounds_of(row, Asked(("x",), quick=True))) == (400, 1)
    assert (count_texts(row, Asked(("x",), texts=9)), rounds_of(row, Asked(("x",), rounds=2))) == (9, 2)
    assert share_of(row, Asked(("x",))) == 1.0
    assert share_of(ROWS["reviews"], Asked(("x",), quick=True)) == pytest.approx(1 / 3)
    assert share_of(ROWS["reviews"], Asked(("x",), quick=True, share=0.5)) == 0.5
