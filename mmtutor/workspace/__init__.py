"""Modules that exchange messages, and a shared workspace: joining what was trained apart.

Messages: each module has a variable of its own and knows its own data. It tells its neighbours on a tree what follows
for *their* variables, and leaves out what they told it themselves. After one sweep up and one down each module's belief
is the exact posterior given all data (Pearl, 1988), if all links are exact. SERKET joins a robot's modules in this
spirit, by probabilities or samples.

    exp(hᵀz − ½ zᵀPz)                                  a message about a vector: information h, precision P
    exp(ℓ_c)                                           a message about a category
    (h₁ + h₂, P₁ + P₂),  ℓ₁ + ℓ₂                       both together; a difference takes one back
    z_c = A z_p + e, e ~ N(0, Q), M = (I + P Q)⁻¹:
      up    (Aᵀ M h, Aᵀ M P A)                         what the child's message says about the parent
      down  N(A m, A C Aᵀ + Q)                         what the parent N(m, C) says about the child
    belief(parent) / up(child)                         what a parent tells a child: without the child's own words

Shared categories: p(c | x) ∝ p(c) ∏ₘ p(xₘ | c) from the modules' messages, and each module learns its own p(xₘ | c).

Shared workspace: k numbers s which all modules write and read, and their own latent codes vᵢ, which stay as they are.

    translation   ‖dⱼ(eᵢ(vᵢ)) − vⱼ‖²                   pairs
    contrastive   which eᵢ(vᵢ) belongs to which eⱼ(vⱼ)  pairs
    demi-cycle    ‖dᵢ(eᵢ(vᵢ)) − vᵢ‖²                   no pairs
    cycle         ‖dᵢ(eⱼ(dⱼ(eᵢ(vᵢ)))) − vᵢ‖²           no pairs, and any invertible map will do

| symbol | in the code | shape |
| --- | --- | --- |
| h, P | ``message.h``, ``message.P`` | (B, d), (d, d) or (B, d, d) |
| ℓ | ``message.logits`` | (B, K) |
| A, Q | ``link.A``, ``link.Q`` | (d child, d parent), (d child, d child) |
| vᵢ, s | ``batch[modality]``, ``write(modality, v)`` | (B, dᵢ), (B, k) |
| eᵢ, dᵢ | ``encoders``, ``decoders`` | |

| file | what is in it |
| --- | --- |
| ``messages.py`` | `GaussianMessage`, `CategoricalMessage`: products and quotients |
| ``links.py`` | `LinearLink`, `MixtureLink`, `TableLink`: what a message becomes on its way |
| ``tree.py`` | `MessageTree`: two sweeps |
| ``categories.py`` | `SharedCategories`: EM by messages |
| ``space.py`` | `SharedWorkspace`, and `procrustes` |
| ``checks.py`` | what a batch must be |

Sources: Pearl, Probabilistic Reasoning in Intelligent Systems, 1988; Nakamura and others (SERKET, 2018,
arXiv:1712.00929); Taniguchi and others (Neuro-SERKET, 2020, arXiv:1910.08918); Goyal and others (2021,
arXiv:2103.01197); Devillers and others (2024, arXiv:2306.15711); Schönemann (1966).
"""

from .categories import SharedCategories
from .links import LinearLink, Link, MixtureLink, TableLink
from .messages import CategoricalMessage, GaussianMessage
from .space import SharedWorkspace, procrustes
from .tree import MessageTree

__all__ = [
    "CategoricalMessage",
    "GaussianMessage",
    "LinearLink",
    "Link",
    "MessageTree",
    "MixtureLink",
    "SharedCategories",
    "SharedWorkspace",
    "TableLink",
    "procrustes",
]
