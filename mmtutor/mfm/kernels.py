"""Two comparisons by kernels: of latent codes with the prior, and of two variables with each other."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import number


def mmd(z: Tensor, width: float | None = None, counted: Tensor | None = None) -> Tensor:
    """The squared maximum mean discrepancy of latent codes from N(0, I), estimated without bias.

    MMD² = E k(z, z') − 2 E k(z, p) + E k(p, p') with k(x, y) = exp(−‖x − y‖² / 2h) and p, p' from N(0, I). The last two
    are known exactly, so that nothing has to be drawn from the prior:

        E k(z, p) = (h/(h + 1))^(d/2) exp(−‖z‖² / 2(h + 1)),    E k(p, p') = (h/(h + 2))^(d/2).

    Args:
        z: latent codes (B, d), at least two.
        width: h; None is d, as ‖x − y‖² grows with d. With a much wider kernel, such as h = d²/2 of the released code,
            a collapse of all to 0 goes unpunished. With a narrow one, such as h = d, codes that are far from the prior
            and from each other are not pulled back: their discrepancy is that of E k(p, p'), about 0.4, and is flat.
        counted: bool (B,), which codes count; None: all. With fewer than two the discrepancy is 0.

    Returns:
        A scalar. Its mean over batches is the true MMD², 0 if they are from N(0, I); one value can be below 0.

    Raises:
        ValueError: there is only one latent code, and so no pair to compare.

    Examples:
        >>> mmd(torch.zeros(4, 64)) > 10 * mmd(torch.randn(1000, 64)).abs()
        tensor(True)
    """
    check_latents(z)
    B, d = z.shape
    h = check_width(d if width is None else width)
    z = z.to(torch.promote_types(z.dtype, torch.float32))  # bfloat16 has too few digits for differences of distances
    norm = z.square().sum(1)  # (B,)
    distance = (norm.unsqueeze(1) + norm - 2 * z @ z.T).clamp_min(0)  # (B, B)
    same = torch.eye(B, dtype=torch.bool, device=z.device)  # (B, B)
    k = (distance / (-2 * h)).exp().masked_fill(same, 0)  # (B, B)
    to_prior = (norm / (-2 * (h + 1))).exp()  # (B,)
    scale, constant = (h / (h + 1)) ** (d / 2), (h / (h + 2)) ** (d / 2)
    if counted is None:
        squared: Tensor = k.sum() / (B * (B - 1)) - 2 * (scale * to_prior.mean()) + constant
        return squared
    rows = counted.to(z)  # (B,)
    n = rows.sum()  # stays on the device
    among = (k * rows * rows.unsqueeze(1)).sum() / (n * (n - 1)).clamp_min(1)
    squared = among - 2 * scale * (to_prior * rows).sum() / n.clamp_min(1) + constant
    return squared * (n > 1)


def hsic(a: Tensor, b: Tensor) -> Tensor:
    """How much two variables depend on each other: the Hilbert-Schmidt independence criterion (Gretton, 2005).

    tr(K H L H) / (n − 1)², with Gaussian kernels as wide as the median distance, and H = I − 1/n. In the limit it is 0
    if and only if the two are independent. It is not the mutual information, and has no unit.

    Args:
        a: (n, …), at least two rows; each row is one observation.
        b: (n, …).

    Returns:
        A scalar, on the device of ``a``.

    Examples:
        >>> x, noise = torch.randn(2, 200, 3)
        >>> hsic(x, x.square()) > 3 * hsic(x, noise)
        tensor(True)
    """
    check_rows(a, b)
    centred = []
    i, j = torch.triu_indices(len(a), len(a), 1, device=a.device)
    for x in (a, b.to(a.device)):
        distance = torch.cdist(x.flatten(1), x.flatten(1)).square()  # (n, n)
        among = distance[i, j]
        kernel = (-distance / (2 * among.median().clamp_min(1e-12))).exp()  # (n, n)
        centred.append(kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean())
    return (centred[0] * centred[1]).sum() / (len(a) - 1) ** 2


# ---- messages


def check_latents(z: Tensor) -> None:
    """Refuse fewer than two latent codes."""
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(
            f"mmd: needs at least two latent codes (B, d), got {tuple(z.shape)}; choose a batch size that leaves no "
            "last batch of one example"
        )


def check_width(width: float) -> float:
    """The width of a kernel."""
    number("mmd", "width", width, above=True)
    return float(width)


def check_rows(a: Tensor, b: Tensor) -> None:
    """Refuse variables that are not observed together."""
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"hsic: needs as many rows of both, at least two, got {tuple(a.shape)} and {tuple(b.shape)}")
