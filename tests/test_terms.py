"""Links from chapters to the glossary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import terms

GLOSSARY = """# Glossary

## E

### Early fusion {#early-fusion}

Modalities are joined first.

**조기 융합**{lang=ko} · **初期融合**{lang=ja} · [chapter 2](chapters/02_fusion.md)

### Evidence lower bound (ELBO) {#elbo}

A bound of $\\log p(x)$.

**증거 하한**{lang=ko} · **変分下限**{lang=ja} · [chapter 10](chapters/10_multimodal_vaes.md)

### Mask {#mask}

Which modalities are there.

**마스크**{lang=ko} · **マスク**{lang=ja} · [chapter 1](chapters/01_digit_world.md)

## F

### Fusion {#fusion}

The joining of modalities.

**융합**{lang=ko} · **融合**{lang=ja} · [chapter 2](chapters/02_fusion.md)
"""


def test_names_of_a_term():
    found = terms.terms(GLOSSARY)
    assert found["evidence lower bound".capitalize()] == found["ELBO"] == ("elbo", "증거 하한 · 変分下限")
    assert set(found) == {
        "Early fusion",
        "Evidence lower bound",
        "Evidence lower bound (ELBO)",
        "ELBO",
        "Fusion",
    }


@pytest.mark.parametrize(
    ("page", "anchors"),
    [
        ("<p>Early fusion is a fusion.</p>", ["early-fusion", "fusion"]),
        ("<p>The ELBO, an evidence lower bound.</p>", ["elbo"]),
        ("<p>Two ELBOs</p><li>of fusions</li>", ["elbo", "fusion"]),
        ("<p>elbo, diffusion, fusion-like, a mask</p>", []),
        ('<h2>Fusion</h2><p class="download">fusion</p><td>fusion</td><pre>fusion</pre>', []),
        ('<p><a href="x">fusion</a>, <code>fusion</code>, <span class="arithmatex">\\(fusion\\)</span></p>', []),
        ('<p><strong>fusion</strong> <img alt="ELBO"></p>', ["fusion"]),
    ],
)
def test_the_first_use_of_a_term_is_a_link(page, anchors):
    linked = terms.link(page, terms.terms(GLOSSARY), "../glossary/")
    assert re.findall(r'<a class="term" href="../glossary/#([\w-]+)"', linked) == anchors
    assert re.sub(r'<a class="term"[^>]*>(.*?)</a>', r"\1", linked) == page


def test_every_chapter_leads_to_the_glossary(built_site: Path):
    places = set(re.findall(r'<h3 id="([\w-]+)"', (built_site / "glossary/index.html").read_text()))
    for path in (built_site / "chapters").glob("[01]*/index.html"):
        found = re.findall(r'class="term" href="../../glossary/#([\w-]+)"', path.read_text())
        assert len(found) > 7, path
        assert set(found) <= places
        assert len(set(found)) == len(found)
