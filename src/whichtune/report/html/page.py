"""From a study's folder to one self-contained page; reads records alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from whichtune.records.folder import StudyFolder
from whichtune.records.trial import TrialRecord
from whichtune.report.charts.chart import Chart
from whichtune.report.charts.learning import draw_learning
from whichtune.report.charts.ledger import draw_ledger
from whichtune.report.charts.quality import draw_quality, explain_blank
from whichtune.report.charts.search import draw_budget, draw_sensitivity
from whichtune.report.charts.sizes import draw_sizes
from whichtune.report.charts.style import DARK, LIGHT, configure
from whichtune.report.confusion import lay_out_confusion
from whichtune.report.figures import DASH, enumerate_words, plain
from whichtune.report.forgetting_tables import lay_out_forgetting
from whichtune.report.html.blocks import Block, BrowserBlock, ChartBlock, Part, TableBlock, wrap
from whichtune.report.html.browser import Examples, pack_examples
from whichtune.report.html.classes import lay_out_classes, lay_out_kinds
from whichtune.report.html.embed import hash_script, load_bundle, read_part, write_json
from whichtune.report.html.settings import lay_out_provenance, lay_out_settings
from whichtune.report.latency import lay_out_latency
from whichtune.report.layout import (
    COST_TABLES,
    headline,
    lay_out_cost,
    lay_out_pairs,
    lay_out_published,
    lay_out_quality,
    lay_out_shared,
    lay_out_unfinished,
    list_gaps,
    list_trials,
)
from whichtune.report.model import Comparison
from whichtune.report.price_list import lay_out_verdict, list_unsaid
from whichtune.report.search_tables import lay_out_search
from whichtune.report.sections import ListSection, Section, TableSection
from whichtune.report.size_tables import lay_out_sizes
from whichtune.report.verdict_model import Price, Verdict

_JOINTS = re.compile(r"(?<=[\w\]])(?=[@+\[])|(?<=,)(?=[^\W\d])|(?<=[a-z]-)(?=[a-z])")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


FOLDED = {"Fixed for each method", "Fingerprints", "Versions"}
"""Tables that are shown behind their titles."""


@dataclass(frozen=True)
class Sources:
    """What the parts of a page are made from."""

    folder: StudyFolder
    comparison: Comparison
    trials: Sequence[TrialRecord]
    """Final ones."""
    searches: Sequence[TrialRecord]
    """Trials of searches."""
    sized: Sequence[TrialRecord]
    """Trials of fewer labelled rows."""
    examples: Examples | None


def render_page(folder: StudyFolder, comparison: Comparison, browse: Sequence[str] = ()) -> str:
    """Return the page of a comparison; `browse` names the candidates of the example browser."""
    examples = pack_examples(folder, comparison, comparison.verdict, browse)
    trials = (folder.read_trials(), folder.read_trials("search"), folder.read_trials("size"))
    sources = Sources(folder, comparison, *trials, examples)
    parts = [part for part in list_parts(sources) if part.blocks]
    charts = [block.chart for part in parts for block in part.blocks if isinstance(block, ChartBlock)]
    bundle, script = (load_bundle() if charts else ""), read_part("page.js")
    told = (
        _environment()
        .get_template("page.html")
        .render(
            comparison=comparison,
            headline=headline(comparison),
            verdict=list_unsaid(comparison) if comparison.verdict is None else comparison.verdict.sentences,
            parts=parts,
            styles=_write_colours() + read_part("page.css"),
            bundle=bundle,
            script=script,
            policy=f"script-src {hash_script(bundle)} {hash_script(script)}",
            data=write_json(_gather(charts, examples)),
        )
    )
    return _SURROGATES.sub("\ufffd", told)


def list_parts(sources: Sources) -> Iterator[Part]:
    """Yield the parts of a page in the order of reading, empty ones included."""
    comparison, trials = sources.comparison, sources.trials
    yield Part("prices", "Price list", list(_prices(comparison)))
    yield Part("quality", "Quality and cost", list(_quality(comparison)))
    yield Part("pairs", "Pairs of candidates", list(_pairs(comparison)))
    yield Part("learning", "Learning curves", _chart(draw_learning(sources.folder, comparison)))
    yield Part("sizes", "By labelled rows", [*_chart(draw_sizes(comparison)), *wrap(_untold_sizes(comparison))])
    yield Part("forgetting", "Forgetting", wrap(list(lay_out_forgetting(comparison))))
    yield Part("search", "Search and sensitivity", list(_search(comparison)))
    costs = [lay_out_cost(comparison, title, names) for title, names in COST_TABLES]
    ledger = _chart(draw_ledger(comparison, trials, sources.searches, sources.sized))
    spent = wrap([lay_out_shared(comparison), *costs, *lay_out_latency(comparison)])
    yield Part("costs", "Costs", [*ledger, *spent])
    kinds = [*lay_out_kinds(comparison), *lay_out_classes(comparison, trials), *lay_out_confusion(comparison)]
    yield Part("kinds", "By class and type", wrap(kinds))
    browser = [] if sources.examples is None else [BrowserBlock(sources.examples.note)]
    yield Part("examples", "Examples", browser)
    settings = _fold(wrap(list(lay_out_settings(comparison, trials))), FOLDED)
    yield Part("settings", "Held and tuned", settings)
    yield Part("remarks", "What to know", wrap(list(_remarks(comparison))))
    rests = _fold(wrap([*_data(comparison), *lay_out_provenance(trials)]), FOLDED)
    yield Part("provenance", "Provenance", rests)


def _chart(chart: Chart | None) -> list[Block]:
    return [] if chart is None else [ChartBlock(chart)]


def _prices(comparison: Comparison) -> Iterator[Block]:
    """Yield the verdict's tables; its sentences stand above all parts."""
    verdict = comparison.verdict
    if verdict is None:
        return
    for block in wrap([one for one in lay_out_verdict(comparison) if one.title != "Verdict"]):
        listed = isinstance(block, TableBlock) and len(block.section.rows) == len(verdict.prices)
        yield TableBlock(block.section, _mark(verdict)) if listed and isinstance(block, TableBlock) else block


def _quality(comparison: Comparison) -> Iterator[Block]:
    """Yield the chart, or why there is none, and the scores."""
    charts = _chart(draw_quality(comparison, comparison.verdict))
    tables = list(lay_out_quality(comparison))
    yield from charts
    if tables and not charts:
        yield from wrap([ListSection("Not drawn", [explain_blank(comparison, comparison.verdict)])])
    yield from wrap(tables)


def _pairs(comparison: Comparison) -> Iterator[Block]:
    """Yield the pairs with the best candidate; all others are folded."""
    section = lay_out_pairs(comparison)
    if not isinstance(section, TableSection) or not section.rows:
        return
    best = section.rows[0][0]
    first = [row for row in section.rows if best in row[:2]]
    rest = [row for row in section.rows if best not in row[:2]]
    yield TableBlock(replace(section, rows=first))
    if rest:
        yield TableBlock(replace(section, title=f"Pairs without {plain(best)}", rows=rest, note=""), folded=True)


def _fold(blocks: Sequence[Block], titles: Collection[str]) -> list[Block]:
    return [
        replace(one, folded=True) if isinstance(one, TableBlock) and one.section.title in titles else one
        for one in blocks
    ]


def _mark(verdict: Verdict) -> dict[int, str]:
    marks = {place: _mark_price(one) for place, one in enumerate(verdict.prices)}
    return {place: mark for place, mark in marks.items() if mark}


def _mark_price(one: Price) -> str:
    if one.recommended:
        return "recommended"
    if one.guessed:
        return "guess"
    return "outside" if one.outside else ""


def _search(comparison: Comparison) -> Iterator[Block]:
    """Yield what searches found; the tables that a chart holds are not repeated."""
    charts = [*_chart(draw_sensitivity(comparison)), *_chart(draw_budget(comparison))]
    drawn = {table.title for block in charts if isinstance(block, ChartBlock) for table in block.chart.tables}
    yield from charts
    yield from wrap([one for one in lay_out_search(comparison) if one.title not in drawn])


def _untold_sizes(comparison: Comparison) -> list[Section]:
    """Return where candidates cross; the scores stand below the chart."""
    return [one for one in lay_out_sizes(comparison) if isinstance(one, ListSection)]


def _remarks(comparison: Comparison) -> Iterator[Section]:
    yield ListSection("Scope", [] if comparison.verdict is None else list_unsaid(comparison))
    yield ListSection("Traps seen", [f"{one.sentence} ({enumerate_words(one.where, 4)})" for one in comparison.traps])
    yield ListSection("Notes", comparison.notes)
    yield lay_out_unfinished(comparison)
    yield ListSection(f"Why there is a {DASH}", list_gaps(comparison))
    yield lay_out_published(comparison)


def _data(comparison: Comparison) -> Iterator[Section]:
    yield ListSection("Data", comparison.data_notes)
    yield ListSection("Trials, by the beginning of their ids", [*map(list_trials, comparison.candidates)])


def _gather(charts: Sequence[Chart], examples: Examples | None) -> dict[str, Any]:
    """Return what the page's script draws from."""
    drawn = {
        one.name: {
            "base": one.base,
            "specs": one.specs,
            "datasets": one.datasets,
            "choices": [choice.name for choice in one.choices],
            "notes": one.notes,
        }
        for one in charts
    }
    return {"charts": drawn, "config": configure(), "examples": None if examples is None else examples.data}


def _write_colours() -> str:
    """Return the colours as a style sheet's properties: light, dark, and light again on paper."""
    light, dark = (";".join(f"--{name}:{value}" for name, value in own.items()) for own in (LIGHT, DARK))
    return (
        f":root{{{light};color-scheme:light}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark};color-scheme:dark}}}}\n"
    )


def break_name(text: str) -> Any:
    """Let a candidate's name break where its parts meet; the rest of it is escaped."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in _JOINTS.split(text))


def _environment() -> Any:
    from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound

    class Loader(BaseLoader):
        """Finds the templates that stand beside this module."""

        def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Any]:
            """Return a template's text."""
            try:
                return read_part(template), None, None
            except OSError as error:
                raise TemplateNotFound(template) from error

    made = Environment(
        loader=Loader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["plain"] = plain
    made.filters["breakable"] = break_name
    made.filters["lines"] = lambda text: [plain(line) for line in str(text).split("\n")]
    return made
