"""The built site in a real browser: formulas, figures, sounds, search, dark mode, narrow screens, no JavaScript."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nbformat
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tools import pages

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)
SAMPLE = "chapters/99_sample/"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found: install the package chromium")


class Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder that is served on this machine only, at a free port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def address(built_site: Path) -> Iterator[str]:
    """Of the built site."""
    with served(built_site) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(params=[1280, 360], ids=["wide", "narrow"])
def context(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[BrowserContext]:
    """A window of one width; afterwards nothing may have gone wrong in it or left the site."""
    context = browser.new_context(viewport={"width": request.param, "height": 800}, color_scheme="light")
    wrong = watch(context, address)
    yield context
    context.close()
    assert wrong == []


def watch(context: BrowserContext, address: str) -> list[str]:
    """A list that fills with what goes wrong in a window, and with what it asks of others."""
    wrong: list[str] = []
    context.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or wrong.append(f"asks {r.url}"))
    context.on("response", lambda r: r.status < 400 or wrong.append(f"{r.status} {r.url}"))
    context.on("console", lambda m: m.type in ("error", "warning") and wrong.append(f"console: {m.text}"))
    context.on("weberror", lambda e: wrong.append(f"script: {e.error}"))
    return wrong


def test_gate_page_with_faults(browser: Browser, tmp_path: Path):
    faults = '<script>nothing()</script><img src="none.png"><script src="http://localhost:9/x.js"></script>'
    (tmp_path / "faults.html").write_text(faults)
    with served(tmp_path) as address, browser.new_context() as context:
        wrong = watch(context, address)
        context.new_page().goto(address + "faults.html", wait_until="load")
    for fault in ("asks http://localhost:9", "404", "nothing is not defined"):
        assert any(fault in text for text in wrong), wrong


def width(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


# Formulas whose hidden copy for screen readers sticks out on the right: at the end of a line it would widen the page.
STICKING_OUT = """[...document.querySelectorAll("mjx-container")].filter(formula => {
    const copy = formula.querySelector("mjx-assistive-mml");
    return copy.getBoundingClientRect().right > formula.getBoundingClientRect().right + 1;
}).map(formula => formula.textContent)"""


# Texts that are seen and not cut off.
WHOLE = """boxes => boxes.filter(box => box.checkVisibility({visibilityProperty: true})
    && box.scrollWidth <= box.clientWidth + 1 && box.scrollHeight <= box.clientHeight + 1)
    .map(box => box.textContent.trim())"""


def test_every_page_fits_and_shows_its_figures(context: BrowserContext, built_site: Path, address: str):
    page = context.new_page()
    for path in sorted(built_site.rglob("index.html")):
        page.goto(address + path.parent.relative_to(built_site).as_posix() + "/")
        limit = page.viewport_size["width"] if page.viewport_size else 0
        assert width(page) <= limit, f"{page.url} is wider than the screen"
        broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth || !i.alt).map(i => i.src)")
        assert broken == [], page.url
        for formula in page.locator(".arithmatex").all()[:3]:
            expect(formula.locator("mjx-container")).to_have_count(1)
        assert page.locator("mjx-merror").count() == 0, page.url
        assert page.evaluate(STICKING_OUT) == [], page.url
        assert page.locator("audio:not([aria-label])").count() == 0, page.url


def test_chapter_has_formulas_figure_and_sound(context: BrowserContext, address: str):
    page = context.new_page()
    page.goto(address + SAMPLE)
    expect(page.locator("mjx-container")).to_have_count(2)
    assert page.locator("article img").get_attribute("alt") == "A line that [rises] by $1 a *step*"
    assert page.locator("article img").evaluate("image => image.naturalWidth") == 800
    page.wait_for_function("document.querySelector('audio').duration > 0.3")
    page.get_by_role("link", name="plain Python").wait_for()
    assert width(page) <= (page.viewport_size or {"width": 0})["width"]


def hits(page: Page, address: str, words: str) -> list[tuple[str, str]]:
    """What the search box shows for some words: address within the site and heading, best first."""
    page.goto(address)
    if page.locator("label.md-header__button[for=__search]").is_visible():
        page.locator("label.md-header__button[for=__search]").click()
    page.locator("input.md-search__input").click()
    page.keyboard.type(words, delay=5)
    expect(page.locator(".md-search-result__meta")).to_contain_text("matching document")
    links = page.locator(".md-search-result__link")
    links.first.wait_for()
    found = links.evaluate_all("links => links.map(a => [a.href, a.querySelector('h1, h2')?.textContent ?? ''])")
    return [(re.sub(r"\?[^#]*", "", href.removeprefix(address)), heading) for href, heading in found]


def test_search_finds_the_chapter(context: BrowserContext, address: str):
    assert hits(context.new_page(), address, "sample of everything")[0][0] == SAMPLE


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("modality", "chapters/01_"),
        ("missing modality", "chapters/(01|10)_"),
        ("cross-modal fusion", "chapters/02_"),
        ("attention weights", "chapters/04_"),
        ("Show Attend and Tell", "chapters/04_"),
        ("beam search", "chapters/04_"),
        ("BLEU", "chapters/04_"),
        ("MFM", "chapters/08_"),
        ("product of experts", "chapters/10_"),
        ("PoE", "chapters/10_"),
        ("mixture of experts", "chapters/10_"),
        ("variational autoencoder", "chapters/10_"),
        ("amortisation gap", "chapters/11_"),
        ("install", "$"),
        ("GPU", "$"),
    ],
)
def test_search_finds_the_page_that_teaches_it(browser: Browser, address: str, words: str, first: str):
    with browser.new_context() as context:
        found = hits(context.new_page(), address, words)
        assert re.match(first, found[0][0]), found[:5]


def test_a_chapter_shows_its_number_wherever_it_is_named(context: BrowserContext, built_site: Path, address: str):
    page = context.new_page()
    paths = sorted((built_site / "chapters").glob("*.ipynb"))
    titles = [pages.page(nbformat.read(path, as_version=4), path.stem).title for path in paths]
    assert len(titles) >= 8
    for n, path in enumerate(paths):
        page.goto(f"{address}chapters/{path.stem}/", wait_until="domcontentloaded")
        assert page.title() == f"{titles[n]} - mmtutor"
        assert page.locator("article h1").inner_text().removesuffix("¶") == titles[n]
        if (menu := page.locator("label.md-header__button[for=__drawer]")).is_visible():
            menu.click()
        sidebar = page.locator(".md-nav--primary .md-ellipsis").evaluate_all(WHOLE)  # or what comes out of the menu
        assert [title for title in titles if title not in sidebar] == []
        for way, title in (("prev", ["Home", *titles][n]), ("next", [*titles, "Map"][n + 1])):
            assert page.locator(f".md-footer__link--{way} .md-ellipsis").evaluate_all(WHOLE) == [title]


def test_dark_mode(context: BrowserContext, address: str):
    page = context.new_page()
    page.goto(address)
    colour = "getComputedStyle(document.body).backgroundColor"
    seen = []
    for _ in range(3):  # follows the system, light, dark
        seen.append((page.locator("body").get_attribute("data-md-color-scheme"), page.evaluate(colour)))
        page.locator("form[data-md-component=palette] label:visible").click()
    assert [scheme for scheme, _ in seen] == ["default", "default", "slate"]
    assert seen[0][1] == seen[1][1] != seen[2][1]
    page.emulate_media(color_scheme="dark")  # it follows the system again
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")


def test_readable_without_javascript(browser: Browser, built_site: Path, address: str):
    with browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 800}) as context:
        page = context.new_page()
        for path in sorted(built_site.rglob("index.html")):
            page.goto(address + path.parent.relative_to(built_site).as_posix() + "/")
            expect(page.locator("article h1")).to_be_visible()
        page.goto(address + SAMPLE)
        for text in ("Short text with", "shown_code = 1", "red ```", "p(z \\mid x)"):
            expect(page.locator("article")).to_contain_text(text)
        expect(page.locator("article img")).to_be_visible()
