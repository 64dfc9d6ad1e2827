"""A bar is where it does not look like an error, and leaves no trace in a notebook."""

import nbformat
import pytest
from nbclient import NotebookClient

from mmtutor.data.progress import tqdm

CELL = """
import time
from mmtutor.data.progress import tqdm
for _ in tqdm(range(3), "counting", disable=False):
    time.sleep(0.2)
print("done")
"""


def test_in_a_script_it_stays_on_stderr(capsys):
    assert list(tqdm(range(3), "counting", disable=False)) == [0, 1, 2]
    assert list(tqdm(range(3), disable=True)) == [0, 1, 2]
    with tqdm(total=5, initial=2, unit="step") as bar:
        bar.update(3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 2
    assert "counting: 100%" in err
    assert "5/5" in err


@pytest.mark.parametrize("hidden", [False, True])
def test_in_a_notebook_it_is_on_stdout_until_it_is_done(monkeypatch, hidden):
    if hidden:
        monkeypatch.setenv("TQDM_DISABLE", "1")
    else:
        monkeypatch.delenv("TQDM_DISABLE", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=ERROR"]).execute()
    outputs = notebook.cells[0].outputs
    assert {output.name for output in outputs} == {"stdout"}
    *before, last = "".join(output.text for output in outputs).split("\r")
    assert last == "done\n"
    assert any("counting" in part for part in before) == (not hidden)
