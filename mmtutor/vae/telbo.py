"""TELBO: a joint encoder, and an ELBO of its own for each modality alone (Vedantam and others, 2018).

The paper is "Generative models of visually grounded imagination", ICLR 2018, arXiv:1705.10762.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Batch
from .gaussian import divergence, row, stacked
from .jmvae import JointVAE


class TELBO(JointVAE):
    """The triple ELBO, three for two modalities: one for all modalities and one for each alone.

        loss = −ELBO(X; q(z|X)) − Σᵢ ELBO(xᵢ; qᵢ(z|xᵢ)),    ELBO = E_q [Σ wᵢ log p(xᵢ|z)] − β KL(q ‖ p(z))

    The decoders serve all. An example that lacks a modality has the ELBOs of those that it has. Arguments are those of
    `JointVAE`.

    Left out are three things of the paper: factors λ of the log-likelihoods in the joint ELBO and γ in the others (here
    ``weights`` serve both), the option to train the decoders by the joint ELBO alone, and its product of experts over
    attributes, for descriptions of which some are missing. In the package MultiVae decoders are fixed after the joint
    ELBO is trained, and the single KL divergences take log σ² from the joint encoder, which is a mistake.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmtutor.vae import TELBO, gaussian
        >>> class Joint(nn.Linear):
        ...     def forward(self, batch):
        ...         return super().forward(torch.cat([batch["image"], batch["sound"]], 1))
        >>> encoders = {"image": nn.Linear(5, 4), "sound": nn.Linear(3, 4)}
        >>> decoders = {"image": nn.Linear(2, 5), "sound": nn.Linear(2, 3)}
        >>> model = TELBO(Joint(8, 4), encoders, decoders, {"image": gaussian(1.0), "sound": gaussian(0.5)}, latent=2)
        >>> batch = {"image": torch.rand(3, 5), "sound": torch.rand(3, 3)}
        >>> sorted(model.loss({**batch, "sound_present": torch.tensor([True, False, True])}))
        ['image', 'kl', 'loss', 'sound']
    """

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; each modality's term is the sum over both ELBOs."""
        names, surrogates, present = self.experts(batch)
        complete = self.complete(names, present)  # (B,)
        q = surrogates
        own = torch.eye(len(names), dtype=torch.bool).unsqueeze(2)  # (M, M, 1)
        asked = own & present  # (M, M, B)
        if complete.any():  # one posterior more, which is asked for all modalities
            joint = self.joint_posterior(batch, complete)  # (B, d)
            q = stacked([*(row(surrogates, i) for i in range(len(names))), joint])  # (M + 1, B, d)
            asked = torch.cat([asked, complete.expand(len(names), 1, -1)], 1)  # (M, M + 1, B)
        z = q.rsample()  # (Q, B, d)
        log_p = self.log_probs(z, batch, names, asked).sum(1)  # (M, B)
        kl = divergence(q).sum(0)  # (B,)
        loss = -self.weighted(names, log_p) + self.beta * kl  # (B,)
        return {"loss": loss, **dict(zip(names, -log_p, strict=True)), "kl": kl}
