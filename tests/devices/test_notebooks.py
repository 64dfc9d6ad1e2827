"""Every notebook runs on an accelerator that has no float64, and no model of it waits."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "scripts" / "notebook_on_device.py"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
CELLS = {
    "a CPU tensor meets a result": ('model(batch).argmax(1) == batch["label"]', "same device"),
    "NumPy reads a result": ("model(batch).detach().numpy()", "numpy"),
    "a cell makes float64": ("model(batch).double()", "float64"),
    "a loss waits": ("fit(Waits(encoders, 2, Concat([4])), data, epochs=3)", "Waits: a step waits 1 times"),
    "an index on the CPU": ("fit(Copies(encoders, 2, Concat([4])), data, epochs=3)", "Copies: a step waits 1 times"),
    "nothing": ('model(batch).argmax(1).cpu() == batch["label"]', "tiny: 0 fail"),
}
TINY = """# %%
import torch
from mmtutor.data import MultimodalDataset
from mmtutor.fusion import Concat, LateFusion
from mmtutor.training import fit

class Waits(LateFusion):
    def loss(self, batch):
        terms = super().loss(batch)
        return terms if terms["loss"].item() < 100 else {"loss": terms["loss"] / 2}

class Copies(LateFusion):
    def loss(self, batch):
        return {"loss": self(batch)[:, [1, 0]].square().mean()}

encoders = {"image": torch.nn.Linear(3, 4)}
data = MultimodalDataset({"image": torch.rand(20, 3), "label": torch.arange(20) % 2})
batch, model = data[:], LateFusion(encoders, 2, Concat([4]))
_ = fit(model, data, epochs=9)

# %%
_ = CELL
"""


def run(notebook, *options):
    command = [sys.executable, str(SCRIPT), str(notebook), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_an_accelerator(notebook):
    done = run(notebook, "--waits", "--no-float64")  # what runs without float64 runs with it
    assert not done.returncode, done.stdout + done.stderr[-500:]
    assert f"{notebook.stem}: 0 fail" in done.stdout


@pytest.mark.parametrize("name", CELLS)
def test_what_goes_wrong_is_named(name, tmp_path):
    cell, says = CELLS[name]
    (tmp_path / "tiny.py").write_text(TINY.replace("CELL", cell))
    done = run(tmp_path / "tiny.py", "--no-float64" if "float64" in name else "--waits")
    assert says in done.stdout, done.stdout + done.stderr
    assert done.returncode == (name != "nothing")
