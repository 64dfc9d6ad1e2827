"""Messages: what a module says about a variable, as a factor. A product of factors is a sum of their parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal

from .checks import as_tensor, kind, on_device


@dataclass(frozen=True, eq=False)
class GaussianMessage:
    """exp(hᵀz − ½ zᵀPz), what is said about a vector z: a Gaussian in information form, not normalised.

    Args:
        h: information, P times the mean, float (B, d).
        P: precision, symmetric, (d, d), or (B, d, d) if it differs between examples. It may be singular: P = 0 says
            nothing.

    Raises:
        TypeError: they are no tensors.
        ValueError: they are not of these shapes.

    Examples:
        >>> sharp = GaussianMessage.of(torch.tensor([[3.0]]), torch.tensor([[0.5]]))
        >>> wide = GaussianMessage.of(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
        >>> both = sharp * wide
        >>> both.mean, both.covariance
        (tensor([[2.]]), tensor([[0.3333]]))
        >>> (both / wide).mean  # what was said is taken back
        tensor([[3.]])
    """

    h: Tensor
    P: Tensor

    def __post_init__(self) -> None:
        _check_gaussian(self.h, self.P)

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor) -> GaussianMessage:
        """The message whose mean is (B, d) and whose covariance is (d, d) or (B, d, d)."""
        P = torch.linalg.inv_ex(covariance)[0]
        return cls(times(P, mean), P)

    def to(self, device: torch.device) -> GaussianMessage:
        """The same message on a device."""
        return GaussianMessage(on_device(self.h, device), on_device(self.P, device))

    def __len__(self) -> int:
        """B."""
        return len(self.h)

    def __mul__(self, other: GaussianMessage) -> GaussianMessage:
        """Both together: h and P add up."""
        return GaussianMessage(self.h + other.h, self.P + other.P)

    def __truediv__(self, other: GaussianMessage) -> GaussianMessage:
        """This one without the other, which was a factor of it."""
        return GaussianMessage(self.h - other.h, self.P - other.P)

    @property
    def covariance(self) -> Tensor:
        """P⁻¹, of the shape of P."""
        C: Tensor = torch.linalg.inv_ex(self.P)[0]
        return C

    @property
    def mean(self) -> Tensor:
        """P⁻¹h, (B, d)."""
        return times(self.covariance, self.h)

    @property
    def distribution(self) -> MultivariateNormal:
        """N(P⁻¹h, P⁻¹), of batch shape (B,) and event shape (d,); P must be positive definite."""
        return MultivariateNormal(self.mean, precision_matrix=self.P, validate_args=False)


@dataclass(frozen=True, eq=False)
class CategoricalMessage:
    """exp(logits[c]), what is said about a category c, not normalised.

    Args:
        logits: float (B, K).

    Raises:
        TypeError: they are no tensor.
        ValueError: they are not of this shape.

    Examples:
        >>> picture, voice = (CategoricalMessage(torch.tensor([p]).log()) for p in ([0.5, 0.5, 0.0], [0.2, 0.4, 0.4]))
        >>> (picture * voice).probs
        tensor([[0.3333, 0.6667, 0.0000]])
    """

    logits: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.logits, Tensor):
            raise TypeError(f"CategoricalMessage: logits must be a tensor, got {kind(self.logits)}"
                            f"{as_tensor(self.logits)}")  # fmt: skip
        if self.logits.ndim != 2 or not self.logits.is_floating_point():
            raise ValueError(f"CategoricalMessage: logits must be float (B, K), got {kind(self.logits)}")

    def to(self, device: torch.device) -> CategoricalMessage:
        """The same message on a device."""
        return CategoricalMessage(on_device(self.logits, device))

    def __len__(self) -> int:
        """B."""
        return len(self.logits)

    def __mul__(self, other: CategoricalMessage) -> CategoricalMessage:
        """Both together: logits add up."""
        return CategoricalMessage(self.logits + other.logits)

    def __truediv__(self, other: CategoricalMessage) -> CategoricalMessage:
        """This one without the other, which was a factor of it; what is impossible stays so."""
        return CategoricalMessage(self.logits - other.logits.where(other.logits != -torch.inf, 0.0))

    @property
    def probs(self) -> Tensor:
        """The probabilities, (B, K)."""
        return self.logits.softmax(1)

    @property
    def distribution(self) -> Categorical:
        """Of batch shape (B,)."""
        return Categorical(logits=self.logits, validate_args=False)


Message = GaussianMessage | CategoricalMessage


def times(A: Tensor, x: Tensor) -> Tensor:
    """A x of each example, for A (m, d) or (B, m, d) and x (B, d): (B, m)."""
    return (A @ x[..., None])[..., 0]


# ---- messages


def _check_gaussian(h: Tensor, P: Tensor) -> None:
    for name, x in (("h", h), ("P", P)):
        if not isinstance(x, Tensor):
            raise TypeError(f"GaussianMessage: {name} must be a tensor, got {kind(x)}{as_tensor(x)}")
    if h.ndim != 2 or not h.is_floating_point():
        raise ValueError(f"GaussianMessage: h must be float (B, d), got {kind(h)}")
    B, d = h.shape
    if P.shape not in ((d, d), (B, d, d)) or P.dtype != h.dtype:
        raise ValueError(f"GaussianMessage: P must be {h.dtype} {(d, d)} or {(B, d, d)}, as h is, got {kind(P)}")
