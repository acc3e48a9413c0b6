import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.report.comparison import compare_study
from whichtune.report.latex import LONG_ROWS, escape, render_latex

HOSTILE = "\\input{/etc/passwd} 100% & $x$ #1 _a_ ~ ^ {} [x] -- --- \"q\" 'q' `q` <b> | µ ± ↓ é ß 😀 שלום"
COMMANDS = re.compile(r"\\(?:text\w+\{(?:U\+[0-9A-F]{4,6})?\}|ensuremath\{\\\w+\}|ldots\{\}|[{}$&#%_])")


@given(st.text())
def test_no_character_of_a_text_is_a_command(text):
    left = COMMANDS.sub("", escape(text)).replace("{[}", "").replace("{]}", "").replace("-{}", "").replace("~", "")
    assert not set(left) & set("\\{}$&#%_^")
    assert "--" not in left
    assert all(ord(each) < 0x180 for each in left)


def test_known_signs():
    told = escape(HOSTILE)
    assert told.startswith(r"\textbackslash{}input\{/etc/passwd\} 100\% \& \$x\$ \#1 \_a\_")
    assert r"-{}-{}-" in told
    assert r"\texttt{U+1F600}" in told
    assert r"\ensuremath{\mu}" in told


def test_rows_have_as_many_cells_as_the_table_has_columns(maker):
    maker.fill()
    maker.fail(f"lora[x={HOSTILE}]@minilm", 9, message=HOSTILE)
    for table in re.findall(
        r"\\begin\{(?:tabular|longtable)\}.*?\\end", render_latex(compare_study(maker.folder)), re.DOTALL
    ):
        columns = re.match(r"\\begin\{\w+\}\{@\{\}(.*)@\{\}\}\n", table)
        assert columns is not None
        kinds = re.sub(r">\{[^}]*\}|\{0\.\d+\\linewidth\}", "", columns.group(1))
        count = len(re.findall("[lrp]", kinds))
        rows = [line for line in table.split("\n") if line.endswith(r" \\")]
        assert rows
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {count}


def test_a_long_table_may_break(maker):
    for place in range(LONG_ROWS + 1):
        maker.add(f"lora[rank={place}]@minilm", share=0.8)
    told = render_latex(compare_study(maker.folder))
    assert r"\begin{longtable}" in told
    assert r"\endhead" in told


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX: `apt-get install texlive-latex-recommended`")
def test_it_compiles(maker, tmp_path):
    maker.fill()
    maker.fail(f"lora[x={HOSTILE}]@minilm", 9, message=HOSTILE)
    (tmp_path / "tables.tex").write_text(render_latex(compare_study(maker.folder)), encoding="utf-8")
    (tmp_path / "main.tex").write_text(
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{textcomp}\usepackage{array}\usepackage{booktabs}"
        r"\usepackage{longtable}\begin{document}\input{tables}\end{document}",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, encoding="latin-1", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
