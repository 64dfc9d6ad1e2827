"""The one training loop, and what a chapter needs around it: seeds, budgets and claims.

A model says how it is trained and `fit` trains it: ``model.loss(batch)`` takes a dict of tensors and returns
named scalar terms, ``"loss"`` among them, each a mean over the examples of the batch. `fit` knows nothing
else about a model. The same call runs on a CPU, on one GPU and in several processes under
``accelerate launch``; killed at any moment, it carries on from its checkpoint as if nothing had happened.
"""

from mmtutor.training.claims import ClaimError, budget, claim
from mmtutor.training.loading import load_weights
from mmtutor.training.loop import evaluate, fit
from mmtutor.training.scored import fit_by_score
from mmtutor.training.seeds import seed_everything
from mmtutor.training.state import History

__all__ = [
    "ClaimError",
    "History",
    "budget",
    "claim",
    "evaluate",
    "fit",
    "fit_by_score",
    "load_weights",
    "seed_everything",
]
