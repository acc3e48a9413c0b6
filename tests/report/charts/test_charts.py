import json
import re
from itertools import pairwise

import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from whichtune.errors import InputError, RecordError
from whichtune.fetch.atomic import write_text
from whichtune.report.charts import scales
from whichtune.report.charts.axes import choose_time
from whichtune.report.charts.curves import POINTS, read_all, thin
from whichtune.report.charts.files import FIGURES, choose_key, draw_figure, save_chart
from whichtune.report.charts.ledger import draw_ledger
from whichtune.report.charts.quality import draw_quality
from whichtune.report.charts.search import draw_budget, draw_sensitivity
from whichtune.report.charts.sizes import draw_sizes
from whichtune.report.charts.style import DARK, LIGHT, configure, paint
from whichtune.report.comparison import compare_study
from whichtune.report.layout import lay_out
from whichtune.report.search_model import SearchReport, SearchRow, TriedSetting
from whichtune.report.size_model import SizeCurve, SizePoint, SizeReport


@pytest.fixture
def study(maker):
    """Ten candidates whose costs and scores are in no order, and a baseline."""
    maker.add("majority", share=0.5)
    for place, share in enumerate((0.7, 0.9, 0.62, 0.8, 0.84, 0.66)):
        candidate = f"lora[rank={place}]@minilm"
        probe = maker.probe(candidate, peak_bytes=10**9 + (place * 7919 % 13) * 10**8)
        for seed in (1, 2):
            maker.add(candidate, seed, share=share, probe=probe)
    return maker


def points(chart, name="peak_bytes|accuracy"):
    return chart.datasets[name]


def test_points_are_the_comparison_s_means_and_intervals(study):
    comparison = compare_study(study.folder)
    chart = draw_quality(comparison)
    assert chart is not None
    found = {one["candidate"]: one for one in points(chart)}
    for row in comparison.candidates:
        own, held = row.quality[0], found[row.candidate]
        assert (held["y"], held["low"], held["high"]) == pytest.approx((100 * own.mean, 100 * own.low, 100 * own.high))
        assert held["x"] == row.costs.peak_bytes.value


def test_the_line_joins_what_nothing_cheaper_beats(study):
    chart = draw_quality(compare_study(study.folder))
    assert chart is not None
    drawn = [one for one in points(chart) if not one["baseline"]]
    for one in drawn:
        beaten = any(other["x"] <= one["x"] and other["y"] >= one["y"] and other is not one for other in drawn)
        assert one.get("front", False) is not beaten
    loss = [one for one in points(chart, "peak_bytes|loss") if not one["baseline"]]
    for one in loss:
        beaten = any(other["x"] <= one["x"] and other["y"] <= one["y"] and other is not one for other in loss)
        assert one.get("front", False) is not beaten


def test_candidates_without_a_cost_are_named_with_the_reason(study):
    study.add("full@minilm", 1, share=0.9)
    chart = draw_quality(compare_study(study.folder))
    assert chart is not None
    assert chart.notes["peak_bytes|accuracy|all"] == ["Not drawn: full@minilm (not probed)."]
    assert "full@minilm" not in {one["candidate"] for one in points(chart)}
    assert "full@minilm" in {one["candidate"] for one in points(chart, "training_seconds|accuracy")}


def test_every_specification_compiles(study):
    comparison = compare_study(study.folder)
    chart = draw_quality(comparison)
    ledger = draw_ledger(comparison, study.folder.read_trials())
    assert chart is not None
    assert ledger is not None
    for one in (chart, ledger):
        for key in one.specs:
            made = vl_convert.vegalite_to_vega(one.whole(key) | {"width": 600, "config": configure()}, vl_version="6.4")
            assert made["marks"]


def test_an_interval_is_said_to_be_one_of_95_per_cent(study):
    chart = draw_quality(compare_study(study.folder))
    assert chart is not None
    assert "95 % interval" in chart.said


def test_nothing_is_drawn_from_nothing(maker):
    comparison = compare_study(maker.folder)
    assert draw_quality(comparison) is None
    assert draw_ledger(comparison, []) is None
    assert draw_sensitivity(comparison) is None
    assert draw_budget(comparison) is None
    with pytest.raises(RecordError, match="nothing to draw"):
        draw_figure(maker.folder, comparison, "learning")


def test_phases_of_the_ledger_add_up_to_what_the_trials_took(study):
    trials = study.folder.read_trials()
    chart = draw_ledger(compare_study(study.folder), trials)
    assert chart is not None
    spent = sum(one["time"] for one in chart.datasets["spent"]) * choose_time(27.0)[0]
    phases = sum(phase.seconds for one in trials for phase in one.phases.values())
    assert spent == pytest.approx(phases)


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_figure_is_a_file_of_its_own(study, tmp_path, kind, start):
    comparison = compare_study(study.folder)
    chart = draw_figure(study.folder, comparison, "quality")
    save_chart(chart, choose_key(chart, {"x": "peak_bytes"}), tmp_path / f"figure.{kind}", kind)
    held = (tmp_path / f"figure.{kind}").read_bytes()
    assert held.startswith(start)
    assert b"var(--" not in held


def test_hostile_names_are_text_in_a_figure(maker, tmp_path):
    name = "<script>alert(1)</script>&\"'"
    for place, share in enumerate((0.7, 0.9)):
        maker.add(f"lora[x={name}{place}]@minilm", share=share, probe=maker.probe(f"p{place}"))
    comparison = compare_study(maker.folder)
    chart = draw_figure(maker.folder, comparison, "quality")
    save_chart(chart, chart.first, tmp_path / "figure.svg", "svg")
    told = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "<script" not in told
    assert "&lt;script&gt;alert" in told


def test_what_cannot_be_chosen_is_refused_with_what_can(study):
    chart = draw_figure(study.folder, compare_study(study.folder), "quality")
    with pytest.raises(InputError, match="peak_bytes"):
        choose_key(chart, {"x": "peak_byte"})
    with pytest.raises(InputError, match=r"x=.*y=accuracy"):
        choose_key(chart, {"z": "loss"})
    with pytest.raises(InputError, match="quality, learning"):
        draw_figure(study.folder, compare_study(study.folder), "qualty")
    assert set(FIGURES) == {"quality", "learning", "ledger", "sensitivity", "budget", "sizes"}


def search_of(*rates: float) -> SearchReport:
    settings = [
        TriedSetting(
            setting={"learning_rate": rate}, purpose="grid", mean=0.6 + place / 50, low=0.6, high=0.7, seeds=1,
            chosen=place == 1,
        )
        for place, rate in enumerate(rates)
    ]  # fmt: skip
    row = SearchRow(
        candidate="lora@minilm", settings=settings, expected_best=[0.6, 0.62, 0.63], chosen={"learning_rate": rates[1]}
    )
    return SearchReport(settings={}, metric="accuracy", rows=[row])


def test_sensitivity_and_budgets_are_those_of_the_search(study):
    comparison = compare_study(study.folder)
    comparison.search = search_of(1e-5, 1e-4, 1e-3)
    chart, budget = draw_sensitivity(comparison), draw_budget(comparison)
    assert chart is not None
    assert budget is not None
    assert [(one["x"], round(one["y"], 6), one["chosen"]) for one in chart.datasets["learning_rate"]] == [
        (1e-5, 60.0, False), (1e-4, 62.0, True), (1e-3, 64.0, False),
    ]  # fmt: skip
    assert chart.specs["learning_rate"]["encoding"]["x"]["scale"]["type"] == "log"
    assert [(one["x"], one["y"]) for one in budget.datasets["budget"]] == [(1, 60.0), (2, 62.0), (3, 63.0)]


@pytest.mark.parametrize("most", [2, 3, 4])
def test_counts_have_no_number_twice_on_their_axis(study, tmp_path, most):
    comparison = compare_study(study.folder)
    comparison.search = search_of(1e-5, 1e-4, 1e-3)
    comparison.search.rows[0].expected_best = [0.6, 0.62, 0.63, 0.63][:most]
    chart = draw_budget(comparison)
    assert chart is not None
    save_chart(chart, chart.first, tmp_path / "budget.svg", "svg")
    told = re.findall(r"<text[^>]*>(\d+)</text>", (tmp_path / "budget.svg").read_text(encoding="utf-8"))
    assert told == [str(count + 1) for count in range(most)]


def test_size_curves_are_drawn_and_listed_where_there_are_several_sizes(study):
    comparison = compare_study(study.folder)
    assert draw_sizes(comparison) is None
    points = [SizePoint(size=size, mean=0.5 + size / 1000, low=0.5, high=0.8, chains=5) for size in (32, 128)]
    comparison.sizes = SizeReport(
        metric="accuracy", curves=[SizeCurve(candidate="lora@minilm", points=points)], sentences=["They do not cross."]
    )
    chart = draw_sizes(comparison)
    assert chart is not None
    assert [(one["x"], one["y"], one["low"], one["high"]) for one in chart.datasets["sizes"]] == [
        (32, pytest.approx(53.2), 50.0, 80.0), (128, pytest.approx(62.8), 50.0, 80.0),
    ]  # fmt: skip
    assert chart.tables[0].rows == [("lora@minilm", "53.2\n50.0..80.0", "62.8\n50.0..80.0")]
    assert vl_convert.vegalite_to_vega(chart.whole("") | {"width": 600}, vl_version="6.4")["marks"]
    assert any(section.title == "By labelled rows" for section in lay_out(comparison))


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=700))
def test_thinned_losses_keep_the_mean_and_the_last_step(losses):
    steps = list(enumerate(losses, 1))
    kept = thin(steps)
    assert len(kept) <= POINTS
    assert kept[-1][0] == len(losses)
    edges = [0, *(step for step, _ in kept)]
    assert all(start < end for start, end in pairwise(edges))
    weighted = sum(mean * (end - start) for (_, mean), (start, end) in zip(kept, pairwise(edges), strict=True))
    assert weighted == pytest.approx(sum(losses))


def test_a_curve_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path):
    write_text(tmp_path / "curve.jsonl", '{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert list(read_all(tmp_path / "curve.jsonl")) == [{"step": 1, "loss": 2.0}]
    assert list(read_all(tmp_path / "none.jsonl")) == []


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=9))
def test_a_scale_holds_all_its_values_and_its_ticks(values):
    least, most = scales.reach(values)
    assert least <= min(values) <= max(values) <= most
    assert all(0 <= scales.share_of(value, values) <= 1 for value in values)
    if scales.is_wide(values):
        assert all(least <= tick <= most for tick in scales.list_ticks(least, most))


def test_every_role_has_a_colour_in_both_schemes():
    assert LIGHT.keys() == DARK.keys()
    roles = set(re.findall(r"var\(--([a-z0-9]+)\)", json.dumps(configure())))
    assert roles <= LIGHT.keys()
    assert "var(" not in json.dumps(paint(configure(), DARK))
