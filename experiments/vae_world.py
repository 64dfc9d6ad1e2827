"""Multimodal VAEs in worlds whose posteriors are known: ``python -m experiments.vae_world --seeds 5``.

Decoders are the true ones, encoders are linear and could be exact, so what differs from the truth comes from the
objective. The first world has one latent code of all modalities. In the two others each modality has a private latent
besides, whose direction is apart from those of the shared latent, or overlaps with one of them; to the shared latent a
private one is noise, with a covariance. Each seed has a world and test examples of its own. Stops and resumes seed by
seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from experiments.results import Claim, measure
from mmtutor.lineargaussian import LinearGaussian
from mmtutor.training import seed_everything
from mmtutor.vae import (
    DMVAE,
    JMVAE,
    MMVAE,
    MVAE,
    MVTCAE,
    TELBO,
    MMVAEPlus,
    MoPoE,
    MultimodalVAE,
    gaussian,
    product,
    product_of_posteriors,
    stacked,
)

SETTINGS: dict[str, Any] = {
    "sizes": {"a": 3, "b": 4, "c": 5},
    "latent": 2,
    "private": 1,
    "noise": 0.7,
    "steps": 3000,
    "batch": 256,
    "lr": 3e-2,
    "test": 500,
    "alpha of MVTCAE": 0.9,
}
OURS = "ours"
EXACT, NARROW = ("JMVAE", "TELBO", "MVAE"), ("MMVAE", "MoPoE")
WORLDS = ("apart", "overlapping")

CLAIMS = [
    *(Claim(f"{name}'s posterior of one modality is exact, within .01 nats", OURS, ".01 nats",
            f"{name}, one modality", "nats of KL from the exact posterior", show=(f"{name}, all modalities",))
      for name in EXACT),
    *(Claim(f"{name}'s experts are narrower than the exact posterior of their modality", OURS, "one", f"{name}, width",
            "share of the exact standard deviation",
            show=(f"{name}, one modality", f"{name}, all modalities", "width of the joint posterior"))
      for name in NARROW),
    Claim("MVTCAE's posterior of all modalities is exact, within .01 nats; its experts are no posteriors", OURS,
          ".01 nats", "MVTCAE, all modalities", "nats of KL from the exact posterior",
          show=("MVTCAE, one modality", "MVTCAE, width")),
    Claim("Private latents apart: DMVAE's posterior of z from all modalities is farther from the exact one with the "
          "paper's product than with the prior counted once", OURS, "apart: DMVAE, z of all modalities",
          "apart: DMVAE, prior once, z of all modalities", "nats of KL from the exact posterior",
          show=("apart: DMVAE, z of one modality", "apart: DMVAE, prior once, z of one modality")),
    *(Claim(f"Private latents apart: {name}'s posteriors of z from one modality are narrower than the exact ones", OURS,
            "one", f"apart: {name}, width of z", "share of the exact standard deviation",
            show=(f"apart: {name}, z of one modality", f"overlapping: {name}, width of z"))
      for name in ("DMVAE, prior once", "MMVAE+")),
    Claim("Private latents apart: MMVAE+'s posteriors of z from one modality are wider with ten draws than with one",
          OURS, "apart: MMVAE+, K = 10, width of z", "apart: MMVAE+, width of z",
          "share of the exact standard deviation"),
    Claim("Private latents overlapping: with ten draws MMVAE+'s auxiliary prior is wider than with one", OURS,
          "overlapping: MMVAE+, K = 10, auxiliary", "overlapping: MMVAE+, auxiliary",
          "standard deviation, where the prior's is 1",
          show=("apart: MMVAE+, K = 10, auxiliary", "apart: MMVAE+, auxiliary")),
    *(Claim(f"Private latents apart: {name}'s private posteriors are exact, within .01 nats", OURS, ".01 nats",
            f"apart: {name}, w", "nats of KL from the exact posterior",
            show=(f"apart: {name}, width of w", f"overlapping: {name}, w"))
      for name in ("DMVAE", "MMVAE+")),
    *(Claim(f"Private latents overlapping: {name}'s private posteriors are narrower than the exact ones", OURS, "one",
            f"overlapping: {name}, width of w", "share of the exact standard deviation",
            show=(f"overlapping: {name}, w",))
      for name in ("DMVAE", "MMVAE+")),
]  # fmt: skip


class LinearJointEncoder(nn.Module):
    """A linear layer of all modalities side by side."""

    def __init__(self, sizes: Mapping[str, int], outputs: int) -> None:
        super().__init__()
        self.modalities, self.net = list(sizes), nn.Linear(sum(sizes.values()), outputs)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """From a batch to (B, outputs)."""
        out: Tensor = self.net(torch.cat([batch[s] for s in self.modalities], 1))
        return out


def directions(seed: int, number: int) -> dict[str, Tensor]:
    """For each modality orthogonal columns (Dᵢ, number), each of length ½ to 1½."""
    rng = torch.Generator().manual_seed(seed)
    columns = {}
    for name, size in SETTINGS["sizes"].items():
        Q = torch.linalg.qr(torch.randn(size, number, generator=rng, dtype=torch.float64)).Q
        columns[name] = Q * (0.5 + torch.rand(number, generator=rng, dtype=torch.float64))
    return columns


def make(kind: Any, weights: Mapping[str, Tensor], **options: Any) -> Any:
    """A model with linear encoders, and decoders that are the true ones: of z, or of z and w side by side."""
    s, d = SETTINGS, SETTINGS["latent"]
    sizes, more = s["sizes"], options.get("private", 0)
    encoders = {n: nn.Linear(size, 2 * (d + more)) for n, size in sizes.items()}
    decoders = {n: nn.Linear(d + more, size, bias=False).requires_grad_(False) for n, size in sizes.items()}
    for n, decoder in decoders.items():
        decoder.weight.copy_(weights[n])
    first = [LinearJointEncoder(sizes, 2 * d)] if kind in (JMVAE, TELBO) else []
    return kind(*first, encoders, decoders, {n: gaussian(s["noise"]) for n in sizes}, d, **options).double()


def train(model: nn.Module, world: LinearGaussian, seed: int) -> None:
    """In place, with new examples in each step."""
    s = SETTINGS
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], s["lr"])
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, s["steps"])
    for step in range(s["steps"]):
        _, batch = world.sample(s["batch"], seed * 10**6 + step)
        optimiser.zero_grad()
        model.loss(batch)["loss"].backward()  # type: ignore[operator]
        optimiser.step()
        slower.step()


def distance(q: Any, p: Any, draws: int = 400) -> float:
    """KL(q ‖ p) in nats by draws from q, the mean over examples."""
    z = q.sample((draws,))
    return float((q.log_prob(z) - p.log_prob(z)).mean())


def mean(values: list[float]) -> float:
    """The mean of a list."""
    return sum(values) / len(values)


@torch.no_grad()
def of_z(model: MultimodalVAE, world: LinearGaussian, test: Mapping[str, Tensor]) -> dict[str, float]:
    """Distances of the posteriors of z from the exact ones, and how wide those of one modality are."""
    single = {n: (model.encode(test, n), world.posterior(test, n)) for n in test}
    return {
        "one modality": mean([distance(q, p) for q, p in single.values()]),
        "all modalities": distance(model.encode(test), world.posterior(test)),
        "width": mean([float((q.variance.sqrt() / p.stddev).mean()) for q, p in single.values()]),
    }


def without_private(seed: int) -> dict[str, float]:
    """Each objective where all modalities have one latent code, whose posteriors have independent numbers."""
    s = SETTINGS
    weights = directions(seed, s["latent"])
    world = LinearGaussian(weights, s["noise"])
    _, test = world.sample(s["test"], seed + 1)
    exact, joint = {name: world.posterior(test, name) for name in test}, world.posterior(test)
    out = {"width of the joint posterior": mean([float((joint.stddev / q.stddev).mean()) for q in exact.values()])}
    kinds: dict[str, Any] = {"JMVAE": JMVAE, "TELBO": TELBO, "MVAE": MVAE, "MMVAE": MMVAE, "MoPoE": MoPoE,
                             "MVTCAE": MVTCAE}  # fmt: skip
    for name, kind in kinds.items():
        seed_everything(seed)
        with torch.no_grad():
            model = make(kind, weights, **({"alpha": s["alpha of MVTCAE"]} if kind is MVTCAE else {}))
        train(model, world, seed)
        out |= {f"{name}, {what}": value for what, value in of_z(model, world, test).items()}
    posteriors: list[Any] = [*exact.values()]
    naive = product(stacked(posteriors), prior=False)
    out["naive product"] = distance(naive, joint)
    out["naive product, theory"] = world.naive_product_gap()
    out["product, prior once"] = float(world.gap(test, joint).mean())
    return out


def with_private(seed: int, kind_of_world: str) -> dict[str, float]:
    """DMVAE and MMVAE+ where each modality has a private latent."""
    s, d = SETTINGS, SETTINGS["latent"]
    columns = directions(seed, d + s["private"])
    shared = {n: c[:, :d] for n, c in columns.items()}
    private = {n: c[:, d:] for n, c in columns.items()}
    if kind_of_world == "overlapping":  # as far in the direction of the first shared number as in one of its own
        unit = {n: c[:, :1] / c[:, :1].norm() for n, c in shared.items()}
        private = {n: (V / V.norm() + unit[n]) / 2**0.5 * V.norm() for n, V in private.items()}
    beside, order = {}, list(columns)
    for i, n in enumerate(order):
        places = [private[n] if k == i else torch.zeros_like(private[n]) for k in range(len(order))]
        beside[n] = torch.cat([shared[n], *places], 1)  # (D, d + M P)
    full = LinearGaussian(beside, s["noise"])  # of (z, w of a, w of b, w of c)
    covariance = {n: V @ V.T + s["noise"] ** 2 * torch.eye(len(V)).double() for n, V in private.items()}
    world = LinearGaussian(shared, covariance)  # of z, to which a private latent is noise
    _, test = full.sample(s["test"], seed + 1)
    weights = {n: torch.cat([shared[n], private[n]], 1) for n in order}
    models: dict[str, tuple[Any, dict[str, Any]]] = {
        "DMVAE": (DMVAE, {}),
        "DMVAE, prior once": (DMVAE, {"combine": product_of_posteriors}),
        "MMVAE+": (MMVAEPlus, {}),
        "MMVAE+, K = 10": (MMVAEPlus, {"k": 10}),
    }
    out: dict[str, float] = {}
    for name, (kind, options) in models.items():
        seed_everything(seed)
        with torch.no_grad():
            model = make(kind, weights, private=s["private"], **options)
        train(model, full, seed)
        z = of_z(model, world, test)
        numbers = {"z of one modality": z["one modality"], "z of all modalities": z["all modalities"]}
        numbers["width of z"] = z["width"]
        with torch.no_grad():
            found = model.encode_private(test)
        for what, given in (("w", lambda n: [n]), ("w, given all", lambda _: order)):
            exact = {n: marginal(full.posterior(test, given(n)), d + i) for i, n in enumerate(order)}
            numbers[what] = mean([distance(found[n], exact[n]) for n in order])
            key = "width of w" + what.removeprefix("w")
            numbers[key] = mean([float((found[n].stddev / exact[n].stddev).mean()) for n in order])
        if isinstance(model, MMVAEPlus):
            numbers["auxiliary"] = mean([float(width.detach().exp().mean()) for width in model.log_widths.values()])
        out |= {f"{kind_of_world}: {name}, {what}": value for what, value in numbers.items()}
    return out


def marginal(q: Any, i: int) -> Independent[Normal]:
    """One number of a Gaussian, of event shape (1,)."""
    return Independent(Normal(q.mean[:, i : i + 1], q.stddev[:, i : i + 1]), 1)


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    out = {"one": 1.0, ".01 nats": 0.01} | without_private(seed)
    for kind_of_world in WORLDS:
        out |= with_private(seed, kind_of_world)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "Multimodal VAEs in linear-Gaussian worlds, whose posteriors are known"
    print(measure("vae_world", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
