"""Run the notebooks and check them.

The ``.py`` file of a pair is the source; the ``.ipynb`` is made from it and keeps what it printed::

    python -m tools.notebooks run [NAME ...]      run, and store the outputs
    python -m tools.notebooks check [NAME ...]    in step, run from top to bottom, short enough?
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from tqdm import tqdm

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
MAX_WORDS, MAX_CODE_LINES, MAX_CELL_LINES = 2200, 220, 15
CELL_TIMEOUT = 600  # seconds
BAR = re.compile(r"\d+%\|.*\||\d+ ?[a-zA-Z]+ \[\d\d:\d\d")  # a line of a progress bar
METADATA = {
    # Read by Jupyter: saving the notebook there writes the .py file as well.
    "jupytext": {
        "cell_metadata_filter": "tags,-all",
        "formats": "ipynb,py:percent",
        "notebook_metadata_filter": "-all",
    },
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read_source(path: Path) -> NotebookNode:
    """Read a percent-format ``.py`` file as a notebook without outputs.

    A cell's id is made from its source, so that running again changes no id.
    """
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        key = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        cell.id = f"{key}-{seen[key]}" if seen[key] else key
        seen[key] += 1
        if "hide-input" in cell.metadata.get("tags", ()):
            folded = {"jupyter": {"source_hidden": True}}  # in JupyterLab, as on the site
            cell.metadata = nbformat.from_dict({**folded, **cell.metadata})  # in the order in which JupyterLab saves
    return notebook


def run(source: Path) -> Path:
    """Run a ``.py`` file from top to bottom and write its ``.ipynb`` beside it.

    Raises:
        CellExecutionError: a cell failed; the stored notebook is left as it was.
    """
    notebook = read_source(source)
    execute(notebook, source.stem, source.parent)
    notebook.metadata = nbformat.from_dict(METADATA)  # without the version of this Python
    target = source.with_suffix(".ipynb")
    write(notebook, target)
    return target


def execute(notebook: NotebookNode, name: str, folder: Path) -> None:
    """Run a notebook from top to bottom, in place, in the small budget.

    Raises:
        CellExecutionError: a cell failed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MMTUTOR_BUDGET", "quick")
    os.environ.setdefault("TQDM_DISABLE", "1")  # whether a bar shows depends on the machine's speed
    with tqdm(total=len(notebook.cells), desc=name, unit="cell") as bar:
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": str(folder)}},
            on_cell_start=lambda cell, cell_index: bar.update(cell_index - bar.n),
        )
        client.execute()
        bar.update(bar.total - bar.n)
    for cell in notebook.cells:
        if cell.cell_type == "code":  # a bar that was cleared leaves blanks
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr" or output.text.strip()]


def write(notebook: NotebookNode, target: Path) -> None:
    """Write a notebook so that a kill at any moment leaves the old file or the new one, never half of one."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        nbformat.write(notebook, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def check(source: Path) -> list[str]:
    """What is wrong with one pair, one sentence per fault; an empty list if nothing is."""
    stored = source.with_suffix(".ipynb")
    missing = [path.name for path in (source, stored) if not path.exists()]
    if missing:
        return [f"{missing[0]} is missing: make it with 'python -m tools.notebooks run {source.stem}'"]
    wanted = read_source(source)
    notebook = nbformat.read(stored, as_version=4)
    faults = sizes(wanted)
    if [content(cell) for cell in wanted.cells] != [content(cell) for cell in notebook.cells]:
        faults.append(f"{source.name} and {stored.name} are out of step: run it again")
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source]
    if counts != list(range(1, len(counts) + 1)):
        faults.append(f"{stored.name} was not run from top to bottom: execution counts {counts}")
    if METADATA["jupytext"]["formats"] != notebook.metadata.get("jupytext", {}).get("formats"):
        faults.append(f"{stored.name} does not say that it is one of a pair: run it again")
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            loud = [line for line in output.get("text", "").splitlines() if line.strip() and not BAR.search(line)]
            if output.get("name") == "stderr" and loud:
                faults.append(f"{stored.name} has a cell that warns: {loud[0].strip()!r}")
    return [f"{source.stem}: {fault}" for fault in faults]


def content(cell: NotebookNode) -> tuple[str, str, tuple[str, ...], bool]:
    """What the two files of a pair must agree on: type, source and tags of a cell, and whether its source is folded."""
    hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
    return cell.cell_type, cell.source.strip("\n"), tuple(cell.metadata.get("tags", ())), hidden


def sizes(notebook: NotebookNode) -> list[str]:
    """Where a notebook is longer than one sitting; folded code is not counted."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    faults = [
        f"a cell has {n} lines of code, more than {MAX_CELL_LINES}: {cell.source.splitlines()[0]!r}"
        for n, cell in zip(lines, code, strict=True)
        if n > MAX_CELL_LINES
    ]
    seen = [n for n, cell in zip(lines, code, strict=True) if "hide-input" not in cell.metadata.get("tags", ())]
    if sum(seen) > MAX_CODE_LINES:
        faults.append(f"{sum(seen)} lines of code that are not folded, more than {MAX_CODE_LINES}")
    if (n := words(text)) > MAX_WORDS:
        faults.append(f"{n} words, more than {MAX_WORDS}")
    return faults


def words(text: str) -> int:
    """Count the words of Markdown text; a formula counts as one word, a link's address as none."""
    text = re.sub(r"\$\$.+?\$\$|\$[^$\n]+\$", " formula ", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "] ", text)
    return sum(any(char.isalnum() for char in word) for word in text.split())


def select(names: Sequence[str], folder: Path = NOTEBOOKS) -> list[Path]:
    """The ``.py`` paths of the named notebooks, in order; of all of them if none is named.

    Raises:
        ValueError: there is no notebook of that name.
    """
    known = sorted({path.stem for kind in ("*.py", "*.ipynb") for path in folder.glob(kind)})
    chosen = [Path(name).stem for name in names] or known
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ValueError(f"no notebook named {unknown[0]!r} in {folder}; there are: {', '.join(known)}")
    return [folder / f"{name}.py" for name in chosen]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description="Run or check the notebooks.")
    parser.add_argument("command", choices=["run", "check"])
    parser.add_argument("names", nargs="*", help="such as 01_digit_world; all if none is given")
    parser.add_argument("--folder", type=Path, default=NOTEBOOKS, help="where the pairs are")
    args = parser.parse_args(argv)
    faults = []
    try:
        for source in select(args.names, args.folder.resolve()):
            if args.command == "run":
                run(source)
            faults += check(source)
    except (ValueError, CellExecutionError) as error:
        faults.append(str(error))
    print("\n".join(faults) or "all notebooks are in step")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
