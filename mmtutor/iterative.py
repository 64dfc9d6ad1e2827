"""Iterative amortised inference, and the students it teaches.

An encoder guesses the posterior of x in one go, and misses the best one by its *amortisation gap*. Here the guess is
only the start: decode it, look how the evidence lower bound (ELBO) of *all* modalities changes with the guess, and let a
small network improve the guess by that gradient; again, T times (Marino, Yue and Mandt, 2018). The bound of all modalities
needs all modalities, and T decodings. So this is a *teacher*, and for each modality a *student*, which sees that modality alone,
learns to say what the teacher says (Oshima, Suzuki and Matsuo, 2023). Several students are combined by a product.

    λ₀ = start(X),    g_t = ∂ELBO(X; λ_t)/∂λ,    λ_{t+1} = r(λ_t, g_t)                     inference, T times
    loss = −1/(T+1) Σ_t ELBO(X; λ_t)                                                        of the teacher
    loss = Σᵢ KL(q(z; λ_T) ‖ qᵢ(z|xᵢ))                                                      of the students
    q(z|x_S) ∝ ∏_S qᵢ(z|xᵢ) / p(z)^(M−1)                                                    M students together

**One backward pass a step.** In training the gradient g_t is an input of the refiner and is not differentiated again.
The textbook's way is to go back through the decoder twice: once for g_t, once for the loss. Both can be had at once:
cut λ_t off, go back through ELBO(X; λ_t), and keep what arrives at λ_t (that is g_t) and at the decoder's parameters.
The decoder's graph can be forgotten then, so memory hardly grows with T. What is left is the chain λ₀ → λ₁ → … → λ_T of
refiner and start, and the loss sees it as −1/(T+1) Σ_t ⟨g_t, λ_t⟩. For the same draws of z the gradients of both ways
are equal.

| symbol | in the code | shape |
| --- | --- | --- |
| X | ``batch``, a dict of modalities | (B, …) each |
| λ, mean and log σ of q(z; λ) | ``lam`` | (B, 2 latent) |
| ELBO | the sum of the ``terms`` that ``elbo`` gives | (B,) each, nats |
| g | ``gradient`` | as λ |
| r | ``refiner`` | |

Start, ELBO and refiner are handed in, and may be your own:

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
    ...         return self.net(torch.cat([batch["eye"], batch["ear"]], 1))
    >>> decoders = {"eye": nn.Linear(2, 6), "ear": nn.Linear(2, 3)}
    >>> likelihood = lambda output: Independent(Normal(output, 0.5), 1)
    >>> teacher = IterativeVAE(Start(), Elbo(decoders, {"eye": likelihood, "ear": likelihood}), Refiner(2), steps=4)
    >>> batch = {"eye": torch.randn(5, 6), "ear": torch.randn(5, 3)}
    >>> teacher.loss(batch)["loss"].backward()
    >>> students = Students({"eye": nn.Linear(6, 4), "ear": nn.Linear(3, 4)})
    >>> Distillation(teacher, students).loss(batch)["loss"].backward()
    >>> students.encode({"ear": batch["ear"]}).mean.shape
    torch.Size([5, 2])

This file needs only torch: copy it into your own project.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, Independent, Normal

__all__ = [
    "Distillation",
    "Elbo",
    "FromModality",
    "FromPrior",
    "GradientAscent",
    "IterativeVAE",
    "Refiner",
    "Students",
    "amortisation_gap",
    "divergence",
    "naive_product",
    "posterior",
    "product_of_students",
    "refine",
    "refinements",
]

Batch = Mapping[str, Tensor]
Terms = Mapping[str, Tensor]
LOG_STD = (-4.5, 1.5)  # what `Refiner` keeps log σ in: σ from 0.011 to 4.5


# ---------------------------------------------------------------------------------------------------- refinement


def refine(
    lam: Tensor, elbo: Callable[[Tensor], Terms], refiner: Callable[[Tensor, Tensor], Tensor], steps: int
) -> Tensor:
    """λ after so many steps. Nothing is learned here, and memory does not grow with the steps.

    Args:
        lam: λ₀, float (B, n). Numbers of any meaning, as ``elbo`` reads them.
        elbo: from λ to the terms whose sum is the ELBO, by name, (B,) each, in nats.
        refiner: from λ and the gradient of the ELBO with respect to λ, (B, n) both, to the next λ.
        steps: T; with 0 λ₀ comes back.

    Returns:
        λ_T, (B, n), without a graph.

    Raises:
        ValueError: a shape or ``steps`` is wrong.
        FloatingPointError: a gradient is NaN or infinite; the message names the step, the term and the examples.
    """
    return _last(refinements(lam, elbo, refiner, steps))


def refinements(
    lam: Tensor, elbo: Callable[[Tensor], Terms], refiner: Callable[[Tensor, Tensor], Tensor], steps: int
) -> Iterator[Tensor]:
    """λ₀, λ₁, …, λ_T, one after the other; arguments are those of `refine`."""
    _whole("refine", steps)
    lam = lam.detach()
    yield lam
    for step in range(steps):
        with torch.enable_grad():
            leaf = lam.detach().requires_grad_()
            terms = elbo(leaf)
            gradient = _ascent(terms, leaf, step)
        with torch.no_grad():
            lam = _same("the refiner", refiner(leaf.detach(), gradient), lam).detach()
        yield lam


def _last(path: Iterator[Tensor]) -> Tensor:
    """The last of them; the others are let go."""
    for lam in path:  # noqa: B007
        pass
    return lam


def _ascent(terms: Terms, lam: Tensor, step: int, keep: bool = False) -> Tensor:
    """∂ Σ_b ELBO_b / ∂λ. The sum, so that an example's gradient does not depend on how many others there are."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError("refine: a step needs a gradient; use torch.no_grad() in place of torch.inference_mode()")
    (gradient,) = torch.autograd.grad(_elbo(terms, lam).sum(), lam, retain_graph=keep)
    return _finite(gradient, terms, step)


def _elbo(terms: Terms, lam: Tensor) -> Tensor:
    """Σ of the terms, (B,)."""
    for name, term in terms.items():
        if term.shape != lam.shape[:1]:
            raise ValueError(f"refine: the ELBO's term {name!r} must be ({len(lam)},), got {tuple(term.shape)}")
    return torch.stack([*terms.values()]).sum(0)


def _finite(gradient: Tensor, terms: Terms, step: int) -> Tensor:
    """The gradient, or an error that says where it went wrong."""
    if gradient.isfinite().all():
        return gradient
    bad = (~gradient.isfinite().all(1)).nonzero()[:, 0].tolist()
    names = [name for name, term in terms.items() if not term[bad].isfinite().all()]
    of = (
        f" The terms {', '.join(map(repr, names))} are, too."
        if names
        else " All terms are finite, their slopes are not."
    )
    raise FloatingPointError(
        f"refine: at step {step} the gradient is NaN or infinite for {len(bad)} of {len(gradient)} examples, the first "
        f"is {bad[0]}.{of} Look at the batch, or take smaller steps."
    )


def _same(who: str, lam: Tensor, before: Tensor) -> Tensor:
    if lam.shape != before.shape:
        raise ValueError(f"refine: {who} must give {tuple(before.shape)}, got {tuple(lam.shape)}")
    return lam


def _whole(who: str, steps: int) -> None:
    if type(steps) is not int or steps < 0:
        raise ValueError(f"{who}: steps must be a whole number, at least 0, got {steps!r}")


def amortisation_gap(
    lam: Tensor, elbo: Callable[[Tensor], Terms], steps: int = 100, lr: float = 0.05, draws: int = 20
) -> Tensor:
    """How much the ELBO still rises when λ of each example is optimised by itself (Cremer, Li and Duvenaud, 2018).

    By Adam, whose steps become smaller; so it is what so many steps find, a lower bound of the gap.

    Args:
        lam: λ, (B, n).
        elbo: as in `refine`. It may draw z; both ends are means over ``draws`` values.
        steps: of Adam.
        lr: the first step's size.
        draws: of each end.

    Returns:
        (B,), in nats; by chance, and as Adam never quite rests, it may be a little below 0.
    """
    best = lam.detach().clone().requires_grad_()
    adam = torch.optim.Adam([best], lr)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for step in range(steps):
        with torch.enable_grad():
            best.grad = -_ascent(elbo(best), best, step)
        adam.step()
        slower.step()
    with torch.no_grad():
        ends = [torch.stack([_elbo(elbo(end), end) for _ in range(draws)]).mean(0) for end in (lam, best)]
    return ends[1] - ends[0]


# ------------------------------------------------------------------------------------------------------ refiners


class GradientAscent(nn.Module):
    """λ + η g: the refiner that has nothing to learn.

    Args:
        step: η, above 0.
        unit: whether each half of g, of the means and of log σ, is first divided by its own root mean square.
    """

    def __init__(self, step: float = 0.1, unit: bool = False) -> None:
        super().__init__()
        if not 0 < step < math.inf:
            raise ValueError(f"GradientAscent: step must be finite and above 0, got {step!r}")
        self.step, self.unit = step, unit

    def forward(self, lam: Tensor, gradient: Tensor) -> Tensor:
        """The next λ, (B, n)."""
        return lam + self.step * (_unit(gradient)[0] if self.unit else gradient)


class Refiner(nn.Module):
    """A learned step: λ + η ĝ + f(…), with log σ kept between −4.5 and 1.5.

    ĝ is the gradient, the half of the means and the half of log σ each divided by its root mean square. The network f
    begins at 0, so that training begins with plain steps along ĝ.

    Args:
        latent: d; λ has 2 d numbers.
        inputs: what f reads, side by side: ``"lam"``, λ; ``"unit"``, ĝ; ``"norms"``, the logarithms of both root mean
            squares; ``"gradient"``, g as it is; ``"features"``, of x, which are handed over at each step.
        hidden: sizes of f's hidden layers; ``()``: f is linear.
        step: the first η, which is learned too; 0: there is no such step.
        features: how many there are, if they are among the inputs.
    """

    def __init__(
        self,
        latent: int,
        inputs: Sequence[str] = ("lam", "unit", "norms"),
        hidden: Sequence[int] = (128, 128),
        step: float = 0.1,
        features: int = 0,
    ) -> None:
        super().__init__()
        sizes = {"lam": 2 * latent, "unit": 2 * latent, "norms": 2, "gradient": 2 * latent, "features": features}
        if unknown := [name for name in inputs if name not in sizes]:
            raise ValueError(f"Refiner: inputs may be {', '.join(sizes)}, got {unknown[0]!r}")
        if not inputs or ("features" in inputs) != (features > 0):
            raise ValueError(
                f"Refiner: inputs {list(inputs)} and features={features} do not fit; f needs an input, and 'features' "
                "their number"
            )
        if not 0 <= step < math.inf:
            raise ValueError(f"Refiner: step must be finite and at least 0, got {step!r}")
        self.inputs = tuple(inputs)
        self.step = nn.Parameter(torch.tensor(float(step))) if step else None
        widths = [sum(sizes[name] for name in inputs), *hidden, 2 * latent]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.SiLU()]
        self.net = nn.Sequential(*layers[:-1])
        last = layers[-2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, lam: Tensor, gradient: Tensor, features: Tensor | None = None) -> Tensor:
        """The next λ, (B, 2 d); features (B, F), if it reads them."""
        unit, norms = _unit(gradient)
        known = {"lam": lam, "unit": unit, "norms": norms, "gradient": gradient, "features": features}
        read = [value for name in self.inputs if (value := known[name]) is not None]
        if len(read) < len(self.inputs):
            raise ValueError("Refiner: it reads features, but none were handed over")
        change: Tensor = self.net(torch.cat(read, 1))
        mean, log_std = (lam + change if self.step is None else lam + self.step * unit + change).chunk(2, 1)
        return torch.cat([mean, log_std.clamp(*LOG_STD)], 1)


def _unit(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """ĝ (B, n), and the logarithms of what both halves were divided by (B, 2)."""
    halves, tiny = gradient.reshape(len(gradient), 2, -1), torch.finfo(gradient.dtype).tiny
    largest = halves.abs().amax(2, keepdim=True).clamp_min(tiny)  # or the squares could be 0 or infinite
    rms = (largest * (halves / largest).square().mean(2, keepdim=True).sqrt()).clamp_min(tiny)
    return (halves / rms).flatten(1), rms[..., 0].clamp_min(1e-8).log()


# -------------------------------------------------------------------------------------------- start and objective


def posterior(lam: Tensor) -> Independent[Normal]:
    """q(z; λ) = N(μ, σ²): the first half of λ (…, 2 d) is μ, the other half log σ."""
    mean, log_std = lam.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp(), validate_args=False), 1, validate_args=False)


def divergence(q: Distribution, p: Distribution) -> Tensor:
    """KL(q ‖ p) of normal distributions with independent numbers, in nats, of the batch shape."""
    (mean, std), (other, wide) = _numbers(q), _numbers(p)
    if mean.shape != other.shape:
        raise ValueError(f"divergence: q has shape {tuple(mean.shape)}, p {tuple(other.shape)}")
    return ((std.square() + (mean - other).square()) / wide.square() / 2 - 0.5 + (wide / std).log()).sum(-1)


def _numbers(q: Distribution) -> tuple[Tensor, Tensor]:
    """μ and σ of a Normal or an Independent of one."""
    base: Any = q.base_dist if isinstance(q, Independent) else q
    if not isinstance(base, Normal):
        raise TypeError(f"expected a Normal or an Independent(Normal), got {q!r}")
    return base.mean, base.stddev


class Elbo(nn.Module):
    """The evidence lower bound of all modalities: E_q [Σᵢ wᵢ log p(xᵢ|z)] − β KL(q(z; λ) ‖ N(0, I)), z drawn once.

    A modality that is not in the batch plays no part, nor does one with ``"<modality>_present"`` False for an example. With
    weights, nats are those of the model p(z) ∏ᵢ p(xᵢ|z)^wᵢ, and q comes close to that model's posterior.

    Args:
        decoders: for each modality a network from z (B, d).
        likelihoods: for each modality a function from the decoder's output to a distribution of batch shape (B,).
        weights: wᵢ, 1 where none is given.
        beta: β.
    """

    def __init__(
        self,
        decoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Callable[[Tensor], Distribution]],
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        if decoders.keys() != likelihoods.keys() or not decoders or set(weights or ()) - set(decoders):
            raise ValueError(
                f"Elbo: decoders are of {list(decoders)}, likelihoods of {list(likelihoods)}, weights of "
                f"{list(weights or ())}; the first two need the same modalities, weights none but these"
            )
        if taken := sorted({"prior", "loss", "start", "end"} & decoders.keys()):
            raise ValueError(f"Elbo: a modality cannot be called {taken[0]!r}, which is a term")
        self.decoders, self.likelihoods, self.beta = nn.ModuleDict(decoders), dict(likelihoods), beta
        self.weights = {**dict.fromkeys(decoders, 1.0), **(weights or {})}
        for name, value in {**self.weights, "beta": beta}.items():
            if not 0 < value < math.inf:
                raise ValueError(f"Elbo: the weight of {name!r} must be finite and above 0, got {value!r}")

    def decode(self, z: Tensor, modalities: Sequence[str] | None = None) -> dict[str, Distribution]:
        """p(xᵢ|z) of the named modalities or of all, for z (B, d)."""
        if unknown := [s for s in modalities or () if s not in self.likelihoods]:
            raise ValueError(f"Elbo: no modality {unknown[0]!r}, only {', '.join(self.likelihoods)}")
        return {s: p(self.decoders[s](z)) for s, p in self.likelihoods.items() if modalities is None or s in modalities}

    def forward(self, lam: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The terms by name, (B,) each, in nats: one for each modality, and ``"prior"``."""
        names, q = _modalities("Elbo", batch, self.likelihoods), posterior(lam)
        terms = {}
        for modality, p in self.decode(q.rsample(), names).items():
            log_p: Tensor = p.log_prob(batch[modality])
            present = batch.get(f"{modality}_present")
            log_p = log_p if present is None else torch.where(present, log_p, 0)
            terms[modality] = self.weights[modality] * log_p
        mean, std = _numbers(q)
        divergence = ((std.square() + mean.square() - 1) / 2 - std.log()).sum(-1)  # KL(q ‖ N(0, I))
        return {**terms, "prior": -self.beta * divergence}


def _modalities(who: str, batch: Batch, known: Mapping[str, Any]) -> list[str]:
    """The known modalities of the batch, checked."""
    names = [s for s in known if s in batch]
    if not names:
        raise ValueError(f"{who}: the batch has {', '.join(batch) or 'nothing'}, none of {', '.join(known)}")
    if not len(batch[names[0]]):
        raise ValueError(f"{who}: the batch has no examples")
    for s in names:
        if len(batch[s]) != len(batch[names[0]]):
            raise ValueError(f"{who}: {s!r} has {len(batch[s])} examples, {names[0]!r} {len(batch[names[0]])}")
        # The sum is finite only if all are, and is quick; it may overflow, so it does not decide alone.
        if batch[s].is_floating_point() and not batch[s].sum().isfinite() and not batch[s].isfinite().all():
            raise ValueError(f"{who}: {s!r} has NaN or infinite values")
        mask = batch.get(f"{s}_present")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != (len(batch[s]),)):
            raise ValueError(
                f"{who}: '{s}_present' must be bool ({len(batch[s])},), got {mask.dtype} {tuple(mask.shape)}"
            )
    return names


class FromModality(nn.Module):
    """A start that sees one modality, as in the slides of Oshima and others.

    Args:
        modality: its name.
        encoder: a network from it to λ (B, 2 d).
    """

    def __init__(self, modality: str, encoder: nn.Module) -> None:
        super().__init__()
        self.modality, self.encoder = modality, encoder

    def forward(self, batch: Batch) -> Tensor:
        """λ₀, (B, 2 d)."""
        lam: Tensor = self.encoder(batch[_modalities("FromModality", batch, {self.modality: None})[0]])
        return lam


class FromPrior(nn.Module):
    """A start that sees nothing: λ₀ is that of the prior N(0, I), all 0.

    Args:
        latent: d.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, batch: Batch) -> Tensor:
        """λ₀, (B, 2 d)."""
        if not batch:
            raise ValueError("FromPrior: the batch is empty")
        x = next((x for x in batch.values() if x.is_floating_point()), next(iter(batch.values())))
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        return torch.zeros(len(x), 2 * self.latent, dtype=dtype, device=x.device)


# -------------------------------------------------------------------------------------------- teacher and students


class IterativeVAE(nn.Module):
    """The teacher: a multimodal VAE whose inference is refined.

        loss = −Σ_t a_t ELBO(X; λ_t),    t = 0, …, T,    a_t = 1/(T+1), or 1 for the last and 0 for all others

    With T = 0 it is a plain VAE. Through g_t nothing is differentiated. Start and refiner learn from the bounds of all
    later λ_t, the ELBO's own parameters (the decoders) from each.

    Args:
        start: a module from the batch to λ₀ (B, 2 d): an encoder of all modalities, `FromModality` or `FromPrior`.
        elbo: a module from λ and the batch to the terms of the ELBO, such as `Elbo`.
        refiner: a module from λ and its gradient to the next λ, such as `Refiner`.
        steps: T.
        over: ``"mean"`` or ``"last"``, the choice of a_t.
        features: a module from the batch to what the refiner reads of x, (B, F); None: it reads nothing.
        one_pass: a step's gradients come from one backward pass, see the top of the file; False: from two, as always
            where the batch requires gradients itself.
    """

    def __init__(
        self,
        start: nn.Module,
        elbo: nn.Module,
        refiner: nn.Module,
        steps: int = 4,
        *,
        over: str = "mean",
        features: nn.Module | None = None,
        one_pass: bool = True,
    ) -> None:
        super().__init__()
        _whole("IterativeVAE", steps)
        if over not in ("mean", "last"):
            raise ValueError(f"IterativeVAE: over must be 'mean' or 'last', got {over!r}")
        for name, part in (("start", start), ("elbo", elbo), ("refiner", refiner)):
            if not isinstance(part, nn.Module):
                raise TypeError(f"IterativeVAE: {name} must be a torch module, so that it can learn, got {part!r}")
        self.start, self.elbo, self.refiner, self.features = start, elbo, refiner, features
        self.steps, self.over, self.one_pass = steps, over, one_pass

    def refinements(self, batch: Batch, steps: int | None = None) -> Iterator[Tensor]:
        """λ₀, …, λ_T, (B, 2 d) each, without a graph; ``steps`` may be another T than in training."""
        with torch.no_grad():
            lam, refiner = self.start(batch), self._refiner(batch)
        return refinements(lam, lambda lam: self.elbo(lam, batch), refiner, self.steps if steps is None else steps)

    def infer(self, batch: Batch, steps: int | None = None) -> Tensor:
        """λ_T, (B, 2 d), without a graph. All modalities of the batch are looked at."""
        return _last(self.refinements(batch, steps))

    def encode(self, batch: Batch, steps: int | None = None) -> Independent[Normal]:
        """q(z; λ_T), without a graph."""
        return posterior(self.infer(batch, steps))

    def bounds(self, batch: Batch, steps: int | None = None) -> Tensor:
        """The ELBO at λ₀, …, λ_T, (T + 1, B), in nats."""
        with torch.no_grad():
            return torch.stack([_elbo(self.elbo(lam, batch), lam) for lam in self.refinements(batch, steps)])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``"loss"``; −ELBO at the ``"start"`` and at the ``"end"``, and each term there, negative too: batch means."""
        one = self.one_pass and torch.is_grad_enabled() and not any(x.requires_grad for x in batch.values())
        value, bounds, terms = (self._one_pass if one else self._textbook)(batch)
        if taken := sorted({"loss", "start", "end"} & terms.keys()):
            raise ValueError(f"IterativeVAE: a term of the ELBO cannot be called {taken[0]!r}, which the loss says")
        costs = {name: -term.detach().mean() for name, term in terms.items()}
        return {"loss": value, "start": -bounds[0].mean(), "end": -bounds[-1].mean(), **costs}

    def _textbook(self, batch: Batch) -> tuple[Tensor, list[Tensor], Terms]:
        """The loss with the graph of all steps, the bounds (B,) and the last step's terms."""
        lam, refiner, learning = self.start(batch), self._refiner(batch), torch.is_grad_enabled()
        bounds = []
        for step in range(self.steps + 1):
            with torch.enable_grad():
                lam = lam if lam.requires_grad else lam.detach().requires_grad_()
                terms = self.elbo(lam, batch)
                bound = _elbo(terms, lam)
                if step < self.steps:
                    gradient = _ascent(terms, lam, step, keep=learning)
            bounds.append(bound if learning else bound.detach())
            if step < self.steps:
                lam = _same("the refiner", refiner(lam, gradient), lam)
        value = -torch.stack([self._share(t) * bound.mean() for t, bound in enumerate(bounds)]).sum()
        return value, [bound.detach() for bound in bounds], terms

    def _one_pass(self, batch: Batch) -> tuple[Tensor, list[Tensor], Terms]:
        """The same, with the same gradients: see the top of the file."""
        lam, refiner = self.start(batch), self._refiner(batch)
        parameters = [p for p in self.elbo.parameters() if p.requires_grad]
        learned: list[Tensor | None] = [None] * len(parameters)  # ∂loss/∂ each that plays a part
        path, slopes, bounds = [], [], []  # λ_t, ∂loss/∂λ_t through step t alone, the ELBOs
        for step in range(self.steps + 1):
            leaf = lam.detach().requires_grad_()
            terms = self.elbo(leaf, batch)
            bounds.append(bound := _elbo(terms, leaf))
            share = -self._share(step) / len(lam)
            gradient, *rest = torch.autograd.grad(
                bound.sum(), [leaf, *(parameters if share else [])], allow_unused=True
            )
            for k, part in enumerate(rest):
                if part is not None:
                    known = learned[k]
                    learned[k] = part * share if known is None else known.add_(part, alpha=share)
            del rest  # as large as the decoders
            path.append(lam)
            slopes.append(_finite(gradient, terms, step) * share)
            if step < self.steps:
                lam = _same("the refiner", refiner(lam, gradient), lam)
        bounds = [bound.detach() for bound in bounds]
        value = -torch.stack([self._share(t) * bound.mean() for t, bound in enumerate(bounds)]).sum()
        value = _Known.apply(value, [*learned, *slopes], *parameters, *path)  # type: ignore[no-untyped-call]
        return value, bounds, terms

    def _refiner(self, batch: Batch) -> Callable[[Tensor, Tensor], Tensor]:
        if self.features is None:
            return self.refiner
        seen = self.features(batch)
        return lambda lam, gradient: self.refiner(lam, gradient, seen)

    def _share(self, step: int) -> float:
        """a_t."""
        return 1 / (self.steps + 1) if self.over == "mean" else float(step == self.steps)


class _Known(torch.autograd.Function):
    """A value whose gradients with respect to some tensors are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor | None], *tensors: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if g is None else slope * g for g in ctx.gradients)


class Students(nn.Module):
    """For each modality a student qᵢ(z|xᵢ), which sees that modality alone.

    Args:
        encoders: for each modality a network to λ (B, 2 d).
    """

    def __init__(self, encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not encoders or "loss" in encoders:
            raise ValueError("Students: there must be at least one encoder, and none called 'loss', which is a term")
        self.encoders = nn.ModuleDict(encoders)

    def each(self, batch: Batch, modalities: Sequence[str] | None = None) -> dict[str, Independent[Normal]]:
        """qᵢ(z|xᵢ) of the named modalities, or of all that are in the batch."""
        asked = [*self.encoders] if modalities is None else list(modalities)
        if missing := [s for s in asked if s not in self.encoders or (modalities is not None and s not in batch)]:
            raise ValueError(f"Students: no {missing[0]!r}; there are students of {', '.join(self.encoders)}, and the "
                             f"batch has {', '.join(batch) or 'nothing'}")  # fmt: skip
        names = _modalities("Students", batch, dict.fromkeys(asked))
        for s in names:
            if not batch.get(f"{s}_present", torch.ones(1)).all():
                raise ValueError(f"Students: {s!r} is missing for some examples; leave these out")
        return {s: posterior(self.encoders[s](batch[s])) for s in names}

    def encode(self, batch: Batch, modalities: Sequence[str] | None = None) -> Independent[Normal]:
        """q(z|x_S): of one modality what its student says, of several the product with the prior counted once."""
        return product_of_students([*self.each(batch, modalities).values()])


class Distillation(nn.Module):
    """Students learn from a teacher, who learns nothing from them.

        loss = Σᵢ KL(teacher ‖ qᵢ(z|xᵢ)),   reverse: Σᵢ KL(qᵢ(z|xᵢ) ‖ teacher)

    Forward, the best student is the teacher's mean over all that its modality does not tell: in a linear-Gaussian world
    p(z|xᵢ), and a loss of I(z; x_rest|xᵢ) nats is left, which no student can mend. Reverse, it has the same mean and
    the teacher's too small width.

    All modalities that have a student and are in the batch must be there for each example; masks with a False are refused.

    Args:
        teacher: anything whose ``encode(batch)`` gives a normal distribution with independent numbers, on the batch's
            device: an `IterativeVAE`, or a VAE with a joint encoder. None: what the teacher says of each example was
            inferred before, and is in the batch as ``"told"``, λ (B, 2 d).
        students: `Students`.
        direction: ``"forward"`` or ``"reverse"``.
        target: ``"refined"``, or ``"unrefined"``: the teacher's start, which needs an `IterativeVAE`.
    """

    def __init__(
        self, teacher: Any | None, students: Students, direction: str = "forward", target: str = "refined"
    ) -> None:
        super().__init__()
        for name, value, known in (("direction", direction, ("forward", "reverse")),
                                   ("target", target, ("refined", "unrefined"))):  # fmt: skip
            if value not in known:
                raise ValueError(f"Distillation: {name} must be {' or '.join(map(repr, known))}, got {value!r}")
        if teacher is None and target == "unrefined":
            raise ValueError("Distillation: without a teacher the target is what the batch has as 'told'")
        self.students, self.direction, self.target = students, direction, target
        self._teacher = (teacher,)  # in a tuple it is no part of this module: not trained, not stored with it

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``"loss"``, the sum, and the divergence of each student, means over the batch in nats."""
        (teacher,) = self._teacher
        options = {"steps": 0} if self.target == "unrefined" else {}
        with torch.no_grad():
            told = posterior(_told(batch)) if teacher is None else teacher.encode(batch, **options)
        said = self.students.each(batch)
        apart = {
            s: (divergence(told, q) if self.direction == "forward" else divergence(q, told)).mean()
            for s, q in said.items()
        }
        return {"loss": torch.stack([*apart.values()]).sum(), **apart}


def _told(batch: Batch) -> Tensor:
    if "told" not in batch:
        raise ValueError(f"Distillation: without a teacher the batch needs 'told', it has {', '.join(batch)}")
    if not batch["told"].isfinite().all():
        raise ValueError("Distillation: 'told' has NaN or infinite values")
    return batch["told"]


def product_of_students(posteriors: Sequence[Distribution]) -> Independent[Normal]:
    """∏ᵢ qᵢ(z|xᵢ) / p(z)^(M−1), with p(z) = N(0, I): each student has the prior in it, and it should count once.

        τ = max(1, Σᵢ τᵢ − (M − 1)),    μ = Σᵢ τᵢ μᵢ / τ

    Exact where each qᵢ is p(z|xᵢ) and modalities are independent given z. In a linear-Gaussian world no posterior is wider
    than the prior; learned students may be, so the product's precision is kept at 1 or more. One student is left as is.
    """
    precision, weighted = _sums(posteriors)
    if (many := len(posteriors)) > 1:
        precision = (precision - (many - 1)).clamp_min(1)
    return posterior(torch.cat([weighted / precision, -precision.log() / 2], -1))


def naive_product(posteriors: Sequence[Distribution]) -> Independent[Normal]:
    """∏ᵢ qᵢ(z|xᵢ), with the prior M times in it: too sure, and too close to 0. For comparison."""
    precision, weighted = _sums(posteriors)
    return posterior(torch.cat([weighted / precision, -precision.log() / 2], -1))


def _sums(posteriors: Sequence[Distribution]) -> tuple[Tensor, Tensor]:
    """Σ τᵢ and Σ τᵢ μᵢ."""
    numbers = [_numbers(q) for q in posteriors]
    if not numbers:
        raise ValueError("a product needs at least one distribution")
    if len({tuple(mean.shape) for mean, _ in numbers}) > 1:
        raise ValueError(f"a product needs equal shapes, got {[tuple(mean.shape) for mean, _ in numbers]}")
    mean, precision = torch.stack([m for m, _ in numbers]), torch.stack([s.pow(-2) for _, s in numbers])
    return precision.sum(0), (precision * mean).sum(0)
