"""Joint embedding: two encoders put what belongs together side by side, in one space of d numbers.

An encoder per modality gives a vector, a linear map takes it to d numbers, and it is scaled to length 1. The similarity
of a picture and a sentence is the cosine sᵢⱼ = aᵢᵀ bⱼ. A loss pulls the pairs of a batch together and pushes the rest
apart; the others of the batch are the negatives.

    aᵢ = W_a f(xᵢ) / ‖·‖,  bⱼ = W_b g(yⱼ) / ‖·‖,  sᵢⱼ = aᵢᵀ bⱼ

    InfoNCE  −log exp(t sᵢⱼ) / (exp(t sᵢⱼ) + Σₖ exp(t sᵢₖ)),  k the negatives of i; and the same of j      (CPC, CLIP)
    triplet  Σₖ [α + sᵢₖ − sᵢⱼ]₊ and Σₖ [α + sₖⱼ − sᵢⱼ]₊, or the largest of the k alone                   (VSE, VSE++)
    sigmoid  −Σ log σ(±(t sᵢⱼ + b)), + for pairs, − for the rest, over all (i, j), per picture                  (SigLIP)

InfoNCE, the mean of both directions, is the cross-entropy of *which one of the batch belongs to this one*. So it has a
floor: with N pairs its expectation is never below log N − I, with I the mutual information of the modalities (van den
Oord and others, 2018, arXiv:1807.03748). Its best similarity is t s = log p(x, y) / (p(x) p(y)) up to a constant; with
the sigmoid loss t s + b is the same minus log (N − 1).

A picture may have several sentences: all of them are its positives, and none is a negative of the others.

| symbol | in the code | shape |
| --- | --- | --- |
| aᵢ, bⱼ | ``embed(batch)``, by modality | (B, d), of several (B, R, d) |
| sᵢⱼ | ``similarity`` | (N, M), N pictures, M sentences |
| j belongs to i | ``owner[j] = i`` | (M,) |
| which (i, j) count | ``counted`` | (N, M) |
| t, b | ``scale``, ``bias``: learned | |
| α | ``margin`` | |

| file | what is in it |
| --- | --- |
| ``model.py`` | `JointEmbedding`: from a batch to the loss |
| ``losses.py`` | `InfoNCE`, `Triplet`, `Sigmoid` |
| ``processes.py`` | what other processes of a run have embedded |
| ``checks.py`` | what a batch must be |

Sources: DeViSE (Frome and others, 2013); Kiros and others (2014, arXiv:1411.2539); VSE++ (Faghri and others, 2018,
arXiv:1707.05612); CLIP (Radford and others, 2021, arXiv:2103.00020); SigLIP (Zhai and others, 2023, arXiv:2303.15343).
"""

from .losses import Contrast, InfoNCE, Sigmoid, Triplet
from .model import JointEmbedding

__all__ = ["Contrast", "InfoNCE", "JointEmbedding", "Sigmoid", "Triplet"]
