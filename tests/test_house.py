"""The rules of the house: model files can be copied alone, and importing the package costs nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mmtutor", "matplotlib", "scipy", "accelerate", "safetensors", "pooch", "PIL"):
            raise ImportError(f"{name} is not here: this file must stand alone")
sys.meta_path.insert(0, Refuse())
import torch
def train(model, batch):
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = model.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0], losses
    print("trained", len(losses))
"""
# What a student would do with each model file, in a folder of their own.
COPIES = {
    "encoders.py": """
from encoders import ImageEncoder, AudioEncoder
from torch import nn
class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.audio, self.head = ImageEncoder(3, 8), AudioEncoder(8), nn.Linear(16, 4)
    def loss(self, batch):
        x = torch.cat([self.image(batch["picture"]), self.audio(batch["sound"])], 1)
        return {"loss": nn.functional.cross_entropy(self.head(x), batch["label"])}
torch.manual_seed(0)
train(Student(), {"picture": torch.rand(8, 3, 20, 20), "sound": torch.rand(8, 1, 32, 32), "label": torch.arange(8) % 4})
""",
    "fusion": """
from fusion import CrossModalFusion, Gated, LateFusion
from torch import nn
torch.manual_seed(0)
batch = {"a": torch.rand(8, 5), "b": torch.rand(8, 2), "label": torch.arange(8) % 3}
train(LateFusion({"a": nn.Linear(5, 4), "b": nn.Linear(2, 4)}, 3, Gated([4, 4], 6)), batch)
train(CrossModalFusion({"a": nn.Linear(5, 4), "b": nn.Linear(2, 4)}, 3, [4, 4], dim=8), batch)
""",
    "sentences.py": """
from sentences import BagOfWords, RecurrentSentence, TransformerSentence
from torch import nn
class Student(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
    def loss(self, batch):
        return {"loss": nn.functional.cross_entropy(self.encoder(batch["caption"]), batch["label"])}
torch.manual_seed(0)
batch = {"caption": torch.tensor([[1, 2, 3], [2, 1, 0], [3, 0, 0]]), "label": torch.arange(3)}
for encoder in (BagOfWords, RecurrentSentence, TransformerSentence):
    train(Student(encoder(4, 3, 8)), batch)
""",
    "photo_encoders.py": """
from collections import OrderedDict
from photo_encoders import ResNetGrid
from torch import nn
class Student(nn.Module):
    def __init__(self):
        super().__init__()
        names = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        parts = [nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)] + [
            nn.Conv2d(4, 4, 3, 1, 1) for _ in range(4)]
        self.encoder = ResNetGrid(nn.Sequential(OrderedDict([*zip(names, parts), ("fc", nn.Linear(4, 2))])), grid=2)
        self.head = nn.Linear(4, 3)
    def loss(self, batch):
        return {"loss": nn.functional.cross_entropy(self.head(self.encoder(batch["photo"]).mean(1)), batch["label"])}
torch.manual_seed(0)
train(Student(), {"photo": torch.rand(6, 3, 32, 32), "label": torch.arange(6) % 3})
""",
    "embedding": """
from embedding import InfoNCE, JointEmbedding, Sigmoid, Triplet
from torch import nn
torch.manual_seed(0)
batch = {"picture": torch.rand(6, 5), "sound": torch.rand(6, 4)}
for loss in (InfoNCE(), Triplet(hardest=True), Sigmoid()):
    train(JointEmbedding({"picture": nn.Linear(5, 4), "sound": nn.Linear(4, 4)}, [4, 4], 3, loss), batch)
""",
    "vqa": """
from torch import nn
from vqa import FiLM, RelationNetwork, StackedAttention
torch.manual_seed(0)
batch = {"regions": torch.rand(6, 9, 5), "question": torch.rand(6, 4), "label": torch.arange(6) % 3}
for kind in (StackedAttention, FiLM, RelationNetwork):
    train(kind({"regions": nn.Linear(5, 4), "question": nn.Linear(4, 4)}, [4, 4], 3, 8), batch)
""",
    "localisation": """
from localisation import Attention, LogSumExp, Max, Positives, SoundLocalisation
from torch import nn
torch.manual_seed(0)
batch = {"scene": torch.rand(6, 9, 5), "spoken": torch.rand(6, 4)}
for pooling in (LogSumExp(), Attention(), Max(), Positives()):
    encoders = {"scene": nn.Linear(5, 4), "spoken": nn.Linear(4, 4)}
    model = SoundLocalisation(encoders, [4, 4], 3, pooling)
    train(model, batch)
    assert model.map(batch).shape == (6, 9)
""",
    "workspace": """
from workspace import LinearLink, MessageTree, MixtureLink, SharedCategories, SharedWorkspace, TableLink
from torch import nn
torch.manual_seed(0)
encoders, decoders = {"a": nn.Linear(5, 2), "b": nn.Linear(4, 2)}, {"a": nn.Linear(2, 5), "b": nn.Linear(2, 4)}
batch = {"a": torch.rand(6, 5), "b": torch.rand(6, 4), "b_present": torch.arange(6) < 3}
train(SharedWorkspace(encoders, decoders, {"translation": 1.0, "demi_cycle": 1.0, "cycle": 1.0}), batch)
model = SharedCategories({"a": MixtureLink(2, 5), "b": MixtureLink(2, 4)})
assert (model.fit_em(batch, 5).diff() > -1e-6).all()
link = LinearLink(torch.eye(2), torch.eye(2))
assert MessageTree({"x": ("z", link), "y": ("z", link)}).beliefs({"x": torch.ones(1, 2)})["y"].mean.shape == (1, 2)
""",
    "text_to_image": """
from text_to_image import (
    ConditionalGAN, Discriminator, FlowMatching, Generator, MatchingAware, Relativistic, TextToImageGAN,
    VelocityNetwork,
)
from torch import nn
torch.manual_seed(0)
batch = {"picture": torch.rand(6, 1, 8, 8), "sentence": torch.rand(6, 4)}
for objective in (ConditionalGAN(), MatchingAware(), Relativistic()):
    players = Generator(nn.Linear(4, 3), 3, 2, 1, 8, 8), Discriminator(nn.Linear(4, 3), 3, 1, 8, 8, normalise=False)
    model = TextToImageGAN(*players, 2, objective)
    assert model.loss(batch)["loss"].isfinite()
    assert model.draw(batch["sentence"]).shape == (6, 1, 8, 8)
train(FlowMatching(VelocityNetwork(3, 1, 8, 8), nn.Linear(4, 3), 3), batch)
""",
    "captioning": """
from captioning import HardAttention, ShowAndTell, ShowAttendTell, Tokens, beam_search, greedy
from torch import nn
torch.manual_seed(0)
batch = {"scene": torch.rand(8, 6, 5), "caption": torch.tensor([[1, 3, 4, 2, 0], [1, 4, 3, 4, 2]]).repeat(4, 1)}
for model in (ShowAndTell(nn.Linear(5, 4), 4, Tokens(5)), ShowAttendTell(nn.Linear(5, 4), 4, Tokens(5))):
    train(model, batch)
    for generated in (greedy(model, batch, 6), beam_search(model, batch, 6, beams=3)):
        assert len(generated.tokens) == 8 and generated.tokens.shape[1] <= 6 and generated.score.isfinite().all()
        assert model.training
hard = ShowAttendTell(nn.Linear(5, 4), 4, Tokens(5), attention=HardAttention())
assert hard.loss(batch)["loss"].isfinite()
""",
    "iterative": """
from iterative import Distillation, Elbo, FromModality, IterativeVAE, Refiner, Students
from torch import nn
from torch.distributions import Independent, Normal
class Teacher(IterativeVAE):
    def loss(self, batch):
        torch.manual_seed(1)  # the same draws before and after a step
        return super().loss(batch)
torch.manual_seed(0)
decoders = {"a": nn.Linear(2, 5), "b": nn.Linear(2, 3)}
elbo = Elbo(decoders, dict.fromkeys(decoders, lambda output: Independent(Normal(output, 0.5), 1)))
teacher = Teacher(FromModality("b", nn.Linear(3, 4)), elbo, Refiner(2), steps=3)
students = Students({"a": nn.Linear(5, 4), "b": nn.Linear(3, 4)})
batch = {"a": torch.rand(8, 5), "b": torch.rand(8, 3)}
class Lesson(Distillation):
    def loss(self, batch):
        torch.manual_seed(1)
        return super().loss(batch)
train(teacher, batch)
train(Lesson(teacher.encode, students), batch)
assert students.encode({"a": batch["a"]}).mean.shape == (8, 2)
""",
    "decoders.py": """
from decoders import ImageDecoder
from torch import nn
class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = ImageDecoder(3, 1, 8)
    def loss(self, batch):
        return {"loss": (self.decoder(batch["z"]) - batch["picture"]).square().mean()}
torch.manual_seed(0)
train(Student(), {"z": torch.rand(8, 3), "picture": torch.rand(8, 1, 8, 8)})
""",
    "mfm": """
from mfm import VARIANTS, sequence_mfm
batch = {"words": torch.rand(8, 6, 5), "voice": torch.rand(8, 6, 2), "label": torch.arange(8) % 3}
for variant in VARIANTS:
    torch.manual_seed(0)
    train(sequence_mfm({"words": 5, "voice": 2}, 6, 3, variant, hidden=4, memory=3, attend=4, z=4, f=6), batch)
""",
}


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("name", COPIES)
def test_a_model_file_copied_alone_trains(name, tmp_path):
    source = ROOT / "mmtutor" / name
    if source.is_dir():
        shutil.copytree(source, tmp_path / name)
    else:
        shutil.copy(source, tmp_path)
    done = run(BLOCK + COPIES[name], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trained 2" in done.stdout


def test_a_file_that_imports_more_than_torch_does_not_pass(tmp_path):
    shutil.copytree(ROOT / "mmtutor/fusion", tmp_path / "fusion")
    path = tmp_path / "fusion/merges.py"
    path.write_text(path.read_text().replace("import math\n", "import math\nfrom mmtutor.data import digits\n"))
    done = run(BLOCK + COPIES["fusion"], tmp_path)
    assert done.returncode != 0
    assert "must stand alone" in done.stderr


@pytest.mark.parametrize("extra", ["import numpy", "from mmtutor.encoders import ImageEncoder", "import scipy.stats"])
def test_the_import_contract_refuses_more_than_torch(extra, tmp_path):
    for part in ("mmtutor", "pyproject.toml"):
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / part)
    path = tmp_path / "mmtutor/fusion/merges.py"
    lint = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    kept = subprocess.run(lint, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert kept.returncode == 0, kept.stdout
    path.write_text(path.read_text().replace("import math\n", f"import math\n{extra}\n", 1))
    broken = subprocess.run(lint, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert broken.returncode != 0
    assert "BROKEN" in broken.stdout


def test_import_mmtutor_loads_nothing():
    """`import mmtutor` must cost at most 1.3 times `import torch`: it imports no module but its own."""
    code = "import sys; before = set(sys.modules); import mmtutor; print(sorted(set(sys.modules) - before))"
    done = run(code, ROOT)
    assert done.stdout.strip() == "['mmtutor']", done.stdout + done.stderr
