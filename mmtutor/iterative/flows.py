"""Students with a flow: q(z|xᵢ) need not be a normal distribution.

What a student by forward KL should learn is the mean of the teacher's posteriors over all X that agree with xᵢ. For a
word these are the posteriors of many pictures, and their mean is no normal distribution: a normal student covers it,
and what lies between. A flow bends the normal distribution, by couplings whose inverse and Jacobian are easy:

    z₀ ~ N(μ(h), σ(h)²),    h = encoder(xᵢ),    z = c_K(… c₁(z₀; h) …; h)
    c(a, b; h) = (a, b · exp s(a, h) + t(a, h)),    the halves a and b in turn
    log q(z|xᵢ) = log N(z₀; μ, σ²) − Σ_k Σ s_k
    loss = Σᵢ −E_{z ~ q(z; λ_T)} log qᵢ(z|xᵢ) + constant             with `drawn_kl`

This is the second stage of JNF (Senellart, Chadebec and Allassonnière, 2023, arXiv:2305.11832; Senellart and
Allassonnière, 2025, arXiv:2502.03952), whose first stage is a joint VAE that is trained alone: the teacher with T = 0.
Theirs read features that were trained before, and their flows are other ones; these couplings are those of Dinh,
Sohl-Dickstein and Bengio, 2017, arXiv:1605.08803. A product of flows has no closed form: theirs is sampled by a Markov
chain, here each student answers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torch.distributions.constraints import Constraint
from torch.nn import functional as F

from .checks import moved, reading, whole
from .elbo import posterior
from .students import Batch, Students, check_students


class FlowStudents(Students):
    """For each modality a student whose posterior is a flow.

    It is trained by `Distillation` with `drawn_kl`. Before training it is a normal distribution.

    Args:
        encoders: for each modality a network to features h (B, features).
        latent: d, at least 2.
        features: how many an encoder gives.
        couplings: K.
        hidden: units in the network of a coupling.

    Raises:
        ValueError: there is no encoder, a name is taken, or a number is out of range.

    Examples:
        >>> import torch
        >>> from mmtutor.iterative import Distillation
        >>> students = FlowStudents({"image": nn.Linear(6, 8), "sound": nn.Linear(3, 8)}, latent=2, features=8)
        >>> batch = {"image": torch.rand(5, 6), "sound": torch.rand(5, 3), "teacher_posterior": torch.zeros(5, 4)}
        >>> sorted(Distillation(None, students, drawn_kl).loss(batch))
        ['image', 'loss', 'sound']
        >>> q = students.encode(batch, "sound")
        >>> q.sample().shape, q.log_prob(torch.zeros(5, 2)).shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module], latent: int, features: int, couplings: int = 4, hidden: int = 64
    ) -> None:
        super().__init__(encoders)
        d, n, hidden = whole("FlowStudents", "latent", latent, 2), features, whole("FlowStudents", "hidden", hidden)
        self.base, self.couplings = nn.ModuleDict(), nn.ModuleDict()
        for m in encoders:
            self.base[m] = nn.Linear(whole("FlowStudents", "features", n), 2 * d)
            flips = [k % 2 == 1 for k in range(whole("FlowStudents", "couplings", couplings))]
            self.couplings[m] = nn.ModuleList(Coupling(d, n, hidden, flip) for flip in flips)

    def posteriors(self, batch: Batch, modalities: str | Sequence[str] | None = None) -> dict[str, Distribution]:
        """qᵢ(z|xᵢ) of the named modalities, or of all that are in the batch."""
        names = check_students(self, batch, modalities, "FlowStudents")
        batch = moved({m: batch[m] for m in names}, self)
        q: dict[str, Distribution] = {}
        for m in names:
            with reading("FlowStudents", m, batch[m], self.encoders[m]):
                h = F.silu(self.encoders[m](batch[m]))  # (B, F)
                q[m] = Flow(posterior(self.base[m](h)), [*self.couplings[m].children()], h)
        return q

    def encode(self, batch: Batch, modalities: str | Sequence[str] | None = None) -> Distribution:  # type: ignore[override]
        """q(z|xᵢ) of one modality."""
        posteriors = self.posteriors(batch, modalities)
        check_single(posteriors)
        return next(iter(posteriors.values()))  # (B, d)


class Flow(Distribution):
    """A normal distribution (B, d) sent through couplings that know h (B, F)."""

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, base: Independent[Normal], couplings: Sequence[nn.Module], h: Tensor) -> None:
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base, self.couplings, self.h = base, couplings, h

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """z, (..., B, d)."""
        z = self.base.rsample(torch.Size(sample_shape))  # (..., B, d)
        for coupling in self.couplings:
            z = coupling(z, self.h)
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """(..., B), for z (..., B, d): back to z₀, by the inverse of each coupling."""
        total = z.new_zeros(())
        for coupling in reversed(self.couplings):
            z, log_slope = coupling.inverse(z, self.h)  # type: ignore[operator]
            total = total + log_slope  # (..., B)
        return self.base.log_prob(z) + total  # type: ignore[no-any-return, no-untyped-call]


class Coupling(nn.Module):
    """(a, b) to (a, b · exp s + t), where s, between −2 and 2, and t are read from a and h; or a from b, if flipped."""

    def __init__(self, latent: int, features: int, hidden: int, flip: bool) -> None:
        super().__init__()
        self.kept, self.flip = latent // 2, flip
        outputs = 2 * (latent - self.kept)
        self.net = nn.Sequential(nn.Linear(self.kept + features, hidden), nn.SiLU(), nn.Linear(hidden, outputs))
        for p in self.net[-1].parameters():
            nn.init.zeros_(p)  # at first the coupling changes nothing

    def forward(self, z: Tensor, h: Tensor) -> Tensor:
        """(..., B, d)."""
        a, b, s, t = self.parts(z, h)
        return self.joined(a, b * s.exp() + t)

    def inverse(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """What gives z, (..., B, d), and the logarithm of the inverse's Jacobian determinant, (..., B)."""
        a, b, s, t = self.parts(z, h)
        return self.joined(a, (b - t) * (-s).exp()), -s.sum(-1)

    def parts(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """a, b, s and t."""
        z = z.flip(-1) if self.flip else z
        a, b = z[..., : self.kept], z[..., self.kept :]
        s, t = self.net(torch.cat([a, h.expand(*a.shape[:-1], -1)], -1)).chunk(2, -1)
        return a, b, 2 * torch.tanh(s / 2), t

    def joined(self, a: Tensor, b: Tensor) -> Tensor:
        """z, (..., B, d)."""
        z = torch.cat([a, b], -1)
        return z.flip(-1) if self.flip else z


def drawn_kl(teacher: Distribution, student: Distribution) -> Tensor:
    """KL(teacher ‖ student), (B,), estimated from one z drawn from the teacher: for a student of any kind."""
    z = teacher.sample()  # (B, d)
    return teacher.log_prob(z) - student.log_prob(z)


# ---- messages


def check_single(posteriors: Mapping[str, Distribution]) -> None:
    """Refuse several modalities, whose flows have no product in closed form."""
    if len(posteriors) > 1:
        raise ValueError(f"FlowStudents: encode takes one modality, got {', '.join(posteriors)}; name one of them, the "
                         "product of flows has no closed form")  # fmt: skip
