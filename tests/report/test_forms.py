"""Terminal, Markdown and CSV: everything stands in them, texts as texts."""

from __future__ import annotations

import csv
import io
import re

import pytest
from rich.console import Console

from whichtune.report.comparison import compare_study
from whichtune.report.csv_table import guard_cell, render_csv, render_pairs_csv, write_csv
from whichtune.report.markdown import escape, escape_line, render_markdown
from whichtune.report.sections import TableSection
from whichtune.report.terminal import break_name, print_sections, render_terminal

HOSTILE = "[bold]x[/bold] <script>alert(1)</script> \x1b[31m |a|\n`b` :smile: *c*"


def printed(maker, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system="truecolor", force_terminal=True, record=True)
    render_terminal(compare_study(maker.folder), console)
    return console.export_text()


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_terminal_loses_nothing_and_keeps_its_width(maker, width) -> None:
    maker.fill()
    text = printed(maker, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    comparison = compare_study(maker.folder)
    for row in comparison.candidates:
        for own in row.quality:
            unit, scale = (".1f", 100) if own.metric != "loss" else (".3f", 1)
            assert f"{own.mean * scale:{unit}}" in text
            if own.low is not None:
                assert f"{own.low * scale:{unit}}..{own.high * scale:{unit}}" in text
    for told in ("(baseline)", "NonFiniteError:lossisnan", "thisfamilyhasnopooler", "1.23GB", "22,787,714"):
        assert told in squeezed(text)
    for pair in comparison.pairs:
        assert pair.sentence.split(" (")[0].split()[-1] in text


def test_an_empty_study_prints(maker) -> None:
    assert printed(maker).split("\n")[:2] == ["Study reviews", "Trials: no trial yet"]
    assert render_markdown(compare_study(maker.folder)) == "# reviews\n\nTrials: no trial yet\n"
    assert render_csv(compare_study(maker.folder)).count("\n") == 1


def test_trials_not_started_are_counted(maker) -> None:
    maker.plan(9, maker.add("lora@minilm", 1))
    assert "Trials: 1 finished, 8 not started; 300 test rows" in printed(maker)


def test_texts_are_texts_on_the_terminal(maker) -> None:
    maker.add("lora@minilm", 1, traps=[HOSTILE])
    text = squeezed(printed(maker))
    assert "[bold]x[/bold]<script>alert(1)</script>\ufffd[31m|a|`b`:smile:*c*" in text


def test_texts_are_texts_in_markdown(maker) -> None:
    maker.add("lora@minilm", 1, traps=[HOSTILE])
    text = render_markdown(compare_study(maker.folder))
    assert r"- \[bold\]x\[/bold\] \<script\>alert(1)\</script\> " in text
    assert r"\|a\| \`b\` :smile: \*c\*" in text
    assert escape_line("- no list") == r"\- no list"
    assert escape_line("1. no list") == r"1\. no list"
    assert escape("12.5") == "12.5"
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows


def test_markdown_tables_have_as_many_cells_in_every_row(maker) -> None:
    maker.fill()
    blocks = [part for part in render_markdown(compare_study(maker.folder)).split("\n\n") if part.startswith("|")]
    assert len(blocks) >= 7
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_csv_holds_plain_numbers(maker) -> None:
    maker.fill()
    comparison = compare_study(maker.folder)
    rows = list(csv.DictReader(io.StringIO(render_csv(comparison))))
    assert [row["candidate"] for row in rows] == [row.candidate for row in comparison.candidates]
    assert float(rows[0]["accuracy_mean"]) == comparison.candidates[0].quality[0].mean
    by_name = {row["candidate"]: row for row in rows}
    assert float(by_name["lora@minilm"]["latency_one_seconds"]) == 0.004
    assert float(by_name["lora@minilm"]["peak_bytes"]) == 1_234_567_890
    assert by_name["majority"]["peak_bytes"] == ""
    assert by_name["last-layers@minilm"]["reason"] == "this family has no pooler"
    pairs = list(csv.DictReader(io.StringIO(render_pairs_csv(comparison))))
    assert [float(row["difference"]) for row in pairs] == [pair.difference for pair in comparison.pairs]


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@x", "\t=1", "\r=1", "\t1"])
def test_no_formula_runs(text) -> None:
    assert guard_cell(text) == f"'{text}"


@pytest.mark.parametrize("cell", ["-5", "+1e-3", "plain = text", "", None, 3, -0.5])
def test_other_cells_stay_as_they_are(cell) -> None:
    assert guard_cell(cell) == cell


def test_csv_gives_every_text_back() -> None:
    texts = ["a,b", 'a "b"', "a\nb", "a\rb", "a\r\nb", "", " a ", "'a", "\tb", "\n", "\r"]
    written = write_csv(["text", "place"], [(text, place) for place, text in enumerate(texts)])
    assert list(csv.reader(io.StringIO(written, newline=""), strict=True)) == [
        ["text", "place"],
        *([text, str(place)] for place, text in enumerate(texts)),
    ]


def test_csv_guards_texts_but_not_numbers(maker) -> None:
    maker.fail("lora@minilm", 1, status="unsupported", message="=HYPERLINK(1)")
    (row,) = csv.DictReader(io.StringIO(render_csv(compare_study(maker.folder))))
    assert row["reason"] == "'=HYPERLINK(1)"


def test_many_pairs_are_cut_to_those_with_the_best(maker) -> None:
    for place in range(10):
        maker.add(f"lora[rank={place}]@minilm", 1, share=0.8 + place / 100)
    comparison = compare_study(maker.folder)
    assert len(comparison.pairs) == 45
    text = printed(maker, 120)
    assert "45 pairs in all; those with" in text
    assert len(list(csv.DictReader(io.StringIO(render_pairs_csv(comparison))))) == 45


def test_a_list_of_names_breaks_between_their_parts() -> None:
    page = io.StringIO()
    names = "concat@efficientnet+minilm, mlp@efficientnet+minilm and 3 more"
    section = TableSection("By type", ("type", "better than"), [("a " * 20, names)])
    print_sections([section], Console(file=page, width=50))
    assert page.getvalue().count("@efficientnet") == page.getvalue().count("+minilm") == 2


def test_names_break_between_their_parts() -> None:
    assert break_name("lora[rank=8,alpha=16]@minilm", 15) == "lora[rank=8,\nalpha=16]\n@minilm"
    assert break_name("lora@minilm", 15) == "lora@minilm"
    assert break_name("chain-of-thought-expert@smol", 15) == "chain-of-\nthought-expert\n@smol"


def test_only_legal_words_on_pairs(maker) -> None:
    maker.fill()
    for share in (0.841, 0.7):
        for seed in (1, 2):
            maker.add(f"lora[alpha={share}]@minilm", seed, share=share)
    legal = r"better by \d+\.\d+ points \(-?\d+\.\d+\.\.\d+\.\d+\)|within 2 points of each other"
    legal += r"|better, but by less than 2 points|not settled"
    sentences = [pair.sentence for pair in compare_study(maker.folder).pairs]
    assert all(re.fullmatch(legal, sentence) for sentence in sentences)
    assert not re.search(r"\b(equal to|tie|no difference)\b", printed(maker))
