"""`docs/peft.md` holds the printed table; `pytest --write-golden` writes it anew."""

from pathlib import Path

import peft
import pytest

from whichtune.methods.peft_listing import describe_tuners

PAGE = Path(__file__).parents[2] / "docs" / "peft.md"
MARK = "<!-- the table below is printed by whichtune.methods.peft_listing.describe_tuners -->\n"


@pytest.mark.skipif(peft.__version__ != "0.21.2", reason="the page is about the pinned version")
def test_the_page_holds_the_printed_table(request):
    above, _, below = PAGE.read_text(encoding="utf-8").partition(MARK)
    printed = "\n" + describe_tuners()
    if request.config.getoption("--write-golden"):
        PAGE.write_text(above + MARK + printed, encoding="utf-8")
        return
    assert below == printed


def test_every_member_has_a_row():
    rows = [line.split("|") for line in describe_tuners().splitlines() if line.startswith("| `")]
    assert [row[1].strip(" `") for row in rows] == sorted(kind.value.lower() for kind in peft.PeftType)
    assert all(row[2].strip() == "yes" or row[5].strip() for row in rows)
