"""What MkDocs builds beyond the files in ``docs/``: chapters, the page of claims, the library's pages, MathJax.

A hook of MkDocs (see ``mkdocs.yml``). It only puts files and text where MkDocs expects them; the chapters are made by
`tools.pages`, the page of claims by `tools.verdicts`, tables of numbers by `tools.vae_map`, `tools.slides` and
`tools.photographs`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import mathjax
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # MkDocs loads this file by its path
from tools import pages, photographs, slides, terms, vae_map, verdicts
from tools.notebooks import read_source

MATHJAX = Path(mathjax.__file__).parent / "static" / "mathjax" / "es5"
MATHJAX_PARTS = ("tex-mml-chtml.js", "output/chtml/fonts/woff-v2/*.woff")
FENCE = re.compile(r"^(`{3,}).*?^\1`*[ \t]*$", re.MULTILINE | re.DOTALL)
# How much a word counts in the search, by the page that has it: a chapter teaches a term, other pages mention it; what
# all chapters speak of is explained in chapter 1, and what both chapters on the MFM speak of in chapter 8.
WEIGHTS = {
    "chapters/exercises/": 0.1,
    "chapters/01_": 3.0,
    "chapters/08_": 2.0,
    "chapters/": 1.0,
    "index.md": 1.0,
    "": 0.1,
}
HEADING = re.compile(r'<h\d id="mmtutor\.([\w.]+)" class="doc doc-heading">.*?</h\d>', re.DOTALL)
CHAPTER = re.compile(r"chapters/\d")
OBJECT = re.compile(r"(?<![\[`])`(mmtutor(?:\.\w+)+)`(?![\]`])")

_chapters: list[pages.Page] = []  # of the build that is going on
_exercises: list[pages.Page] = []


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Read the notebooks; fill in the sections of the navigation that are made here."""
    try:
        _chapters[:] = chapters(root(config) / "notebooks", github(config))
        sources = sorted((root(config) / "exercises").glob("[0-9]*.py"))
        _exercises[:] = [pages.exercises(read_source(path), path.stem) for path in sources]
    except ValueError as error:
        raise PluginError(str(error)) from error
    tasks = [f"chapters/exercises/{page.name}.md" for page in _exercises]
    made = {
        "Chapters": [*(f"chapters/{c.name}.md" for c in _chapters), *([{"Exercises": tasks}] if tasks else [])],
        "Library": ["api/index.md", *(f"api/{name}.md" for name, _ in modules(root(config) / "mmtutor"))],
    }
    filled = []
    for entry in config.nav or []:
        for section in made.keys() & entry if isinstance(entry, dict) else ():
            entry[section] = made[section]
        if entry != {"Chapters": []}:
            filled.append(entry)
    config.nav = filled
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files that are made at build."""
    made: dict[str, str | bytes | Path] = {}
    for chapter in _chapters:
        made[f"chapters/{chapter.name}.md"] = chapter.markdown
        made |= {f"chapters/{path}": data for path, data in chapter.files.items()}
        for name in (f"{chapter.name}.ipynb", f"{chapter.name}.py"):
            made[f"chapters/{name}"] = root(config) / "notebooks" / name
    made |= {f"results/{path.name}": path for path in results(config).glob("*.json")}
    for page in _exercises:
        made[f"chapters/exercises/{page.name}.md"] = page.markdown
        for kind in ("exercises", "solutions"):
            made[f"chapters/{kind}/{page.name}.ipynb"] = root(config) / "notebooks" / kind / f"{page.name}.ipynb"
    package = root(config) / "mmtutor"
    made |= {f"source/{path.relative_to(package).as_posix()}.txt": path for path in package.rglob("*.py")}
    library = dict(modules(package))
    for name in library:
        made[f"api/{name}.md"] = library_page(package, name)
    lines = [f"| [`mmtutor.{name}`]({name}.md) | {line} |" for name, line in library.items()]
    made["api/index.md"] = "\n".join(["# Library", "", "| module | what it is for |", "| --- | --- |", *lines, ""])
    made["assets/mathjax/LICENSE"] = MATHJAX.parent / "LICENSE"
    for part in MATHJAX_PARTS:
        made |= {f"assets/mathjax/{path.relative_to(MATHJAX).as_posix()}": path for path in MATHJAX.glob(part)}
    for uri, content in made.items():
        if isinstance(content, Path):
            files.append(File.generated(config, uri, abs_src_path=str(content)))
        else:
            files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, config: MkDocsConfig, **_: object) -> str:
    """Put chapters, their first figure and tables of numbers where a page asks; link objects to the library's pages."""
    markdown = markdown.replace("<!-- chapters -->", chapter_table()).replace("<!-- figure -->", first_figure())
    folder = results(config)
    for mark, table, where in (
        ("<!-- claims -->", verdicts.claims, folder),
        ("<!-- vae numbers -->", vae_map.vae_table, folder / "vae.json"),
        ("<!-- vae_long numbers -->", vae_map.vae_table, folder / "vae_long.json"),
        ("<!-- vae_world numbers -->", vae_map.vae_table, folder / "vae_world.json"),
        ("<!-- slides -->", slides.slides_table, folder),
        ("<!-- photographs -->", photographs.photographs_table, folder / "photographs.json"),
        ("<!-- photo_retrieval -->", photographs.retrieval_table, folder / "photo_retrieval.json"),
    ):
        if mark in markdown:
            try:
                markdown = markdown.replace(mark, table(where))
            except ValueError as error:
                raise PluginError(str(error)) from error
    if config.repo_url:
        markdown = markdown.replace("ADDRESS", config.repo_url)
    return link(markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Tell the search how much this page counts, unless its front matter does; link terms and the library's files."""
    weight = next(w for start, w in WEIGHTS.items() if page.file.src_uri.startswith(start))
    page.meta.setdefault("search", {"boost": weight})
    glossary = files.get_file_from_path("glossary.md")
    if CHAPTER.match(page.file.src_uri) and glossary:
        return terms.link(html, terms.terms(glossary.content_string), glossary.url_relative_to(page.file))
    return with_sources(html, root(config) / "mmtutor", github(config)) if page.file.src_uri[:4] == "api/" else html


def on_post_page(output: str, **_: object) -> str:
    """Keep Material from asking GitHub how many stars the repository has."""
    return output.replace(' data-md-component="source"', "")


def on_post_template(output_content: str, **_: object) -> str:
    """The same for the page that says that there is no such page."""
    return on_post_page(output_content)


def link(markdown: str) -> str:
    """Make `` `mmtutor.x.Y` `` a link where the library's pages have that object, outside fenced code."""
    tag = r'<autoref identifier="\1" optional><code>\1</code></autoref>'
    done, end = [], 0
    for block in FENCE.finditer(markdown):
        done += [OBJECT.sub(tag, markdown[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*done, OBJECT.sub(tag, markdown[end:])])


def with_sources(html: str, package: Path, github: str) -> str:
    """Put a link to its file below each module, class and function; on GitHub if it is there, else as plain text."""
    base = f"https://github.com/{github}/blob/main/mmtutor/{{}}" if github else "../../source/{}.txt"

    def linked(heading: re.Match[str]) -> str:
        path = source(package, heading[1])
        link = f'<p class="download" data-search-exclude>Source: <a href="{base.format(path)}">{path}</a></p>'
        return f"{heading[0]}\n{link}" if path else heading[0]

    return HEADING.sub(linked, html)


def source(package: Path, name: str) -> str:
    """The file of a public module, class or function, such as ``fusion.Concat``; nothing for the parts of a class."""
    module, _, rest = name.partition(".")
    if "." in rest:
        return ""
    init = package / module / "__init__.py"
    if not init.exists():
        return f"{module}.py"
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and rest in {alias.name for alias in node.names}:
            return f"{module}/{node.module.rpartition('.')[2]}.py"
    return f"{module}/__init__.py"


def chapters(folder: Path, github: str = "") -> list[pages.Page]:
    """The notebooks that have been run, in the order of their names."""
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    return [pages.page(nbformat.read(path, as_version=4), path.stem, github) for path in paths]


def chapter_table() -> str:
    """One line per chapter: title, first paragraph."""
    lines = [f"| [{c.title}](chapters/{c.name}.md) | {c.summary} |" for c in _chapters]
    return "\n".join(["| chapter | what it shows |", "| --- | --- |", *lines]) if lines else ""


def first_figure() -> str:
    """The first figure of the first chapter that has one."""
    for chapter in _chapters:
        for alt, path in chapter.figures[:1]:
            return f"![{pages.escape(alt)}](chapters/{path}){{ .hero }}"
    return ""


def modules(package: Path) -> Iterator[tuple[str, str]]:
    """Name and first line of each public module of the library."""
    for path in sorted(package.glob("*")):
        source = path / "__init__.py" if path.is_dir() else path
        if source.suffix == ".py" and source.exists() and not path.stem.startswith("_"):
            docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
            yield path.stem, docstring.partition("\n")[0]


def library_page(package: Path, name: str) -> str:
    """Markdown from which mkdocstrings makes the page of one module."""
    lines = ["---", f"title: mmtutor.{name}", "---", "", f"::: mmtutor.{name}"]
    init = package / name / "__init__.py"
    exported = re.findall(r'^ +"(\w+)",$', init.read_text(encoding="utf-8"), re.MULTILINE) if init.exists() else []
    for same in exported:  # a function named as its file: mkdocstrings sees the file only
        if (package / name / f"{same}.py").exists():
            lines += ["", f"::: mmtutor.{name}.{same}", "    options:", "      heading_level: 2"]
            lines += [f"      members: [{same}]"]
    return "\n".join([*lines, ""])


def results(config: MkDocsConfig) -> Path:
    """The folder of the stored results."""
    return root(config) / "mmtutor" / "results"


def github(config: MkDocsConfig) -> str:
    """``OWNER/REPOSITORY`` if the repository is on github.com, else nothing."""
    found = re.fullmatch(r"https://github\.com/([^/]+/[^/]+?)(?:\.git)?/?", config.repo_url or "")
    return found[1] if found else ""


def root(config: MkDocsConfig) -> Path:
    """The folder of ``mkdocs.yml``."""
    return Path(config.config_file_path).parent
