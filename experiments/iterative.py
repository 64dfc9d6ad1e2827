"""The claims of the chapter on iterative inference, over several seeds: ``python -m experiments.iterative --seeds 5``.

First a linear-Gaussian world, where the best student is known. Then triples of a handwritten digit, a house number and
the digit's word; pictures with sentences are in ``experiments/iterative_scenes.py``. All VAEs of a seed have the same
encoders, decoders and data. A model has 9 epochs, 846 steps; "equal time" is three times as many, 2,538 steps, which is
what fits into the processor time of the iterative VAE (how much longer it takes is among the numbers, as "times the
joint VAE's seconds"); "a third" is 282 steps. So each of the three models that are compared was also trained three
times as long, and rows say how much it still gains. All students have 8 epochs, 752 steps. ELBOs have the weights of
the modalities, as in training; so they compare models with each other, not with other likelihoods. T = 4 was set before
anything was measured, and nothing was tuned for one of the models. Evaluation classifiers, trained on other draws of
the train split, classify what is generated. Each seed draws its own train and test examples.

A run that was stopped goes on with the next seed. About 30 minutes a seed on one core. ``--full`` has the paper's
sizes, for a GPU, and is stored separately; ``--real`` takes the real MNIST and SVHN, which must be in the cache folder.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence
from torch.nn import functional

from experiments import vae, vae_world
from experiments.results import Claim, measure
from mmtutor.data import MultimodalDataset, digits, mnist, svhn
from mmtutor.iterative import (
    Distillation,
    Elbo,
    FlowStudents,
    FromModality,
    FromPrior,
    GradientAscent,
    IterativeVAE,
    Refiner,
    Students,
    amortisation_gap,
    divergence,
    drawn_kl,
    forward_kl,
    naive_product,
    posterior,
    refine,
    reverse_kl,
)
from mmtutor.lineargaussian import LinearGaussian
from mmtutor.metrics import coherence, correct, frechet_distance, linear_probe
from mmtutor.training import fit, seed_everything
from mmtutor.training.processes import own_accelerator
from mmtutor.vae import MoPoE, MultimodalVAE, categorical, gaussian, mean_of

SETTINGS: dict[str, Any] = {
    "train": 3000,
    "test": 1000,
    "epochs": 9,
    "epochs, a third": 3,
    "epochs, equal time": 27,
    "epochs of students": 8,
    "batch": 32,
    "lr": 3e-3,
    "clip": 200.0,
    "latent": 20,
    "scale": {"handwritten": 0.2, "street": 0.25},
    "weights": {"handwritten": 4.0, "street": 1.0, "word": 40.0},
    "steps": 4,
    "climb: size": 0.05,
    "climb: steps": 100,
    "steps at the end": 16,
    "gap: examples": 100,
    "ELBO: examples": 500,
    "real": False,
    "world: steps": 1500,
    "world: batch": 256,
}
FULL = {"train": 60000, "test": 10000, "epochs": 130, "epochs, a third": 43, "epochs, equal time": 390,
        "epochs of students": 130, "batch": 256, "lr": 1e-3, "steps at the end": 64}  # fmt: skip
DIRECTIONS = [("street", "handwritten"), ("word", "handwritten"), ("handwritten", "street"), ("word", "street")]
PAIRS = [("street", "word", "handwritten"), ("handwritten", "word", "street")]
OSHIMA, OURS, JNF = "Oshima 2023", "ours", "Senellart 2023"
JOINT, LONG, ITERATIVE, SHORT = "joint VAE", "joint VAE, equal time", "iterative", "iterative, a third"
DRAWS, CLIMB, ONE_STEP = "joint VAE, five draws", "iterative, no student", "iterative, one step"
UNREFINED, FROZEN, REVERSE = "iterative, unrefined target", "iterative, frozen decoders", "iterative, reverse KL"
SINGLE, FLOWS, LONG_FLOWS = "iterative, from handwriting", "iterative, flow students", "joint VAE, equal time, flow"
MOPOE, LONG_MOPOE = "MoPoE", "MoPoE, equal time"
NATS = "nats, the mean over examples, with the weights of the modalities"
LOG_FD = "log of the Fréchet distance"
MEAN_FD = "log FD, mean of four directions"


def fd(*given: str, to: str) -> str:
    """The name of a number."""
    return f"log FD, {' and '.join(given)} to {to}"


def better(claim: str, source: str, what: str, worse: str, better: str) -> Claim:
    """A row that compares Fréchet distances, of which the smaller is better."""
    return Claim(claim, source, f"{what}: {worse}", f"{what}: {better}", LOG_FD,
                 show=(f"FD{what[6:]}: {worse}", f"FD{what[6:]}: {better}"))  # fmt: skip


def coherent(claim: str, more: str, less: str, source: str = OURS) -> Claim:
    """A row that compares how often a picture or word generated from one other modality shows its digit."""
    return Claim(claim, source, f"coherence: {more}", f"coherence: {less}", "share of examples")


def both(claim: str, worse: str, best: str, source: str = OURS) -> list[Claim]:
    """Two rows: the distance over four directions, the geometric mean, and the coherence."""
    return [better(f"{claim}: better pictures", source, MEAN_FD, worse, best),
            coherent(f"{claim}: more coherent", best, worse)]  # fmt: skip


CLAIMS = [
    Claim("World: trained students come within .02 nats of the best, whose loss is what their modality lacks",
          OURS, "world: .02 nats", "world: loss beyond the best", "nats",
          show=("world: loss of students", "world: loss of the best", "world: missing information")),
    Claim("World: a student by reverse KL is narrower than the posterior of its modality", OURS,
          "one", "world: width of reverse students", "share of the exact standard deviation",
          show=("world: width of forward students", "world: width of the joint posterior")),
    Claim("World: the means of students by forward and by reverse KL are nearer than .05", OURS, "world: .05",
          "world: distance of the means", "mean absolute difference"),
    Claim("Refinement in 4 steps shrinks the amortisation gap, equal steps", OSHIMA, f"gap: {JOINT}",
          f"gap: {ITERATIVE}", NATS, show=(f"gap: {LONG}",)),
    Claim("Refinement in 4 steps shrinks the amortisation gap to a third or less",
          OURS, f"gap: {JOINT}", f"three gaps: {ITERATIVE}", NATS),
    Claim("The refined ELBO is above the joint VAE's, equal steps", OURS, f"ELBO: {ITERATIVE}", f"ELBO: {JOINT}", NATS),
    Claim("The refined ELBO is above the joint VAE's, equal time", OURS, f"ELBO: {ITERATIVE}", f"ELBO: {LONG}", NATS,
          show=(f"ELBO, after 0 steps: {ITERATIVE}", "times the joint VAE's seconds")),
    Claim("The refined ELBO is above that of a joint VAE with as many draws of z in a training step",
          OURS, f"ELBO: {ITERATIVE}",
          f"ELBO: {DRAWS}", NATS, show=(f"gap: {DRAWS}", f"gap: {ITERATIVE}")),
    Claim("Training with 4 steps has a higher ELBO than with 1, equal training steps", OURS, f"ELBO: {ITERATIVE}",
          f"ELBO: {ONE_STEP}", NATS, show=(f"gap: {ITERATIVE}", f"gap: {ONE_STEP}", f"ELBO: {JOINT}")),
    *(Claim(f"More steps than trained help: 16 after training with {steps}", OURS,
            f"ELBO, after 16 steps: {name}", f"ELBO: {name}", NATS) for steps, name in ((4, ITERATIVE), (1, ONE_STEP))),
    *(better(f"{a} to {b}: the iterative student makes better pictures than the joint VAE's, equal steps", OSHIMA,
             fd(a, to=b), JOINT, ITERATIVE) for a, b in DIRECTIONS),
    *both("Iterative students against the joint VAE's, equal steps, four directions", JOINT, ITERATIVE),
    *both("Iterative students against the joint VAE's, equal time", LONG, ITERATIVE),
    *both("Iterative students against the joint VAE's, equal time, both trained for a third of that", JOINT, SHORT),
    better("Iterative students against those of a joint VAE with as many draws of z in a training "
           "step: better pictures",
           OURS, MEAN_FD, DRAWS,
           ITERATIVE),
    *both("Three times the steps still help the joint VAE", JOINT, LONG),
    *both("Three times the steps still help the iterative VAE", SHORT, ITERATIVE),
    *both("Three times the steps still help MoPoE", MOPOE, LONG_MOPOE),
    *both("Students of the refined posterior against those of the unrefined one", UNREFINED, ITERATIVE),
    *both("With the joint VAE's decoders, frozen, students of the refined posterior against the joint VAE's", JOINT,
          FROZEN),
    *both("Students against 100 gradient steps on the ELBO of the modality that is present, without a student", CLIMB,
          ITERATIVE),
    *both("Students by forward KL against students by reverse KL", REVERSE, ITERATIVE),
    Claim("A start from all modalities leaves a smaller gap than one from handwriting alone", OURS,
          f"gap: {SINGLE}", f"gap: {ITERATIVE}", NATS),
    *both("Students of a start from all modalities, against those from handwriting alone", SINGLE, ITERATIVE),
    *both("JNF: flow students of the joint VAE, equal time, against normal ones", LONG, LONG_FLOWS, JNF),
    *both("Flow students of the iterative VAE against normal ones", ITERATIVE, FLOWS),
    *both("Flow students of the iterative VAE against those of the joint VAE, equal time", LONG_FLOWS, FLOWS),
    *(Claim(f"Probe, {modality}: the iterative student's latent code predicts the digit better than the joint VAE's, "
            "equal steps", OSHIMA, f"probe, {modality}: {ITERATIVE}", f"probe, {modality}: {JOINT}",
            show=(f"probe, {modality}: {LONG}",)) for modality in vae.PICTURES),
    Claim("Probe, handwritten: the iterative student's predicts it better than MoPoE's, equal time", OSHIMA,
          f"probe, handwritten: {ITERATIVE}", f"probe, handwritten: {LONG_MOPOE}"),
    Claim("Probe, street: MoPoE's predicts it better than the iterative student's, equal time", OSHIMA,
          f"probe, street: {LONG_MOPOE}", f"probe, street: {ITERATIVE}"),
    *(Claim(f"KL(teacher ‖ student), {modality}: the iterative VAE's is smaller than the joint VAE's, equal steps",
            OSHIMA, f"KL, {modality}: {JOINT}", f"KL, {modality}: {ITERATIVE}", "nats",
            show=(f"KL, {modality}: {LONG}", f"KL, {modality}: {FLOWS}")) for modality in vae.MODALITIES),
    better("The iterative students make better pictures than MoPoE, equal time, four directions", OSHIMA, MEAN_FD,
           LONG_MOPOE, ITERATIVE),
    coherent("MoPoE is more coherent than the iterative students, equal time, four directions", LONG_MOPOE, ITERATIVE),
    *(better(f"{a} and {b} to {c}: the product with the prior counted once makes better pictures than the naive one",
             OURS, fd(a, b, to=c), "iterative, naive product", ITERATIVE) for a, b, c in PAIRS),
    *(better(f"{a} and {b} to {c}: the word's student alone makes better pictures than two", OSHIMA,
             f"log FD, with the word to {c}", "both", "word alone") for a, b, c in PAIRS),
]  # fmt: skip


# ---- the linear-Gaussian world


def in_world(seed: int) -> dict[str, float]:
    """Linear students of the exact posterior, in a world whose posteriors have independent numbers."""
    s, weights = SETTINGS, vae_world.directions(seed, vae_world.SETTINGS["latent"])
    world = LinearGaussian(weights, vae_world.SETTINGS["noise"])
    out = {"one": 1.0, "world: .02 nats": 0.02, "world: .05": 0.05}
    learned: dict[str, dict[str, Independent[Normal]]] = {}
    _, test = world.sample(5000, seed + 1)
    joint = world.posterior(test)
    for direction, kl in (("forward", forward_kl), ("reverse", reverse_kl)):
        seed_everything(seed)
        students = Students({n: nn.Linear(len(w), 2 * world.latent) for n, w in world.weights.items()}).double()
        model = Distillation(None, students, kl)
        adam = torch.optim.Adam(students.parameters(), 3e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, s["world: steps"])
        for step in range(s["world: steps"]):
            _, batch = world.sample(s["world: batch"], seed * 10**6 + step)
            q = world.posterior(batch)
            adam.zero_grad()
            model.loss({**batch, "teacher_posterior": torch.cat([q.mean, q.stddev.log()], 1)})["loss"].backward()
            adam.step()
            schedule.step()
        with torch.no_grad():
            learned[direction] = students.posteriors(test)
    exact = {n: world.posterior(test, n) for n in world.weights}
    teacher = posterior(torch.cat([joint.mean, joint.stddev.log()], 1))
    losses = [float(divergence(teacher, q).mean()) for q in learned["forward"].values()]
    best = [float(kl_divergence(joint, q).mean()) for q in exact.values()]
    out["world: loss of students"], out["world: loss of the best"] = mean(losses), mean(best)
    out["world: loss beyond the best"] = mean(losses) - mean(best)  # on the same examples
    out["world: missing information"] = mean([world.missing_information(n) for n in world.weights])
    for direction, posteriors in learned.items():
        widths = [float((q.stddev / exact[n].stddev).mean()) for n, q in posteriors.items()]
        out[f"world: width of {direction} students"] = mean(widths)
    out["world: width of the joint posterior"] = mean([float((joint.stddev / q.stddev).mean()) for q in exact.values()])
    distances = [float((q.mean - learned["reverse"][n].mean).abs().mean()) for n, q in learned["forward"].items()]
    out["world: distance of the means"] = mean(distances)
    return out


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


# ---- what digits and scenes share


Encode = Callable[[Mapping[str, Tensor]], Distribution]  # a teacher: from a batch to its posterior
Divergence = Callable[[Distribution, Distribution], Tensor]


class Kind(NamedTuple):
    """A set of modalities, and networks for them."""

    encoder: Callable[[str, int], nn.Module]
    decoder: Callable[[str], nn.Module]
    likelihoods: Mapping[str, Callable[[Tensor], Distribution]]
    weights: Mapping[str, float]
    epochs: int

    @property
    def modalities(self) -> list[str]:
        """Their names."""
        return [*self.likelihoods]


class JointEncoder(nn.Module):
    """All modalities' encoders, and a layer over them."""

    def __init__(self, kind: Kind, outputs: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({s: kind.encoder(s, 128) for s in kind.modalities})
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(128 * len(self.parts), outputs))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """From a batch with all modalities to (B, outputs)."""
        out: Tensor = self.last(torch.cat([part(batch[s]) for s, part in self.parts.items()], 1))
        return out


class Model(NamedTuple):
    """What is measured: an inference from some modalities of a batch, and decoders."""

    infer: Callable[[Mapping[str, Tensor], Sequence[str]], Any]
    decode: Callable[[Tensor, Sequence[str]], Mapping[str, Distribution]]


def train(model: nn.Module, data: MultimodalDataset, seed: int, epochs: int) -> float:
    """Train in place; return processor seconds of all threads, or seconds of the wall clock where there is a GPU."""
    s = SETTINGS
    clock = time.process_time if device() == "cpu" else time.perf_counter
    start = clock()
    fit(model, data, epochs=epochs, lr=s["lr"], batch_size=s["batch"], schedule="one-cycle", clip_norm=s["clip"],
        seed=seed, progress=False)  # fmt: skip
    model.eval()
    return clock() - start


def device() -> str:
    """Where `fit` trains."""
    with own_accelerator() as accelerator:
        return str(accelerator.device.type)


def ready(data: MultimodalDataset) -> MultimodalDataset:
    """The same on the device that models are trained on."""
    return MultimodalDataset({name: tensor.to(device()) for name, tensor in data.tensors.items()})


def teacher(kind: Kind, seed: int, steps: int, start: nn.Module | None = None) -> IterativeVAE:
    """An untrained teacher; with no steps it is the joint VAE."""
    seed_everything(seed)
    latent = SETTINGS["latent"]
    first = JointEncoder(kind, 2 * latent) if start is None else start
    elbo = Elbo({s: kind.decoder(s) for s in kind.modalities}, kind.likelihoods, kind.weights)
    return IterativeVAE(first, elbo, Refiner(latent), steps)


def infer(teacher: Encode, data: MultimodalDataset, seed: int) -> Tensor:
    """λ of the teacher's posterior for all examples, (n, 2 latent)."""
    seed_everything(seed)
    parts = []
    with torch.no_grad():
        for start in range(0, len(data), 250):
            q = teacher(data[start : start + 250])
            parts.append(torch.cat([q.mean, q.variance.log() / 2], 1))
    return torch.cat(parts)


def distil(kind: Kind, teacher: Encode, data: MultimodalDataset, seed: int, kl: Divergence = forward_kl) -> Students:
    """Students of a teacher's posteriors; with `drawn_kl` their own are flows."""
    with_target = MultimodalDataset({**data.tensors, "teacher_posterior": infer(teacher, data, seed)})
    seed_everything(seed)
    latent = SETTINGS["latent"]
    students: Students
    if kl is drawn_kl:
        students = FlowStudents({s: kind.encoder(s, 128) for s in kind.modalities}, latent, 128)
    else:
        students = Students({s: kind.encoder(s, 2 * latent) for s in kind.modalities})
    train(Distillation(None, students, kl), with_target, seed, SETTINGS["epochs of students"])
    return students


def curve(model: IterativeVAE, data: MultimodalDataset, seed: int, steps: int) -> list[float]:
    """The ELBO after 0, 1, … steps, the mean over examples."""
    seed_everything(seed)
    return model.bounds(data[: SETTINGS["ELBO: examples"]], steps).mean(1).tolist()


def gap(model: IterativeVAE, data: MultimodalDataset, seed: int) -> float:
    """The amortisation gap, the mean over some examples."""
    seed_everything(seed)
    batch = data[: SETTINGS["gap: examples"]]
    return float(amortisation_gap(model.infer(batch), lambda lam: model.elbo(lam, batch)).mean())


@torch.no_grad()
def generate(model: Model, batch: Mapping[str, Tensor], given: Sequence[str], to: Sequence[str]) -> dict[str, Tensor]:
    """One of each modality for each example: the decoder's mean for a z drawn from the posterior of the given ones."""
    return {s: mean_of(p) for s, p in model.decode(model.infer(batch, given).sample(), to).items()}


def distance(classifier: vae.EvaluationClassifier, real: Tensor, generated: Tensor) -> float:
    """The Fréchet distance of a classifier's features."""
    with torch.no_grad():
        return frechet_distance(classifier.features(real), classifier.features(generated))


# ---- digits


def digit_kind() -> Kind:
    """Handwriting, house number, word; networks are those of ``experiments/vae.py``."""
    s = SETTINGS
    likelihoods = {
        x: gaussian(s["scale"][x]) if x in vae.PICTURES else categorical(one_hot=True) for x in vae.MODALITIES
    }
    weights = {x: s["weights"][x] for x in vae.MODALITIES}
    return Kind(vae.encoder, partial(vae.decoder, latent=s["latent"]), likelihoods, weights, s["epochs"])


def from_one(
    model: Model, classifiers: Mapping[str, vae.EvaluationClassifier], batch: Mapping[str, Tensor], name: str, seed: int
) -> dict[str, float]:
    """What a model generates from one modality."""
    seed_everything(seed)
    out, shares = {}, []
    for modality in vae.MODALITIES:
        generated = generate(model, batch, [modality], [s for s in vae.MODALITIES if s != modality])
        for to in generated:
            shares.append(float(coherence(classifiers[to], to, generated[to], batch["label"]).mean()))
            out[f"coherence, {modality} to {to}: {name}"] = shares[-1]
            if (modality, to) in DIRECTIONS:
                out[f"FD, {modality} to {to}: {name}"] = distance(classifiers[to], batch[to], generated[to])
    out[f"coherence: {name}"] = mean(shares)
    logs = [math.log(out[f"FD, {a} to {b}: {name}"]) for a, b in DIRECTIONS]
    out[f"FD, mean of four directions: {name}"] = math.exp(mean(logs))  # the geometric mean
    return out


def measures(
    model: Model,
    classifiers: Mapping[str, vae.EvaluationClassifier],
    data: Mapping[str, MultimodalDataset],
    name: str,
    seed: int,
) -> dict[str, float]:
    """What a model generates from one modality and from two, and how well its latent codes predict the digit."""
    batch = data["test"][:]
    out = from_one(model, classifiers, batch, name, seed)
    for a, b, to in PAIRS:
        generated = generate(model, batch, [a, b], [to])[to]
        out[f"FD, {a} and {b} to {to}: {name}"] = distance(classifiers[to], batch[to], generated)
        shown = coherence(classifiers[to], to, generated, batch["label"])
        out[f"coherence, {a} and {b} to {to}: {name}"] = float(shown.mean())
    labels = [data[k][:]["label"] for k in ("train", "test")]
    means: dict[str, Tensor] = {}
    for given in (*((s,) for s in vae.MODALITIES), *(pair[:2] for pair in PAIRS), ("handwritten", "street")):
        what = " and ".join(given)
        with torch.no_grad():
            latents = [model.infer(data[k][:], given).mean for k in ("train", "test")]
        right = linear_probe(latents[0], labels[0], latents[1], labels[1])
        out[f"probe, {what}: {name}"], means[what] = float(right.mean()), latents[1]
    for a, b in combinations(vae.MODALITIES, 2):
        out |= {f"{what}, {a} and {b}: {name}": value for what, value in cosines(means[a], means[b]).items()}
    return out


def cosines(a: Tensor, b: Tensor) -> dict[str, float]:
    """The cosine of two latent codes of one example, (n, latent) each, and of two of different examples; means."""
    return {
        "cosine": float(functional.cosine_similarity(a, b).mean()),
        "cosine of other pairs": float(functional.cosine_similarity(a, b.roll(1, 0)).mean()),
    }


def climb(model: IterativeVAE, batch: Mapping[str, Tensor], given: Sequence[str]) -> Independent[Normal]:
    """q(z; λ) without a student: from the prior, gradient steps of one size on the ELBO of the given modalities."""
    present = {s: batch[s] for s in given}
    prior = FromPrior(SETTINGS["latent"])(present)
    ascent = GradientAscent(SETTINGS["climb: size"], unit=True)
    return posterior(refine(prior, lambda lam: model.elbo(lam, present), ascent, SETTINGS["climb: steps"]))


class Stay(nn.Module):
    """A refiner that leaves λ where it is: a teacher with it is a joint VAE that draws z again at each step."""

    def forward(self, lam: Tensor, gradient: Tensor) -> Tensor:
        """λ, (B, 2 latent)."""
        return lam


def divergences(teacher: Encode, students: Students, data: MultimodalDataset, name: str, seed: int) -> dict[str, float]:
    """KL(teacher ‖ student) for each modality; of flows from 20 draws."""
    target = posterior(infer(teacher, data, seed))
    with torch.no_grad():
        posteriors = students.posteriors(data[:])
        if isinstance(students, FlowStudents):
            kls = {s: torch.stack([drawn_kl(target, q) for _ in range(20)]) for s, q in posteriors.items()}
        else:
            kls = {s: divergence(target, q) for s, q in posteriors.items()}
    return {f"KL, {s}: {name}": float(kl.mean()) for s, kl in kls.items()}


def with_digits(seed: int) -> dict[str, float]:
    """All numbers of the triples."""
    s, out, kind = SETTINGS, {}, digit_kind()
    sources = {"handwritten": mnist, "street": svhn} if s["real"] else None
    draw = partial(digits, *vae.MODALITIES, sources=sources, progress=False)
    data = {split: ready(draw(split=split, n=s[split], seed=seed)) for split in ("train", "test")}
    others = ready(draw(split="train", n=s["train"], seed=seed + 1000))
    classifiers = {}
    for modality in vae.MODALITIES:
        seed_everything(seed + 1000)
        classifiers[modality] = vae.EvaluationClassifier(modality)
        train(classifiers[modality], others, seed + 1000, kind.epochs)
        out[f"accuracy, classifier of {modality}"] = float(correct(classifiers[modality], data["test"]).mean())

    def measure_students(name: str, decoder: Any, students: Students) -> None:
        out.update(measures(Model(students.encode, decoder.decode), classifiers, data, name, seed))

    def study(name: str, model: IterativeVAE) -> None:
        """Gap and ELBO of one teacher, and what its students generate."""
        bounds = curve(
            model, data["test"], seed, s["steps at the end"] if name in (ITERATIVE, ONE_STEP) else model.steps
        )
        out.update({f"gap: {name}": gap(model, data["test"], seed), f"ELBO: {name}": bounds[model.steps]})
        out.update({f"ELBO, after {k} steps: {name}": bound for k, bound in enumerate(bounds)})
        if name == ONE_STEP:
            return
        students = distil(kind, model.encode, data["train"], seed)
        measure_students(name, model.elbo, students)
        out.update(divergences(model.encode, students, data["test"], name, seed))
        if name == ITERATIVE:
            naive = Model(lambda b, g: naive_product([*students.posteriors(b, g).values()]), model.elbo.decode)
            of_two = measures(naive, classifiers, data, "iterative, naive product", seed)
            out.update({k: v for k, v in of_two.items() if " and " in k})

    T, teachers, seconds = s["steps"], {}, {}
    for name, steps, epochs in ((JOINT, 0, "epochs"), (LONG, 0, "epochs, equal time"), (ITERATIVE, T, "epochs"),
                                (SHORT, T, "epochs, a third"), (ONE_STEP, 1, "epochs")):  # fmt: skip
        teachers[name] = teacher(kind, seed, steps)
        seconds[name] = train(teachers[name], data["train"], seed, s[epochs])
        study(name, teachers[name])
    out["times the joint VAE's seconds"] = seconds[ITERATIVE] / seconds[JOINT]
    joint, iterative = teachers[JOINT], teachers[ITERATIVE]

    drawn = teacher(kind, seed, T)
    drawn.refiner = Stay()
    single = teacher(kind, seed, T, FromModality("handwritten", vae.encoder("handwritten", 2 * s["latent"])))
    frozen = teacher(kind, seed, T, copy.deepcopy(joint.start))
    frozen.elbo = copy.deepcopy(joint.elbo).requires_grad_(False)
    for name, model in ((DRAWS, drawn), (SINGLE, single), (FROZEN, frozen)):
        train(model, data["train"], seed, kind.epochs)
        study(name, model)

    measure_students(UNREFINED, iterative.elbo, distil(kind, partial(iterative.encode, steps=0), data["train"], seed))
    measure_students(REVERSE, iterative.elbo, distil(kind, iterative.encode, data["train"], seed, reverse_kl))
    out |= from_one(Model(partial(climb, iterative), iterative.elbo.decode), classifiers, data["test"][:], CLIMB, seed)
    for name, of in ((FLOWS, iterative), (LONG_FLOWS, teachers[LONG])):
        flows = distil(kind, of.encode, data["train"], seed, drawn_kl)
        out |= from_one(Model(flows.encode, of.elbo.decode), classifiers, data["test"][:], name, seed)
        out |= divergences(of.encode, flows, data["test"], name, seed)
    for name, epochs in ((MOPOE, "epochs"), (LONG_MOPOE, "epochs, equal time")):
        mopoe = build(kind, MoPoE, seed)
        seconds[name] = train(mopoe, data["train"], seed, s[epochs])
        out |= measures(Model(mopoe.encode, mopoe.decode), classifiers, data, name, seed)
    return out | {f"seconds: {name}": value for name, value in seconds.items()}


def build(kind: Kind, which: type[MultimodalVAE], seed: int) -> MultimodalVAE:
    """A model of another chapter, with the same networks."""
    seed_everything(seed)
    latent = SETTINGS["latent"]
    encoders, decoders = (
        {s: kind.encoder(s, 2 * latent) for s in kind.modalities},
        {s: kind.decoder(s) for s in kind.modalities},
    )
    return which(encoders, decoders, kind.likelihoods, latent, weights=kind.weights)


def derived(out: Mapping[str, float]) -> dict[str, float]:
    """What follows from other numbers."""
    more = {f"three gaps: {ITERATIVE}": 3 * out[f"gap: {ITERATIVE}"]}
    for a, b, to in PAIRS:
        more[f"FD, with the word to {to}: both"] = out[f"FD, {a} and {b} to {to}: {ITERATIVE}"]
        more[f"FD, with the word to {to}: word alone"] = out[f"FD, word to {to}: {ITERATIVE}"]
    return more | logarithms({**out, **more})


def logarithms(out: Mapping[str, float]) -> dict[str, float]:
    """The logarithm of each Fréchet distance: each seed's classifier has a unit of its own."""
    return {f"log {name}": math.log(value) for name, value in out.items() if name.startswith("FD")}


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    out = in_world(seed) | with_digits(seed)
    return out | derived(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="the paper's sizes, for a GPU")
    parser.add_argument("--real", action="store_true", help="real MNIST and SVHN, from the cache folder")
    arguments = parser.parse_args()
    SETTINGS |= (FULL if arguments.full else {}) | {"real": arguments.real}
    name = "iterative" + "_full" * arguments.full + "_real" * arguments.real
    what = "Iterative inference and its students, on a known world and on three modalities of a digit"
    print(measure(name, what, CLAIMS, one_seed, arguments.seeds, SETTINGS))
