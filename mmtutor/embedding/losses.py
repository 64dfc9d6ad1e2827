"""Losses of a joint embedding: from similarities, and who belongs to whom, to one number.

Equations and symbols: see ``__init__.py``. Each pair of a picture and a sentence counts the same.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import flag, number, whole


class Contrast(nn.Module, ABC):
    """Abstract: what a loss of a joint embedding is."""

    @abstractmethod
    def forward(self, similarity: Tensor, owner: Tensor, counted: Tensor) -> Tensor:
        """The loss, ().

        Args:
            similarity: cosines sᵢⱼ, (N, M), at least two pictures or sentences that are no pair.
            owner: which picture each sentence belongs to, int64 (M,).
            counted: which pairs (i, j) count, bool (N, M). One that does not is neither together nor apart: a known
                false negative, or something is missing.
        """


class InfoNCE(Contrast):
    """Which of the batch belongs to this one? The cross-entropy, in nats, the mean of both directions.

    Args:
        scale: t to begin with, the inverse of the temperature; CLIP begins with 1/0.07.
        learned: whether t is learned, as exp of a parameter; then it is held at ``most`` or below, as CLIP does.
        most: of t. Without a limit training can become unstable.

    Examples:
        >>> similarity = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> loss = InfoNCE(scale=1.0)(similarity, torch.arange(2), torch.ones(2, 2, dtype=torch.bool))
        >>> f"{loss.item():.4f}", f"{math.log(1 + math.exp(-1)):.4f}"
        ('0.3133', '0.3133')
    """

    def __init__(self, scale: float = 1 / 0.07, learned: bool = True, most: float = 100.0) -> None:
        super().__init__()
        self.log_scale, self.most = _log_scale("InfoNCE", scale, learned, most)

    @property
    def scale(self) -> Tensor:
        """t, ()."""
        return self.log_scale.exp()

    def forward(self, similarity: Tensor, owner: Tensor, counted: Tensor) -> Tensor:
        """The loss; see `Contrast.forward`."""
        _hold(self, self.log_scale, self.most)
        s, negative = self.scale * similarity, _negatives(owner, counted)  # (N, M)
        pair, weight = _pairs(s, owner), _pairs(counted, owner).to(s.dtype)  # (M,)
        apart = s.masked_fill(~negative, torch.finfo(s.dtype).min)  # (N, M)
        of_picture, of_sentence = apart.logsumexp(1), apart.logsumexp(0)  # (N,), (M,)
        # −log exp(s) / (exp(s) + exp(n)) = softplus(n − s)
        costs = F.softplus(of_picture[owner] - pair) + F.softplus(of_sentence - pair)  # (M,)
        return (costs * weight).sum() / weight.sum().clamp_min(1) / 2


class Triplet(Contrast):
    """A pair must be more similar by a margin than what does not belong together: hinges, the sum of both directions.

    With ``hardest`` only the most similar negative counts, as in VSE++. Then an embedding in which all is the same
    point is a trap: each hinge is α there, 2α a pair, and its gradient can be no way out. So the first ``warm_up``
    batches in training sum over all negatives.

    Args:
        margin: α.
        hardest: the hardest negative of each direction, instead of the sum over all.
        warm_up: batches that are trained with the sum first.

    Examples:
        >>> same, all_counted = torch.ones(3, 3), torch.ones(3, 3, dtype=torch.bool)
        >>> f"{Triplet(0.2, hardest=True)(same, torch.arange(3), all_counted).item():.1f}"
        '0.4'
    """

    batches: Tensor

    def __init__(self, margin: float = 0.2, hardest: bool = False, warm_up: int = 0) -> None:
        super().__init__()
        self.margin, self.hardest = number("Triplet", "margin", margin, above=True), flag("Triplet", "hardest", hardest)
        self.warm_up = whole("Triplet", "warm_up", warm_up, 0)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, similarity: Tensor, owner: Tensor, counted: Tensor) -> Tensor:
        """The loss; see `Contrast.forward`."""
        s, negative = similarity, _negatives(owner, counted)  # (N, M)
        pair, weight = _pairs(s, owner), _pairs(counted, owner).to(s.dtype)  # (M,)
        of_picture = _hinges(self.margin + s[owner] - pair[:, None], negative[owner])  # (M, M): k in the columns
        of_sentence = _hinges(self.margin + s - pair, negative).T  # (M, N)
        costs = of_picture.sum(1) + of_sentence.sum(1)  # (M,)
        if self.hardest:
            hardest = of_picture.amax(1) + of_sentence.amax(1)  # (M,)
            costs = torch.where(self.batches < self.warm_up, costs, hardest) if self.training else hardest
            if self.training:
                self.batches += 1
        return (costs * weight).sum() / weight.sum().clamp_min(1)


class Sigmoid(Contrast):
    """Does this sentence belong to this picture? Yes or no for each (i, j), independently of the others.

    Args:
        scale: t to begin with; SigLIP begins with 10.
        bias: b to begin with; SigLIP begins with −10, since nearly all (i, j) are no pairs.
        learned: whether t and b are learned.
        most: of t.

    Examples:
        >>> similarity = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> loss = Sigmoid(1.0, 0.0)(similarity, torch.arange(2), torch.ones(2, 2, dtype=torch.bool))
        >>> f"{loss.item():.4f}", f"{math.log(1 + math.exp(-1)) + math.log(2):.4f}"
        ('1.0064', '1.0064')
    """

    bias: Tensor

    def __init__(self, scale: float = 10.0, bias: float = -10.0, learned: bool = True, most: float = 100.0) -> None:
        super().__init__()
        self.log_scale, self.most = _log_scale("Sigmoid", scale, learned, most)
        value = torch.tensor(number("Sigmoid", "bias", bias, -math.inf))
        self.bias = nn.Parameter(value, requires_grad=self.log_scale.requires_grad)

    @property
    def scale(self) -> Tensor:
        """t, ()."""
        return self.log_scale.exp()

    def forward(self, similarity: Tensor, owner: Tensor, counted: Tensor) -> Tensor:
        """The loss; see `Contrast.forward`."""
        _hold(self, self.log_scale, self.most)
        together = owner == torch.arange(len(similarity), device=owner.device)[:, None]  # (N, M)
        logits = self.scale * similarity + self.bias  # (N, M)
        costs = F.softplus(torch.where(together, -logits, logits)) * counted  # (N, M)
        return costs.sum() / counted.any(1).sum().clamp_min(1)


def _pairs(x: Tensor, owner: Tensor) -> Tensor:
    """The values of (N, M) at each sentence and its own picture, (M,)."""
    return x.gather(0, owner[None])[0]


def _negatives(owner: Tensor, counted: Tensor) -> Tensor:
    """Which (i, j) are to be apart, bool (N, M)."""
    return counted & (owner != torch.arange(len(counted), device=owner.device)[:, None])


def _hinges(x: Tensor, counts: Tensor) -> Tensor:
    """[x]₊, and 0 where it does not count."""
    return torch.where(counts, x.clamp_min(0), x.new_zeros(()))


def _log_scale(who: str, scale: float, learned: bool, most: float) -> tuple[nn.Parameter, float]:
    most = number(who, "most", most, above=True)
    scale = number(who, "scale", scale, 0, most, above=True)
    return nn.Parameter(torch.tensor(math.log(scale)), requires_grad=flag(who, "learned", learned)), most


def _hold(module: nn.Module, log_scale: Tensor, most: float) -> None:
    """Hold a learned scale at its limit: the parameter itself, so that it can come down again."""
    if module.training and log_scale.requires_grad:
        with torch.no_grad():
            log_scale.clamp_(max=math.log(most))
