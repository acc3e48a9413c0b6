import json
import re
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.errors import InputError
from whichtune.report.comparison import compare_study
from whichtune.report.html.embed import hash_script, write_json
from whichtune.report.html.page import break_name, render_page

VOID = {"meta", "link", "br", "wbr", "input", "img"}


class Reader(HTMLParser):
    """What a browser would make of the page, as far as these tests ask."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts, self.open, self.words, self.ids = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        self.tags.append((tag, held))
        self.ids += [held["id"]] if "id" in held else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append([held, ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += data
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


@pytest.fixture
def page(hostile_maker):
    return render_page(hostile_maker.folder, compare_study(hostile_maker.folder))


def test_the_page_asks_for_nothing_and_runs_its_own_scripts_alone(page):
    reader = read(page)
    addresses = [
        value
        for tag, held in reader.tags
        for name, value in held.items()
        if name in {"src", "href", "action", "srcset", "data", "poster", "background"}
    ]
    assert all(value.startswith(("#", "data:")) for value in addresses)
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert not any("url(" in own or "@import" in own for own in styles)
    policy = next(held["content"] for tag, held in reader.tags if held.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    code = [text for held, text in reader.scripts if held.get("type") != "application/json"]
    assert len(code) == 2
    assert all(hash_script(text) in policy for text in code)


def test_hostile_texts_are_text(page, hostile_maker):
    reader = read(page)
    assert [held.get("type") for held, _ in reader.scripts] == ["application/json", None, None]
    assert not any(name.startswith("on") for _, held in reader.tags for name in held)
    assert "img" not in {tag for tag, _ in reader.tags}
    words = "".join(reader.words)
    assert "document.title='taken'" in words
    assert "{{ 7 * 7 }}" in words
    assert "49" not in words.partition("{{ 7 * 7 }}")[2][:20]
    data = json.loads(reader.scripts[0][1])
    assert data["examples"]["texts"] == pq.read_table(hostile_maker.folder.examples).column("text").to_pylist()


def test_the_verdict_stands_before_everything_else(page):
    reader = read(page)
    sections = [held["id"] for tag, held in reader.tags if tag == "section"]
    assert sections[:3] == ["verdict", "prices", "quality"]
    assert sections[-1] == "provenance"
    assert len(reader.ids) == len(set(reader.ids))


def test_contents_lead_to_every_part(page):
    reader = read(page)
    links = [held["href"] for tag, held in reader.tags if tag == "a" and held["href"] != "#main"]
    assert links == [f"#{held['id']}" for tag, held in reader.tags if tag == "section"]


def test_every_chart_has_its_table(page):
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert len(figures) == 3
    assert all("<details>" in own and "<table>" in own for own in figures)


def test_numbers_of_the_page_are_those_of_the_comparison(page, hostile_maker):
    comparison = compare_study(hostile_maker.folder)
    words = " ".join(read(page).words)
    for row in comparison.candidates:
        if row.quality:
            mean = row.quality[0].mean
            assert mean is not None
            assert f"{100 * mean:.1f}" in words


def test_parts_without_anything_in_them_are_left_out(maker):
    maker.add("majority", share=0.5)
    maker.add("lora@minilm", share=0.8)
    told = render_page(maker.folder, compare_study(maker.folder))
    sections = [held["id"] for tag, held in read(told).tags if tag == "section"]
    assert "learning" not in sections
    assert "search" not in sections


def test_a_study_without_any_trial_has_a_page(maker):
    told = render_page(maker.folder, compare_study(maker.folder))
    reader = read(told)
    assert "reviews" in "".join(reader.words)
    assert json.loads(reader.scripts[0][1])["examples"] is None


def test_only_failures_have_a_page(maker):
    maker.fail("lora@minilm", 1)
    maker.fail("full@minilm", 1, status="does-not-fit", message="needs about 9 GB")
    assert "needs about 9 GB" in "".join(read(render_page(maker.folder, compare_study(maker.folder))).words)


def test_an_unknown_candidate_for_the_browser_is_refused(hostile_maker):
    with pytest.raises(InputError, match="lora@minilm"):
        render_page(hostile_maker.folder, compare_study(hostile_maker.folder), ["lora@minlm"])


def test_the_page_is_the_same_whenever_it_is_made(page, hostile_maker):
    assert render_page(hostile_maker.folder, compare_study(hostile_maker.folder)) == page


@given(st.lists(st.text()) | st.dictionaries(st.text(), st.text() | st.integers()))
def test_data_come_out_of_a_script_element_as_they_went_in(value):
    told = write_json(value)
    assert json.loads(told) == value
    assert not set(told) & set("<>&\u2028\u2029")


@given(st.text())
def test_a_name_that_may_break_reads_as_it_did(name):
    reader = Reader()
    reader.feed(f"<b>{break_name(name)}</b>")
    reader.close()
    assert "".join(reader.words) == name.replace("\r\n", "\n").replace("\r", "\n") or "\x00" in name or "\r" in name
    assert {tag for tag, _ in reader.tags} <= {"b", "wbr"}
