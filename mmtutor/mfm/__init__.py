"""The Multimodal Factorization Model: what decides the label and what gives each modality its style, apart.

Tsai, Liang, Zadeh, Morency and Salakhutdinov, 2019, arXiv:1806.06176. One code Z_y is inferred from all modalities and one
code Z_a of each modality from that modality alone. Both become factors, and from these label and modalities are made again:

    Q(Z|X₁:M) = Q(Z_y|X₁:M) ∏ᵢ Q(Z_aᵢ|Xᵢ)                              inference                  (equation 3)
    F_y = G_y(Z_y),  F_aᵢ = G_aᵢ(Z_aᵢ)                                  factors
    Ŷ = D(F_y),  X̂ᵢ = Fᵢ(F_y, F_aᵢ)                                    label and modalities, made again
    loss = Σᵢ λᵢ c(Xᵢ, X̂ᵢ) + c(Y, Ŷ) + λ MMD(Q_Z, N(0, I))              (equation 4)

Equation 4 has the discrepancy of all codes together, which also asks them to be independent of each other: give `MFM`
``joint=True``. The released code takes it for each code by itself and adds up, and so do we where nothing is said.

The label Y is not among the inputs of Q: a model that needs the label to find its code could not be asked for it.

| symbol | in the code | shape |
| --- | --- | --- |
| Xᵢ | ``batch[modality]`` | (B, …), for a sequence (B, T, d) |
| Z_y, Z_aᵢ | ``codes["label"]``, ``codes[modality]`` | (B, z) |
| F_y, F_aᵢ | ``factors["label"]``, ``factors[modality]`` | (B, f) |
| Q, G | a `Factor`: its encoder and a linear layer; its ``make`` | |
| D, Fᵢ | ``decide``, ``decoders[modality]`` | |
| λᵢ, λ | ``weights[modality]``, ``prior`` | |

Which factors there are says which model it is. The released code calls the paper's ablations by other letters:

| paper | released code | label made from | Xᵢ made from | ``label`` | ``style`` | ``decoders`` |
| --- | --- | --- | --- | --- | --- | --- |
| M_A | M_D | all F_aᵢ | not made | None | one a modality | None |
| M_B | – | F_y | not made | a factor | None | None |
| M_C | M_B | all F_aᵢ | F_aᵢ | None | one a modality | given |
| M_D | M_C | F_y | F_y | a factor | None | given |
| M_E | M_A | F_y | F_y, F_a | a factor | one factor | given |
| MFM | MFM | F_y | F_y, F_aᵢ | a factor | one a modality | given |

| file | what is in it |
| --- | --- |
| ``model.py`` | `Factor` and `MFM` |
| ``sequences.py`` | `MFN` (the Memory Fusion Network) and LSTMs, `sequence_mfm` with the original sizes |
| ``surrogate.py`` | `Surrogate`: a modality is missing |
| ``interpret.py`` | `sensitivity`, `saliency`: which steps hang on the label's factor, which decide the label |
| ``kernels.py`` | `mmd` and `hsic` |
"""

from .interpret import saliency, sensitivity
from .kernels import hsic, mmd
from .model import MFM, Factor, FromModality
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
    "hsic",
    "mmd",
    "saliency",
    "sensitivity",
    "sequence_mfm",
]
