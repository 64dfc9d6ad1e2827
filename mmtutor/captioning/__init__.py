"""Image captioning: a network reads an image and generates a sentence about it, word by word.

*Show and Tell* (Vinyals and others, 2015, arXiv:1411.4555) reads the image once, as one vector, before the first word.
*Show, Attend and Tell* (Xu and others, 2015, arXiv:1502.03044) keeps the image as L regions and attends to them before
every word: to all of them by their attention weights (soft attention), or to one that is sampled (hard attention).

    eₜᵢ = wᵀ tanh(Wₐ aᵢ + Wₕ hₜ₋₁)        how relevant region i is for word t        (Xu, equation 4)
    αₜ  = softmax(eₜ)                       attention weights                             (5)
    zₜ  = βₜ Σᵢ αₜᵢ aᵢ,  βₜ = σ(f(hₜ₋₁))    context vector and its gate                   (13, section 4.2.1)
    hₜ  = LSTM([E yₜ₋₁; zₜ], hₜ₋₁)          state of the decoder                          (1)
    p(yₜ) ∝ exp(Lₒ(E yₜ₋₁ + Lₕ hₜ + L_z zₜ))                                              (7)
    loss = −Σₜ log p(yₜ) + λ Σᵢ (τ − Σₜ αₜᵢ)²                                             (14)

Here the attention weights are computed before the last word yₜ₋₁ is read, since hₜ₋₁ does not contain it. With
``read_first=True`` the order is reversed, as in Lu and others (2017, arXiv:1612.01887), who attend with hₜ:
hₜ = LSTM([E yₜ₋₁; zₜ₋₁], hₜ₋₁), and αₜ and zₜ are computed from hₜ. Unlike theirs, this LSTM also reads the last
context vector (z₀ is the mean of the regions), and there is no sentinel.

The last term of the loss is the *doubly stochastic* one: each region should get the same attention in total. The paper
says τ = 1; but the attention weights of T words sum to T, so L regions cannot get 1 each unless L = T. τ = T/L can be
reached. τ has no influence on learning: Σᵢ (τ − Aᵢ)² = Σᵢ Aᵢ² − 2τT + Lτ² with Aᵢ = Σₜ αₜᵢ, so no gradient contains
it.

What a λ weighs depends on what is averaged. Here both terms are sums over a caption, as in equation 14, and means over
captions. Two public programs do otherwise, and have λ = 1:

| | −log p(yₜ) | (τ − Σₜ αₜᵢ)² | ours |
| --- | --- | --- | --- |
| the authors' (arctic-captions) | sum over words, mean over captions | sum over captions, mean over regions | λ = B/L |
| sgrvinod's tutorial | mean over all words | mean over captions and regions | λ = T/L |

For COCO with L = 196 these are 64/196 = .33 with B = 64 captions a batch, and about .06, T being the mean number of
words. The tutorial's whole loss is T times smaller than ours.

| symbol | in the code | shape |
| --- | --- | --- |
| aᵢ | ``a``, regions (the paper's annotation vectors), from the image encoder | (B, L, D) |
| Wₐ aᵢ | ``keys``, computed once for an image | (B, L, A) |
| hₜ | ``h``, for R captions of each image at once | (B, R, H) |
| αₜ, zₜ | ``alpha``, ``z``: attention weights, context vector | (B, R, L), (B, R, D) |
| yₜ | ``caption[..., t]``, t from 0 to T; y₀ is ``<start>``, the last is ``<end>`` | (B, R, T + 1) |
| E, f | ``embedding``, ``gate`` | |
| Wₐ, Wₕ, w | ``key``, ``query``, ``score`` | |
| Lₕ, L_z, Lₒ | ``from_h``, ``from_z``, ``output`` | |

Linear layers have biases, which are not written in the equations.

| file | what is in it |
| --- | --- |
| ``base.py`` | `Captioner`, `Tokens`: what all captioners share |
| ``models.py`` | `ShowAndTell`, `ShowAttendTell`: from a batch to the loss |
| ``attention.py`` | `SoftAttention`, `HardAttention` |
| ``decoding.py`` | `greedy`, `sample`, `beam_search`, `beam_candidates` |
| ``checks.py`` | what a batch must be |
"""

from .attention import HardAttention, SoftAttention
from .base import Captioner, TeacherForcing, Tokens
from .decoding import Captions, beam_candidates, beam_search, greedy, sample
from .models import ShowAndTell, ShowAttendTell

__all__ = [
    "Captioner",
    "Captions",
    "HardAttention",
    "ShowAndTell",
    "ShowAttendTell",
    "SoftAttention",
    "TeacherForcing",
    "Tokens",
    "beam_candidates",
    "beam_search",
    "greedy",
    "sample",
]
