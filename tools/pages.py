"""One notebook to one Markdown page and the files beside it; knows nothing of the program that builds the site."""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass, field

from nbformat import NotebookNode

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRESS = re.compile(r"\d+%\||\[\d\d:\d\d")  # a progress bar says nothing afterwards
EMBEDDED = re.compile(r'src="data:(?:audio|image)/(\w+);base64,([\w+/=]{1000,})"')
TITLE = re.compile(r"^# +(.+)$", re.MULTILINE)
RICHEST_FIRST = ("text/html", "image/png", "text/markdown", "text/latex", "text/plain")


@dataclass
class Page:
    """What a notebook becomes; `files` are bytes by their path beside the page."""

    name: str
    title: str
    summary: str  # the first paragraph below the title
    markdown: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    figures: list[tuple[str, str]] = field(default_factory=list)  # alternative text, path


def page(notebook: NotebookNode, name: str, github: str = "") -> Page:
    """Turn a notebook into a page.

    Text stays as it is. Code is fenced, what it printed follows it. The code of a cell tagged ``hide-input`` is folded
    and follows what it printed; of one tagged ``hide-output`` only the code is shown. Figures become files.

    Args:
        notebook: with stored outputs, nbformat 4.
        name: of the file without its suffix; figures are named after it.
        github: ``OWNER/REPOSITORY`` if the notebook is there.

    Raises:
        ValueError: the notebook has no title or one without its number, or a figure or a sound has no alternative text.
    """
    title, summary = front(notebook, name)
    made = Page(name, title, summary)
    parts: list[str] = []
    waiting: list[str] = []  # folded code that has printed nothing yet
    for number, cell in enumerate(notebook.cells, 1):
        tags = cell.metadata.get("tags", ())
        if waiting and (cell.cell_type == "markdown" or "hide-input" not in tags):
            parts.append(folded("Code that the next cells need", waiting))
            waiting = []
        if cell.cell_type == "markdown":
            parts.append(linked(cell.source))
        elif cell.cell_type == "code":
            outputs = [] if "hide-output" in tags else cell.outputs
            printed = [shown(output, made, f"{name}, cell {number}") for output in outputs]
            if "hide-input" not in tags:
                parts += [fence(cell.source, "python"), *printed]
                continue
            waiting.append(cell.source)
            if printed:
                parts += [*printed, folded("The code of what you see above", waiting)]
                waiting = []
    if waiting:
        parts.append(folded("More code", waiting))
    download = (
        f"Download this chapter: [notebook]({name}.ipynb) with what it printed, or [plain Python]({name}.py)."
        f"{online(name, github) if github else ''}\n{{ .download }}"
    )
    text = "\n\n".join(part for part in parts if part)
    made.markdown = TITLE.sub(lambda match: f"{match[0]}\n\n{download}", text, count=1) + "\n"
    return made


def exercises(source: NotebookNode, name: str) -> Page:
    """Turn the source of exercises into a page: tasks, the cells to begin with, and solutions that are folded.

    Raises:
        ValueError: it has no title or one without its number.
    """
    made = Page(name, *front(source, name))
    parts = []
    for cell in source.cells:
        tags = cell.metadata.get("tags", ())
        if cell.cell_type == "markdown":
            parts.append(linked(cell.source))
        elif "solution" in tags:
            parts.append(folded("A solution", [cell.source]))
        elif not {"right", "wrong"} & set(tags):
            parts.append(fence(cell.source, "python"))
    download = f"Download: [exercises]({name}.ipynb), [with solutions](../solutions/{name}.ipynb).\n{{ .download }}"
    made.markdown = TITLE.sub(lambda match: f"{match[0]}\n\n{download}", "\n\n".join(parts), count=1) + "\n"
    return made


def online(name: str, github: str) -> str:
    """Links to a notebook in Colab, which has to install the library first, and to its source on GitHub."""
    path = f"{github}/blob/main/notebooks/{name}"
    colab = f"[Open in Colab](https://colab.research.google.com/github/{path}.ipynb)"
    return f" {colab} ([what to do there](../devices.md#colab)) · [Source](https://github.com/{path}.py)"


def linked(text: str) -> str:
    """Markdown of a notebook with the links of a page."""
    return re.sub(r"\]\(([\w/]+)\.ipynb", r"](\1.md", text).replace("](../docs/", "](../")


def front(notebook: NotebookNode, name: str) -> tuple[str, str]:
    """Title and first paragraph; the title of ``04_name`` begins with ``4 ·``, so that every place shows the number."""
    first = notebook.cells[0].source if notebook.cells else ""
    if (title := TITLE.search(first)) is None:
        raise ValueError(f"{name}: the first cell must be text that opens with '# Title'")
    if (number := re.match(r"\d+(?=_)", name)) and not title[1].startswith(opening := f"{int(number[0])} · "):
        raise ValueError(f"{name}: the title must begin with its number, '# {opening}…'")
    summary = first[title.end() :].strip().split("\n\n")[0]
    return title[1].strip(), " ".join(summary.split())


def shown(output: NotebookNode, made: Page, where: str) -> str:
    """One stored output as Markdown; a figure is added to the page's files."""
    if output.output_type == "stream":
        return result(output.text)
    if output.output_type == "error":  # the traceback would show the paths of a machine
        return result(f"{output.ename}: {output.evalue}")
    kind = next((kind for kind in RICHEST_FIRST if kind in output.data), None)
    if kind is None:
        raise ValueError(f"{where}: cannot show an output of type {', '.join(output.data)}")
    data = output.data[kind]
    if kind == "image/png":
        return figure(data, output.metadata.get(kind, {}).get("alt", ""), made, where)
    if kind == "text/html":
        if "<audio" in data and "aria-label" not in data:
            raise ValueError(f"{where}: a sound without alternative text; use mmtutor.plotting.sound")
        rows = re.sub(r'<span data-row="([\w-]+)">(.*?)</span>', r'<a href="../../claims/#\1">\2</a>', data.strip())
        return f'<div class="output" markdown="0">\n{apart(rows, made)}\n</div>'
    return result(data) if kind == "text/plain" else data


def apart(html: str, made: Page) -> str:
    """Keep the larger pictures and sounds of HTML as files of the page, which are fetched after its text."""

    def kept(match: re.Match[str]) -> str:
        name = f"part-{len(made.files) + 1}.{match[1]}"
        made.files[f"{made.name}/{name}"] = base64.b64decode(match[2])
        return f'src="{name}"'

    return re.sub(r'(<img [^>]*src="(part-[\w.]+)">)', r'<a href="\2" title="Enlarge">\1</a>', EMBEDDED.sub(kept, html))


def figure(data: str, alt: str, made: Page, where: str) -> str:
    """Keep a PNG as a file of the page and return the Markdown that shows it, with a link to it alone."""
    if not alt.strip():
        raise ValueError(f"{where}: a figure without alternative text; use mmtutor.plotting.show(figure, alt)")
    path = f"{made.name}/figure-{len(made.figures) + 1}.png"
    made.files[path] = png = base64.b64decode(data)
    made.figures.append((alt, path))
    width, height = struct.unpack(">II", png[16:24])
    image = f"![{escape(alt)}]({path}){{ width={width} height={height} }}"
    return f'[{image}]({path}){{ .figure title="Enlarge" }}'  # on a phone its letters are small


def folded(title: str, cells: list[str]) -> str:
    """The code of some cells, shown on a click."""
    code = fence("\n\n".join(cells), "python")
    return f'??? code "{title}"\n\n' + "\n".join(f"    {line}".rstrip() for line in code.split("\n"))


def escape(text: str) -> str:
    """Plain text that Markdown leaves alone, in one line."""
    return re.sub(r"([\\`*_{}\[\]<>$|!])", r"\\\1", " ".join(text.split()))


def result(text: str) -> str:
    """What a program printed, without colours and progress bars."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in ANSI.sub("", text).split("\n")]
    kept = "\n".join(line for line in lines if not PROGRESS.search(line)).strip("\n")
    return fence(kept, "text", "no-copy", "output") if kept.strip() else ""


def fence(text: str, *classes: str) -> str:
    """A fenced block, with more backticks than the text has in a row."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks} {{ {' '.join('.' + name for name in classes)} }}\n{text}\n{ticks}"
