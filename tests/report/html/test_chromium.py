"""The page in a real browser, from disk with the network off; skipped where Chromium is not installed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from whichtune.fetch.cache import cache_root
from whichtune.report.comparison import compare_study
from whichtune.report.html.page import render_page

AXE_VERSION = "4.14.1"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
DRAWN = "html[data-charts=drawn]"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
MINUTE = 60_000


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium, driven by Playwright."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium: `apt-get install chromium`")
    sync_api = pytest.importorskip("playwright.sync_api", reason="`pip install playwright`")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where the page lies, once it was made."""
    return tmp_path_factory.mktemp("page") / "report.html"


@pytest.fixture
def opened(chromium, kept, request):
    """A function that opens the page and watches it."""
    if not kept.is_file():
        maker = request.getfixturevalue("hostile_maker")
        kept.write_text(render_page(maker.folder, compare_study(maker.folder)), encoding="utf-8")
    contexts = []

    def look(size: str = "desktop", scheme: str = "light"):
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(kept.as_uri())
        page.wait_for_selector(DRAWN, state="attached", timeout=MINUTE)
        return page

    yield look
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core, fetched by npm once and checked against its hash; the test is skipped where that does not work."""
    kept = cache_root() / "report" / f"axe-core-{AXE_VERSION}.js"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch_axe(kept)
        except (OSError, subprocess.SubprocessError, KeyError) as error:
            pytest.skip(f"axe-core could not be fetched by npm: {error}")
    text = kept.read_bytes()
    assert hashlib.sha256(text).hexdigest() == AXE_SHA256
    return text.decode()


def wait_for_count(page, *, other: bool) -> None:
    """Wait until all rows pass the filters, or fewer; the page forbids strings as code, so no function is sent."""
    from playwright.sync_api import expect

    told = expect(page.locator("#browse-count"))
    (told.not_to_have_text if other else told.to_have_text)("300 of 300 rows")


def fetch_axe(kept: Path) -> None:
    command = ["npm", "pack", f"axe-core@{AXE_VERSION}", "--silent", "--fetch-retries=0"]
    done = subprocess.run(command, cwd=kept.parent, check=True, capture_output=True, text=True, timeout=60)
    archive = kept.parent / done.stdout.split()[-1]
    with tarfile.open(archive) as packed:
        held = packed.extractfile("package/axe.min.js")
        assert held is not None
        kept.write_bytes(held.read())
    archive.unlink()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_word_or_a_request_and_fits_the_screen(opened, size, scheme):
    page = opened(size, scheme)
    assert page.said == []
    assert page.asked == [page.url]
    assert page.title() != "taken"
    wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= room
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 25, 29)")


def test_charts_are_drawn_and_choices_draw_them_anew(opened):
    page = opened()
    figure = page.locator("figure[data-chart=quality]")
    assert page.locator("figure[data-chart]").count() == 3
    for own in page.locator("figure[data-chart]").all():
        assert own.locator("svg [class*=mark-] > *").count() > 5
    points = figure.locator("svg .mark-symbol.role-mark path")
    assert points.count() == 2
    first = figure.locator("svg").text_content()
    figure.locator("select[data-choice=x]").select_option("peak_bytes")
    page.wait_for_selector("figure[data-chart=quality][data-drawn^=peak_bytes]")
    told = figure.locator("svg").text_content()
    assert "peak memory" in told
    assert told != first


def test_marks_take_the_colours_of_the_scheme(opened):
    path = "figure[data-chart=quality] svg .mark-symbol.role-mark path"
    fills = [
        opened(scheme=scheme).eval_on_selector(path, "mark => getComputedStyle(mark).fill")
        for scheme in ("light", "dark")
    ]
    assert fills == ["rgb(47, 99, 152)", "rgb(125, 178, 232)"]


def test_the_browser_filters_searches_and_turns_pages(opened):
    page = opened()
    count = page.locator("#browse-count")
    assert count.inner_text() == "300 of 300 rows"
    assert page.locator("#examples-list > li").count() == 20
    data = page.evaluate("page.examples")
    first, second = data["candidates"][0], data["candidates"][1]
    differing = sum(own != other for own, other in zip(first["read"], second["read"], strict=True))
    page.select_option("#browse-outcome", "differ")
    assert count.inner_text() == f"{differing} of 300 rows"
    gained = sum(
        own == gold != other for own, other, gold in zip(first["read"], second["read"], data["gold"], strict=True)
    )
    page.select_option("#browse-outcome", "gained")
    assert count.inner_text() == f"{gained} of 300 rows"
    page.select_option("#browse-outcome", "all")
    page.select_option("#browse-gold", label="positive")
    assert count.inner_text() == "150 of 300 rows"
    page.select_option("#browse-gold", "")
    page.fill("#browse-search", "ONERROR")
    wait_for_count(page, other=True)
    told = page.locator("#examples-list .text").all_inner_texts()
    assert told
    assert all("<img src=x onerror" in text for text in told)
    page.fill("#browse-search", "")
    wait_for_count(page, other=False)
    page.click("#browse-next")
    assert page.locator("#browse-where").inner_text() == "21–40"
    assert page.locator("#examples-list img").count() == 0
    assert page.title() != "taken"


def test_right_to_left_texts_run_their_own_way(opened):
    page = opened()
    page.fill("#browse-search", "שלום")
    wait_for_count(page, other=True)
    assert page.eval_on_selector("#examples-list .text", "text => getComputedStyle(text).direction") == "rtl"
    assert page.eval_on_selector("#examples-list .gold", "text => getComputedStyle(text).direction") == "ltr"


def test_everything_is_reached_by_keyboard(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.focus("figure[data-chart=quality] summary")
    page.keyboard.press("Enter")
    assert page.locator("figure[data-chart=quality] details").get_attribute("open") is not None
    page.focus("#browse-next")
    page.keyboard.press("Enter")
    assert page.locator("#browse-where").inner_text() == "21–40"


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "dark"), ("phone", "light")])
def test_axe_finds_nothing_serious(opened, axe, size, scheme):
    page = opened(size, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.evaluate(axe)
    found = page.evaluate("axe.run()")["violations"]
    serious = [
        (one["id"], node["target"], node["failureSummary"])
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]
    assert serious == []


def test_paper_is_white_and_shows_every_table(opened, tmp_path):
    page = opened(scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("figure details:not([open])").count() == 0
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
