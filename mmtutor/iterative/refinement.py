"""Refinement: the parameters λ of a posterior are improved by the gradient of the ELBO, step by step.

    g_t = ∂ELBO(X; λ_t)/∂λ,    λ_{t+1} = r(λ_t, g_t),    t = 0, …, T − 1

Marino, Yue and Mandt, 2018, arXiv:1807.09356. Nothing here knows what λ means: the ELBO and the refiner r are handed
in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from .checks import kind, whole

Terms = Mapping[str, Tensor]


def refine(
    lam: Tensor, elbo: Callable[[Tensor], Terms], refiner: Callable[[Tensor, Tensor], Tensor], steps: int
) -> Tensor:
    """λ_T. Nothing is trained here, and memory does not grow with the number of steps.

    Args:
        lam: λ₀, float (B, n).
        elbo: from λ to the terms whose sum is the ELBO, by name, (B,) each, in nats.
        refiner: from λ and the gradient of the ELBO with respect to λ, (B, n) both, to the next λ.
        steps: T; with 0, λ₀ is returned.

    Returns:
        λ_T, (B, n), without a graph, on the device of λ₀.

    Raises:
        ValueError: a shape or ``steps`` is wrong.
        FloatingPointError: a gradient on the CPU is NaN or infinite; the message names the step, the terms and the
            examples. From a GPU no step reads the gradient back, since the program would have to wait: there what
            comes of it is NaN, and ``fit`` finds a loss that is NaN.

    Examples:
        >>> import torch
        >>> elbo = lambda lam: {"distance": -(lam - 1).square().sum(1)}  # highest where λ = 1
        >>> refine(torch.zeros(2, 3), elbo, lambda lam, gradient: lam + 0.25 * gradient, steps=2)
        tensor([[0.7500, 0.7500, 0.7500],
                [0.7500, 0.7500, 0.7500]])
    """
    return deque(refinements(lam, elbo, refiner, steps), maxlen=1)[0]


def refinements(
    lam: Tensor, elbo: Callable[[Tensor], Terms], refiner: Callable[[Tensor, Tensor], Tensor], steps: int
) -> Iterator[Tensor]:
    """λ₀, λ₁, …, λ_T, one after the other; arguments are those of `refine`."""
    steps = whole("refine", "steps", steps, 0)
    check_lam("refine", lam)
    lam = lam.detach()  # (B, n)
    yield lam
    for t in range(steps):
        with torch.enable_grad():
            leaf = lam.detach().requires_grad_()  # (B, n)
            gradient = elbo_gradient(elbo(leaf), leaf, t)  # (B, n)
        with torch.no_grad():
            lam = next_lam(refiner, lam, gradient).detach()  # (B, n)
        yield lam


def total_elbo(terms: Terms, lam: Tensor) -> Tensor:
    """The ELBO of each example, (B,): the sum of its terms, on the device of λ."""
    check_terms(terms, lam)
    return torch.stack([*terms.values()]).sum(0).to(lam.device)  # (B,)


def elbo_gradient(terms: Terms, lam: Tensor, step: int, retain_graph: bool = False) -> Tensor:
    """g_t = ∂ Σ_b ELBO_b / ∂λ_t, (B, n). A sum, so that an example's gradient does not depend on the batch size."""
    (gradient,) = torch.autograd.grad(total_elbo(terms, lam).sum(), lam, retain_graph=retain_graph)
    check_gradient(gradient, terms, step)
    return gradient  # (B, n)


def next_lam(refiner: Callable[..., Tensor], lam: Tensor, gradient: Tensor, *features: Tensor) -> Tensor:
    """λ_{t+1} = r(λ_t, g_t), (B, n); a refiner may also read features of X."""
    refined = refiner(lam, gradient, *features)  # (B, n)
    check_refined(refined, lam)
    return refined.to(lam.device)  # (B, n)


def amortisation_gap(
    lam: Tensor, elbo: Callable[[Tensor], Terms], steps: int = 100, lr: float = 0.05, draws: int = 20
) -> Tensor:
    """How much the ELBO still rises when λ of each example is optimised by itself (Cremer, Li and Duvenaud, 2018).

    Adam optimises, with a step size that decreases to 0. The result is what so many steps find, a lower bound of the
    gap.

    Args:
        lam: λ, (B, n).
        elbo: as in `refine`. It may draw z; the ELBO before and after is the mean over ``draws`` values.
        steps: of Adam.
        lr: the first step size.
        draws: of the ELBO, before and after.

    Returns:
        (B,), in nats, on the device of λ. It may be a little below 0: the draws differ, and Adam does not stop exactly
        at the optimum.

    Raises:
        ValueError: a shape, ``steps`` or ``draws`` is wrong.
        FloatingPointError: as in `refine`.

    Examples:
        >>> import torch
        >>> elbo = lambda lam: {"distance": -(lam - 1).square().sum(1)}
        >>> amortisation_gap(torch.zeros(2, 3), elbo).round(decimals=3)  # from −3 to 0
        tensor([3., 3.])
    """
    steps, draws = whole("amortisation_gap", "steps", steps), whole("amortisation_gap", "draws", draws)
    best = lam.detach().clone().requires_grad_()  # (B, n)
    adam = torch.optim.Adam([best], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for step in range(steps):
        with torch.enable_grad():
            best.grad = -elbo_gradient(elbo(best), best, step)
        adam.step()
        schedule.step()
    with torch.no_grad():
        before = torch.stack([total_elbo(elbo(lam), lam) for _ in range(draws)]).mean(0)  # (B,)
        after = torch.stack([total_elbo(elbo(best), best) for _ in range(draws)]).mean(0)  # (B,)
    return after - before  # (B,)


# ---- messages


def check_lam(who: str, lam: object, even: bool = False) -> None:
    """Refuse a λ that is no tensor, such as a mean and a log σ by themselves, or that has no two halves."""
    if not isinstance(lam, Tensor):
        how = "; join its parts with torch.cat([…], -1)" if isinstance(lam, tuple | list) else ""
        raise TypeError(f"{who}: λ must be a tensor (B, n), got {kind(lam)}{how}")
    if even and (not lam.ndim or lam.shape[-1] % 2 or not lam.shape[-1]):
        raise ValueError(f"{who}: λ must be (…, 2 d), a mean and as many numbers log σ, got {tuple(lam.shape)}")


def check_terms(terms: Terms, lam: Tensor) -> None:
    """Refuse terms that are no dict or not (B,), and inference mode where a gradient is wanted."""
    if lam.requires_grad and torch.is_inference_mode_enabled():
        raise RuntimeError("refine: a step needs a gradient; use torch.no_grad() in place of torch.inference_mode()")
    if not isinstance(terms, Mapping) or not terms:
        hint = "; give {'elbo': …}" if isinstance(terms, Tensor) else ""
        raise TypeError(
            f"refine: the ELBO must be a dict of terms by name, (B,) each, got {kind(terms) or 'none'}{hint}"
        )
    for name, term in terms.items():
        if term.shape != lam.shape[:1]:
            raise ValueError(f"refine: the ELBO's term {name!r} must be ({len(lam)},), got {tuple(term.shape)}")


def check_gradient(gradient: Tensor | None, terms: Terms, step: int) -> None:
    """Refuse a gradient on the CPU that is not finite, and say where it went wrong.

    Not so on a GPU. ``torch._assert_async`` would not wait, but when it fails, nothing more runs there until the
    program is started again. λ takes the NaN to the loss instead, which ``fit`` looks at.
    """
    if gradient is None:
        raise ValueError("refine: the ELBO does not depend on λ")
    if gradient.device.type != "cpu" or gradient.isfinite().all():
        return
    bad = (~gradient.isfinite().all(1)).nonzero()[:, 0].tolist()
    names = [name for name, term in terms.items() if not term[bad].isfinite().all()]
    cause = (
        f"The terms {', '.join(map(repr, names))} are NaN or infinite, too."
        if names
        else "All terms are finite, their gradients are not."
    )
    raise FloatingPointError(
        f"refine: at step {step} the gradient is NaN or infinite for {len(bad)} of {len(gradient)} examples, first in "
        f"example {bad[0]}. {cause} Look at the batch, or take smaller steps."
    )


def check_refined(refined: Tensor, lam: Tensor) -> None:
    """Refuse a refined λ of another shape."""
    if refined.shape != lam.shape:
        raise ValueError(f"refine: the refiner must give {tuple(lam.shape)}, got {tuple(refined.shape)}")
