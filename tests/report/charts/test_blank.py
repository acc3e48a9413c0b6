"""Why a figure is not drawn."""

import pytest

from whichtune.errors import RecordError
from whichtune.records.trial import Parameters
from whichtune.report.charts.files import FIGURES, NEEDS, draw_figure
from whichtune.report.charts.quality import explain_blank
from whichtune.report.comparison import compare_study
from whichtune.report.html.page import render_page


def test_one_candidate_is_told_why_nothing_is_drawn(maker):
    maker.add("lora@minilm", 1)
    comparison = compare_study(maker.folder)
    with pytest.raises(RecordError, match=r"One candidate \(lora@minilm\): there is nothing to lay it out against"):
        draw_figure(maker.folder, comparison, "quality")
    with pytest.raises(RecordError, match="it needs a search of settings"):
        draw_figure(maker.folder, comparison, "budget")
    assert "there is nothing to lay it out against" in render_page(maker.folder, comparison)
    assert set(NEEDS) == set(FIGURES) - {"quality"}
    assert explain_blank(compare_study(maker.folder, "validation")) == (
        "No candidate has a score on the validation split."
    )
    maker.add("full@minilm", 1, wall_seconds=None, phases={}, parameters=Parameters(), adapter_bytes=None)
    assert explain_blank(compare_study(maker.folder)) == "No cost is known of two candidates."
