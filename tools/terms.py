"""Links from a chapter to the glossary: where a page first uses a term, with the term's translations as the title."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

ENTRY = re.compile(
    r"^### (.+?) \{#([\w-]+)\}\n(?:(?!^#).)+?\*\*([^*]+)\*\*\{lang=ko\} · \*\*([^*]+)\*\*\{lang=ja\}",
    re.MULTILINE | re.DOTALL,
)
PROSE = re.compile(r"<(p|li)>.*?</\1>", re.DOTALL)  # what has a class is no prose
CLOSED = re.compile(r'(<(a|code|h\d)\b.*?</\2>|<span class="arithmatex">.*?</span>|<[^>]+>)', re.DOTALL)
AMBIGUOUS = {"Mask"}  # of missing modalities there, of an object's pixels elsewhere


def terms(glossary: str) -> dict[str, tuple[str, str]]:
    """From the Markdown of the glossary: each name of a term, to its place on the page and its translations.

    ``Evidence lower bound (ELBO)`` has the names "evidence lower bound" and "ELBO".
    """
    found = {}
    for title, anchor, korean, japanese in ENTRY.findall(glossary):
        if title not in AMBIGUOUS:
            names = [re.sub(r" \(.*?\)", "", title), title, *re.findall(r"\((\S+)\)", title)]
            found |= dict.fromkeys(names, (anchor, f"{korean} · {japanese}"))
    return found


def link(page: str, names: Mapping[str, tuple[str, str]], address: str) -> str:
    """Make the first use of each term in the prose of a page (HTML) a link to ``address#place``."""
    spelled = {(name[0].lower() + name[1:] if name[1:].islower() else name): name for name in names}
    spelled |= {name[0].upper() + name[1:]: of for name, of in list(spelled.items())}
    longest = sorted(spelled, key=len, reverse=True)
    word = re.compile(rf"(?<![\w-])({'|'.join(re.escape(html.escape(name)) for name in longest)})s?(?![\w-])")
    seen = set()

    def linked(match: re.Match[str]) -> str:
        anchor, translations = names[spelled[html.unescape(match[1])]]
        if anchor in seen:
            return match[0]
        seen.add(anchor)
        title = html.escape(translations)
        return f'<a class="term" href="{address}#{anchor}" title="{title}">{match[0]}</a>'

    def prose(match: re.Match[str]) -> str:
        parts = CLOSED.split(match[0])  # text, then what matched and the name of its tag, then text
        return "".join(word.sub(linked, part) if k % 3 == 0 else part for k, part in enumerate(parts) if k % 3 < 2)

    return PROSE.sub(prose, page)
