"""A small chapter with one of everything, and the means to build the site around it in another folder."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
BAR = "\r 50%|##  | 1/2 [00:01<00:01]\r" + " " * 30 + "\r"  # one that was cleared
WIDE = " + ".join(f"{letter}_{{n}}" for letter in "abcdefghijklmnopqrstuvwxyz" * 2)
# What would widen a page if nothing held it: in the text, and in each kind of box.
WIDE_THINGS = f"""## {LONG} `{LONG}` $y = {WIDE}$

{LONG} in https://example.org/{LONG}, [{LONG}](99_sample.ipynb), `{LONG}.{LONG}`, **{LONG}** and $y = {WIDE}$.

$$y = {WIDE}$$

- {LONG}
    - `{LONG}` and $y = {WIDE}$

        ```text
        {LONG} steamboat {LONG}
        ```

> {LONG} with $y = {WIDE}$

!!! note "{LONG}"
    {LONG} with $y = {WIDE}$

    | {LONG} | `{LONG}` |
    | --- | --- |
    | {LONG} {LONG} | $y = {WIDE}$ |

???+ note "{LONG}"
    {LONG}

{LONG}
:   {LONG} with a footnote[^1]

[^1]: {LONG} with `{LONG}` and $y = {WIDE}$
"""


def sample_notebook() -> NotebookNode:
    """A notebook, as if it had been run, with one of everything that a chapter may hold."""
    image, sound = io.BytesIO(), io.BytesIO()
    figure, axis = plt.subplots(figsize=(8, 2))
    axis.plot([1, 2, 3])
    figure.savefig(image, format="png")
    plt.close(figure)
    with wave.open(sound, "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(bytes(range(256)) * 10)
    png, wav = (base64.b64encode(buffer.getvalue()).decode() for buffer in (image, sound))
    picture = new_output("display_data", {"image/png": png, "text/plain": "A line"})
    picture.metadata["image/png"] = {"alt": "A line that [rises] by $1 a *step*"}
    player = f'<figure><audio controls aria-label="A hum" src="data:audio/wav;base64,{wav}"></audio></figure>'
    text = (
        "# 99 · A sample of everything\n\nShort text with $x_1$.\n\n$$\\begin{aligned} p(z \\mid x) &= 1 \\\\ q &= 2 "
        "\\end{aligned}$$\n\nSee `mmtutor.training.fit`, `mmtutor.nothing.here` and [this](99_sample.ipynb#below)."
        "\n\n## Below"
    )
    outputs = [
        new_output("stream", name="stdout", text=f"\x1b[31mred\x1b[0m ```\n{BAR}after a bar\n"),
        new_output(
            "stream", name="stderr", text="fit:  50%|#####     | 1/2 [00:01<00:01]\rfit: 100%|#| 2/2 [00:02<00:00]\n"
        ),
        new_output("execute_result", {"text/html": "<table><tr><td>cell</td></tr></table>", "text/plain": "x"}),
        picture,
        new_output("display_data", {"text/html": player, "text/plain": "A hum"}),
        new_output("display_data", {"text/html": f'<p style="white-space: nowrap">{LONG}</p>'}),
    ]
    hidden = new_output("stream", name="stdout", text="this output is hidden\n")
    return new_notebook(
        cells=[
            new_markdown_cell(text),
            new_code_cell("shown_code = 1", outputs=outputs, execution_count=1),
            new_code_cell("secret_code = 2", execution_count=2, metadata={"tags": ["hide-input"]}),
            new_code_cell("plain = 3", outputs=[hidden], execution_count=3, metadata={"tags": ["hide-output"]}),
            new_markdown_cell(WIDE_THINGS),
        ]
    )


def site_copy(target: Path, *, whole: bool) -> Path:
    """What the site is built from, in another folder, with the sample chapter; `whole` takes all modules along."""
    shutil.copytree(ROOT / "docs", target / "docs")
    for name in ("mkdocs.yml", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, target)
    (target / "tools").symlink_to(ROOT / "tools")
    (target / "notebooks").mkdir()
    nbformat.write(sample_notebook(), target / "notebooks" / "99_sample.ipynb")
    (target / "notebooks" / "99_sample.py").write_text("# %%\n")
    if whole:
        (target / "mmtutor").symlink_to(ROOT / "mmtutor")
        for path in (ROOT / "notebooks").glob("*_*.*"):
            shutil.copy(path, target / "notebooks")
        (target / "exercises").symlink_to(ROOT / "exercises")
        for kind in ("exercises", "solutions"):
            shutil.copytree(ROOT / "notebooks" / kind, target / "notebooks" / kind)
    else:
        (target / "mmtutor").mkdir()
        (target / "mmtutor" / "__init__.py").write_text('"""Nothing."""\n')
    return target


def build(source: Path, repository: str = "", *, strict: bool = True) -> subprocess.CompletedProcess[str]:
    """Build the site as ``make site`` does, with the address of the repository if it is known."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", *["--strict"][:strict]],
        cwd=source,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1", "REPO_URL": repository},
        capture_output=True,
        text=True,
        check=False,
    )
