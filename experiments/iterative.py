"""The claims of the chapter on iterative inference, over several seeds: ``python -m experiments.iterative --seeds 5``.

First a linear-Gaussian world, where the best student is known. Then triples of a handwritten digit, a house number and
the digit's word; pictures with sentences are in ``experiments/iterative_scenes.py``. All VAEs of a seed have the same
encoders, decoders, data and number of steps, except where a row says "equal time": there the joint VAE has as many
epochs as fit into the iterative VAE's processor time. ELBOs have the weights of the modalities, as in training; so they
compare models with each other, not with other likelihoods. T = 4 was set before anything was measured, and nothing was
tuned for one of the models. Evaluation classifiers, trained on other draws of the train split, classify what is
generated.

A run that was stopped goes on with the next seed. About 18 minutes a seed on one core. ``--full`` has the paper's
sizes, for a GPU, and is stored separately; ``--real`` takes the real MNIST and SVHN, which must be in the cache folder.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from experiments import vae
from experiments.results import Claim, measure
from mmtutor.data import MultimodalDataset, digits, mnist, svhn
from mmtutor.iterative import (
    Distillation,
    Elbo,
    FromModality,
    FromPrior,
    GradientAscent,
    IterativeVAE,
    Refiner,
    Students,
    amortisation_gap,
    divergence,
    forward_kl,
    naive_product,
    posterior,
    refine,
    reverse_kl,
)
from mmtutor.metrics import coherence, correct, frechet_distance, linear_probe
from mmtutor.training import fit, seed_everything
from mmtutor.training.processes import own_accelerator
from mmtutor.vae import MVTCAE, MoPoE, MultimodalVAE, categorical, gaussian, mean_of

SETTINGS: dict[str, Any] = {
    "train": 3000,
    "test": 1000,
    "epochs": 6,
    "batch": 32,
    "lr": 3e-3,
    "clip": 200.0,
    "latent": 20,
    "scale": {"handwritten": 0.2, "street": 0.25},
    "weights": {"handwritten": 4.0, "street": 1.0, "word": 40.0},
    "steps": 4,
    "climb: size": 0.05,
    "climb: steps": 100,
    "other steps": [1, 2, 8],
    "steps at the end": 16,
    "epochs of MoPoE, long": 24,
    "gap: examples": 100,
    "ELBO: examples": 500,
    "real": False,
    "world: steps": 2000,
    "world: batch": 256,
}
FULL = {"train": 60000, "test": 10000, "epochs": 200, "batch": 256, "lr": 1e-3, "epochs of MoPoE, long": 400,
        "other steps": [1, 2, 8, 16], "steps at the end": 64}  # fmt: skip
DIRECTIONS = [("street", "handwritten"), ("word", "handwritten"), ("handwritten", "street"), ("word", "street")]
PAIRS = [("street", "word", "handwritten"), ("handwritten", "word", "street")]
OSHIMA, OURS = "Oshima 2023", "ours"
JOINT, LONG, ITERATIVE = "joint VAE", "joint VAE, equal time", "iterative"
DRAWS, CLIMB = "joint VAE, five draws", "iterative, no student"
NATS = "nats, the mean over examples, with the weights of the modalities"
LOG_FD = "log of the Fréchet distance"


def fd(*given: str, to: str) -> str:
    """The name of a number."""
    return f"log FD, {' and '.join(given)} to {to}"


def better(claim: str, source: str, what: str, worse: str, better: str) -> Claim:
    """A row that compares Fréchet distances, of which the smaller is better."""
    return Claim(claim, source, f"{what}: {worse}", f"{what}: {better}", LOG_FD,
                 show=(f"FD{what[6:]}: {worse}", f"FD{what[6:]}: {better}"))  # fmt: skip


def coherent(claim: str, more: str, less: str) -> Claim:
    """A row that compares how often a picture or word generated from one other modality shows its digit."""
    return Claim(claim, OURS, f"coherence: {more}", f"coherence: {less}", "share of examples")


MEAN_FD = "log FD, mean of four directions"
CLAIMS = [
    Claim("World: trained students come within .02 nats of the best, whose loss is what their modality lacks",
          OURS, "world: .02 nats", "world: loss beyond the best", "nats",
          show=("world: loss of students", "world: loss of the best", "world: missing information")),
    Claim("World: a student by reverse KL is narrower than the posterior of its modality", OURS,
          "one", "world: width of reverse students", "share of the exact standard deviation",
          show=("world: width of forward students", "world: width of the joint posterior")),
    Claim("World: the means of students by forward and by reverse KL are nearer than .05", OURS, "world: .05",
          "world: distance of the means", "mean absolute difference"),
    Claim("Refinement in 4 steps shrinks the amortisation gap at least threefold", OSHIMA, f"gap: {JOINT}",
          f"three gaps: {ITERATIVE}", NATS, show=(f"gap: {ITERATIVE}",)),
    Claim("… and the ELBO rises", OSHIMA, f"ELBO: {ITERATIVE}", f"ELBO: {JOINT}", NATS),
    Claim("… also above that of a joint VAE trained for equal time", OURS, f"ELBO: {ITERATIVE}", f"ELBO: {LONG}", NATS,
          show=(f"gap: {LONG}", "epochs at equal time")),
    Claim("More steps than trained help: 16 after training with 4", OURS, "ELBO, trained with 4: after 16 steps",
          "ELBO, trained with 4: after 4 steps", NATS),
    Claim("More steps than trained help: 16 after training with 1", OURS, "ELBO, trained with 1: after 16 steps",
          "ELBO, trained with 1: after 1 steps", NATS),
    *(Claim(f"Training with {more} steps has a higher ELBO than with {less}", OURS, f"ELBO, trained with {more}",
            f"ELBO, trained with {less}", NATS, show=(f"gap, trained with {more}", f"gap, trained with {less}"))
      for less, more in ((1, 2), (2, 4), (4, 8))),
    *(better(f"{a} to {b}: the iterative student makes better pictures than the joint VAE's, equal steps", OSHIMA,
             fd(a, to=b), JOINT, ITERATIVE) for a, b in DIRECTIONS),
    *(better(f"{a} to {b}: … equal time", OURS, fd(a, to=b), LONG, ITERATIVE) for a, b in DIRECTIONS),
    better("Geometric mean of the four: the iterative students make better pictures than the joint VAE's, equal steps",
           OSHIMA, MEAN_FD, JOINT, ITERATIVE),
    better("… equal time", OURS, MEAN_FD, LONG, ITERATIVE),
    better("… than those of a joint VAE with as many draws of z in a training step", OURS, MEAN_FD, DRAWS, ITERATIVE),
    coherent("The iterative students are more coherent than the joint VAE's, equal steps", ITERATIVE, JOINT),
    coherent("… equal time", ITERATIVE, LONG),
    coherent("… than those of a joint VAE with as many draws of z in a training step", ITERATIVE, DRAWS),
    Claim("The iterative VAE's gap is smaller than that of a joint VAE with as many draws of z in a training step",
          OURS, f"gap: {DRAWS}", f"gap: {ITERATIVE}", NATS, show=(f"ELBO: {DRAWS}", f"ELBO: {ITERATIVE}")),
    better("Students make better pictures than many gradient steps on the ELBO of the modality that is present, "
           "without a student",
           OURS, MEAN_FD, CLIMB, ITERATIVE),
    coherent("… and more coherent ones", ITERATIVE, CLIMB),
    better("Students of the refined posterior make better pictures than those of the unrefined one", OURS, MEAN_FD,
           "iterative, unrefined target", ITERATIVE),
    coherent("… and more coherent ones", ITERATIVE, "iterative, unrefined target"),
    better("With the joint VAE's decoders, frozen, students of the refined posterior make better pictures than those "
           "of the joint VAE", OURS, MEAN_FD, JOINT, "iterative, frozen decoders"),
    coherent("… and more coherent ones", "iterative, frozen decoders", JOINT),
    *(Claim(f"Probe, {modality}: the iterative student's latent code predicts the digit better than the joint VAE's",
            OSHIMA, f"probe, {modality}: {ITERATIVE}", f"probe, {modality}: {JOINT}",
            show=(f"probe, {modality}: {LONG}",))
      for modality in vae.MODALITIES),
    *(Claim(f"KL(teacher ‖ student), {modality}: the iterative VAE's is smaller than the joint VAE's", OSHIMA,
            f"KL, {modality}: {JOINT}", f"KL, {modality}: {ITERATIVE}", "nats", show=(f"KL, {modality}: {LONG}",))
      for modality in vae.MODALITIES),
    *(better(f"{a} to {b}: the iterative student makes better pictures than MoPoE with four times the epochs", OSHIMA,
             fd(a, to=b), "MoPoE, long", ITERATIVE) for a, b in DIRECTIONS),
    *(Claim(f"Probe, {modality}: the iterative student's latent code predicts the digit better than that of MoPoE with "
            "four times the epochs", OSHIMA, f"probe, {modality}: {ITERATIVE}", f"probe, {modality}: MoPoE, long",
            show=(f"probe, {modality}: MoPoE",)) for modality in vae.MODALITIES),
    better("The iterative student makes better pictures than MVTCAE's", OURS, MEAN_FD, "MVTCAE", ITERATIVE),
    *(better(f"{a} and {b} to {c}: the product with the prior counted once makes better pictures than the naive one",
             OURS, fd(a, b, to=c), "iterative, naive product", ITERATIVE) for a, b, c in PAIRS),
    *(better(f"{a} and {b} to {c}: two students make better pictures than the word's alone", "Oshima 2023, reversed",
             f"log FD, with the word to {c}", "word alone", "both") for a, b, c in PAIRS),
    *(better(f"{a} and {b} to {c}: the iterative students make better pictures than the joint VAE's", OSHIMA,
             fd(a, b, to=c), JOINT, ITERATIVE) for a, b, c in PAIRS),
    better("Students by forward KL make better pictures than by reverse KL", OURS, MEAN_FD, "iterative, reverse KL",
           ITERATIVE),
    coherent("… and more coherent ones", ITERATIVE, "iterative, reverse KL"),
    Claim("A start from all modalities leaves a smaller gap than one from handwriting alone", OURS,
          "gap: iterative, from handwriting", f"gap: {ITERATIVE}", NATS),
    better("… and students that make better pictures", OURS, MEAN_FD, "iterative, from handwriting", ITERATIVE),
]  # fmt: skip


# ---- the linear-Gaussian world


def in_world(seed: int) -> dict[str, float]:
    """Linear students of the exact posterior, in a world whose posteriors have independent numbers."""
    s, world = SETTINGS, vae.make_world(seed)
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
    """Students of a teacher's posteriors."""
    with_target = MultimodalDataset({**data.tensors, "teacher_posterior": infer(teacher, data, seed)})
    seed_everything(seed)
    students = Students({s: kind.encoder(s, 2 * SETTINGS["latent"]) for s in kind.modalities})
    train(Distillation(None, students, kl), with_target, seed, kind.epochs)
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
        shares.append(vae.mean_coherence(classifiers, generated, batch["label"]))
        for to in generated:
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
    for given in (*((s,) for s in vae.MODALITIES), *(pair[:2] for pair in PAIRS), ("handwritten", "street")):
        with torch.no_grad():
            latents = [model.infer(data[k][:], given).mean for k in ("train", "test")]
        right = linear_probe(latents[0], labels[0], latents[1], labels[1])
        out[f"probe, {' and '.join(given)}: {name}"] = float(right.mean())
    return out


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
    """KL(teacher ‖ student) for each modality."""
    target = posterior(infer(teacher, data, seed))
    with torch.no_grad():
        posteriors = students.posteriors(data[:])
        return {f"KL, {s}: {name}": float(divergence(target, q).mean()) for s, q in posteriors.items()}


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

    steps, end = s["steps"], s["steps at the end"]
    joint, iterative = teacher(kind, seed, 0), teacher(kind, seed, steps)
    seconds = {m: train(m, data["train"], seed, kind.epochs) for m in (joint, iterative)}
    longer = round(kind.epochs * seconds[iterative] / seconds[joint])
    long = teacher(kind, seed, 0)
    train(long, data["train"], seed, longer)
    start = FromModality("handwritten", vae.encoder("handwritten", 2 * s["latent"]))
    single = teacher(kind, seed, steps, start)
    train(single, data["train"], seed, kind.epochs)
    out["epochs at equal time"] = float(longer)
    for name, model in ((JOINT, joint), (LONG, long), (ITERATIVE, iterative), ("iterative, from handwriting", single)):
        out[f"gap: {name}"] = gap(model, data["test"], seed)
        out[f"ELBO: {name}"] = curve(model, data["test"], seed, model.steps)[-1]
        students = distil(kind, model.encode, data["train"], seed)
        measure_students(name, model.elbo, students)
        out |= divergences(model.encode, students, data["test"], name, seed)
        if model is iterative:
            naive = Model(lambda b, g, of=students: naive_product([*of.posteriors(b, g).values()]), model.elbo.decode)
            both = measures(naive, classifiers, data, "iterative, naive product", seed)
            out |= {k: v for k, v in both.items() if " and " in k}
    drawn = teacher(kind, seed, steps)
    drawn.refiner = Stay()
    train(drawn, data["train"], seed, kind.epochs)
    out |= {f"gap: {DRAWS}": gap(drawn, data["test"], seed), f"ELBO: {DRAWS}": curve(drawn, data["test"], seed, 0)[0]}
    measure_students(DRAWS, drawn.elbo, distil(kind, drawn.encode, data["train"], seed))
    out |= from_one(Model(partial(climb, iterative), iterative.elbo.decode), classifiers, data["test"][:], CLIMB, seed)
    unrefined = distil(kind, partial(iterative.encode, steps=0), data["train"], seed)
    measure_students("iterative, unrefined target", iterative.elbo, unrefined)
    reverse = distil(kind, iterative.encode, data["train"], seed, reverse_kl)
    measure_students("iterative, reverse KL", iterative.elbo, reverse)

    frozen = teacher(kind, seed, steps, copy.deepcopy(joint.start))
    frozen.elbo = joint.elbo.requires_grad_(False)
    train(frozen, data["train"], seed, kind.epochs)
    measure_students("iterative, frozen decoders", frozen.elbo, distil(kind, frozen.encode, data["train"], seed))
    out["gap: iterative, frozen decoders"] = gap(frozen, data["test"], seed)

    trained = {steps: iterative}
    for other in s["other steps"]:
        trained[other] = teacher(kind, seed, other)
        train(trained[other], data["train"], seed, kind.epochs)
    for number, model in sorted(trained.items()):
        bounds = curve(model, data["test"], seed, end)
        out |= {f"ELBO, trained with {number}: after {k} steps": bound for k, bound in enumerate(bounds)}
        out[f"ELBO, trained with {number}"] = bounds[number]
        out[f"gap, trained with {number}"] = gap(model, data["test"], seed)

    for name, built, epochs in (("MoPoE", MoPoE, kind.epochs), ("MoPoE, long", MoPoE, s["epochs of MoPoE, long"]),
                                ("MVTCAE", MVTCAE, kind.epochs)):  # fmt: skip
        other_model = build(kind, built, seed)
        train(other_model, data["train"], seed, epochs)
        if built is MVTCAE:
            measure_students(name, other_model, distil(kind, other_model.encode, data["train"], seed))
        else:
            out |= measures(Model(other_model.encode, other_model.decode), classifiers, data, name, seed)
    return out


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
