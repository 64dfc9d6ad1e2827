"""The folder is copied without the package around it, and every model trains there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in "mmtutor matplotlib scipy sklearn accelerate safetensors pooch PIL".split():
            raise ImportError(f"{name} is not here: this folder must stand alone")
sys.meta_path.insert(0, Refuse())
"""
TRAIN = """
import torch
from torch import nn
from lineargaussian import LinearGaussian
from vae import DMVAE, JMVAE, MMVAE, MVAE, MVTCAE, TELBO, Coordinated, MMVAEPlus, MoPoE, gaussian

world = LinearGaussian.random({"a": 3, "b": 4}, latent=2, noise=0.5, seed=1)
batch = world.sample(64, seed=2)[1]

class Joint(nn.Linear):
    def forward(self, batch):
        return super().forward(torch.cat([batch["a"], batch["b"]], 1))

def networks(private=0):
    encoders = {"a": nn.Linear(3, 4 + 2 * private).double(), "b": nn.Linear(4, 4 + 2 * private).double()}
    decoders = {"a": nn.Linear(2 + private, 3).double(), "b": nn.Linear(2 + private, 4).double()}
    return encoders, decoders, {"a": gaussian(0.5), "b": gaussian(0.5)}, 2

makers = [
    lambda: Coordinated(*networks(), cross_weight=0.5), lambda: JMVAE(Joint(7, 4).double(), *networks()),
    lambda: TELBO(Joint(7, 4).double(), *networks()), lambda: MVAE(*networks()), lambda: MMVAE(*networks(), k=2),
    lambda: MMVAE(*networks(), k=2, objective="dreg"), lambda: MoPoE(*networks()), lambda: MVTCAE(*networks()),
    lambda: MMVAEPlus(*networks(1), 1, k=2), lambda: DMVAE(*networks(1), 1),
]
for maker in makers:
    torch.manual_seed(0)
    model, losses = maker(), []
    for _ in range(3):  # two steps, and the loss after them, with the same draws
        torch.manual_seed(1)
        loss = model.loss(batch)["loss"]
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, slope in zip(model.parameters(), slopes):
                p -= 0.001 * slope
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2], (type(model).__name__, losses)
    assert model.log_likelihood(batch, 3).shape == (64,)
    print("trained", type(model).__name__)
"""


def run(code, folder):
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_folder_copied_alone_trains_every_model(tmp_path):
    shutil.copytree(ROOT / "mmtutor/vae", tmp_path / "vae", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mmtutor/lineargaussian.py", tmp_path)
    done = run(BLOCK + TRAIN, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained") == 10
    bad = tmp_path / "vae/mvae.py"
    bad.write_text(bad.read_text().replace("from .base", "from mmtutor.vae.base"))
    done = run(BLOCK + "import vae", tmp_path)
    assert done.returncode != 0
    assert "must stand alone" in done.stderr
