"""Visual question answering: a picture and a question about it, to an answer.

The picture comes as L regions a₁ … a_L, the question as a vector q. The models differ in how the question reaches the
regions. (Where it meets their mean alone, by concatenation or a product, `mmtutor.fusion.LateFusion` does it.)

| class | equation | source |
| --- | --- | --- |
| `StackedAttention` | u ← u + Σᵢ pᵢ vᵢ, p = softmax(w tanh(W_v vᵢ + W_u u)), hop after hop | Yang 2016 |
| `FiLM` | γ(q) ⊙ F + β(q): the question scales and shifts the features of convolutions | Perez 2018 |
| `RelationNetwork` | f(Σᵢⱼ g(aᵢ, aⱼ, q)): a network of every two regions | Santoro 2017 |

| symbol | in the code | shape |
| --- | --- | --- |
| aᵢ | ``regions`` | (B, L, D) |
| q | ``question`` | (B, Q) |
| v = tanh(W a + b), u at first tanh(W q + b) | ``v``, ``u`` | (B, L, H), (B, H) |
| p, of K hops | ``attention(batch)`` | (B, K, L) |
| γ, β | ``gamma``, ``beta`` | (B, H, 1, 1) |
| F | ``features`` | (B, H, rows, columns) |

| file | what is in it |
| --- | --- |
| ``model.py`` | `QuestionAnswering`: what all share, from a batch to the loss |
| ``attention.py`` | `StackedAttention` |
| ``film.py`` | `FiLM` |
| ``relations.py`` | `RelationNetwork` |
| ``checks.py`` | what a batch must be |

Sources: Yang and others (2016, arXiv:1511.02274); Perez and others (2018, arXiv:1709.07871); Santoro and others (2017,
arXiv:1706.01427).
"""

from .attention import StackedAttention
from .film import FiLM
from .model import QuestionAnswering
from .relations import RelationNetwork

__all__ = ["FiLM", "QuestionAnswering", "RelationNetwork", "StackedAttention"]
