"""The site: what a notebook becomes, and gates that are broken on purpose to see them fail."""

from __future__ import annotations

import gzip
import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
import yaml
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from sample_site import build, sample_notebook, site_copy

from experiments import code, vae
from experiments.results import judged
from mmtutor.plotting.claims import row_id
from mmtutor.results import FOLDER
from tools import pages, site, vae_map, verdicts

LOADING = {"src", "srcset", "poster", "data", "action", "formaction", "background", "ping", "manifest"}
LINKS_THAT_ONLY_NAME = {"canonical", "license", "author", "next", "prev"}
OUTSIDE = re.compile(r"^\s*(?:https?:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]*)""", re.IGNORECASE)


class Loads(HTMLParser):
    """Collects what a browser would fetch from elsewhere to show a page; a link to click is not fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        values = {name: value or "" for name, value in attrs}
        fetched = [value for name, value in values.items() if name in LOADING]
        if (tag == "link" and values.get("rel", "") not in LINKS_THAT_ONLY_NAME) or tag in ("use", "image"):
            fetched += [values.get("href", ""), values.get("xlink:href", "")]
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            fetched.append(values.get("content", "").rpartition("=")[2])
        self.found += [f"<{tag}> {url}" for url in fetched if OUTSIDE.match(url)]
        self.found += [f"<{tag} style> {url}" for url in IN_STYLE.findall(values.get("style", ""))]

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            self.found += [f"<style> {url}" for url in IN_STYLE.findall(data)]
        if self.inside == "script":
            self.found += [f"<script> {url}" for url in re.findall(r"""["'`]((?:https?:)?//[\w.-]+)""", data)]

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def outside_loads(site: Path) -> list[str]:
    """Each thing that a page of the site would ask of a third party.

    The bundles of Material and MathJax name addresses that they never ask for here; test_browser watches them run.
    """
    found = []
    for path in site.rglob("*"):
        text = path.read_text(encoding="utf-8") if path.suffix in (".html", ".css", ".js", ".svg") else ""
        if path.suffix in (".html", ".svg"):
            parser = Loads()
            parser.feed(text)
            found += [f"{path.name}: {load}" for load in parser.found]
        elif path.suffix == ".css":
            found += [f"{path.name}: {url}" for url in IN_STYLE.findall(text)]
        elif not {"javascripts", "mathjax"} & set(path.parts):
            found += [f"{path.name}: {url}" for url in re.findall(r"""["'`]((?:https?:)?//[\w.-]+)""", text)]
    return found


def test_page_has_everything_a_reader_needs():
    made = pages.page(sample_notebook(), "99_sample")
    text = made.markdown
    assert (made.title, made.summary) == ("99 · A sample of everything", "Short text with $x_1$.")
    assert "````" in text
    assert "\x1b" not in text
    assert "red ```\nafter a bar\n" in text
    assert "%|" not in text
    assert "<table><tr><td>cell</td></tr></table>" in text
    assert "<audio controls" in text
    assert '??? code "Code that the next cells need"\n\n    ``` { .python }\n    secret_code = 2\n    ```' in text
    assert "this output is hidden" not in text
    assert "plain = 3" in text
    assert "(99_sample.md#below)" in text
    assert "[notebook](99_sample.ipynb)" in text
    assert list(made.files) == ["99_sample/figure-1.png", "99_sample/part-2.wav"]
    assert made.files["99_sample/figure-1.png"].startswith(b"\x89PNG")
    assert made.files["99_sample/part-2.wav"].startswith(b"RIFF")
    assert (text.count('src="part-2.wav"'), text.count("base64")) == (1, 0)


def test_a_frame_of_a_figure_to_move_is_a_file_that_a_tap_enlarges():
    notebook = sample_notebook()
    data = notebook.cells[1].outputs[4].data
    picture = "A" * 1000
    data["text/html"] = f'<img alt="one" src="data:image/webp;base64,{picture}"><img src="data:image/webp;base64,AAAA">'
    made = pages.page(notebook, "99_sample")
    assert '<a href="part-2.webp" title="Enlarge"><img alt="one" src="part-2.webp"></a><img src="data:' in made.markdown
    assert len(made.files["99_sample/part-2.webp"]) == 750


def test_page_shows_an_error_without_the_paths_of_the_machine():
    notebook = sample_notebook()
    notebook.cells[1].outputs = [
        nbformat.v4.new_output("error", ename="ValueError", evalue="bad", traceback=["/home/me/x.py"])
    ]
    text = pages.page(notebook, "99_sample").markdown
    assert "ValueError: bad" in text
    assert "/home/me" not in text


def test_gate_figure_without_alternative_text(tmp_path: Path):
    notebook = sample_notebook()
    del notebook.cells[1].outputs[3].metadata["image/png"]
    with pytest.raises(ValueError, match=r"99_sample, cell 2: a figure without alternative text"):
        pages.page(notebook, "99_sample")
    source = site_copy(tmp_path, whole=False)
    nbformat.write(notebook, source / "notebooks" / "99_sample.ipynb")
    done = build(source)
    assert done.returncode != 0
    assert "a figure without alternative text" in done.stderr


def test_gate_sound_without_alternative_text():
    notebook = sample_notebook()
    sound = notebook.cells[1].outputs[4].data
    sound["text/html"] = sound["text/html"].replace("aria-label", "title")
    with pytest.raises(ValueError, match="a sound without alternative text"):
        pages.page(notebook, "99_sample")


def test_gate_notebook_without_title():
    notebook = sample_notebook()
    notebook.cells.pop(0)
    with pytest.raises(ValueError, match="# Title"):
        pages.page(notebook, "99_sample")


@pytest.mark.parametrize(
    "title", ["A sample", "98 · A sample", "099 · A sample", "99. A sample", "99: A sample", "99 ·A"]
)
def test_gate_title_without_the_number_of_the_chapter(title: str):
    notebook = sample_notebook()
    notebook.cells[0].source = f"# {title}\n\nText."
    with pytest.raises(ValueError, match="99_sample: the title must begin with its number, '# 99 · …'"):
        pages.page(notebook, "99_sample")
    notebook.cells[0].source = "# 7 · A sample\n\nText."
    assert pages.page(notebook, "07_sample").title == "7 · A sample"


def test_gate_link_to_nowhere(tmp_path: Path):
    source = site_copy(tmp_path, whole=False)
    with (source / "docs" / "about.md").open("a") as file:
        file.write("\n[a](nowhere.md) [b](index.md#no-heading) [c][mmtutor.no_object] ![d](no.png)\n")
    done = build(source)  # as it is, it builds: see the fixture built_site
    assert done.returncode != 0
    for name in ("nowhere.md", "#no-heading", "mmtutor.no_object", "no.png"):
        assert name in done.stderr


def test_site_asks_nobody_else(built_site: Path):
    assert outside_loads(built_site) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.html", '<img src="https://example.org/x.png">'),
        ("a.html", '<script src="//example.org/x.js"></script>'),
        ("a.html", '<link rel="stylesheet" href="https://example.org/x.css">'),
        ("a.html", '<p style="background: url(https://example.org/x.png)">'),
        ("a.html", '<script>fetch("https://example.org/")</script>'),
        ("a.css", '@import "https://example.org/x.css";'),
        ("a.css", "p { background: url('//example.org/x.png') }"),
        ("a.js", 'import("https://example.org/x.js")'),
    ],
)
def test_gate_page_that_asks_a_third_party(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text('<a href="https://example.org">a link is fine</a>' if name == "a.html" else "")
    assert outside_loads(tmp_path) == []
    with (tmp_path / name).open("a") as file:
        file.write(content)
    assert len(outside_loads(tmp_path)) == 1


def test_pages_are_small_and_well_formed(built_site: Path):
    for path in built_site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        claims = len(re.findall(r'<tr id="[a-z_]+-[0-9a-f]{8}"', text))  # the page of claims has all of them
        assert len(gzip.compress(text.encode())) < max(46_000, 140 * claims), f"{path}: too much to send"
        assert not re.search(r"<p>[^<]*\n(?:[-*]|\d+\.) ", text), f"{path}: a list needs a blank line before it"
        assert "<p>====" not in text, f"{path}: indent a table of a docstring by four spaces"
        assert not re.search("/tmp/|ipykernel_", text), f"{path}: the path of a machine"


def test_objects_of_the_library_are_linked_and_others_are_not(built_site: Path):
    text = (built_site / "chapters" / "99_sample" / "index.html").read_text()
    assert re.search(r'<a [^>]*href="../../api/training/#mmtutor\.training[^"]*fit"', text)
    assert "<code>mmtutor.nothing.here</code>" in text
    assert "nothing.here</code></a>" not in text


# ---- the address of the repository


def test_where_the_address_is_known_the_site_leads_to_the_code(tmp_path: Path):
    source = site_copy(tmp_path, whole=False)
    done = build(source, "https://github.com/owner/repo", strict=False)  # it lacks chapters that pages link to
    assert done.returncode == 0, done.stderr
    chapter = (source / "site/chapters/99_sample/index.html").read_text()
    assert "https://colab.research.google.com/github/owner/repo/blob/main/notebooks/99_sample.ipynb" in chapter
    assert "https://github.com/owner/repo/blob/main/notebooks/99_sample.py" in chapter
    assert "mmtutor @ git+https://github.com/owner/repo" in html.unescape(
        re.sub("<[^>]*>", "", (source / "site/devices/index.html").read_text())
    )
    assert len([*source.glob("site/**/*.html")]) > 10
    for path in source.glob("site/**/*.html"):
        text = path.read_text()
        assert '<a href="https://github.com/owner/repo" title="Go to repository" class="md-source"' in text
        assert 'data-md-component="source"' not in text, f"{path} would ask GitHub for a number of stars"
        assert "/edit/" not in text  # most pages have no file of their own


def test_where_it_is_not_the_site_has_the_code_itself(built_site: Path):
    assert "colab.research" not in (built_site / "chapters/99_sample/index.html").read_text()
    assert "md-source" not in (built_site / "index.html").read_text()
    text = (built_site / "api/fusion/index.html").read_text()
    mark = '<p class="download" data-search-exclude>Source: <a'
    link = rf'id="mmtutor\.fusion\.LateFusion"(?:(?!<h\d).)*{mark} href="([^"]+)"'
    assert re.search(link, text, re.DOTALL)[1] == "../../source/fusion/models.py.txt"  # type: ignore[index]
    for path in built_site.glob("api/*/index.html"):
        links = re.findall(r'"(\.\./\.\./source/[^"]+)"', path.read_text())
        assert [link for link in links if not (path.parent / link).is_file()] == []
        assert links
    index = json.loads((built_site / "search/search_index.json").read_text())
    assert not [entry for entry in index["docs"] if "encoders/" in entry["location"] and "encoders.py" in entry["text"]]


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://github.com/owner/repo", "owner/repo"),
        ("https://github.com/owner/repo.git", "owner/repo"),
        ("https://github.com/owner/repo.js/", "owner/repo.js"),
        ("https://gitlab.com/owner/repo", ""),
        ("https://github.com/owner", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_only_github_has_links_to_files(address: str | None, found: str):
    assert site.github(SimpleNamespace(repo_url=address)) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("fusion", "fusion/__init__.py"),
        ("fusion.LateFusion", "fusion/models.py"),
        ("fusion.LateFusion.loss", ""),
        ("data.digits", "data/compose.py"),
        ("encoders", "encoders.py"),
        ("encoders.ImageEncoder", "encoders.py"),
        ("exercises.check", "exercises/__init__.py"),
    ],
)
def test_an_object_is_linked_to_the_file_that_defines_it(name: str, path: str):
    package = Path(site.__file__).parents[1] / "mmtutor"
    assert site.source(package, name) == path
    heading = f'<h2 id="mmtutor.{name}" class="doc doc-heading">\n x\n</h2>'
    link = f'<a href="https://github.com/owner/repo/blob/main/mmtutor/{path}">{path}</a>'
    assert (link in site.with_sources(heading, package, "owner/repo")) == bool(path)


def test_the_two_citations_agree():
    root = Path(site.__file__).parents[1]
    cff = yaml.safe_load((root / "CITATION.cff").read_text())
    fields = re.findall(r"^  (\w+) = \{+(.+?)\}+,?$", (root / "docs/about.md").read_text(), re.MULTILINE)
    [author] = cff["authors"]
    assert dict(fields) == {
        **{name: str(cff[name]) for name in ("title", "version", "license")}, "author": author["name"],
    }  # fmt: skip
    assert cff["version"] == version("mmtutor")


def result_file(**changes: object) -> str:
    values = {"late": [0.9, 0.92, 0.91], "early": [0.8, 0.83, 0.82]}
    row = {
        "claim": "late < early", "source": "a paper", "unit": "accuracy", "values": values,
        "larger": "late", "smaller": "early", "margin": 0.0,
        "found": 0.905,
    }  # fmt: skip
    [row] = judged([row])
    content = {"what": "Fusion.", "date": "2026-01-01", "device": "a CPU", "versions": {"torch": "2"}}
    content |= {"settings": {"epochs": 3, "range": [1, 2]}, "seeds": [0, 1, 2], "seconds": 200.0}
    content["code"] = code.digests("fusion")
    return json.dumps(content | {"rows": [row | changes]})


def test_claims(tmp_path: Path):
    p_value = json.loads(result_file())["rows"][0]["p, corrected"]
    assert "Nothing has been measured yet" in verdicts.claims(tmp_path)
    (tmp_path / "fusion.json").write_text(result_file())
    text = verdicts.claims(tmp_path)
    assert "<summary>Chapter 2 · Fusion<small>1 holds, 0 are undecided, 0 do not hold</small>" in text
    assert "1 claims are from papers: of these 1 holds, 0 are undecided, 0 do not hold. 0 are what we expected" in text
    assert 'href="../chapters/02_fusion/"' in text
    assert "epochs: 3; range: 1 to 2" in text
    assert "3 minutes" in text
    assert "late 0.910\u00a0±\u00a00.010" in text
    assert "+0.093" in text
    assert "<b>✓</b> holds" in text
    assert "late &lt; early <small>(a paper)</small>" in text
    assert re.search('<tr id="fusion-[0-9a-f]{8}" data-verdict="holds" data-from="paper">', text)
    assert f"<small>p {p_value:.3f}</small>" in text
    assert "found it: 2 and 0 of 3 runs" in text
    assert "found: above 0.905; McNemar’s exact test: p 0.500" in text
    assert "older code" not in text


def test_claims_say_which_code_has_changed_since_and_what_an_interval_alone_would_say(tmp_path: Path):
    content = json.loads(result_file())
    modules = [*content["code"]]
    for names, said in (
        (modules[:1], f"<code>{modules[0]}</code> changed since"),
        (modules[:4], "4 modules changed since"),
    ):
        old = content | {"code": content["code"] | dict.fromkeys(names, "0")}
        (tmp_path / "fusion.json").write_text(json.dumps(old))
        assert f"with older code ({said})" in verdicts.claims(tmp_path)
    [row] = content["rows"]
    nothing = row | {"values": {"late": [1.0, 1.1, 0.9], "early": [1.1, 1.0, 0.9]}, "source": "ours"}
    rows = judged([row, *[nothing] * 99])  # one row in a hundred: its own interval is not enough
    (tmp_path / "fusion.json").write_text(json.dumps(content | {"rows": rows}))
    text = verdicts.claims(tmp_path)
    assert "<b>–</b> undecided<br><small>its interval alone: holds</small>" in text
    assert "1 claims are from papers: of these 0 hold, 1 is undecided, 0 do not hold. 99 are what we expected" in text
    assert "of these 0 hold, 99 are undecided, 0 do not hold" in text


def test_a_row_leaves_out_what_is_the_same_in_all_seeds(tmp_path: Path):
    content = json.loads(result_file())
    [row] = content["rows"]
    values = row["values"] | {"early": [0.5] * 3}
    (tmp_path / "fusion.json").write_text(json.dumps(content | {"rows": judged([row | {"values": values}])}))
    text = verdicts.claims(tmp_path)
    assert "late 0.910" in text
    assert "early 0.500" not in text


def test_every_experiment_has_its_chapter_and_every_claim_its_own_name():
    root = Path(verdicts.__file__).parents[1]
    names = {path.stem for path in root.glob("experiments/*.py") if "\nCLAIMS = [" in path.read_text()}
    assert names == verdicts.CHAPTERS.keys()
    assert all((root / f"notebooks/{chapter}.py").exists() for chapter in verdicts.CHAPTERS.values())
    for name in names:
        rows = [{"claim": claim.claim} for claim in import_module(f"experiments.{name}").CLAIMS]
        assert len({row_id({"experiment": name}, row) for row in rows}) == len(rows)
        assert not [row["claim"] for row in rows if row["claim"].startswith("…")]  # each must be clear alone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "undecided"}, "its numbers give holds"),
        ({"interval alone": "undecided"}, "its numbers give holds"),
        ({"p": 0.2}, "its numbers give holds"),
        ({"p, corrected": 0.001}, "its numbers give holds"),
        ({"difference": [0.5, 0.4, 0.6]}, "its numbers give holds"),
        ({"margin": 0.09}, "its numbers give undecided"),
        ({"larger": "nobody"}, "KeyError"),
        ({"values": {"late": [1.0], "early": [0.5]}}, "one value for each of 3 seeds"),
    ],
)
def test_gate_verdict_that_its_numbers_do_not_give(tmp_path: Path, changes: dict[str, object], message: str):
    (tmp_path / "fusion.json").write_text(result_file(**changes))
    with pytest.raises(ValueError, match=message):
        verdicts.claims(tmp_path)


# ---- the table on the map of multimodal VAEs


def vae_file(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    """Three seeds; the n-th model's number in the k-th column is n + k/10, one hundredth less and more."""
    models = vae_map.MODELS
    names = (
        "coherence, one modality given: {}",
        "coherence, two modalities given: {}",
        "coherence, from the prior: {}",
    )
    names += ("FD from the word: {}", "FD from the prior: {}", "log-likelihood: {}")
    numbers = {
        str(seed): {
            name.format(model): (-1000 if "like" in name else 1) * (n + k / 10 + (seed - 1) / 100)
            for n, model in enumerate(models)
            for k, name in enumerate(names)
        }
        for seed in range(3)
    }
    content = {"date": "2026-01-02", "device": "a CPU", "seeds": [0, 1, 2], "numbers": numbers}
    change(content)
    path = folder / "vae.json"
    path.write_text(json.dumps(content))
    return path


def test_vae_table_has_each_figure_in_its_place(tmp_path: Path):
    head, rule, *rows, empty, measured = vae_map.vae_table(vae_file(tmp_path)).split("\n")
    columns = "one modality given | two modalities given | from the prior | FD from the word | FD from the prior"
    assert head == f"| model | {columns} | log-likelihood |"
    assert rule == "|" + " --- |" * 7
    assert [row.split(" | ")[0] for row in rows] == [f"| {model}" for model in vae_map.MODELS]
    assert (*vae.JOINT, "Coordinated", "Coordinated, cross") == vae_map.MODELS
    for n, row in enumerate(rows):
        shown = row.removesuffix(" |").split(" | ")[1:]
        expected = [f"{n + k / 10:.3f}\u00a0±\u00a00.010" for k in range(5)]
        assert shown == [*expected, f"−{1000 * (n + 0.5):.1f}\u00a0±\u00a010.0"]
    assert empty == ""
    assert "Mean ± standard deviation over 3 seeds, measured on 2026-01-02 on a CPU." in measured


def drop(seed: str, name: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["numbers"][seed].pop(name)


def put(value: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["numbers"]["1"].update({"log-likelihood: MoPoE": value})


def lose(word: str) -> Callable[[dict[str, Any]], object]:
    def change(content: dict[str, Any]) -> None:
        content["numbers"] = {
            seed: {name: value for name, value in numbers.items() if word not in name}
            for seed, numbers in content["numbers"].items()
        }

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("numbers"), "KeyError 'numbers'"),
        (lambda content: content.pop("date"), "KeyError 'date'"),
        (lambda content: content.pop("device"), "KeyError 'device'"),
        (lambda content: content.pop("seeds"), "KeyError 'seeds'"),
        (lambda content: content.update(numbers=[0, 1, 2]), "AttributeError"),
        (lambda content: content.update(seeds=[0, 1]), "numbers are of seeds 0, 1, 2"),
        (lambda content: content.update(seeds=[0], numbers={"0": content["numbers"]["0"]}), "StatisticsError"),
        (drop("2", "FD from the word: MVAE"), "'FD from the word: MVAE' needs a finite number for each of 3 seeds"),
        (put(float("nan")), "'log-likelihood: MoPoE' needs a finite number"),
        (put(float("inf")), "'log-likelihood: MoPoE' needs a finite number"),
        (put("high"), "TypeError"),
        (put(None), "TypeError"),
        (lose("FD from the prior"), "no model has a number 'FD from the prior'"),
    ],
)
def test_gate_vae_table_that_its_file_does_not_give(tmp_path: Path, change: Any, message: str):
    with pytest.raises(ValueError, match=rf"vae\.json: .*({message})"):
        vae_map.vae_table(vae_file(tmp_path, change))


def test_a_model_without_a_number_has_a_dash_and_one_without_any_no_row(tmp_path: Path):
    text = vae_map.vae_table(vae_file(tmp_path, lose(": MMVAE+")))
    assert "MMVAE+" not in text
    text = vae_map.vae_table(vae_file(tmp_path, lose("likelihood: MMVAE+")))
    assert text.count("–") == 2  # that, and what a dash means


def test_the_table_of_the_worlds_has_shared_and_private_posteriors(tmp_path: Path):
    names = {"MVAE, one modality": 0.1, "MVAE, all modalities": 0.2, "MVAE, width": 0.3}
    names |= {"apart: DMVAE, z of one modality": 0.4, "apart: DMVAE, z of all modalities": 0.5}
    names |= {"apart: DMVAE, width of z": 0.6, "apart: DMVAE, w": 0.7}
    content = {"date": "2026-01-02", "device": "a CPU", "seeds": [0, 1], "numbers": {"0": names, "1": names}}
    path = tmp_path / "vae_world.json"
    path.write_text(json.dumps(content))
    head, _, first, second, *_ = vae_map.vae_table(path).split("\n")
    assert head == "| model | one modality | all modalities | width | private |"
    assert [cell.split("\u00a0")[0] for cell in first.split(" | ")] == ["| MVAE", "0.100", "0.200", "0.300", "– |"]
    assert [cell.split("\u00a0")[0] for cell in second.split(" | ")][1:] == ["0.400", "0.500", "0.600", "0.700"]


def test_a_page_asks_for_the_vae_table(tmp_path: Path):
    (tmp_path / "mmtutor/results").mkdir(parents=True)
    config: Any = SimpleNamespace(config_file_path=str(tmp_path / "mkdocs.yml"), repo_url="")
    page = "before\n\n<!-- vae numbers -->\n\nafter"
    assert site.on_page_markdown(page, config=config) == "before\n\nNothing has been measured yet.\n\nafter"
    path = vae_file(tmp_path / "mmtutor/results")
    assert site.on_page_markdown(page, config=config) == f"before\n\n{vae_map.vae_table(path)}\n\nafter"
    path.write_text("{")
    assert site.on_page_markdown("another page", config=config) == "another page"
    with pytest.raises(PluginError, match=r"vae\.json: JSONDecodeError"):
        site.on_page_markdown(page, config=config)


def test_a_page_says_how_much_it_counts_in_the_search(built_site: Path):
    index = json.loads((built_site / "search" / "search_index.json").read_text())
    boost = {entry["location"].partition("#")[0]: entry["boost"] for entry in index["docs"]}
    assert boost["chapters/01_digit_world/"] > boost["chapters/99_sample/"] == boost[""] > boost["api/training/"]
    page: Any = SimpleNamespace(file=SimpleNamespace(src_uri="about.md"), meta={"search": {"exclude": True}})
    assert site.on_page_content("text", page, SimpleNamespace(), Files([])) == "text"  # type: ignore[arg-type]
    assert page.meta == {"search": {"exclude": True}}  # a page's own word stands


def test_the_home_page_lists_each_chapter_by_its_title(built_site: Path):
    text = html.unescape((built_site / "index.html").read_text())
    for path in (built_site / "chapters").glob("*.ipynb"):
        title = pages.page(nbformat.read(path, as_version=4), path.stem).title
        assert f'<a href="chapters/{path.stem}/">{title}</a>' in text


def test_the_map_is_on_the_site(built_site: Path):
    text = (built_site / "map" / "index.html").read_text()
    assert "vae numbers" not in text
    assert text.count("<th>one modality given</th>") == 2  # after 1,000 steps and after 3,000
    assert "<th>one modality</th>" in text  # in the worlds
    assert 'href="map/"' in (built_site / "index.html").read_text()


NOTEBOOKS = sorted((Path(pages.__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_all_code_of_a_chapter_is_on_its_page(path: Path):
    """So no name on the page is undefined, and whoever copies from it can run it."""
    notebook = nbformat.read(path, as_version=4)
    lines = [line.strip() for line in pages.page(notebook, path.stem).markdown.split("\n")]
    code = [line.strip() for cell in notebook.cells if cell.cell_type == "code" for line in cell.source.split("\n")]
    left = iter(lines)
    assert all(line in left for line in code)  # in this order
    hidden = [cell for cell in notebook.cells if "hide-input" in cell.metadata.get("tags", ())]
    assert 0 < sum(line.startswith('??? code "') for line in lines) <= len(hidden)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_chapter_lead_somewhere_in_a_clone_and_on_the_site(path: Path):
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("https://") or (path.parent / link).is_file(), link
    claims = verdicts.claims(FOLDER)
    for row in re.findall(r"claims/#([\w-]+)", pages.page(notebook, path.stem).markdown):
        assert f'<tr id="{row}"' in claims
