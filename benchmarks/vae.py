"""Multimodal VAEs: a training step against that of the package multivae, for the models that both have.

``python -m benchmarks.vae`` with one thread, after ``pip install -c constraints.txt -e '.[bench]'``.

Both sides have the very same networks, not copies: an adapter hands an encoder's output to multivae as mean and log σ².
Equal are also the batch, complete, the likelihoods (Gaussians of scale 0.5 for two pictures, categories for the letters
of a word), 20 latent numbers, α, β = 1, no warm-up, no rescaling. Before anything is timed, the loss and the gradients
of all parameters are asserted to be equal, with the same noise. Where definitions differ, that check alone is made with
one side's definition for both (`MODELS`); what is timed is each side as it is. Losses are means over the batch;
multivae has the sum for MMVAE and is divided by the batch's size.

Two settings: with small perceptrons the time is mostly that of the models and likelihoods, with convolutions that of
the networks. JMVAE, MMVAE, MoPoE and MVTCAE call each network for the same examples on both sides, so that with large
networks their ratio must go to 1, whatever we do. MVAE encodes once for all sets, multivae once for each set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn import functional as F

from benchmarks.timing import alternate
from mmtutor.decoders import ImageDecoder
from mmtutor.encoders import ImageEncoder, TextEncoder
from mmtutor.vae import JMVAE, MMVAE, MVAE, MVTCAE, MoPoE, MultimodalVAE, categorical, gaussian, normal

try:
    from multivae import models as theirs
    from multivae.data.datasets import MultimodalBaseDataset
    from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput
    from multivae.models.base.base_utils import poe
    from multivae.models.nn import BaseJointEncoder
except ModuleNotFoundError as error:
    raise SystemExit(f"no {error.name}; install it with: pip install -c constraints.txt -e '.[bench]'") from None

LATENT, HIDDEN, SCALE, K, TOLERANCE = 20, 64, 0.5, 5, 1e-6
SHAPES = {"handwritten": (1, 28, 28), "street": (3, 32, 32), "word": (8, 27)}
LIKELIHOODS = {"handwritten": gaussian(SCALE), "street": gaussian(SCALE), "word": categorical(one_hot=True)}
Networks = dict[str, nn.Module]


class Joint(nn.Module):
    """A joint encoder: features of each modality side by side, and a linear layer that reads them."""

    def __init__(self, heads: Networks) -> None:
        super().__init__()
        self.heads, self.output = nn.ModuleDict(heads), nn.Linear(HIDDEN * len(heads), 2 * LATENT)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(B, 2 latent)."""
        output: Tensor = self.output(torch.cat([head(batch[s]) for s, head in self.heads.items()], 1).relu())
        return output


def perceptrons(dim: int) -> Networks:
    """To ``dim`` numbers of each modality."""
    return {
        s: nn.Sequential(nn.Flatten(), nn.Linear(math.prod(x), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, dim))
        for s, x in SHAPES.items()
    }


def perceptrons_back() -> Networks:
    """From z to each modality."""
    return {
        s: nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, math.prod(x)), nn.Unflatten(1, x))
        for s, x in SHAPES.items()
    }


def convolutions(dim: int) -> Networks:
    """The encoders of this library, to ``dim`` numbers of each modality."""
    return {"handwritten": ImageEncoder(1, dim), "street": ImageEncoder(3, dim), "word": TextEncoder(27, dim)}


def convolutions_back() -> Networks:
    """The decoders of this library; it has none for words, which get a perceptron."""
    return perceptrons_back() | {"handwritten": ImageDecoder(LATENT, 1, 28), "street": ImageDecoder(LATENT, 3, 32)}


class Encoder(BaseEncoder):  # type: ignore[misc]
    """A network of ours as multivae wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.latent_dim = network, LATENT

    def forward(self, x: Any) -> Any:
        """Mean and log σ²."""
        mean, log_std = self.network(x).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=2 * log_std)


class JointEncoder(Encoder, BaseJointEncoder):  # type: ignore[misc]
    """The joint one."""


class Decoder(BaseDecoder):  # type: ignore[misc]
    """A network of ours as multivae wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> Any:
        """What the likelihood reads."""
        return ModelOutput(reconstruction=self.network(z))


class Setting(NamedTuple):
    """Networks: encoders to so many numbers, and decoders from z."""

    encoders: Callable[[int], Networks]
    decoders: Callable[[], Networks]


class Model(NamedTuple):
    """A model, the options of each side, and what the check of loss and gradient replaces for equal definitions.

    ``remark`` says in what the definitions differ.
    """

    ours: type[Any]  # a MultimodalVAE; the classes differ in their arguments
    our_options: dict[str, Any]
    their_options: dict[str, Any]
    made_equal: dict[str, Any] = {}  # noqa: RUF012
    remark: str = ""


def by_place(components: Independent[Normal], among: Tensor | None = None) -> Independent[Normal]:
    """The first examples have the first component, the next ones the second, as in multivae."""
    S, size = components.batch_shape
    place = torch.arange(size)
    k = (place // (size // S)).clamp_max(S - 1)
    return normal(components.mean[k, place], components.stddev[k, place])


def first_pair(model: MVAE, present: Tensor) -> Tensor:
    """The sets of MVAE, bool (S, M, B): all modalities, each alone and, for the one that is drawn, the first two."""
    M, size = present.shape
    sets = torch.cat([torch.ones(1, M), torch.eye(M), torch.arange(M).unsqueeze(0) < 2])
    return sets.bool().unsqueeze(2).expand(-1, -1, size)


SETTINGS = {
    "small perceptrons": Setting(perceptrons, perceptrons_back),
    "convolutions": Setting(convolutions, convolutions_back),
}
NORMAL = {"prior_and_posterior_dist": "normal", "learn_prior": False}
MODELS = {
    "JMVAE": Model(JMVAE, {"alpha": 0.1}, {"alpha": 0.1, "warmup": 0}),
    "MVAE": Model(MVAE, {"drawn": 0}, {"k": 0, "warmup": 0}),
    "MVAE, a set drawn": Model(
        MVAE,
        {"drawn": 1},
        {"k": 1, "warmup": 0},
        {"mmtutor.vae.MVAE._sets": first_pair, "multivae.models.mvae.mvae_model.choice": lambda *_, **__: [0]},
        "given the same set; ours draws one for each example, each modality with chance 1/2, theirs a pair for all",
    ),
    "MMVAE": Model(MMVAE, {"k": 1}, {"K": 1, "loss": "iwae_looser", **NORMAL}),
    f"MMVAE, DReG, K = {K}": Model(
        MMVAE,
        {"k": K, "objective": "dreg"},
        {"K": K, "loss": "dreg_looser", **NORMAL},
        remark="the gradient; our loss is the bound, theirs is Σ w log w, whose gradient it is",
    ),
    "MoPoE": Model(
        MoPoE,
        {},
        {},
        {"mmtutor.vae.mopoe.choose": by_place, "multivae.models.MoPoE._poe_fusion": lambda _, *experts: poe(*experts)},
        "without their p(z) in the set of all modalities, and with their sets, by place in the batch; ours are drawn",
    ),
    "MVTCAE": Model(MVTCAE, {"alpha": 0.9}, {"alpha": 0.9, "beta": 1.0}),
}


@contextmanager
def same_noise() -> Iterator[None]:
    """Later draws of z have the noise of the first, ours; multivae may draw it modality by modality or set by set."""
    drawn: list[Tensor] = []

    def draw(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
        if not drawn:
            noise = torch.randn(shape, dtype=dtype, device=device)
            drawn.extend([noise, *(noise.unbind(-3) if noise.ndim > 2 else ())])
        return drawn[0] if shape == drawn[0].shape else drawn.pop(1)

    with patch("torch.distributions.normal._standard_normal", draw):
        yield


def examples(size: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Pictures of noise, and words."""
    batch = {s: torch.rand(size, *SHAPES[s]) for s in ("handwritten", "street")}
    batch["word"] = F.one_hot(torch.randint(27, (size, 8)), 27)
    return {s: x.to(dtype) for s, x in batch.items()}


def sides(
    name: str, setting: Setting, size: int, dtype: torch.dtype = torch.float32
) -> tuple[MultimodalVAE, dict[str, Callable[[], Tensor]]]:
    """The model, whose networks both sides share, and the training step of each side."""
    torch.manual_seed(0)
    model = MODELS[name]
    who = model.ours.__name__
    encoders, decoders = setting.encoders(2 * LATENT), setting.decoders()
    joint = [Joint(setting.encoders(HIDDEN))] if model.ours is JMVAE else []
    ours = model.ours(*joint, encoders, decoders, LIKELIHOODS, LATENT, **model.our_options)
    config = getattr(theirs, f"{who}Config")(
        n_modalities=len(SHAPES),
        latent_dim=LATENT,
        decoders_dist={"handwritten": "normal", "street": "normal", "word": "categorical"},
        decoder_dist_params={s: {"scale": SCALE} for s in ("handwritten", "street")},
        **model.their_options,
    )
    adapted = {s: Encoder(e) for s, e in encoders.items()}, {s: Decoder(d) for s, d in decoders.items()}
    multivae = getattr(theirs, who)(config, *adapted, *map(JointEncoder, joint)).to(dtype)
    batch, parameters = examples(size, dtype), list(ours.parameters())
    dataset = MultimodalBaseDataset(batch)
    mean = size if model.ours is MMVAE else 1
    losses = {"multivae": lambda: multivae(dataset).loss / mean, "ours": lambda: ours.loss(batch)["loss"]}

    def train(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def step() -> Tensor:
            for p in parameters:
                p.grad = None
            value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            return value.detach()

        return step

    return ours, {side: train(loss) for side, loss in losses.items()}


def check(name: str, setting: Setting, size: int) -> float:
    """Assert that loss and gradients are equal, in double precision; return the larger of their differences."""
    ours, steps = sides(name, setting, size, torch.float64)
    model, seen = MODELS[name], {}
    with ExitStack() as stack:
        for where, what in model.made_equal.items():
            stack.enter_context(patch(where, what))
        stack.enter_context(same_noise())
        for side in ("ours", "multivae"):
            loss = steps[side]()
            seen[side] = loss, torch.cat([p.grad.flatten() for p in ours.parameters() if p.grad is not None])
    (loss, gradient), (their_loss, their_gradient) = seen["ours"], seen["multivae"]
    errors = [] if model.our_options.get("objective") == "dreg" else [float((loss / their_loss - 1).abs())]
    errors.append(float((gradient - their_gradient).norm() / their_gradient.norm()))
    if max(errors) > TOLERANCE:
        raise AssertionError(f"{name}: loss and gradient differ by {errors}, relative to multivae's")
    return max(errors)


def networks_alone(setting: Setting, size: int) -> Callable[[], None]:
    """Every encoder and every decoder once, forward and backward: no faster can MoPoE and MVTCAE be."""
    torch.manual_seed(0)
    networks, batch, z = [setting.encoders(2 * LATENT), setting.decoders()], examples(size), torch.randn(size, LATENT)
    z.requires_grad_()

    def step() -> None:
        outputs = [encoder(batch[s]) for s, encoder in networks[0].items()]
        outputs += [decoder(z) for decoder in networks[1].values()]
        torch.autograd.backward(outputs, [x.detach() for x in outputs])
        for p in (z, *(p for group in networks for network in group.values() for p in network.parameters())):
            p.grad = None

    return step


def compare(setting: str, size: int, repeats: int) -> dict[str, float]:
    """Print a table; return the ratios."""
    print(f"\n{setting + ', batch ' + str(size):<36} multivae       ours   ratio  loss and gradient agree to")
    ratios = {}
    for name, model in MODELS.items():
        error = check(name, SETTINGS[setting], size)
        seconds = alternate(sides(name, SETTINGS[setting], size)[1], repeats)
        ratios[name] = seconds["multivae"] / seconds["ours"]
        times = f"{1000 * seconds['multivae']:6.1f} ms {1000 * seconds['ours']:6.1f} ms {ratios[name]:7.2f}"
        print(f"{name:>34} {times}  {error:.0e}{' *' if model.remark else ''}", flush=True)
    alone = alternate({"networks": networks_alone(SETTINGS[setting], size)}, repeats)["networks"]
    print(f"{'each network once, without a model':>34} {1000 * alone:20.1f} ms")
    return ratios


def lowest(ratios: Mapping[str, float]) -> str:
    """The name of the smallest."""
    return min(ratios, key=ratios.__getitem__)


def main() -> None:
    """Print tables and, as the last line, the ratio."""
    torch.set_num_threads(1)
    print("forward and backward, three modalities, one thread; multivae over ours")
    few = compare("small perceptrons", 64, 41)
    compare("small perceptrons", 256, 15)
    many = compare("convolutions", 64, 9)
    print("\n* where definitions differ:")
    for name, model in MODELS.items():
        if model.remark:
            print(f"{name}: {model.remark}")
    print("with convolutions:", ", ".join(f"{name} {many[name]:.2f}" for name in ("MoPoE", "MVTCAE", lowest(many))))
    print(
        f"ratio: {min(few.values()):.2f} (multivae over ours, a training step with small perceptrons, batch 64, of "
        f"{lowest(few)}, the smallest; MoPoE {few['MoPoE']:.2f}, MVTCAE {few['MVTCAE']:.2f})"
    )


if __name__ == "__main__":
    main()
