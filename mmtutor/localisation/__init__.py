"""Sound localisation: which region of a picture does a sound come from? Learned from pictures with their sounds alone.

The picture comes as L regions, the sound as a vector; both are mapped into one space, in which all have length 1.
Nobody says which region it is: what is trained is which sound belongs to which picture, and the map must say so.

| class | equation | source |
| --- | --- | --- |
| `SoundLocalisation` | mᵢⱼₗ = vᵢₗ · hⱼ, v = W a / ‖W a‖, h = U b / ‖U b‖ | Senocak 2018, Arandjelović 2018 |
| `Max` | S = maxₗ mₗ | Arandjelović 2018; EZ-VSL 2022 |
| `Attention` | S = Σₗ pₗ mₗ, p = softmax(r m) | Senocak 2018 |
| `LogSumExp` | S = (1/r) log (1/L) Σₗ exp(r mₗ): the mean at r → 0, the maximum at r → ∞ | Pinheiro 2015 |
| `Mean` | S = (1/L) Σₗ mₗ: the picture as one vector | |
| `Positives` | S = Σₗ wₗ mₗ / Σₗ wₗ, w = σ((m − ε)/τ) | Chen 2021 |
| `InfoNCE` | −log exp(t Sᵢᵢ) / Σⱼ exp(t Sᵢⱼ), and of the columns; a background joins Σⱼ of the rows | Chen 2021 |

| symbol | in the code | shape |
| --- | --- | --- |
| a, b | ``regions``, ``sound`` | (B, L, A), (B, C) |
| v, h | ``v``, ``h`` | (B, L, d), (B, d) |
| m, of picture i and sound j | ``maps`` | (B, B, L) |
| m, of a picture and its own sound | ``map(batch)`` | (B, L) |
| S | ``similarity`` | (B, B) |
| t, r | ``scale``, ``sharpness`` | () |

| file | what is in it |
| --- | --- |
| ``model.py`` | `SoundLocalisation`: from a batch to maps, and to the loss |
| ``pooling.py`` | from a map to one number |
| ``losses.py`` | `InfoNCE` |
| ``checks.py`` | what a batch must be |

Sources: Senocak and others (2018, arXiv:1803.03849); Arandjelović and Zisserman (2018, arXiv:1712.06651); Pinheiro and
Collobert (2015, arXiv:1411.6228); Chen and others (2021, arXiv:2104.02691); Mo and Morgado (EZ-VSL, 2022,
arXiv:2203.09324).
"""

from .losses import InfoNCE
from .model import SoundLocalisation
from .pooling import Attention, LogSumExp, Max, Mean, Pooling, Positives

__all__ = ["Attention", "InfoNCE", "LogSumExp", "Max", "Mean", "Pooling", "Positives", "SoundLocalisation"]
