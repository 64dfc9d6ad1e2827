"""The Multimodal Factorization Model (MFM): a factor for the label, and a style factor for each modality.

Tsai, Liang, Zadeh, Morency and Salakhutdinov, 2019, arXiv:1806.06176. One latent code Z_y is inferred from all
modalities, and one latent code Z_a of each modality from that modality alone. Each becomes a factor. From the factors
the label is predicted and the modalities are reconstructed:

    Q(Z|X₁:M) = Q(Z_y|X₁:M) ∏ᵢ Q(Z_aᵢ|Xᵢ)                              inference                  (equation 3)
    F_y = G_y(Z_y),  F_aᵢ = G_aᵢ(Z_aᵢ)                                  factors
    Ŷ = D(F_y),  X̂ᵢ = Fᵢ(F_y, F_aᵢ)                                    prediction and reconstruction
    loss = Σᵢ λᵢ c(Xᵢ, X̂ᵢ) + c(Y, Ŷ) + λ MMD(Q_Z, N(0, I))              (equation 4)

Equation 4 has one discrepancy of all latent codes together, which also asks them to be independent of each other: give
`MFM` ``joint=True``. The released code takes the discrepancy of each latent code alone and adds them up; that is the
default here.

The label Y is not among the inputs of Q, because it is not known at test time, when the model has to predict it.

| symbol | in the code | shape |
| --- | --- | --- |
| Xᵢ | ``batch[modality]`` | (B, …), for a sequence (B, T, d) |
| Z_y, Z_aᵢ | ``latents["label"]``, ``latents[modality]`` | (B, z) |
| F_y, F_aᵢ | ``factors["label"]``, ``factors[modality]`` | (B, f) |
| Q, G | a `Factor`: its encoder and ``to_latent``; its ``to_factor`` | |
| D, Fᵢ | ``classifier``, ``decoders[modality]`` | |
| c | ``costs[modality]``: `squared_error`, `absolute_error`, `cross_entropy` | |
| λᵢ, λ | ``weights[modality]``, ``prior`` | |

Which factors there are says which model it is. The released code calls the paper's ablations by other letters:

| paper | released code | label predicted from | Xᵢ reconstructed from | ``label`` | ``style`` | ``decoders`` |
| --- | --- | --- | --- | --- | --- | --- |
| M_A | M_D | all F_aᵢ | – | None | one a modality | None |
| M_B | – | F_y | – | a factor | None | None |
| M_C | M_B | all F_aᵢ | F_aᵢ | None | one a modality | given |
| M_D | M_C | F_y | F_y | a factor | None | given |
| M_E | M_A | F_y | F_y, F_a | a factor | one factor | given |
| MFM | MFM | F_y | F_y, F_aᵢ | a factor | one a modality | given |

A batch is a dict of tensors. A modality that is missing in some examples comes with ``"<modality>_present"``, bool
(B,); what stands in its place is not read, and may be NaN. A batch may be on any device: a model moves it to its own,
and what it returns is there.

| file | what is in it |
| --- | --- |
| ``model.py`` | `Factor`, `VariationalFactor` and `MFM` |
| ``costs.py`` | `squared_error`, `absolute_error`, `cross_entropy` |
| ``sequences.py`` | `MFN` (the Memory Fusion Network) and LSTMs, `sequence_mfm` with the original sizes |
| ``surrogate.py`` | `Surrogate`: a modality is missing |
| ``interpret.py`` | `sensitivity` of an output to the label's factor, `saliency` of an input for the label |
| ``kernels.py`` | `mmd` and `hsic` |
| ``checks.py`` | what a batch must be |
"""

from .costs import absolute_error, cross_entropy, squared_error
from .interpret import saliency, sensitivity
from .kernels import hsic, mmd
from .model import MFM, Factor, FromModality, VariationalFactor
from .sequences import MFN, ORIGINAL, VARIANTS, LSTMDecoder, LSTMEncoder, sequence_mfm
from .surrogate import Surrogate

__all__ = [
    "MFM",
    "MFN",
    "ORIGINAL",
    "VARIANTS",
    "Factor",
    "FromModality",
    "LSTMDecoder",
    "LSTMEncoder",
    "Surrogate",
    "VariationalFactor",
    "absolute_error",
    "cross_entropy",
    "hsic",
    "mmd",
    "saliency",
    "sensitivity",
    "sequence_mfm",
    "squared_error",
]
