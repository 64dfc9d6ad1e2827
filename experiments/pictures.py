"""What VAEs generate after 3,000 steps, as pictures for chapters 10 and 11: ``python -m experiments.pictures``.

A chapter trains for a few hundred steps, and its pictures are grey. These are of longer runs of the same models, one
run each, with the networks and settings of ``experiments/vae.py`` and ``experiments/iterative.py`` on the examples of
the former: to be looked at, no verdict rests on them. Each is made from the first test example of each digit. They go
to ``mmtutor/results/pictures.npz``, one model after the other; a run that was stopped goes on with the next model, so
remove the file to make them anew. About half an hour on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from experiments import iterative, vae
from experiments.results import RESULTS
from mmtutor.data import MultimodalDataset
from mmtutor.iterative import drawn_kl
from mmtutor.training import seed_everything
from mmtutor.vae import mean_of

SEED, STEPS = 0, 3000
FILE = RESULTS / "pictures.npz"
VAES = ("JMVAE", "MVAE", "MMVAE", "MoPoE", "MMVAE+")
TEACHERS = {"joint VAE": 0, "iterative VAE": iterative.SETTINGS["steps"]}  # name to the steps of refinement
Pictures = dict[str, NDArray[np.uint8]]


def epochs(data: MultimodalDataset, batch: int) -> int:
    """How many make about the number of steps."""
    return round(STEPS * batch / len(data))


def bytes_of(pictures: Tensor) -> NDArray[np.uint8]:
    """From [0, 1] to 0 to 255."""
    return (255 * pictures.clamp(0, 1)).round().byte().numpy()


def ten(data: MultimodalDataset) -> dict[str, Tensor]:
    """The first example of each digit."""
    label = data[:]["label"]
    rows = torch.stack([(label == digit).nonzero()[0, 0] for digit in range(10)])
    return {name: values[rows] for name, values in data[:].items()}


@torch.no_grad()
def of_vae(name: str, data: Mapping[str, MultimodalDataset]) -> Pictures:
    """House numbers from handwriting, with and without the word, and handwriting from the word."""
    seed_everything(SEED)
    model = vae.build(name)
    with torch.enable_grad():
        vae.train(model, data["train"], SEED, epochs(data["train"], vae.SETTINGS["batch"]))
    seed_everything(SEED)
    batch, out = ten(data["test"]), {}
    for given, to in ((["handwritten"], "street"), (["handwritten", "word"], "street"), (["word"], "handwritten")):
        generated = model.generate({modality: batch[modality] for modality in given}, [to])[to][0]
        out[f"{name}: {to} from {' and '.join(given)}"] = bytes_of(generated)
    return out


def of_teacher(name: str, data: Mapping[str, MultimodalDataset]) -> Pictures:
    """Pictures from the word by students of a teacher, normal ones and flows."""
    kind = iterative.digit_kind()
    teacher = iterative.teacher(kind, SEED, TEACHERS[name])
    iterative.train(teacher, data["train"], SEED, epochs(data["train"], iterative.SETTINGS["batch"]))
    out: Pictures = {}
    for students, divergence in (("normal", iterative.forward_kl), ("flow", drawn_kl)):
        trained = iterative.distil(kind, teacher.encode, data["train"], SEED, divergence)
        seed_everything(SEED)
        with torch.no_grad():
            z = trained.encode({"word": ten(data["test"])["word"]}).sample()
            for to, p in teacher.elbo.decode(z, list(vae.PICTURES)).items():
                out[f"{name}, {students} student: {to} from word"] = bytes_of(mean_of(p))
    return out


def main() -> None:
    """Train what is not yet in the file, and write it after each model."""
    data = vae.make_data(SEED)
    stored: Pictures = {}
    if FILE.exists():
        with np.load(FILE) as file:
            stored |= file
    batch = ten(data["test"])
    stored |= {f"given: {modality}": bytes_of(batch[modality]) for modality in vae.PICTURES}
    jobs: dict[str, Callable[[str, Mapping[str, MultimodalDataset]], Pictures]]
    jobs = dict.fromkeys(VAES, of_vae) | dict.fromkeys(TEACHERS, of_teacher)
    for name in tqdm([job for job in jobs if not any(key.startswith((f"{job}:", f"{job},")) for key in stored)]):
        stored |= jobs[name](name, data)
        part = FILE.with_suffix(".part.npz")
        np.savez_compressed(part, allow_pickle=False, **stored)
        part.replace(FILE)


if __name__ == "__main__":
    main()
