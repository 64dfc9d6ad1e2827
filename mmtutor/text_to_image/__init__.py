"""Text to image: a generator draws what a sentence says; a discriminator is shown both, and judges them.

Each player is a network of its own, with its own encoder of sentences: G(s, z) gives a picture x̂ from noise z, D(x, s)
a logit. s′ is a wrong sentence: another example's, or the right one with a word changed.

| class | equation | source |
| --- | --- | --- |
| `ConditionalGAN` | L_D = −log σ(D(x, s)) − log σ(−D(x̂, s)), L_G = −log σ(D(x̂, s)) | Goodfellow, Mirza 2014 |
| `MatchingAware` | L_D = −log σ(D(x, s)) − ½ [log σ(−D(x, s′)) + log σ(−D(x̂, s))], GAN-CLS | Reed 2016 |
| `Relativistic` | L_D = −log σ(D(x, s) − D(x̂, s)) + γ/2 (R₁ + R₂), R = E ‖∂D/∂x‖² at x and at x̂ | R3GAN, 2024 |
| `FlowMatching` | ‖v(x_τ, τ, s) − (x − ε)‖², x_τ = (1 − τ) ε + τ x | Lipman 2023 |
| guidance | v(x, τ, –) + g [v(x, τ, s) − v(x, τ, –)]; g is one more than their w | Ho 2022 |

| symbol | in the code | shape |
| --- | --- | --- |
| x, x̂ | ``real``, ``fake`` | (B, C, H, W) |
| s | ``sentence`` | (B, …) |
| z | ``noise`` | (B, Z) |
| D(x, s) | ``logits`` | (B,) |
| τ, ε | ``time``, ``noise`` | (B,), (B, C, H, W) |

| file | what is in it |
| --- | --- |
| ``gan.py`` | `TextToImageGAN`: both players in one loss |
| ``objectives.py`` | what each player wants |
| ``networks.py`` | `Generator`, `Discriminator` |
| ``average.py`` | `MovingAverage` of weights |
| ``pairs.py`` | what pictures and sentences must be |
| ``flow.py`` | `FlowMatching`, `VelocityNetwork` |
| ``checks.py`` | what a batch must be |

Sources: Goodfellow and others (2014, arXiv:1406.2661); Mirza and Osindero (2014, arXiv:1411.1784); Reed and others
(2016, arXiv:1605.05396); Miyato and Koyama (2018, arXiv:1802.05637); Mescheder and others (2018, arXiv:1801.04406);
Jolicoeur-Martineau (2018, arXiv:1807.00734); Huang and others (R3GAN, 2024, arXiv:2501.05441); Lipman and others (2023,
arXiv:2210.02747), with σ_min = 0, as Liu and others (2022, arXiv:2209.03003); Ho and Salimans (2022, arXiv:2207.12598);
Esser and others (2024, arXiv:2403.03206).
"""

from .average import MovingAverage
from .flow import FlowMatching, VelocityNetwork
from .gan import TextToImageGAN
from .networks import Discriminator, Generator
from .objectives import ConditionalGAN, MatchingAware, Objective, Relativistic

__all__ = [
    "ConditionalGAN",
    "Discriminator",
    "FlowMatching",
    "Generator",
    "MatchingAware",
    "MovingAverage",
    "Objective",
    "Relativistic",
    "TextToImageGAN",
    "VelocityNetwork",
]
