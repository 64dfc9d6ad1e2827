"""Iterative amortised inference, and the students it teaches.

An encoder guesses the posterior of X in one go, and misses the best one by its *amortisation gap*. Here the guess is
only the start: decode it, see how the evidence lower bound (ELBO) of *all* modalities changes with the guess, and let a
small network improve the guess by that gradient; again, T times (Marino, Yue and Mandt, 2018). The ELBO of all
modalities needs all modalities, and T decodings. So this is a *teacher*, and for each modality there is a *student*,
which sees that modality alone and learns the teacher's posterior (Oshima, Suzuki and Matsuo, 2023, slides; 2024,
"Enhancing unimodal latent representations in multimodal VAEs through iterative amortized inference", arXiv:2410.11403).
Several students are combined by a product. Not established, and chosen here: T, the weights a_t, the direction of KL.

    λ₀ = start(X),    g_t = ∂ELBO(X; λ_t)/∂λ,    λ_{t+1} = r(λ_t, g_t)                     inference, T times
    loss = −1/(T+1) Σ_t ELBO(X; λ_t)                                                        of the teacher
    loss = Σᵢ KL(q(z; λ_T) ‖ qᵢ(z|xᵢ))                                                      of the students
    q(z|x_S) ∝ ∏_S qᵢ(z|xᵢ) / p(z)^(M−1)                                                    M students together

| symbol | in the code | shape |
| --- | --- | --- |
| X | ``batch``, a dict of modalities | (B, …) each |
| λ, mean and log σ of q(z; λ) | ``lam`` | (B, 2 d) |
| ELBO | the sum of the ``terms`` that ``elbo`` gives | (B,) each, nats |
| g | ``gradient`` | as λ |
| r | ``refiner`` | |

| file | what is in it |
| --- | --- |
| ``teacher.py`` | `IterativeVAE`: the loss as in the textbook, and from one backward pass a step |
| ``refinement.py`` | `refine` and `refinements`, `amortisation_gap` |
| ``refiners.py`` | `GradientAscent`, `Refiner` |
| ``elbo.py`` | `posterior`, `divergence`, `Elbo` |
| ``starts.py`` | `FromModality`, `FromPrior` |
| ``students.py`` | `Students`, `Distillation`, products |
| ``flows.py`` | `FlowStudents`, whose posteriors are no normal distributions; `drawn_kl` |
| ``checks.py`` | what a batch must be, and the messages where it is not |

Start, ELBO and refiner are handed in, and may be your own, and so is `posterior`, which says what λ means:

Examples:
    >>> import torch
    >>> from torch import nn
    >>> from torch.distributions import Independent, Normal
    >>> class Start(nn.Module):  # reads both modalities
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.net = nn.Linear(9, 4)
    ...
    ...     def forward(self, batch):
    ...         return self.net(torch.cat([batch["image"], batch["sound"]], 1))
    >>> decoders = {"image": nn.Linear(2, 6), "sound": nn.Linear(2, 3)}
    >>> likelihood = lambda output: Independent(Normal(output, 0.5), 1)
    >>> elbo = Elbo(decoders, {"image": likelihood, "sound": likelihood})
    >>> teacher = IterativeVAE(Start(), elbo, Refiner(2), steps=4)
    >>> batch = {"image": torch.randn(5, 6), "sound": torch.randn(5, 3)}
    >>> teacher.loss(batch)["loss"].backward()
    >>> teacher.bounds(batch).shape  # the ELBO after 0, 1, …, 4 steps
    torch.Size([5, 5])
    >>> students = Students({"image": nn.Linear(6, 4), "sound": nn.Linear(3, 4)})
    >>> Distillation(teacher.encode, students).loss(batch)["loss"].backward()
    >>> students.encode({"sound": batch["sound"]}).mean.shape
    torch.Size([5, 2])

This folder needs only torch: copy it into your own project.
"""

from .elbo import Elbo, divergence, posterior
from .flows import FlowStudents, drawn_kl
from .refinement import amortisation_gap, refine, refinements
from .refiners import GradientAscent, Refiner
from .starts import FromModality, FromPrior
from .students import Distillation, Students, forward_kl, naive_product, product_of_students, reverse_kl
from .teacher import IterativeVAE

__all__ = [
    "Distillation",
    "Elbo",
    "FlowStudents",
    "FromModality",
    "FromPrior",
    "GradientAscent",
    "IterativeVAE",
    "Refiner",
    "Students",
    "amortisation_gap",
    "divergence",
    "drawn_kl",
    "forward_kl",
    "naive_product",
    "posterior",
    "product_of_students",
    "refine",
    "refinements",
    "reverse_kl",
]
