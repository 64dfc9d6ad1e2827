"""Students: networks that see one modality alone and learn the teacher's posterior; and the product of several.

    loss = Σᵢ KL(q(z; λ_T) ‖ qᵢ(z|xᵢ))             `Distillation`
    q(z|x_S) ∝ ∏_S qᵢ(z|xᵢ) / p(z)^(M−1)            `product_of_students`, M students together

Oshima, Suzuki and Matsuo, 2023, and 2024, arXiv:2410.11403. Of a teacher that takes no steps these are the second stage
of JNF (Senellart, Chadebec and Allassonnière, 2023, arXiv:2305.11832) with normal posteriors; see ``flows.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from .checks import check_batch, check_finite, check_names, check_unpadded, kind, modules, moved, named, reading
from .elbo import Posterior, check_shapes, divergence, function, mean_and_std, on_device, posterior

Batch = Mapping[str, Tensor]
TEACHER = "teacher_posterior"  # what a batch may have instead of a teacher


class Students(nn.Module):
    """For each modality a student qᵢ(z|xᵢ), which sees that modality alone.

    Args:
        encoders: for each modality a network to λ (B, 2 d).
        posterior: what λ means, the students' and that which a teacher inferred before, see `posterior`.

    Raises:
        ValueError: there is no encoder, or a name is taken.

    Examples:
        >>> import torch
        >>> students = Students({"image": torch.nn.Linear(6, 4), "sound": torch.nn.Linear(3, 4)})
        >>> batch = {"image": torch.rand(5, 6), "sound": torch.rand(5, 3)}
        >>> students.encode(batch, "sound").mean.shape, students.encode(batch).mean.shape
        (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    def __init__(self, encoders: Mapping[str, nn.Module], posterior: Posterior = posterior) -> None:
        super().__init__()
        check_encoders(type(self).__name__, encoders)
        self.encoders = nn.ModuleDict(encoders)
        self.posterior = function(type(self).__name__, "posterior", posterior)

    def posteriors(self, batch: Batch, modalities: str | Sequence[str] | None = None) -> dict[str, Distribution]:
        """qᵢ(z|xᵢ) of the named modalities, or of all that are in the batch."""
        names = check_students(self, batch, modalities, type(self).__name__)
        batch = moved({m: batch[m] for m in names}, self)
        q = {}
        for m in names:
            with reading(type(self).__name__, m, batch[m], self.encoders[m]):
                lam = self.encoders[m](batch[m])  # (B, 2 d)
            q[m] = self.posterior(lam)
        return q

    def encode(self, batch: Batch, modalities: str | Sequence[str] | None = None) -> Independent[Normal]:
        """q(z|x_S): for one modality its student's posterior, for several the product with the prior counted once."""
        return product_of_students([*self.posteriors(batch, modalities).values()])  # (B, d)


def product_of_students(posteriors: Sequence[Distribution]) -> Independent[Normal]:
    """∏ᵢ qᵢ(z|xᵢ) / p(z)^(M−1), with p(z) = N(0, I): each student has the prior in it, and it should count once.

        τ = max(1, Σᵢ τᵢ − (M − 1)),    μ = Σᵢ τᵢ μᵢ / τ,    τᵢ = 1 / σᵢ²

    Exact where each qᵢ is p(z|xᵢ) and modalities are independent given z. In a linear-Gaussian world no posterior is
    wider than the prior. Learned students may be, so the product's precision τ is kept at 1 or more. One student is
    left as is. The product is on the device of the first.

    Raises:
        TypeError: one of them is no Normal and no Independent(Normal).
        ValueError: there is none, or their shapes differ.
    """
    precision, weighted_mean = summed(posteriors)
    if (M := len(posteriors)) > 1:
        precision = (precision - (M - 1)).clamp_min(1)  # (..., d)
    lam = torch.cat([weighted_mean / precision, -precision.log() / 2], -1)  # (..., 2 d)
    return posterior(lam)  # (..., d)


def naive_product(posteriors: Sequence[Distribution]) -> Independent[Normal]:
    """∏ᵢ qᵢ(z|xᵢ), with the prior M times in it: too narrow, and too close to 0. For comparison.

    Examples:
        >>> naive_product([Normal(torch.ones(2), 1.0)] * 3).variance  # a third of 1
        tensor([0.3333, 0.3333])
        >>> product_of_students([Normal(torch.ones(2), 0.5)] * 2).variance  # 1 / (4 + 4 − 1)
        tensor([0.1429, 0.1429])
    """
    precision, weighted_mean = summed(posteriors)
    lam = torch.cat([weighted_mean / precision, -precision.log() / 2], -1)  # (..., 2 d)
    return posterior(lam)  # (..., d)


def summed(posteriors: Sequence[Distribution]) -> tuple[Tensor, Tensor]:
    """Σ τᵢ and Σ τᵢ μᵢ, (..., d) each."""
    pairs = [mean_and_std(q) for q in posteriors]
    check_product([mean for mean, _ in pairs])
    device = pairs[0][0].device
    mean = torch.stack([mean.to(device) for mean, _ in pairs])  # (M, ..., d)
    precision = torch.stack([std.to(device).pow(-2) for _, std in pairs])  # (M, ..., d)
    return precision.sum(0), (precision * mean).sum(0)


def forward_kl(teacher: Distribution, student: Distribution) -> Tensor:
    """KL(teacher ‖ student), (B,). The best student is the mean of the teacher's posteriors over X, given xᵢ."""
    return divergence(teacher, student)  # (B,)


def reverse_kl(teacher: Distribution, student: Distribution) -> Tensor:
    """KL(student ‖ teacher), (B,). In a linear-Gaussian world the best student has the right mean but is too narrow."""
    return divergence(student, teacher)  # (B,)


class Distillation(nn.Module):
    """Students learn the posterior of a teacher, which learns nothing from them.

        loss = Σᵢ KL(teacher ‖ qᵢ(z|xᵢ)),    or another divergence

    In a linear-Gaussian world the best student by `forward_kl` is p(z|xᵢ), and a loss of I(z; x_rest|xᵢ) nats remains,
    which no student can reduce. By `reverse_kl` it has the same mean and the width of the teacher's posterior, too
    narrow.

    All modalities that have a student and are in the batch must be present in each example; a False in a mask is
    refused, if the mask is on the CPU.

    Args:
        teacher: from a batch to a normal distribution with independent numbers, such as ``teacher.encode`` of an
            `IterativeVAE` or of a VAE with a joint encoder, on any device. None: the teacher's posterior of each
            example was inferred before, and is in the batch as ``"teacher_posterior"``, λ (B, 2 d), which means what
            the students' ``posterior`` says.
        students: `Students`.
        kl: from the teacher's posterior and a student's to their divergence (B,): `forward_kl`, `reverse_kl` or your
            own.

    Raises:
        TypeError: the teacher is a module; its method ``encode`` is wanted.

    Examples:
        >>> students = Students({"image": nn.Linear(6, 4), "sound": nn.Linear(3, 4)})
        >>> batch = {"image": torch.rand(5, 6), "sound": torch.rand(5, 3)}
        >>> inferred_before = {**batch, "teacher_posterior": torch.zeros(5, 4)}
        >>> sorted(Distillation(None, students).loss(inferred_before))
        ['image', 'loss', 'sound']
        >>> best = lambda batch: Normal(torch.zeros(5, 2), 1.0)
        >>> losses = Distillation(best, students, reverse_kl).loss(batch)
    """

    def __init__(
        self,
        teacher: Callable[[Batch], Distribution] | None,
        students: Students,
        kl: Callable[[Distribution, Distribution], Tensor] = forward_kl,
    ) -> None:
        super().__init__()
        check_teacher(teacher)
        self.teacher, self.students, self.kl = teacher, students, kl

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``"loss"``, the sum, and the divergence of each student: means over the batch, in nats."""
        names = check_distillation(self.students, batch, self.teacher is None)
        with torch.no_grad():
            target = self.students.posterior(batch[TEACHER]) if self.teacher is None else self.teacher(batch)  # (B, d)
        students = self.students.posteriors(batch, names)
        target = on_device(target, next((p.device for p in self.students.parameters()), target.mean.device))
        terms = {m: self.kl(target, q).mean() for m, q in students.items()}
        return {"loss": torch.stack([*terms.values()]).sum(), **terms}

    def check_batch(self, batch: Batch) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        check_distillation(self.students, batch, self.teacher is None)


# ---- messages


def check_encoders(who: str, encoders: Mapping[str, nn.Module]) -> None:
    """Refuse no encoder, and names that mean something else."""
    modules(who, "encoders", encoders)
    if not encoders:
        raise ValueError(f"{who}: there must be at least one encoder")
    check_names(who, encoders, taken=(TEACHER,))


def check_students(students: Students, batch: Batch, modalities: str | Sequence[str] | None, who: str) -> list[str]:
    """The modalities asked for, checked; each must be there, in all examples."""
    known, asked = list(students.encoders), named(who, modalities, students.encoders)
    names = check_batch(who, batch, asked, also=(*known, TEACHER), model=students)
    check_unpadded(who, batch, names)
    if modalities is not None and (missing := [m for m in asked if m not in names]):
        raise ValueError(f"{who}: the batch has no {missing[0]!r}, only {', '.join(batch)}")
    for m in names:
        present = batch.get(f"{m}_present")
        if present is not None and present.device.type == "cpu" and not present.all():
            row = int(present.int().argmin())
            raise ValueError(f"{who}: {m!r} is missing for some examples, first in example {row}; leave these out")
    return names


def check_teacher(teacher: object) -> None:
    """Refuse a module: as a part of `Distillation` it would be trained and stored with it."""
    if isinstance(teacher, nn.Module) or not (teacher is None or callable(teacher)):
        raise TypeError(f"Distillation: teacher must be a function from a batch to its posterior, such as "
                        f"teacher.encode, or None, got {kind(teacher)}")  # fmt: skip


def check_distillation(students: Students, batch: Batch, alone: bool) -> list[str]:
    """The students' modalities, checked, and so is the teacher's posterior where there is no teacher."""
    names = check_students(students, batch, None, "Distillation")
    if alone:
        lam = batch.get(TEACHER)
        if lam is None:
            raise ValueError(f"Distillation: without a teacher the batch needs {TEACHER!r}, it has {', '.join(batch)}")
        if not isinstance(lam, Tensor) or lam.ndim != 2 or len(lam) != len(batch[names[0]]):
            raise ValueError(f"Distillation: {TEACHER!r} must be ({len(batch[names[0]])}, 2 d), got {kind(lam)}")
        check_finite("Distillation", TEACHER, lam)
    return names


def check_product(means: Sequence[Tensor]) -> None:
    """Refuse a product of none, or of different shapes."""
    if not means:
        raise ValueError("a product needs at least one distribution")
    check_shapes("a product", means)
