"""Multimodal variational autoencoders (VAEs): one interface, and one file a model.

All models have encoders qᵢ(z|xᵢ), decoders pᵢ(xᵢ|z) and a prior p(z) = N(0, I). They differ in how the posterior
q(z|X) is built when several modalities are there, or some are missing, and in the objective. The order is that of the
survey of Suzuki and Matsuo (2022, arXiv:2207.02127):

| model | kind | q(z|X) | objective besides the ELBO | file |
| --- | --- | --- | --- | --- |
| `Coordinated` | coordinated | none, qᵢ(z|xᵢ) alone | distance of qᵢ, or cross-generation | ``coordinated.py`` |
| `JMVAE` | joint, surrogate | a joint encoder | KL from q(z|X) to each surrogate qᵢ | ``jmvae.py`` |
| `TELBO` | joint, surrogate | a joint encoder | an ELBO of each surrogate qᵢ | ``telbo.py`` |
| `MVAE` | joint, aggregation | product of experts and prior | ELBOs of subsets of modalities | ``mvae.py`` |
| `MMVAE` | joint, aggregation | mixture of experts | importance-weighted (IWAE, DReG) | ``mmvae.py`` |
| `MoPoE` | joint, aggregation | mixture of the products of all sets | – | ``mopoe.py`` |
| `MVTCAE` | joint, aggregation | product of experts | total correlation: KL to each qᵢ | ``mvtcae.py`` |
| `DMVAE` | private latents | product of experts, and q(wᵢ|xᵢ) | an ELBO of each qᵢ, of all xᵢ | ``dmvae.py`` |
| `MMVAEPlus` | private latents | mixture of experts, and q(wᵢ|xᵢ) | auxiliary priors of w | ``mmvaeplus.py`` |

| symbol | in the code | shape |
| --- | --- | --- |
| xᵢ, X | ``batch[name]``, ``batch`` | (B, ...) |
| which examples have xᵢ | ``batch[name + "_present"]``; of M modalities ``present`` | (B,); (M, B) |
| z, d | ``z``, ``latent`` | (..., B, d) |
| qᵢ(z|xᵢ) | ``encoders[name]``; all as ``experts`` | batch (M, B), event (d,) |
| pᵢ(xᵢ|z) | ``decoders[name]`` and ``likelihoods[name]`` | |
| log pᵢ(xᵢ|z) | ``log_p`` | (M, ..., B) |
| wᵢ, β | ``weights[name]``, ``beta`` | |

All have ``encode(batch, modalities)``, ``decode(z, modalities)``, ``generate(given, to, n)``, ``loss(batch)`` and
``log_likelihood(batch, k)``; see `MultimodalVAE`. Encoders and decoders are handed in. What models share is in
``base.py``, normal distributions in ``gaussian.py``, likelihoods in ``likelihoods.py``, private latents in
``private.py``, and checks of a batch in ``checks.py``.

Examples:
    >>> import torch
    >>> from torch import nn
    >>> encoders = {"image": nn.Linear(12, 4), "sound": nn.Linear(7, 4)}
    >>> decoders = {"image": nn.Linear(2, 12), "sound": nn.Linear(2, 7)}
    >>> model = MoPoE(encoders, decoders, {"image": gaussian(0.5), "sound": gaussian(0.5)}, latent=2)
    >>> batch = {"image": torch.rand(5, 12), "sound": torch.rand(5, 7)}
    >>> sorted(model.loss(batch))
    ['image', 'kl', 'loss', 'sound']
    >>> model.generate({"sound": batch["sound"]}, to="image", n=3)["image"].shape
    torch.Size([3, 5, 12])
    >>> sorted(model.generate(n=2))  # from the prior
    ['image', 'sound']
    >>> model.log_likelihood(batch, k=10).shape
    torch.Size([5])
"""

from .base import MultimodalVAE
from .coordinated import Coordinated
from .dmvae import DMVAE
from .gaussian import (
    average,
    from_network,
    mixture,
    normal,
    product,
    product_of_posteriors,
    stacked,
    subsets,
    symmetric_kl,
    wasserstein,
)
from .jmvae import JMVAE
from .likelihoods import bernoulli, categorical, gaussian, laplace, mean_of
from .mmvae import MMVAE
from .mmvaeplus import MMVAEPlus
from .mopoe import MoPoE
from .mvae import MVAE
from .mvtcae import MVTCAE
from .telbo import TELBO

__all__ = [
    "DMVAE",
    "JMVAE",
    "MMVAE",
    "MVAE",
    "MVTCAE",
    "TELBO",
    "Coordinated",
    "MMVAEPlus",
    "MoPoE",
    "MultimodalVAE",
    "average",
    "bernoulli",
    "categorical",
    "from_network",
    "gaussian",
    "laplace",
    "mean_of",
    "mixture",
    "normal",
    "product",
    "product_of_posteriors",
    "stacked",
    "subsets",
    "symmetric_kl",
    "wasserstein",
]
