"""Joint training that leaves no branch behind: a loss on each branch, and gradients that are modulated.

A network of several modalities that is trained as a whole can end with branches that know less than the same branches
trained alone: as soon as one modality predicts the label, the loss is small, and so are the gradients of the others
(Wu and others, 2022, arXiv:2202.05306; Peng and others, 2022, arXiv:2203.15332). In Wang, Tran and Feiszli (2020,
arXiv:1905.12681) they know less since modalities overfit, each at its own rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_label, number
from .costs import Cost, cross_entropy
from .merges import Merge
from .models import LateFusion, branch_losses, check_features
from .rules import Rule, WeightedRule


class HybridFusion(LateFusion):
    """Features and decisions: late fusion with a classifier on each branch, too.

        loss = CE(fused) + w Σₘ CE(branch m)

    With ``rule=None`` the branches' classifiers only help to train the encoders, and the fused classifier decides. With
    a rule, the class probabilities of the fused classifier and of the branches are merged, M + 1 decisions (hybrid
    fusion: Baltrušaitis, Ahuja and Morency, 2019, arXiv:1705.09406). With w from how fast each branch
    overfits, and no rule, this is Gradient-Blending (arXiv:1905.12681); here w is one number.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ).
        classes: number C of classes.
        merge: how features meet; any but `CrossAttention` with positions.
        branch_weight: w.
        rule: how the decisions are merged; None: the fused classifier alone decides. Not a `WeightedRule`.
        hidden: units of the layer between merge and classes; 0 for a linear classifier.

    Examples:
        >>> from mmtutor.fusion import Concat
        >>> encoders = {"image": nn.Flatten(), "sound": nn.Linear(5, 6)}
        >>> model = HybridFusion(encoders, classes=3, merge=Concat([4, 6]))
        >>> batch = {"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 5), "label": torch.zeros(7).long()}
        >>> model(batch).shape, list(model.loss(batch))
        (torch.Size([7, 3]), ['loss', 'fused', 'image', 'sound'])
    """

    takes_positions = False

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        classes: int,
        merge: Merge,
        branch_weight: float = 1.0,
        rule: Rule | None = None,
        hidden: int = 64,
    ) -> None:
        super().__init__(encoders, classes, merge, hidden)
        self.branch_weight, self.rule = number("HybridFusion", "branch_weight", branch_weight), _check_rule(rule)
        heads = [nn.Linear(d, self.classes) for d in self.dims]
        self.heads = nn.ModuleDict(dict(zip(self.encoders, heads, strict=True)))

    def decisions(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Log p(y | x), (B, 1 + M, C), of the fused classifier and of each branch, and which there are, (B, 1 + M)."""
        features, present = self.encode(batch)
        check_features(self, features)
        fused = self.head(self.merge(features, present))  # (B, C)
        branches = [head(x.relu()) for head, x in zip(self.heads.values(), features, strict=True)]
        log_p = torch.stack([fused, *branches], 1).log_softmax(2)  # (B, 1 + M, C)
        return log_p, F.pad(present, (1, 0), value=True)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Log-probabilities (B, C)."""
        log_p, there = self.decisions(batch)
        decided: Tensor = log_p[:, 0] if self.rule is None else self.rule(log_p, there)  # (B, C)
        return decided

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropies in nats, of the fused classifier and of each branch, and their weighted sum."""
        log_p, there = self.decisions(batch)
        label = check_label("HybridFusion", batch, self.classes, len(log_p)).to(log_p.device)  # (B,)
        fused, *branches = branch_losses(log_p, there, label)
        loss = fused + self.branch_weight * torch.stack(branches).sum()
        return {"loss": loss, "fused": fused, **dict(zip(self.encoders, branches, strict=True))}


class ModulatedFusion(LateFusion):
    """Late fusion whose encoders' gradients are slowed down while their modality is ahead.

        sₘ = mean of p(y | xₘ),  ρₘ = sₘ / mean of the others' s,  kₘ = 1 − tanh(α ρₘ) where ρₘ > 1, else 1

    kₘ multiplies the gradient of encoder m; the classifier on top is trained as ever. Source: Peng and others (2022),
    Balanced multimodal learning via on-the-fly gradient modulation (OGM), arXiv:2203.15332, section 3.2, without the
    noise that their OGM-GE adds to gradients. The paper has two modalities and a linear classifier on their
    concatenation, whose part of modality m gives p(y | xₘ). Here p(y | xₘ) is what the classifier says where the other
    modalities are missing, and ρₘ compares with the mean of the others, so that it is defined for any merge and any
    number of modalities. For the paper's model it is the paper's, up to the bias, of which their code gives each of the
    two modalities half. Their code modulates the weights of convolutions only.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ).
        classes: number C of classes.
        merge: how features meet.
        alpha: α, at least 0; the paper has numbers from 0 to 1. With 0 it is `LateFusion`.
        hidden: units of the layer between merge and classes; 0 for a linear classifier, as in the paper.
        cost: one that takes classes, such as `cross_entropy`.

    Examples:
        >>> from mmtutor.fusion import Concat
        >>> encoders = {"image": nn.Flatten(), "sound": nn.Linear(5, 6)}
        >>> model = ModulatedFusion(encoders, classes=3, merge=Concat([4, 6]))
        >>> batch = {"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 5), "label": torch.zeros(7).long()}
        >>> list(model.loss(batch))
        ['loss', 'slower_image', 'slower_sound']
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        classes: int,
        merge: Merge,
        alpha: float = 0.5,
        hidden: int = 64,
        cost: Cost = cross_entropy,
    ) -> None:
        super().__init__(encoders, classes, merge, hidden, cost)
        self.alpha = number("ModulatedFusion", "alpha", alpha)

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean cost, and ``"slower_<modality>"``, 1 − kₘ."""
        features, present = self.encode(batch)
        real = self.real(batch, features)
        label = check_label("ModulatedFusion", batch, self.classes, len(present)).to(present.device)  # (B,)
        k = self.coefficients([x.detach() for x in features], present, real, label)  # (M,)
        features = [x.detach() + k_m * (x - x.detach()) for x, k_m in zip(features, k, strict=True)]
        logits = self.head(self.merge(features, present, real))  # (B, C)
        slower = {f"slower_{m}": 1 - k_m for m, k_m in zip(self.encoders, k, strict=True)}
        return {"loss": self.cost(logits, label).mean(), **slower}

    @torch.no_grad()
    def coefficients(
        self, features: Sequence[Tensor], present: Tensor, real: Sequence[Tensor | None], label: Tensor
    ) -> Tensor:
        """kₘ, (M,), from the features of a batch, which of them there are, bool (B, M), and the label (B,)."""
        modality, confidence = torch.arange(len(self.dims), device=present.device), []
        for m in range(len(self.dims)):
            alone = (modality == m).expand_as(present)  # (B, M)
            p = self.head(self.merge(features, alone, real)).softmax(1)  # (B, C)
            p_label = p.gather(1, label[:, None])[:, 0]  # (B,)
            there = present[:, m].to(p.dtype)  # (B,)
            confidence.append((p_label * there).sum() / there.sum().clamp(min=1))
        s = torch.stack(confidence)  # (M,)
        others = (s.sum() - s) / max(len(s) - 1, 1)  # (M,)
        rho = s / others.clamp(min=1e-12)  # (M,)
        return torch.where(rho > 1, 1 - (self.alpha * rho).tanh(), torch.ones_like(rho))  # (M,)


# ---- messages


def _check_rule(rule: Rule | None) -> Rule | None:
    if rule is not None and (not isinstance(rule, Rule) or isinstance(rule, WeightedRule)):
        raise TypeError(f"HybridFusion: rule must be None or a rule without weights, such as MeanRule(), got {rule!r}")
    return rule
