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
from typing import Literal

import matplotlib
import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tools import pages

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)
SAMPLE = "chapters/99_sample/"
FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found: install the package chromium")


class Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def translate_path(self, path: str) -> str:
        """The site's file, or a font that Matplotlib brings along."""
        return str(FONTS / path[1:]) if path.endswith(".ttf") else super().translate_path(path)

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


# How readers may see a page: in their fonts, with the distances of WCAG 1.4.12, and with wide letters of a large size.
SPACED = """* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important }
    p { margin-bottom: 2em !important }"""
READERS = {
    "own fonts": "",
    "DejaVu": """@font-face { font-family: text; src: url(/DejaVuSans.ttf) }
        @font-face { font-family: code; src: url(/DejaVuSansMono.ttf) }
        body { --md-text-font: text; --md-code-font: code }""",
    "spaced": SPACED,
    "large": SPACED + "html, math { font-size: 200% !important } body { --md-text-font: monospace }",
}

# Shows a page as a reader of the given style does, and says what is wrong: the page is wider than the window; something
# sticks out of the window and not of a box that scrolls; a box hides a part of what it holds; it scrolls and the
# keyboard does not reach it; a formula in a line scrolls though there is room; or the copy of a formula for screen
# readers is larger than it. Not looked at: the header, which repeats the title of the page in one line that ends with
# dots, and the menu's box, which holds the next level at its side.
WRONG = """async style => {
    const sheet = document.getElementById("reader") ?? document.head.appendChild(document.createElement("style"));
    Object.assign(sheet, {id: "reader", textContent: style + "* { transition: none !important }"});
    await (document.body.offsetWidth && document.fonts.ready);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));  // it is painted
    const found = [];
    const name = (what, box) => found.push(`${what}: <${box.tagName.toLowerCase()} class="${box.className}"> `
        + `${box.scrollWidth} of ${box.clientWidth} px: ${box.textContent.trim().slice(0, 60)}`);
    const page = document.scrollingElement;
    if (page.scrollWidth > innerWidth) name("wider than the window", page);
    const not = "mjx-container *, svg *, .md-header__title, .md-header__title *, .md-sidebar__scrollwrap";
    for (const box of document.body.querySelectorAll(`*:not(${not})`)) {
        const {left, right} = box.getBoundingClientRect();
        const out = right > innerWidth + 1 || left < -1;
        const wide = box.scrollWidth > box.clientWidth + 1, high = box.scrollHeight > box.clientHeight + 1;
        if (!(out || wide || high) || right <= 0 || left >= innerWidth) continue;  // the rest of a closed menu
        if (!box.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
        const {overflowX: x, overflowY: y} = getComputedStyle(box);
        if (wide && x === "hidden" || high && y === "hidden") name("hides a part", box);
        if (wide && x === "auto" && box.tabIndex < 0 && !box.querySelector("a")) name("no key scrolls", box);
        let up = box.parentElement;
        while (up !== document.body && getComputedStyle(up).overflowX === "visible") up = up.parentElement;
        if (out && up === document.body) name("sticks out", box);
    }
    for (const formula of document.querySelectorAll("mjx-container")) {
        const seen = formula.getBoundingClientRect(), copy = formula.lastElementChild.getBoundingClientRect();
        if (copy.left < seen.left - 1 || copy.right > seen.right + 1 || copy.bottom > seen.bottom + 1)
            name("its copy sticks out", formula);
        if (formula.tabIndex === 0 && formula.clientWidth < formula.parentElement.parentElement.clientWidth / 2)
            name("scrolls and has room", formula);
    }
    return found;
}"""

# Texts that are seen and not cut off.
WHOLE = """boxes => boxes.filter(box => box.checkVisibility({visibilityProperty: true})
    && box.scrollWidth <= box.clientWidth + 1 && box.scrollHeight <= box.clientHeight + 1)
    .map(box => box.textContent.trim())"""


@pytest.mark.parametrize("context", [360], indirect=True, ids=["all widths"])
def test_every_page_shows_its_figures_and_fits_any_reader(context: BrowserContext, built_site: Path, address: str):
    page = context.new_page()
    for path in [*sorted(built_site.rglob("index.html")), built_site / "404.html"]:
        page.goto(address + path.relative_to(built_site).as_posix().removesuffix("index.html"))
        broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth || !i.alt).map(i => i.src)")
        assert broken == [], page.url
        expect(page.locator(".arithmatex:not(:has(mjx-container))")).to_have_count(0)
        assert page.locator("mjx-merror").count() == 0, page.url
        assert page.locator("audio:not([aria-label])").count() == 0, page.url
        for pixels, readers in {360: ["own fonts"], 320: [*READERS], 1280: ["own fonts", "large"]}.items():
            page.set_viewport_size({"width": pixels, "height": 800})
            for reader in readers:
                assert page.evaluate(WRONG, READERS[reader]) == [], f"{page.url}, {pixels} px, {reader}"


@pytest.mark.parametrize("context", [320], indirect=True)
def test_menu_and_search_fit_any_reader(context: BrowserContext, address: str):
    page = context.new_page()
    page.goto(address + SAMPLE)
    page.locator("label.md-header__button[for=__drawer]").click()
    for reader, style in READERS.items():
        assert page.evaluate(WRONG, style) == [], f"the menu, {reader}"
    hits(page, address, "steamboat")  # stands in code beside words that are too long
    for reader, style in READERS.items():  # the overlay is a circle that grows beyond the window
        assert page.evaluate(WRONG, style + ".md-search__overlay { display: none }") == [], f"the search, {reader}"


@pytest.mark.parametrize("context", [320], indirect=True)
def test_what_scrolls_has_a_name_and_follows_the_keyboard(context: BrowserContext, address: str):
    page = context.new_page()
    page.goto(address + SAMPLE)
    for name in ("code", "table", "formula"):
        page.get_by_role("group", name=f"{name}, scrolls sideways").last.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.activeElement.scrollLeft > 0")


def test_chapter_has_formulas_figure_and_sound(context: BrowserContext, address: str):
    page = context.new_page()
    page.goto(address + SAMPLE)
    formulas = page.locator(".arithmatex")
    expect(formulas.locator("mjx-math")).to_have_count(formulas.count())
    expect(page.get_by_role("math")).to_have_count(formulas.count())  # what a screen reader reads
    assert page.locator("article img").get_attribute("alt") == "A line that [rises] by $1 a *step*"
    assert page.locator("article img").evaluate("image => image.naturalWidth") == 800
    page.wait_for_function("document.querySelector('audio').duration > 0.3")
    page.get_by_role("link", name="plain Python").wait_for()


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
        ("GPU", "devices/"),
    ],
)
def test_search_finds_the_page_that_teaches_it(browser: Browser, address: str, words: str, first: str):
    with browser.new_context() as context:
        found = hits(context.new_page(), address, words)
        assert re.match(first, found[0][0]), found[:5]


# What the texts name from which these chapters were started, in their own languages: where the search must lead first,
# a chapter, the reference, the glossary (whose entry links to the chapter), or the page that says why it is not here.
NAMED = {
    r"chapters/02_": "early fusion; late fusion; hybrid fusion; cross-modal fusion; tensor fusion",
    r"chapters/03_": "joint embedding; word embedding",
    r"chapters/04_": "image captioning; Show and Tell; Show, Attend and Tell; soft attention; beam search; ImageNet",
    r"chapters/05_": "visual question answering",
    r"chapters/06_": "discriminator; GAN",
    r"chapters/07_": "sound source localization; waveform",
    r"chapters/08_": "Multimodal Factorization Model; MFM; Wasserstein distance",
    r"chapters/09_": "Memory Fusion Network; MFN",
    r"chapters/10_|api/vae/": "VAE; JMVAE; MVAE; MMVAE; MoPoE; MVTCAE; PoE; weak supervision; product of experts",
    r"chapters/(08|10|12)_": "weakly-supervised learning; semi-supervised learning",
    r"chapters/11_": "iterative amortised inference; amortization gap; variational inference",
    r"chapters/12_|glossary/": "SERKET; Neuro-SERKET; message passing; belief propagation; global workspace",
    r"api/(mfm|data|sentences)/": "MMD; LSTM; Transformer; SVHN; MNIST; GloVe; CMU-MOSI",
    r"elsewhere/": (
        "coordinated model; joint model; modality-specific latent variable; inference model; generative model; WAE; "
        "surrogate inference; Wasserstein autoencoder; disentangled representation; inner product; harmonic mean; "
        "metric learning; undirected graphical model; deep Boltzmann machine; DALL-E; autoregressive model; "
        "topic model; Gibbs sampling; flow-based model; slot-based modular architecture; one-shot image recognition; "
        "IEMOCAP; POM; MOUD; ICT-MMMO; COVAREP; CelebA; CUB; recipe retrieval; multi-task learning"
    ),
    r"glossary/": (
        "잠재 변수; 가우시안 혼합 모델; 약지도 학습; 메시지 패싱; 이미지 캡셔닝; 어텐션; 조인트 임베딩; "
        "시각적 질의응답; 음원 위치 추정; 스펙트로그램; 결측 모달리티; 변분 추론; 토픽 모델; 생성 모델; "
        "판별 모델; 멀티태스크 학습; 早期融合; 後期融合; 中期融合; モダリティ間の融合; ハイブリッド融合; "
        "連結; マージ; 内積; 調和平均; 反復償却推論; 償却ギャップ; 欠損モダリティ; 共有表現; 推論モデル; "
        "生成モデル; 潜在変数; 混合ガウスモデル; メッセージパッシング; ギブスサンプリング"
    ),
}  # fmt: skip


ASK = """async (words) => {
  const config = JSON.parse(document.getElementById("__config").textContent)
  const index = await (await fetch(new URL("search/search_index.json", location.href))).json()
  const worker = new Worker(new URL(config.search, location.href))  // that of the search box
  const ask = (type, data) => new Promise(done => {
    worker.onmessage = event => done(event.data.data)
    worker.postMessage({type, data})
  })
  await ask(0, {config: index.config, docs: index.docs, options: {suggest: false}})
  const first = {}
  for (const word of words) first[word] = (await ask(2, word)).items[0]?.[0].location ?? "nothing"
  return first
}"""


def test_the_search_leads_to_each_system_that_the_first_texts_name(browser: Browser, address: str):
    wanted = {term: first for first, terms in NAMED.items() for term in terms.split("; ")}
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        found = page.evaluate(ASK, [*wanted, "xyzzyx"])
    assert found.popitem()[1] == "nothing"
    assert [f"{term}: {at}" for term, at in found.items() if not re.match(wanted[term], at)] == []


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
        after = [*titles, "1 · The digit world: exercises"]
        for way, title in (("prev", ["Home", *titles][n]), ("next", after[n + 1])):
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
    with browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 800}) as context:
        page = context.new_page()
        for path in sorted(built_site.rglob("index.html")):
            page.goto(address + path.parent.relative_to(built_site).as_posix() + "/")
            expect(page.locator("article h1")).to_be_visible()
            assert page.evaluate("document.scrollingElement.scrollWidth") <= 320, page.url
        page.goto(address + SAMPLE)
        for text in ("Short text with", "shown_code = 1", "red ```", "p(z \\mid x)"):
            expect(page.locator("article")).to_contain_text(text)
        expect(page.locator("article img")).to_be_visible()


def test_claims_are_folded_filtered_and_found_by_their_address(context: BrowserContext, address: str):
    page = context.new_page()
    page.goto(address + "claims/")
    wide = (page.viewport_size or {"width": 0})["width"] > 600
    experiments = page.locator("details.experiment").count()
    assert page.evaluate("document.documentElement.scrollHeight") <= (240 if wide else 400) * experiments
    rows = page.locator("tr[data-verdict]")
    n, undecided = rows.count(), page.locator('tr[data-verdict="undecided"]').count()
    assert 0 < undecided < n
    page.get_by_label("are undecided").uncheck()
    expect(page.locator("#filter output")).to_have_text(f"{n - undecided} of {n} claims")
    assert page.locator('tr[data-verdict="undecided"]:not([hidden])').count() == 0
    assert page.locator("tr[data-verdict]:not([hidden])").count() == n - undecided
    page.get_by_label("hold", exact=True).uncheck()  # what does not hold is left, and is seen at once
    expect(page.locator("tr[data-verdict]:visible")).to_have_count(
        page.locator('tr[data-verdict="does not hold"]').count()
    )
    empty = page.locator("details.experiment:visible").filter(has_not=page.locator("tr[data-verdict]:not([hidden])"))
    expect(empty).to_have_count(0)
    expect(page.locator("summary small:visible").first).to_have_text(re.compile(r"^\d+ of \d+ shown$"))
    for label in ("hold", "are undecided"):
        page.get_by_label(label, exact=True).check()
    page.get_by_label("with the words").fill("MoPoE coherent")
    found = page.locator("tr[data-verdict]:visible")
    expect(page.locator("#filter output")).to_have_text(f"{found.count()} of {n} claims")
    assert 0 < found.count() < n
    assert all("MoPoE" in text and "coherent" in text for text in found.all_text_contents())
    page.get_by_label("are undecided").uncheck()
    asked = page.locator("#filter output").text_content()
    page.reload()  # the address has what was asked for
    expect(page.locator("#filter output")).to_have_text(str(asked))
    expect(page.get_by_label("are undecided")).not_to_be_checked()
    page.goto(address + "claims/")
    last = page.locator("tr[data-verdict=holds]").last
    expect(last).not_to_be_visible()
    page.goto(address + f"claims/#{last.get_attribute('id')}")
    expect(last).to_be_in_viewport()


def test_without_javascript_every_claim_is_there(browser: Browser, address: str):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address + "claims/")
        expect(page.locator("#filter")).to_be_hidden()
        for k in range(page.locator("details.experiment").count()):
            page.locator("details.experiment > summary").nth(k).click()
        assert page.locator("tr[data-verdict]").count() == page.locator("tr[data-verdict]:visible").count() > 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", ["", SAMPLE, "chapters/02_fusion/", "claims/", "glossary/", "errata/", "api/training/"]
)
def test_axe_finds_nothing_serious(browser: Browser, address: str, path: str, scheme: Literal["light", "dark"]):
    with browser.new_context(color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(address + path)
        page.locator("details").evaluate_all("all => all.forEach(box => box.open = true)")
        found = Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [node["html"][:90] for node in v["nodes"][:3]]) for v in serious] == []
