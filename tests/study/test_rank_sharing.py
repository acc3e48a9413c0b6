"""A study whose ranks share one search: its trials, what it writes down, and what its report says."""

from whichtune.report.comparison import compare_study
from whichtune.report.markdown import render_markdown
from whichtune.study.run import run_study

LORA = {"kind": "lora", "alpha": 8, "rslora": True, "learning_rate": 1e-2, "grid": {"rank": [2, 4, 8]}}
NAMES = [f"lora[rank={rank}]@bert" for rank in (2, 4, 8)]


def test_a_study_tunes_its_ranks_together_and_says_so(tiny_study, tmp_path, quiet):
    search = {"share": "ranks", "trials": 2, "own": False, "best": 1, "repeats": 0}
    study = tiny_study(methods={"lora": LORA}, search=search, seeds=[1], training={"max_steps": 2, "max_length": 24})
    outcome = run_study(study, tmp_path, quiet())
    assert {one.candidate for one in outcome.searched} == {NAMES[1]}
    log = outcome.folder.read_searches()
    (own,) = log.candidates
    assert (own.candidate, own.rank, set(own.shared_with)) == (NAMES[1], 4, {NAMES[0], NAMES[2]})
    assert log.untuned == ["majority"]
    finals = {one.candidate: one for one in outcome.records if not one.baseline}
    assert set(finals) == set(NAMES)
    assert {one.settings["rank"] for one in finals.values()} == {2, 4, 8}
    assert all(one.tuned == own.chosen for one in finals.values())
    written = render_markdown(compare_study(outcome.folder))
    assert "Tuned together at rank 4" in written
    again = run_study(study, tmp_path, watcher := quiet())
    assert not again.failed
    assert all(found for *_, found in watcher.ended)
