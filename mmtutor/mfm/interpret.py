"""Which part of a generated sequence hangs on the label's factor (Tsai and others, 2019, section 3.2)."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor

from .model import MFM, Batch


@torch.no_grad()
def sensitivity(model: MFM, codes: Batch, modality: str, *, times_input: bool = False) -> Tensor:
    """Where in a sequence the label's factor acts: the gradient ∂x̂ᵗ/∂F_y at each step t (section 3.2 of the paper).

    Args:
        model: makes ``modality`` from F_y.
        codes: from `MFM.infer`.
        modality: a sequence.
        times_input: False: the size of the whole gradient, ‖∂x̂ᵗ/∂F_y‖. True: of its product with the factor,
            ‖(∂x̂ᵗ/∂F_y) F_y‖, how much of x̂ᵗ hangs on what is in F_y now.

    Returns:
        (B, T), float64.
    """
    if modality not in model.decoders or "label" not in model.parts:
        raise ValueError(f"sensitivity: the model does not make {modality!r} from F_y")
    exact = copy.deepcopy(model).double().eval()  # the fast LSTM of float32 has no forward gradient
    factors, decoder = exact.factors({name: z.double() for name, z in codes.items()}), exact.decoders[modality]
    rest = [factors[name] for name in ("style", modality) if name in factors]

    def make(fy: Tensor) -> Tensor:
        x: Tensor = decoder(torch.cat([fy, *rest], 1))
        return x

    fy = factors["label"]
    total = torch.zeros((), dtype=torch.float64, device=fy.device)
    directions = [fy] if times_input else [torch.eye(fy.shape[1]).to(fy)[k].expand_as(fy) for k in range(fy.shape[1])]
    for along in directions:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own, when it first makes a gradient so
            total = total + torch.func.jvp(make, (fy,), (along,))[1].square().sum(2)
    return total.sqrt()


def saliency(model: MFM, batch: Batch, modality: str, *, times_input: bool = False) -> Tensor:
    """Where in a sequence the prediction comes from: the gradient ∂ log p(ŷ)/∂xᵗ at each step t, ŷ the likeliest class.

    `sensitivity` asks how the label's factor acts on what is *made*; this asks what of the *input* acts on the label.

    Args:
        model: reads ``modality``.
        batch: the modalities.
        modality: a sequence (B, T, d).
        times_input: False: the size of the gradient, ‖∂ log p/∂xᵗ‖. True: of its product with the input,
            |∂ log p/∂xᵗ · xᵗ|, what step t adds to log p by a first-order estimate.

    Returns:
        (B, T), not below 0.
    """
    x = batch[modality].detach().requires_grad_()
    exact = copy.deepcopy(model).eval()
    with torch.enable_grad():
        log_p = exact({**batch, modality: x}).log_softmax(1)
        (gradient,) = torch.autograd.grad(log_p.amax(1).sum(), x)
    return (gradient * x.detach()).sum(2).abs() if times_input else gradient.norm(dim=2)
