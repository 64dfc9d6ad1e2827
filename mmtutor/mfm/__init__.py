"""The Multimodal Factorization Model (MFM): a factor for the label, and a style factor for each modality.

Tsai, Liang, Zadeh, Morency and Salakhutdinov, 2019, arXiv:1806.06176. One latent code Z_y is inferred from all
modalities, and one latent code Z_a of each modality from that modality alone. Each becomes a factor. From the factors
the label is predicted and the modalities are reconstructed:

    Q(Z|X₁:M) = Q(Z_y|X₁:M) ∏ᵢ Q(Z_aᵢ|Xᵢ)                              inference                  (equation 3)
    F_y = G_y(Z_y),  F_aᵢ = G_aᵢ(Z_aᵢ)                                  factors
    Ŷ = D(F_y),  X̂ᵢ = Fᵢ(F_y, F_aᵢ)                                    prediction and reconstruction
    loss = Σᵢ λᵢ c(Xᵢ, X̂ᵢ) + c(Y, Ŷ) + λ MMD(Q_Z, N(0, I))              (equation 4)

Equation 4 has one discrepancy of all latent codes together, which also asks them to be independent of each other: give
`MFM` ``joint=True``. The default here is the sum of one discrepancy for each latent code, as in the released code.

Equation 4 comes from equation 2, the Wasserstein distance between the joint distribution of the data and that of what
the model generates. The model generates by functions of Z. So to move an example somewhere is to choose a latent code
for it, and the infimum over all couplings is one over all Q(Z|X₁:M, Y) whose mean over the data is the prior
(Proposition 1, after Tolstikhin and others, 2018, arXiv:1711.01558):

    W = inf E [Σᵢ c(Xᵢ, X̂ᵢ) + c(Y, Ŷ)]  over Q with Q_Z = N(0, I)

Equation 3 allows fewer Q, and can only make it larger; λ MMD takes the place of the condition Q_Z = N(0, I).

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

What else the released code does (github.com/pliang279/factorized), and this one does not:

- The kernel of its MMD is exp(−‖x − y‖²/d²), for latent codes of d numbers; here it is exp(−‖x − y‖²/2d). Means are
  estimated from samples of the prior and over all pairs, those of a code with itself too. So a collapse of all codes to
  zero costs *less* than perfect codes (with d = 80 and batches of 64: 0.00054 against 0.00078). But it pulls back codes
  that are several times as far from 0 as the prior's, which the narrow kernel no longer does.
- Its decoders read the factors at the first step only, and their own last hidden state at all others; they generate the
  first step first. `LSTMDecoder` reads the factors at each step, and generates the last step first.
- The style of M_E comes from one LSTM over the joined inputs; here from an `MFN` of its own. M_A predicts the label by
  one linear layer; here by two, as all others do.
- Padding is read, and reconstructed. Dropout probabilities differ by network.

A batch is a dict of tensors. A label that is known for some examples only comes with ``"label_present"``, bool (B,):
the others cost nothing there, and still train the rest (semi-supervised learning). A modality that is missing in some
examples comes with ``"<modality>_present"``, bool (B,); what stands in its place is not read, and may be NaN. A batch
may be on any device: a model moves it to its own, and what it returns is there.

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
