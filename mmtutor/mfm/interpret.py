"""Which steps of a sequence depend on the label's factor, and which decide the label (Tsai and others, 2019, §3.2)."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor

from .checks import moved
from .costs import Batch
from .model import MFM, check_modalities, check_one, observed


@torch.no_grad()
def sensitivity(model: MFM, latents: Batch, modality: str, *, times_input: bool = False) -> Tensor:
    """Where the label's factor acts on a generated sequence: ∂x̂ᵗ/∂F_y at each step t (section 3.2 of the paper).

    Args:
        model: reconstructs ``modality`` from F_y.
        latents: latent codes, from `MFM.infer`, on any device.
        modality: a sequence.
        times_input: False: the norm of the whole gradient, ‖∂x̂ᵗ/∂F_y‖. True: of its product with the factor,
            ‖(∂x̂ᵗ/∂F_y) F_y‖, how much of x̂ᵗ depends on the value that F_y has now.

    Returns:
        (B, T), on the device of the model: float64 on the CPU, elsewhere of the type of the model's parameters. It is
        computed on the CPU in any case, in float64, which Apple's GPUs do not have, and with an LSTM that has a forward
        gradient, which the fast ones of float32 and of GPUs have not.

    Examples:
        >>> from mmtutor.mfm import sequence_mfm
        >>> model = sequence_mfm({"words": 3}, steps=4, classes=2)
        >>> sensitivity(model, model.sample(5), "words").shape
        torch.Size([5, 4])
    """
    check_reconstructs(model, modality)
    like = next(model.parameters())
    exact = copy.deepcopy(model).cpu().double().eval()
    factors = exact.factors({name: z.cpu().double() for name, z in latents.items()})
    rest = [factors[name] for name in ("style", modality) if name in factors]
    fy = factors["label"]  # (B, f)

    def decoder(fy: Tensor) -> Tensor:
        x: Tensor = exact.decoders[modality](torch.cat([fy, *rest], 1))
        return x

    total = torch.zeros((), dtype=torch.float64)
    unit = torch.eye(fy.shape[1], dtype=torch.float64)  # (f, f)
    for direction in [fy] if times_input else [one.expand_as(fy) for one in unit]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, at its first gradient of this kind
            change = torch.func.jvp(decoder, (fy,), (direction,))[1]  # (B, T, d)
        total = total + change.square().sum(2)  # (B, T)
    norm = total.sqrt()  # (B, T)
    return norm if like.device.type == "cpu" else norm.float().to(like)


def saliency(model: MFM, batch: Batch, modality: str, *, times_input: bool = False) -> Tensor:
    """Which steps of an input decide the label: ∂ log p(ŷ)/∂xᵗ at each step t, ŷ the most probable class.

    `sensitivity` asks how the label's factor acts on the *output*; this asks how the *input* acts on the label.

    Args:
        model: its encoders read ``modality``.
        batch: the modalities.
        modality: a sequence (B, T, d).
        times_input: False: the norm of the gradient, ‖∂ log p/∂xᵗ‖. True: of its product with the input,
            |∂ log p/∂xᵗ · xᵗ|, what step t adds to log p by a first-order estimate.

    Returns:
        (B, T), not below 0, on the device of the model; 0 where the modality is missing.

    Examples:
        >>> from mmtutor.mfm import sequence_mfm
        >>> model = sequence_mfm({"words": 3}, steps=4, classes=2)
        >>> saliency(model, {"words": torch.rand(5, 4, 3)}, "words").shape
        torch.Size([5, 4])
    """
    check_modalities("saliency", batch)
    check_one("saliency", batch, modality, model)
    x = observed(moved(batch, model))[modality].detach().requires_grad_()  # (B, T, d)
    exact = copy.deepcopy(model).eval()
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM has a gradient in training only
        log_p = exact({**batch, modality: x}).log_softmax(1)  # (B, classes)
        (gradient,) = torch.autograd.grad(log_p.amax(1).sum(), x)
    return (gradient * x.detach()).sum(2).abs() if times_input else gradient.norm(dim=2)


# ---- messages


def check_reconstructs(model: MFM, modality: str) -> None:
    """Refuse a modality that is not made from F_y."""
    if modality not in model.decoders or "label" not in model.parts:
        raise ValueError(f"sensitivity: the model does not reconstruct {modality!r} from F_y")
