"""The glossary: each term has one meaning, two translations, and a page that teaches it."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
NOT_TAUGHT = "(not taught yet)"
HANGUL = re.compile("[\uac00-\ud7a3]")
JAPANESE = re.compile("[\u3041-\u30ff\u4e00-\u9fff]")
LATIN = re.compile("[A-Za-z]{2,}[+]?")
WANTED = ["PoE", "VQA", "contrastive", "transformer", "reparameterization", "注意機構", "융합", "MoE", "ELBO", "IWAE"]
WANTED += [
    "DReG",
    "HSIC",
    "MMD",
    "nat",
    "missing modality",
    "product of experts",
    "beam search",
    "fusion",
    "モダリティ",
]


class Entry(NamedTuple):
    """A term as it stands on the page."""

    term: str
    anchor: str
    letter: str  # the heading under which it stands
    text: str
    korean: str
    japanese: str
    rest: str  # links, and what is said of a term that is not taught


def entries(page: str) -> list[Entry]:
    """The terms of the page; a term whose text, translations or links have another form is refused."""
    found = []
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        letter, *terms = re.split(r"^### ", part, flags=re.MULTILINE)
        for term in terms:
            form = r"(.+?) \{#([\w-]+)\}\n\n(.+?)\n\n\*\*(.+?)\*\*\{lang=ko\} · \*\*(.+?)\*\*\{lang=ja\} · (.+)"
            match = re.fullmatch(form, term.strip(), re.DOTALL)
            assert match, f"this entry has another form: {term[:60]}"
            name, anchor, *others = (group.strip() for group in match.groups())
            found.append(Entry(name, anchor, letter.strip(), *others))
    return found


def faults(page: str, root: Path = ROOT) -> list[str]:
    """What is wrong with the entries of a glossary, a sentence each."""
    said, found = [], entries(page)
    for entry in found:
        latin = set(LATIN.findall(entry.term))
        links = re.findall(r"\[[^\]]+\]\(([^)#]+)[^)]*\)", entry.rest)
        for words, script in ((entry.korean, HANGUL), (entry.japanese, JAPANESE)):
            if not script.search(words) and not latin & set(LATIN.findall(words)):
                said.append(f"{entry.term}: {words!r} is no translation")
        if not re.match(r"[A-Z$].{15,}[.?)]$", entry.text, re.DOTALL):
            said.append(f"{entry.term}: no sentence that defines it")
        if not links and NOT_TAUGHT not in entry.rest:
            said.append(f"{entry.term}: where is it taught?")
        said += [f"{entry.term}: no page {link}" for link in links if not exists(link, root)]
        if entry.anchor != alphabetical(re.sub(r" \(.*?\)", "", entry.term)).replace(" ", "-"):
            said.append(f"{entry.term}: the anchor is not its name")  # who links to a term need not look it up
        if entry.letter != entry.term[0]:
            said.append(f"{entry.term}: stands under {entry.letter}")
    order = [alphabetical(entry.term) for entry in found]
    said += [f"{b} stands after {a}" for a, b in pairwise(order) if a >= b]
    for anchor in {entry.anchor for entry in found}:
        if [entry.anchor for entry in found].count(anchor) > 1:
            said.append(f"two terms have the anchor {anchor}")
    said += [f"the list of letters lacks {x}" for x in {e.letter for e in found} if f"[{x}](#{x.lower()})" not in page]
    return said


def exists(link: str, root: Path) -> bool:
    """Whether a page is there: chapters are made from notebooks, the others stand in docs."""
    if link.startswith("chapters/"):
        return (root / "notebooks" / Path(link).with_suffix(".py").name).exists()
    return (root / "docs" / link).exists()


def alphabetical(term: str) -> str:
    """By letters and numbers alone, whatever their case and accents."""
    plain = unicodedata.normalize("NFKD", term).encode("ascii", "ignore").decode()
    return " ".join(re.findall(r"[a-z0-9]+", plain.casefold()))


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def test_every_entry_is_complete(page: str):
    assert faults(page) == []
    assert len(entries(page)) >= 60


@pytest.mark.parametrize("words", WANTED)
def test_what_readers_look_for_is_there(page: str, words: str):
    """As whole words, since the search finds beginnings of words."""
    assert re.search(rf"(?<!\w){re.escape(words)}", page, re.IGNORECASE), words


GOOD = """## B

### Bit {#bit}

The unit of information to base 2.

**비트**{lang=ko} · **ビット**{lang=ja} · [chapter 1](chapters/01_digit_world.md)

### BLEU {#bleu}

A score of generated sentences.

**BLEU**{lang=ko} · **BLEU**{lang=ja} · (not taught yet)
"""
GOOD = "[B](#b)\n\n" + GOOD


def test_gate_good_entries():
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("**비트**", "**bit of**", "no translation"),
        ("**ビット**", "**비트**", "no translation"),
        ("The unit of information to base 2.", "A unit", "no sentence"),
        ("(not taught yet)", "–", "where is it taught"),
        ("01_digit_world", "99_nothing", "no page"),
        ("[chapter 1](chapters/01_digit_world.md)", "[nothing](nothing.md)", "no page"),
        ("{#bleu}", "{#bit}", "two terms have the anchor"),
        ("{#bleu}", "{#blue}", "anchor is not its name"),
        ("### BLEU", "### Bias (BLEU)", "stands after"),
        ("### BLEU", "### Bit", "stands after"),
        ("### BLEU", "### Code (BLEU)", "stands under"),
        ("[B](#b)", "[A](#a)", "list of letters"),
    ],
)
def test_gate_faults_are_found(old: str, new: str, fault: str):
    assert any(fault in said for said in faults(GOOD.replace(old, new)))


def test_gate_an_entry_of_another_form():
    with pytest.raises(AssertionError, match="another form"):
        entries(GOOD.replace("{lang=ja}", ""))
