"""Links: how a child's variable depends on its parent's, and what a message becomes that passes from one to the other.

Each link has two directions. ``up`` takes what is known about the child and says what follows for the parent;
``down`` takes what is known about the parent. What is known is a message, or a tensor: the variable itself, observed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from .checks import as_tensor, kind, number, on_device, whole
from .messages import CategoricalMessage, GaussianMessage, Message, times


class Link(nn.Module, ABC):
    """Abstract: p(child | parent).

    Attributes:
        parent: "vector" or "category".
        child: "vector" or "category".
        sizes: of parent and child: numbers of a vector, or how many categories.
    """

    parent = child = "vector"
    sizes: tuple[int, int]

    @abstractmethod
    def up(self, known: Message | Tensor) -> Message:
        """∫ p(child | parent) known(child) d child, a message about the parent."""

    @abstractmethod
    def down(self, known: Message | Tensor) -> Message:
        """∫ p(child | parent) known(parent) d parent, a message about the child."""


class LinearLink(Link):
    """A vector from a vector: z_child = A z_parent + e, e ~ N(0, Q).

    Args:
        A: float (d child, d parent).
        Q: covariance, (d child, d child), symmetric and positive definite.

    Raises:
        TypeError: they are no tensors.
        ValueError: shapes do not fit, or Q is no covariance.

    Examples:
        >>> link = LinearLink(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
        >>> told = link.up(torch.tensor([[4.0]]))  # the child is 4, so the parent is about 2
        >>> told.mean, told.covariance
        (tensor([[2.]]), tensor([[0.2500]]))
    """

    A: Tensor
    Q: Tensor

    def __init__(self, A: Tensor, Q: Tensor) -> None:
        super().__init__()
        _check_matrix("LinearLink", "A", A)
        _check_covariance("LinearLink", "Q", Q, A, (len(A), len(A)))
        self.register_buffer("A", A)
        self.register_buffer("Q", Q)
        self.sizes = (A.shape[1], A.shape[0])

    def up(self, known: Message | Tensor) -> GaussianMessage:
        """Aᵀ M P A and Aᵀ M h with M = (I + P Q)⁻¹, which exists for a singular P as well."""
        A, Q = self.A, self.Q
        if isinstance(known, Tensor):
            R = torch.linalg.inv_ex(Q)[0]
            return GaussianMessage(times(A.T @ R, known), A.T @ R @ A)
        child = _gaussian(self, known)
        M = torch.linalg.inv_ex(torch.eye(len(Q)).to(Q) + child.P @ Q)[0]
        P = A.T @ M @ child.P @ A
        return GaussianMessage(times(A.T @ M, child.h), (P + P.mT) / 2)

    def down(self, known: Message | Tensor) -> GaussianMessage:
        """N(A m, A C Aᵀ + Q) of a parent N(m, C)."""
        if isinstance(known, Tensor):
            return GaussianMessage.of(times(self.A, known), self.Q)
        parent = _gaussian(self, known)
        return GaussianMessage.of(times(self.A, parent.mean), self.A @ parent.covariance @ self.A.T + self.Q)


class MixtureLink(Link):
    """A vector from a category: z | c ~ N(μ_c, Σ_c), a Gaussian mixture.

    Args:
        categories: K.
        size: d.
        pseudo: so many examples of covariance I are added to each category in `update`, so that none collapses to a
            point. Scale z to a variance of about 1.

    Attributes:
        means: μ, (K, d); 0 at first.
        covariances: Σ, (K, d, d); I at first.

    Raises:
        ValueError: a number is out of range.

    Examples:
        >>> link = MixtureLink(2, 1)
        >>> link.means.copy_(torch.tensor([[-1.0], [1.0]]))
        tensor([[-1.],
                [ 1.]])
        >>> link.up(torch.tensor([[0.5]])).probs  # observed; the second category is nearer
        tensor([[0.2689, 0.7311]])
        >>> link.up(GaussianMessage.of(torch.tensor([[0.5]]), torch.tensor([[1.0]]))).probs  # half as sure
        tensor([[0.3775, 0.6225]])
    """

    parent = "category"
    means: Tensor
    covariances: Tensor

    def __init__(self, categories: int, size: int, pseudo: float = 10.0) -> None:
        super().__init__()
        K, d = whole("MixtureLink", "categories", categories), whole("MixtureLink", "size", size)
        self.pseudo, self.sizes = number("MixtureLink", "pseudo", pseudo), (K, d)
        self.register_buffer("means", torch.zeros(K, d))
        self.register_buffer("covariances", torch.eye(d).repeat(K, 1, 1))

    def up(self, known: Message | Tensor) -> CategoricalMessage:
        """Log N(z; μ_c, Σ_c) of an observed z; else log ∫ N(z; μ_c, Σ_c) exp(hᵀz − ½ zᵀPz) dz."""
        mu, sigma = self.means, self.covariances  # (K, d), (K, d, d)
        if isinstance(known, Tensor):
            z = _vector(self, known)  # (B, d)
            L = torch.linalg.cholesky_ex(sigma)[0]
            white = torch.linalg.solve_triangular(L, z.T - mu[..., None], upper=False)  # (K, d, B)
            log_det = L.diagonal(dim1=1, dim2=2).log().sum(1)  # (K,)
            log_p = -(white.square().sum(1) / 2 + log_det[:, None] + z.shape[1] / 2 * math.log(2 * math.pi))  # (K, B)
            return CategoricalMessage(log_p.T)
        child = _gaussian(self, known)
        P, h = child.P.unsqueeze(-3), child.h[:, None]  # (…, 1, d, d), (B, 1, d)
        # With Σ = LLᵀ and z = μ + Lu it is a Gaussian integral over u, whose precision is I + LᵀPL.
        L = torch.linalg.cholesky_ex(sigma)[0]
        G = torch.linalg.cholesky_ex(torch.eye(mu.shape[1]).to(mu) + L.mT @ P @ L)[0]  # (…, K, d, d)
        slope = times(L.mT, h - times(P, mu))  # (B, K, d), of the exponent at u = 0
        inside = torch.linalg.solve_triangular(G, slope[..., None], upper=False)[..., 0]  # (B, K, d)
        at_mean = (h * mu).sum(-1) - (mu * times(P, mu)).sum(-1) / 2  # (B, K)
        return CategoricalMessage(at_mean + inside.square().sum(-1) / 2 - G.diagonal(dim1=-2, dim2=-1).log().sum(-1))

    def down(self, known: Message | Tensor) -> GaussianMessage:
        """The Gaussian with the mean and the covariance of the mixture: exact only where the category is sure."""
        p = _probs(self, known)  # (B, K)
        mean = p @ self.means  # (B, d)
        apart = self.means - mean[:, None]  # (B, K, d)
        spread = self.covariances + apart[..., None] * apart[..., None, :]  # (B, K, d, d)
        return GaussianMessage.of(mean, (p[..., None, None] * spread).sum(1))

    @torch.no_grad()
    def update(self, z: Tensor, responsibility: Tensor) -> None:
        """The M-step of EM: means and covariances of z (B, d), weighted by p(c | …) (B, K)."""
        z, r = _vector(self, z), on_device(responsibility, self.means.device).to(self.means.dtype)
        n = r.sum(0)  # (K,)
        self.means.copy_((r.T @ z) / n.clamp_min(torch.finfo(n.dtype).tiny)[:, None])
        apart = z[:, None] - self.means  # (B, K, d)
        spread = torch.einsum("bk,bki,bkj->kij", r, apart, apart)
        I = torch.eye(z.shape[1]).to(z)  # noqa: E741
        self.covariances.copy_((spread + self.pseudo * I) / (n + self.pseudo)[:, None, None])

    def log_prior(self) -> Tensor:
        """What the added examples are worth, −½ pseudo Σ_c (log det Σ_c + tr Σ_c⁻¹), (): EM raises their sum."""
        log_det: Tensor = self.covariances.logdet()
        trace = torch.linalg.inv_ex(self.covariances)[0].diagonal(dim1=1, dim2=2).sum(1)
        log_p: Tensor = -self.pseudo / 2 * (log_det + trace).sum()
        return log_p


class TableLink(Link):
    """A category from a category: p(x | c) in a table. A label is such a module, or a word.

    Args:
        categories: K, of the parent.
        values: V, of the child.
        pseudo: so many examples of each value are added to each category in `update`.

    Attributes:
        table: p(x | c), (K, V); uniform at first.

    Raises:
        ValueError: a number is out of range.

    Examples:
        >>> link = TableLink(2, 2, pseudo=0.0)
        >>> link.update(torch.tensor([0, 0, 1]), torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))
        >>> link.table
        tensor([[1.0000, 0.0000],
                [0.3333, 0.6667]])
        >>> link.up(torch.tensor([0])).probs
        tensor([[0.7500, 0.2500]])
    """

    parent = child = "category"
    table: Tensor

    def __init__(self, categories: int, values: int, pseudo: float = 0.1) -> None:
        super().__init__()
        K, V = whole("TableLink", "categories", categories), whole("TableLink", "values", values)
        self.pseudo, self.sizes = number("TableLink", "pseudo", pseudo), (K, V)
        self.register_buffer("table", torch.full((K, V), 1 / V))

    def up(self, known: Message | Tensor) -> CategoricalMessage:
        """Log Σ_x p(x | c) known(x)."""
        if isinstance(known, Tensor):
            return CategoricalMessage(self.table.log().T[_value(self, known)])
        child = _categorical(self, known)
        highest = child.logits.amax(1, keepdim=True)  # a factor, the same for all c
        return CategoricalMessage(((child.logits - highest).exp() @ self.table.T).log() + highest)

    def down(self, known: Message | Tensor) -> CategoricalMessage:
        """Log Σ_c p(x | c) known(c)."""
        return CategoricalMessage((_probs(self, known) @ self.table).log())

    @torch.no_grad()
    def update(self, x: Tensor, responsibility: Tensor) -> None:
        """The M-step of EM: how often x (B,) has each value, weighted by p(c | …) (B, K)."""
        x, r = _value(self, x), on_device(responsibility, self.table.device).to(self.table.dtype)
        counts = (r.T @ nn.functional.one_hot(x, self.sizes[1]).to(r)) + self.pseudo  # (K, V)
        self.table.copy_(counts / counts.sum(1, keepdim=True).clamp_min(torch.finfo(r.dtype).tiny))

    def log_prior(self) -> Tensor:
        """What the added examples are worth, pseudo Σ log p(x | c), (): EM raises their sum."""
        return self.pseudo * self.table.log().sum() if self.pseudo else self.table.new_zeros(())


# ---- messages


def _gaussian(link: Link, known: Message | Tensor) -> GaussianMessage:
    if not isinstance(known, GaussianMessage):
        raise TypeError(f"{type(link).__name__}: needs a GaussianMessage or the vector itself, got {kind(known)}")
    return known


def _categorical(link: Link, known: Message | Tensor) -> CategoricalMessage:
    if not isinstance(known, CategoricalMessage):
        raise TypeError(f"{type(link).__name__}: needs a CategoricalMessage or the category itself, got {kind(known)}")
    return known


def _probs(link: Link, known: Message | Tensor) -> Tensor:
    """The probabilities of the parent's categories (B, K), one-hot if they are observed."""
    if isinstance(known, Tensor):
        like = next(link.buffers())
        return nn.functional.one_hot(on_device(known, like.device), link.sizes[0]).to(like.dtype)
    return _categorical(link, known).probs


def _vector(link: Link, z: Tensor) -> Tensor:
    who, d, like = type(link).__name__, link.sizes[1], next(link.buffers())
    if z.ndim != 2 or z.shape[1] != d or z.dtype != like.dtype:
        to = " (link.double() makes one for float64)" if z.dtype == torch.float64 else ""
        raise ValueError(f"{who}: needs vectors, {like.dtype} (B, {d}), got {kind(z)}{to}")
    return on_device(z, like.device)


def _value(link: Link, x: Tensor) -> Tensor:
    who, V, like = type(link).__name__, link.sizes[1], next(link.buffers())
    if x.ndim != 1 or x.dtype != torch.int64:
        raise ValueError(f"{who}: needs values, int64 (B,) from 0 to {V - 1}, got {kind(x)}")
    if x.device.type == "cpu" and len(x) and not 0 <= int(x.min()) <= int(x.max()) < V:
        raise ValueError(f"{who}: needs values from 0 to {V - 1}, got {int(x.min())} to {int(x.max())}")
    return on_device(x, like.device)


def _check_matrix(who: str, name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{who}: {name} must be a tensor, got {kind(x)}{as_tensor(x)}")
    if x.ndim != 2 or not x.numel() or not x.is_floating_point():
        raise ValueError(f"{who}: {name} must be a float matrix, got {kind(x)}")
    if x.device.type == "cpu" and not x.isfinite().all():
        raise ValueError(f"{who}: {name} has NaN or infinite values")


def _check_covariance(who: str, name: str, x: Tensor, like: Tensor, shape: tuple[int, int]) -> None:
    _check_matrix(who, name, x)
    if x.shape != shape or x.dtype != like.dtype:
        raise ValueError(f"{who}: {name} must be {like.dtype} {shape}, got {kind(x)}")
    if x.device.type == "cpu" and (not torch.allclose(x, x.T) or torch.linalg.cholesky_ex(x)[1]):
        raise ValueError(f"{who}: {name} must be symmetric and positive definite, as a covariance is")
