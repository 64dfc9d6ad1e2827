"""Make the notebooks of exercises: one for students, and one with solutions, both from one source in ``exercises/``.

A cell of the source that is tagged ``starter`` is only in the student's notebook, one tagged ``solution`` only in the
teacher's. Cells tagged ``right`` and ``wrong`` are further answers for the tests; the first line of a wrong one is what
`mmtutor.exercises.check` says of it::

    python -m tools.exercises make [NAME ...]      write both, and run them
    python -m tools.exercises check [NAME ...]     are they in step with their source?
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tools.notebooks import METADATA, NOTEBOOKS, content, execute, read_source, select, write

SOURCES = NOTEBOOKS.parent / "exercises"
LEFT_OUT = {"exercises": {"solution", "right", "wrong"}, "solutions": {"starter", "right", "wrong"}}
UNPAIRED = {key: value for key, value in METADATA.items() if key != "jupytext"}  # there is no .py file beside it


def notebook_of(source: Path, kind: str) -> NotebookNode:
    """The notebook without outputs.

    Args:
        source: a percent-format ``.py`` file.
        kind: ``exercises``, the student's, or ``solutions``, the teacher's.
    """
    notebook = read_source(source)
    notebook.metadata = nbformat.from_dict(UNPAIRED)
    notebook.cells = [c for c in notebook.cells if not LEFT_OUT[kind] & set(c.metadata.get("tags", ()))]
    return notebook


def make(source: Path, folder: Path) -> None:
    """Write both notebooks below a folder, with what they print.

    Raises:
        CellExecutionError: a cell failed; what was stored is left as it was.
    """
    for kind in LEFT_OUT:
        notebook = notebook_of(source, kind)
        (folder / kind).mkdir(exist_ok=True)
        execute(notebook, f"{kind}/{source.stem}", folder / kind)
        notebook.metadata = nbformat.from_dict(UNPAIRED)
        write(notebook, folder / kind / f"{source.stem}.ipynb")


def check(source: Path, folder: Path) -> list[str]:
    """What is wrong with the notebooks of a source, one sentence per fault."""
    faults = []
    for kind in LEFT_OUT:
        path = folder / kind / f"{source.stem}.ipynb"
        stored = nbformat.read(path, as_version=4).cells if path.exists() else []
        if [*map(content, stored)] != [*map(content, notebook_of(source, kind).cells)]:
            faults.append(f"{kind}/{path.name} is not that of {source.name}: run 'python -m tools.exercises make'")
    return faults


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m tools.exercises", description="Make or check the exercises.")
    parser.add_argument("command", choices=["make", "check"])
    parser.add_argument("names", nargs="*", help="such as 01_digit_world; all if none is given")
    args = parser.parse_args(argv)
    faults = []
    try:
        for source in select(args.names, SOURCES):
            if args.command == "make":
                make(source, NOTEBOOKS)
            faults += check(source, NOTEBOOKS)
    except (ValueError, CellExecutionError) as error:
        faults.append(str(error))
    print("\n".join(faults) or "all exercises are in step")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
