"""From attention weights to what is seen of the regions: their expectation (soft), or one of them (hard).

`ShowAttendTell` computes αₜ = softmax(eₜ). An attention module then says with which weights the regions are summed to
the context vector: zₜ = βₜ Σᵢ weightᵢ aᵢ (Xu and others, 2015, section 4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .checks import number


class SoftAttention(nn.Module):
    """The expectation over the regions, Σᵢ αₜᵢ aᵢ: the weights are αₜ itself (Xu, section 4.2).

    Examples:
        >>> weights, log_s = SoftAttention()(torch.tensor([[[0.5, 0.25, 0.25]]]).log())
        >>> weights
        tensor([[[0.5000, 0.2500, 0.2500]]])
    """

    def sampled(self, h: Tensor) -> Tensor | None:
        """Which captions see a sampled region, bool (B, R, 1), for states h (B, R, H); None: no caption does."""
        return None

    def forward(self, log_alpha: Tensor, sampled: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The weights of the regions for one word.

        Args:
            log_alpha: log αₜ, (B, R, L).
            sampled: from `sampled`.

        Returns:
            The weights (B, R, L), and log αₜ[sₜ] of the sampled region (B, R), which is 0 where none was sampled.
        """
        return log_alpha.exp(), log_alpha.new_zeros(log_alpha.shape[:2])

    def loss(self, log_p: Tensor, log_s: Tensor, alpha: Tensor, log_alpha: Tensor) -> Tensor:
        """What the attention adds to the loss; soft attention adds nothing.

        Args:
            log_p: Σₜ log p(yₜ) of each caption, (B, R).
            log_s: Σₜ log αₜ[sₜ] over the regions that were sampled, (B, R).
            alpha: αₜ, zeros at the padding, (B, R, T, L).
            log_alpha: its logarithm, (B, R, T, L).
        """
        return log_p.new_zeros(())


class HardAttention(SoftAttention):
    """One region, sampled: sₜ ~ Categorical(αₜ), zₜ = βₜ a[sₜ]; learned by REINFORCE (Xu, section 4.1).

        loss = −Σₜ [log p(yₜ | s) + λᵣ (R − b) log αₜ[sₜ] + λ_H H(αₜ)],   R = Σₜ log p(yₜ | s), held fixed

    The baseline b is a moving average of R over the batches before (for the first batch, its own R). For half of the
    captions in training no region is sampled: they see the expectation, as with soft attention. When not training, the
    region with the largest attention weight is seen.

    The authors' code (arctic-captions, with ``RL_sumCost``) differs in five points. R is the mean over words, and λᵣ is
    1/10; but that term and the entropy are sums over the B captions of a batch, the words' term a mean. So their 1/10
    is our λᵣ = B/(10 T), about .6 for 64 captions of 11 words, and their entropy weight is B times as much in ours. One
    coin decides for the whole batch whether regions are sampled. The average b begins at 0. Captions are generated with
    the expectation, unless sampling is asked for. Without that option each word's log p(yₜ) is the reward, and b = 0.

    Args:
        reinforce: λᵣ. With 1 the gradient is unbiased; with less it is biased, varies less, and often learns better.
        entropy: λ_H.
        expectation: probability that a caption sees the expectation.
        decay: of the moving average.

    Raises:
        ValueError: a weight is negative or not finite, or a probability is not from 0 to 1.

    Examples:
        >>> weights, log_s = HardAttention().eval()(torch.tensor([[[0.5, 0.25, 0.25]]]).log())
        >>> weights
        tensor([[[1., 0., 0.]]])
    """

    reward: Tensor
    reward_weight: Tensor

    def __init__(
        self, reinforce: float = 1.0, entropy: float = 0.01, expectation: float = 0.5, decay: float = 0.9
    ) -> None:
        super().__init__()
        who = type(self).__name__
        self.reinforce, self.entropy = number(who, "reinforce", reinforce), number(who, "entropy", entropy)
        self.expectation, self.decay = number(who, "expectation", expectation, 0, 1), number(who, "decay", decay, 0, 1)
        self.register_buffer("reward", torch.zeros(()))
        self.register_buffer("reward_weight", torch.zeros(()))

    def sampled(self, h: Tensor) -> Tensor | None:
        """In training a random half of the captions, bool (B, R, 1): each for all of its words; else None."""
        if not self.training:
            return None
        return torch.rand(*h.shape[:2], 1, device=h.device) >= self.expectation  # (B, R, 1)

    def forward(self, log_alpha: Tensor, sampled: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The weights of the regions (B, R, L), and log αₜ[sₜ] (B, R); see `SoftAttention`."""
        alpha = log_alpha.exp()  # (B, R, L)
        s = alpha.argmax(2) if sampled is None else self.draw(alpha.detach())  # (B, R)
        one_hot = torch.zeros_like(alpha).scatter(2, s.unsqueeze(2), 1.0)  # (B, R, L)
        if sampled is None:
            return one_hot, log_alpha.new_zeros(s.shape)
        log_s = log_alpha.gather(2, s.unsqueeze(2)) * sampled  # (B, R, 1)
        return torch.where(sampled, one_hot, alpha), log_s.squeeze(2)

    def draw(self, alpha: Tensor) -> Tensor:
        """sₜ ~ Categorical(αₜ), int64 (B, R).

        Of clocks that ring at exponentially distributed times, with rates αₜᵢ, clock i is the first with probability
        αₜᵢ. `torch.multinomial` samples in the same way, but waits for a GPU to check its input.
        """
        return (alpha / torch.empty_like(alpha).exponential_()).argmax(2)  # (B, R)

    def loss(self, log_p: Tensor, log_s: Tensor, alpha: Tensor, log_alpha: Tensor) -> Tensor:
        """−λᵣ (R − b) Σₜ log αₜ[sₜ] − λ_H Σₜ H(αₜ), the mean over captions.

        Its value is that of the entropy term alone: the other term is there for its gradient.
        """
        if not self.training:
            return log_p.new_zeros(())
        reward = log_p.detach()  # (B, R)
        advantage = reward - self.baseline(reward.mean())  # (B, R)
        reinforce = (advantage * log_s).mean()  # ()
        entropy = -(alpha * log_alpha).sum((2, 3)).mean()  # ()
        return -self.reinforce * (reinforce - reinforce.detach()) - self.entropy * entropy  # ()

    def baseline(self, reward: Tensor) -> Tensor:
        """The moving average of the mean rewards before this one, which then joins it; ()."""
        average = self.reward / self.reward_weight.clamp_min(1e-12)  # ()
        before = torch.where(self.reward_weight > 0, average, reward)  # ()
        self.reward.lerp_(reward.to(self.reward.dtype), 1 - self.decay)
        self.reward_weight.lerp_(torch.ones_like(self.reward_weight), 1 - self.decay)
        return before
