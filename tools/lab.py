"""Open JupyterLab on copies of the notebooks: ``python -m tools.lab``, with any options of JupyterLab.

The copies are in ``my-notebooks/``, which git ignores: a reader may run and change them, and ``git pull`` still works.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from ipykernel.ipkernel import IPythonKernel

from tools.exercises import UNPAIRED
from tools.notebooks import NOTEBOOKS, write

COPIES = NOTEBOOKS.parent / "my-notebooks"  # beside the originals, so that links lead to the same places


def copy(source: Path = NOTEBOOKS, target: Path = COPIES) -> None:
    """Copy each notebook that has no copy yet; what is there is the reader's."""
    for path in [*source.glob("*.ipynb"), *source.glob("[!.]*/*.ipynb")]:
        mine = target / path.relative_to(source)
        if not mine.exists():
            notebook = nbformat.read(path, as_version=4)
            # With this Python's own data JupyterLab has nothing to add, and does not mark the notebook as changed.
            notebook.metadata = nbformat.from_dict({**UNPAIRED, "language_info": IPythonKernel.language_info})
            mine.parent.mkdir(parents=True, exist_ok=True)
            write(notebook, mine)


if __name__ == "__main__":
    from jupyterlab.labapp import main

    copy()
    main([f"--LabApp.default_url=/lab/tree/{COPIES.name}", *sys.argv[1:]])
