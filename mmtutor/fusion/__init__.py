"""Multimodal fusion: where and how several modalities meet in one classifier.

*Where.* Early fusion: the modalities are merged before the one learner. Late fusion: each modality has its own
learner, and what they learned is merged, either features (`LateFusion`) or class probabilities (decision-level
fusion, `DecisionFusion`). Intermediate (cross-modal) fusion: the branches exchange information while they compute,
once or several times (`CrossModalFusion`).

*How.* A merge takes a list of features, one (B, dₘ) per modality, and gives one (B, D). All of them have this one
signature, so any merge goes into any model. In the equations xₘ are the features of modality m, M their number:

| class | equation | source |
| --- | --- | --- |
| `Concat` | [x₁; …; x_M] | |
| `ConcatNodes` | [φ(W₁x₁ + b₁); …; φ(W_M x_M + b_M)] | |
| `Arithmetic` | Σ xₘ, Σ xₘ / M, or ∏ xₘ | |
| `InnerProduct` | ⟨xₘ, xₙ⟩ for every two | |
| `MergeLayer` | Σ Wₘxₘ + b | |
| `SumNodes` | Σ φ(Wₘxₘ + bₘ) | |
| `Gated` | Σ gₘ ⊙ tanh(Wₘxₘ + bₘ), g = softmaxₘ(V[x₁; …; x_M] + c) | Arevalo et al., 2017 |
| `TensorFusion` | W vec(⊗ₘ [1; xₘ]) + b | Zadeh et al., 2017 |
| `LowRankFusion` | Σᵣ wᵣ ∏ₘ Wₘ⁽ʳ⁾[1; xₘ] + b | Liu et al., 2018 |
| `CrossAttention` | xₘ ← xₘ + attention(xₘ, all others), K times | Vaswani et al., 2017; Tsai et al., 2019 |

Class probabilities pₘ = p(y | xₘ) are merged by a rule (Kittler et al., 1998):

| class | equation |
| --- | --- |
| `MeanRule` | Σ pₘ / M |
| `ProductRule` | ∏ pₘ / p(y)^(M−1) |
| `HarmonicRule` | M / Σ 1/pₘ, normalised |
| `WeightedRule` | Σ wₘ pₘ |

Trained as a whole, a network may leave a branch behind that would learn more alone. Two models stand against that:

| class | |
| --- | --- |
| `HybridFusion` | a classifier and a loss on each branch, too; its decisions may count (hybrid fusion) |
| `ModulatedFusion` | the gradient of a modality that is ahead is made smaller (Peng et al., 2022) |

The loss is the mean of a cost of each example, from what the model gives and the label:

| class or function | equation | |
| --- | --- | --- |
| `cross_entropy` | −log softmax(logits)_y | the default |
| `WeightedCrossEntropy` | −w_y log softmax(logits)_y | where some classes are rare |
| `squared_error` | Σ (ŷ_c − y_c)² / C | regression: C numbers, the label is float |
| `absolute_error` | Σ abs(ŷ_c − y_c) / C | regression |

*Missing modalities.* A batch is a dict of tensors, modality name to (B, …). A modality may be missing for the whole
batch: then its key is absent. Or it is missing for some examples: then ``"<modality>_present"`` is a mask, bool (B,).
What is missing is set to zero before an encoder reads it and again before a merge, and each merge leaves it out in
its own way, stated in its docstring.

*Padding.* Sequences (B, T, d) of different length come with ``"length"``, int64 (B,), the real steps, or with
``"<modality>_length"`` where the modalities differ in it. Encoders that read it, such as `SequenceEncoder`, and
`CrossAttention` leave padding out; see `Classifier`.

| file | what is in it |
| --- | --- |
| ``merges.py`` | the merges |
| ``attention.py`` | the merge by cross-attention |
| ``rules.py`` | the rules of `DecisionFusion` |
| ``costs.py`` | the costs |
| ``models.py`` | the models |
| ``balance.py`` | models whose training leaves no branch behind |
| ``checks.py`` | what a batch must be, and the messages where it is not |

This folder needs only torch: copy it into your own project.
"""

from .attention import CrossAttention
from .balance import HybridFusion, ModulatedFusion
from .costs import WeightedCrossEntropy, absolute_error, cross_entropy, squared_error
from .merges import (
    Arithmetic,
    Concat,
    ConcatNodes,
    Gated,
    InnerProduct,
    LowRankFusion,
    Merge,
    MergeLayer,
    SumNodes,
    TensorFusion,
)
from .models import (
    Classifier,
    CrossModalFusion,
    DecisionFusion,
    EarlyFusion,
    LateFusion,
)
from .rules import HarmonicRule, MeanRule, ProductRule, Rule, WeightedRule

__all__ = [
    "Arithmetic",
    "Classifier",
    "Concat",
    "ConcatNodes",
    "CrossAttention",
    "CrossModalFusion",
    "DecisionFusion",
    "EarlyFusion",
    "Gated",
    "HarmonicRule",
    "HybridFusion",
    "InnerProduct",
    "LateFusion",
    "LowRankFusion",
    "MeanRule",
    "Merge",
    "MergeLayer",
    "ModulatedFusion",
    "ProductRule",
    "Rule",
    "SumNodes",
    "TensorFusion",
    "WeightedCrossEntropy",
    "WeightedRule",
    "absolute_error",
    "cross_entropy",
    "squared_error",
]
