"""The teacher: a multimodal VAE whose inference is refined T times by the gradient of its ELBO.

    λ₀ = start(X),    g_t = ∂ELBO(X; λ_t)/∂λ,    λ_{t+1} = r(λ_t, g_t)
    loss = −Σ_t a_t ELBO(X; λ_t),    t = 0, …, T,    a_t = 1/(T+1), or 1 for t = T and 0 for all others

`IterativeVAE` has the loss as it stands here. `_one_pass` has the same loss and gradients in less memory and time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution

from .checks import NO_MODALITY, check_batch, check_unpadded, flag, kind, module, moved, reading, whole
from .elbo import Elbo, check_values, without_missing
from .refinement import check_gradient, check_lam, elbo_gradient, next_lam, refinements, total_elbo

Batch = Mapping[str, Tensor]


class IterativeVAE(nn.Module):
    """A multimodal VAE whose inference is refined.

    With T = 0 it is a plain VAE. The gradient g_t is an input of the refiner and is not differentiated again. Start and
    refiner learn from the ELBO at all later λ_t, the parameters that the ELBO uses (the decoders) from it at each λ_t.
    These may belong to any part, so that a whole VAE can be the start and its decoders be used by the ELBO.

    Args:
        start: a module from the batch to λ₀ (B, 2 d): an encoder of all modalities, `FromModality` or `FromPrior`.
        elbo: a module from λ and the batch to the terms of the ELBO, such as `Elbo`. Its attribute ``posterior``, a
            function from λ to a distribution of z, says what λ means; without it there is no `encode`.
        refiner: a module from λ and its gradient to the next λ, such as `Refiner`.
        steps: T.
        over: ``"mean"`` or ``"last"``, the choice of a_t.
        features: a module from the batch to what the refiner reads of X, (B, F); None: it reads nothing.
        one_pass: whether a step takes one backward pass, see `_one_pass`; False: two, as in the textbook form. Where
            the batch requires gradients itself, it is always the textbook form.

    Raises:
        TypeError: a part is no torch module.
        ValueError: ``steps`` or ``over`` is wrong; in `loss`, a parameter of the ELBO belongs to none of the parts.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from torch.distributions import Independent, Normal
        >>> from mmtutor.iterative import Elbo, FromPrior, Refiner
        >>> elbo = Elbo({"sound": nn.Linear(2, 3)}, {"sound": lambda output: Independent(Normal(output, 0.5), 1)})
        >>> batch = {"sound": torch.rand(5, 3)}
        >>> for one_pass in (True, False):
        ...     seed = torch.manual_seed(0)
        ...     teacher = IterativeVAE(FromPrior(2), elbo, Refiner(2), steps=4, one_pass=one_pass)
        ...     terms = teacher.loss(batch)
        >>> sorted(terms)
        ['end', 'loss', 'prior', 'sound', 'start']
        >>> teacher.encode(batch).mean.shape
        torch.Size([5, 2])
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
        check_parts({"start": start, "elbo": elbo, "refiner": refiner, "features": features or nn.Identity()}, over)
        self.start, self.elbo, self.refiner, self.features = start, elbo, refiner, features
        self.steps, self.over = whole("IterativeVAE", "steps", steps, 0), over
        self.one_pass = flag("IterativeVAE", "one_pass", one_pass)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``"loss"``; −ELBO at λ₀, ``"start"``, and at λ_T, ``"end"``; each negative term at λ_T. Batch means, nats."""
        batch = checked_batch(self, batch)
        given_a_graph = any(isinstance(x, Tensor) and x.requires_grad for x in batch.values())
        textbook = not self.one_pass or given_a_graph
        loss, bounds, terms = self._textbook(batch) if textbook and torch.is_grad_enabled() else _one_pass(self, batch)
        check_term_names(terms)
        if torch.is_grad_enabled() and not given_a_graph:  # or its graph has parameters of its own
            check_owned(self, terms)
        costs = {"start": bounds[0], "end": bounds[-1], **terms}
        return {"loss": loss, **{name: -values.detach().mean() for name, values in costs.items()}}

    def _textbook(self, batch: Batch) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """The loss (), the ELBO at λ₀, …, λ_T (T + 1, B), and the terms of the last."""
        elbos, features = [], self.read_features(batch)
        lam = self.first(batch)  # (B, 2 d)
        for t in range(self.steps + 1):
            if not lam.requires_grad:  # where nothing before it learns
                lam = lam.detach().requires_grad_()  # (B, 2 d)
            terms = self.elbo(lam, batch)
            elbos.append(total_elbo(terms, lam))
            if t < self.steps:
                gradient = elbo_gradient(terms, lam, t, retain_graph=True)  # (B, 2 d)
                lam = next_lam(self.refiner, lam, gradient, *features)  # (B, 2 d)
        bounds = torch.stack(elbos)  # (T + 1, B)
        loss = -torch.stack([a * mean for a, mean in zip(self.shares(), bounds.mean(1), strict=True)]).sum()  # ()
        return loss, bounds, terms

    def shares(self) -> list[float]:
        """a_0, …, a_T."""
        T = self.steps
        return [1 / (T + 1)] * (T + 1) if self.over == "mean" else [0.0] * T + [1.0]

    def read_features(self, batch: Batch) -> list[Tensor]:
        """What the refiner reads besides λ and g: nothing, or the features of X."""
        if self.features is None:
            return []
        with reading(type(self).__name__, "all modalities", batch, self.features):
            return [self.features(batch)]

    def first(self, batch: Batch) -> Tensor:
        """λ₀, (B, 2 d)."""
        with reading(type(self).__name__, "all modalities", batch, self.start):
            lam: Tensor = self.start(batch)  # (B, 2 d)
        check_first(lam, batch)
        return lam

    # ---- inference

    def refinements(self, batch: Batch, steps: int | None = None) -> Iterator[Tensor]:
        """λ₀, …, λ_T, (B, 2 d) each, without a graph; ``steps`` may be another T than in training."""
        batch = checked_batch(self, batch)
        with torch.no_grad():
            lam, features = self.first(batch), self.read_features(batch)
        return refinements(
            lam,
            lambda lam: self.elbo(lam, batch),
            lambda lam, gradient: self.refiner(lam, gradient, *features),
            self.steps if steps is None else steps,
        )

    def infer(self, batch: Batch, steps: int | None = None) -> Tensor:
        """λ_T, (B, 2 d), without a graph, from all modalities of the batch."""
        return deque(self.refinements(batch, steps), maxlen=1)[0]  # (B, 2 d)

    def encode(self, batch: Batch, steps: int | None = None) -> Distribution:
        """q(z; λ_T), without a graph, as the ELBO's ``posterior`` has it."""
        return meaning(self.elbo)(self.infer(batch, steps))  # (B, d)

    def bounds(self, batch: Batch, steps: int | None = None) -> Tensor:
        """The ELBO at λ₀, …, λ_T, (T + 1, B), in nats."""
        batch = checked_batch(self, batch)
        with torch.no_grad():
            return torch.stack([total_elbo(self.elbo(lam, batch), lam) for lam in self.refinements(batch, steps)])

    def check_batch(self, batch: Batch) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU.

        These are the modalities of an `Elbo`. Another bound does not say which it reads: all but labels and masks.
        """
        known: Iterable[str] = ()
        if isinstance(self.elbo, Elbo):
            known = self.elbo.likelihoods
        elif isinstance(batch, Mapping):
            known = [k for k in batch if k not in NO_MODALITY and not k.endswith(("_present", "_label"))]
        names = check_batch("IterativeVAE", batch, known, model=self)
        check_unpadded("IterativeVAE", batch, names)
        if isinstance(self.elbo, Elbo):
            check_values("IterativeVAE", self.elbo, batch, names)


# ---- the same loss in less memory


def _one_pass(model: IterativeVAE, batch: Batch) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    """What the textbook form returns, with the same gradients, from one backward pass a step.

    The textbook form goes back through the decoders twice: once for g_t, and once more for the loss. Both passes start
    at ELBO(X; λ_t). So λ_t is cut off from the graph here, and one pass back through ELBO(X; λ_t) gives g_t, and at the
    same time the gradients of the decoders' parameters. Then the decoders' graph is freed: memory hardly grows with T.

    What remains is the chain λ₀ → λ₁ → … → λ_T of start and refiner. g_t is not differentiated, so by the chain rule
    the loss reaches this chain at each λ_t, with

        ∂loss/∂λ_t, through ELBO(X; λ_t) alone = −a_t g_t / B.

    These gradients and those of the decoders' parameters are known before the backward pass of the loss begins;
    `_Known` hands them over when it does. For the same draws of z, the gradients of both forms are equal.

    Without gradients, as in validation, parameters play no part, and the last step needs no backward pass.
    """
    learning, shares = torch.is_grad_enabled(), model.shares()
    parameters = [p for p in model.parameters() if p.requires_grad and learning]  # whichever part they belong to
    learned: list[Tensor | None] = [None] * len(parameters)  # ∂loss/∂p of each, where it plays a part
    path, slopes, elbos = [], [], []  # λ_t, −a_t g_t / B and ELBO(X; λ_t) of each step
    lam, features = model.first(batch), model.read_features(batch)
    for t, share in enumerate(shares):
        leaf = lam.detach().requires_grad_(learning or t < model.steps)  # (B, 2 d)
        with torch.enable_grad():
            terms = model.elbo(leaf, batch)
            elbo = total_elbo(terms, leaf)  # (B,)
            total = elbo.sum()  # ()
        elbos.append(elbo.detach())
        if not leaf.requires_grad:
            break
        asked = [leaf, *(parameters if share else [])]
        gradient, *rest = torch.autograd.grad(total, asked, allow_unused=True)
        check_gradient(gradient, terms, t)
        scale = -share / len(lam)
        for k, part in enumerate(rest):
            if part is not None:
                before = learned[k]
                learned[k] = part * scale if before is None else before.add_(part, alpha=scale)
        del rest  # as large as the decoders
        path.append(lam)
        slopes.append(gradient * scale)
        if t < model.steps:
            lam = next_lam(model.refiner, lam, gradient, *features)  # (B, 2 d)
    bounds = torch.stack(elbos)  # (T + 1, B)
    loss = -torch.stack([a * mean for a, mean in zip(shares, bounds.mean(1), strict=True)]).sum()  # ()
    loss = _Known.apply(loss, [*learned, *slopes], *parameters, *path)  # type: ignore[no-untyped-call]
    return loss, bounds, terms


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


# ---- messages


def check_parts(parts: Mapping[str, object], over: str) -> None:
    """Refuse parts that cannot learn, and an unknown choice of a_t."""
    if over not in ("mean", "last"):
        raise ValueError(f"IterativeVAE: over must be 'mean' or 'last', got {over!r}")
    for name, part in parts.items():
        module("IterativeVAE", name, part)


def checked_batch(model: IterativeVAE, batch: Batch) -> Batch:
    """The batch on the model's device, checked, with 0 in place of missing values."""
    model.check_batch(batch)
    return without_missing(moved(batch, model))


def check_first(lam: object, batch: Batch) -> None:
    """Refuse what a start gives and is no λ of each example."""
    check_lam("IterativeVAE, start", lam)
    size = len(next(x for x in batch.values() if isinstance(x, Tensor) and x.ndim))
    if not isinstance(lam, Tensor) or lam.ndim != 2 or len(lam) != size:
        raise ValueError(f"IterativeVAE: start must give λ ({size}, n), got {kind(lam)}")


def meaning(elbo: nn.Module) -> Callable[[Tensor], Distribution]:
    """What λ means, which only the ELBO knows: a guess would be wrong without a word."""
    function = getattr(elbo, "posterior", None)
    if not callable(function):
        raise TypeError(f"IterativeVAE: {type(elbo).__name__} does not say what λ means; give it an attribute "
                        "posterior, a function from λ to a distribution of z, or use infer, which gives λ")  # fmt: skip
    return function  # type: ignore[no-any-return]


def check_owned(model: IterativeVAE, terms: Mapping[str, Tensor]) -> None:
    """Refuse a parameter that the ELBO uses but no part has: it would neither be trained nor stored."""
    todo, seen = [term.grad_fn for term in terms.values()], set()
    own = {id(p) for p in model.parameters()}
    while todo:
        if (node := todo.pop()) is None or node in seen:
            continue
        seen.add(node)
        todo += [before for before, _ in node.next_functions]
        p = getattr(node, "variable", None)
        if isinstance(p, nn.Parameter) and id(p) not in own:
            raise ValueError(f"IterativeVAE: the ELBO uses a parameter {tuple(p.shape)} that belongs to none of the "
                             "parts, so it would not be trained or stored; make what has it a torch.nn.Module, such as "
                             "a likelihood with a learned σ, and hand that over")  # fmt: skip


def check_term_names(terms: Mapping[str, Tensor]) -> None:
    """Refuse terms of the ELBO that are called like something else in the loss."""
    if taken := sorted({"loss", "start", "end"} & terms.keys()):
        raise ValueError(
            f"IterativeVAE: a term of the ELBO cannot be called {taken[0]!r}, which is a term of the loss already"
        )
