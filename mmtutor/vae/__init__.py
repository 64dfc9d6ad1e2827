"""Multimodal variational autoencoders: one map, one interface, one file a model.

All models have encoders qᵢ(z|xᵢ), decoders pᵢ(xᵢ|z) and a prior p(z) = N(0, I). They differ in how a posterior comes
about when several modalities are there, or some are not, and in what is asked of it. The map is that of the survey of
Suzuki and Matsuo (2022, arXiv:2207.02127):

| model | kind | q(z|X) | asked besides the ELBO | file |
| --- | --- | --- | --- | --- |
| `Coordinated` | coordinated | none, qᵢ(z|xᵢ) alone | qᵢ near each other, or cross-generation | ``coordinated.py`` |
| `JMVAE` | joint, surrogate | a joint encoder | surrogates qᵢ near it | ``jmvae.py`` |
| `TELBO` | joint, surrogate | a joint encoder | an ELBO of each surrogate | ``telbo.py`` |
| `MVAE` | joint, aggregation | p(z) ∏ q̃ᵢ(z|xᵢ) | ELBOs of some sets of modalities | ``mvae.py`` |
| `MMVAE` | joint, aggregation | 1/M Σ qᵢ(z|xᵢ) | IWAE or DReG in its place | ``mmvae.py`` |
| `MoPoE` | joint, aggregation | mixture of the products of all sets | – | ``mopoe.py`` |
| `MVTCAE` | joint, aggregation | ∏ qᵢ(z|xᵢ) | qᵢ near it, total correlation | ``mvtcae.py`` |
| `MMVAEPlus` | aggregation, private latents | 1/M Σ qᵢ(z|xᵢ), q(wᵢ|xᵢ) | modalities made without own w | ``mmvaeplus.py`` |

| symbol | in the code | shape |
| --- | --- | --- |
| xᵢ, X | ``batch[modality]``, ``batch`` | (B, …) |
| z | ``z`` | (…, B, latent) |
| qᵢ(z|xᵢ) | ``encoders[modality]``; all as ``experts`` | batch (M, B), event (latent,) |
| pᵢ(xᵢ|z) | ``decoders[modality]`` and ``likelihoods[modality]`` | |
| wᵢ, β | ``weights[modality]``, ``beta`` | |

All have ``encode(batch, modalities)``, ``decode(z, modalities)``, ``generate(given, to, n)``, ``loss(batch)`` and
``log_likelihood(batch, k)``; see `MultimodalVAE`. Encoders and decoders are handed in.

Examples:
    >>> import torch
    >>> from torch import nn
    >>> def networks(inputs, outputs):
    ...     return {"picture": nn.Linear(inputs[0], outputs[0]), "sound": nn.Linear(inputs[1], outputs[1])}
    >>> likelihoods = {"picture": gaussian(0.5), "sound": gaussian(0.5)}
    >>> model = MoPoE(networks((12, 7), (4, 4)), networks((2, 2), (12, 7)), likelihoods, latent=2)
    >>> batch = {"picture": torch.rand(5, 12), "sound": torch.rand(5, 7)}
    >>> sorted(model.loss(batch))
    ['kl', 'loss', 'picture', 'sound']
    >>> model.generate({"sound": batch["sound"]}, ["picture"], n=3)["picture"].shape
    torch.Size([3, 5, 12])
"""

from .base import MultimodalVAE, mean_of
from .coordinated import Coordinated
from .gaussian import from_network, mixture, normal, product, product_of_posteriors, stacked, subsets, wasserstein
from .jmvae import JMVAE
from .likelihoods import bernoulli, categorical, gaussian, laplace
from .mmvae import MMVAE
from .mmvaeplus import MMVAEPlus
from .mopoe import MoPoE
from .mvae import MVAE
from .mvtcae import MVTCAE
from .telbo import TELBO

__all__ = [
    "JMVAE",
    "MMVAE",
    "MVAE",
    "MVTCAE",
    "TELBO",
    "Coordinated",
    "MMVAEPlus",
    "MoPoE",
    "MultimodalVAE",
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
    "wasserstein",
]
