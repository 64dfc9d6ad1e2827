"""Iterative inference: the price of a refinement, and a training step from one backward pass against two simpler forms.

``python -m benchmarks.iterative`` with one thread: three modalities, Gaussian likelihoods, 20 latent numbers.

**A refinement** goes forward and back through the decoders, and it must draw z, compute the KL divergence from the
prior and call the refiner. How much more does that cost than the decoders alone? Three answers, from lenient to strict:
forward, log-likelihood and back to z; forward, squared error and back to z; forward and back to z with output gradients
that are given.

**A training step** exists in three forms. All have the same networks, batch and noise, and before anything is timed
their losses and the gradients of all parameters are asserted to be equal, in double precision.

- *one pass*: `IterativeVAE` as it is;
- *textbook*: ``one_pass=False``, which decodes once a step and goes back through the decoders twice, to λ for the
  refiner and at the end for the loss;
- *two forwards*, written here, as it is often written: λ is detached and decoded for the refiner, and decoded again for
  the loss. The second time z is drawn with the same noise; to set the generator back takes 2 µs.

What can be gained: if forward, back to z and back to the decoders' parameters cost the same and all else nothing, the
forms need 3, 4 and 5 passes a step, except for the last step, which needs 3 in each. The gain is smaller where the
start, the checks and the refiner take much of the time. It may be larger, presumably because the two others hold the
graphs of all steps.

**Memory** is the peak of what is allocated during the call, as torch's profiler sees it: without the parameters and the
batch, with the gradients.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from mmtutor.decoders import ImageDecoder
from mmtutor.encoders import ImageEncoder
from mmtutor.iterative import Elbo, IterativeVAE, Refiner, refine
from mmtutor.vae import gaussian

LATENT, HIDDEN, SCALE, TOLERANCE = 20, 64, 0.5, 1e-6
SHAPES = {"handwritten": (1, 28, 28), "street": (3, 32, 32), "word": (8, 27)}
SETTINGS = ("small perceptrons", "convolutions")
BATCHES, STEPS, LONG = (32, 128), (1, 4, 16), 64
Batch = Mapping[str, Tensor]


class Joint(nn.Module):
    """The start: features of each modality side by side, and a linear layer that reads them."""

    def __init__(self, setting: str) -> None:
        super().__init__()
        heads: dict[str, nn.Module] = {
            s: nn.Sequential(nn.Flatten(), nn.Linear(math.prod(x), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN))
            for s, x in SHAPES.items()
        }
        if setting == "convolutions":
            heads |= {"handwritten": ImageEncoder(1, HIDDEN), "street": ImageEncoder(3, HIDDEN)}
        self.heads, self.output = nn.ModuleDict(heads), nn.Linear(HIDDEN * len(heads), 2 * LATENT)

    def forward(self, batch: Batch) -> Tensor:
        """λ₀, (B, 2 latent)."""
        lam: Tensor = self.output(torch.cat([head(batch[s]) for s, head in self.heads.items()], 1).relu())
        return lam


def decoders(setting: str) -> dict[str, nn.Module]:
    """Perceptrons, or the library's decoders of pictures with a perceptron for words."""
    networks: dict[str, nn.Module] = {
        s: nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, math.prod(x)), nn.Unflatten(1, x))
        for s, x in SHAPES.items()
    }
    if setting == "convolutions":
        networks |= {"handwritten": ImageDecoder(LATENT, 1, 28), "street": ImageDecoder(LATENT, 3, 32)}
    return networks


def sides(
    setting: str, size: int, steps: int, dtype: torch.dtype = torch.float32
) -> tuple[IterativeVAE, dict[str, Tensor], dict[str, Callable[[], Tensor]]]:
    """The teacher, a batch, and the training step of each form, which gives the loss."""
    torch.manual_seed(0)
    elbo = Elbo(decoders(setting), dict.fromkeys(SHAPES, gaussian(SCALE)))
    refiner = Refiner(LATENT)
    for p in refiner.net[-1].parameters():
        nn.init.normal_(p, std=0.01)  # at 0 the layers before would have no gradient
    teacher = IterativeVAE(Joint(setting), elbo, refiner, steps).to(dtype)
    batch = {s: torch.rand(size, *x, dtype=dtype) for s, x in SHAPES.items()}
    textbook = copy.copy(teacher)
    textbook.one_pass = False
    losses = {
        "two forwards": lambda: two_forwards(teacher, batch),
        "textbook": lambda: textbook.loss(batch)["loss"],
        "one pass": lambda: teacher.loss(batch)["loss"],
    }

    def train(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def step() -> Tensor:
            teacher.zero_grad()
            value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            return value.detach()

        return step

    return teacher, batch, {form: train(loss) for form, loss in losses.items()}


def two_forwards(teacher: IterativeVAE, batch: Batch) -> Tensor:
    """The loss; λ is decoded for its gradient, and again for the loss."""
    lam, losses = teacher.start(batch), []
    for step in range(teacher.steps + 1):
        if step < teacher.steps:
            noise, leaf = torch.get_rng_state(), lam.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(torch.stack([*teacher.elbo(leaf, batch).values()]).sum(), leaf)
            torch.set_rng_state(noise)
        losses.append(-torch.stack([*teacher.elbo(lam, batch).values()]).sum(0).mean())
        if step < teacher.steps:
            lam = teacher.refiner(lam, gradient)
    return torch.stack(losses).mean()


def check(setting: str, steps: int) -> float:
    """Assert that losses and gradients are equal; return the largest difference, relative to the textbook form."""
    teacher, _, forms = sides(setting, 8, steps, torch.float64)
    found = {}
    for form, step in forms.items():
        torch.manual_seed(1)
        loss = step()
        found[form] = [loss, *(p.grad for p in teacher.parameters() if p.grad is not None)]
    right = found.pop("textbook")
    if len(right) != 1 + len([*teacher.parameters()]) or not all(x.any() for x in right):
        raise AssertionError(f"{setting}, T = {steps}: a parameter has no gradient")
    worst = max(float((x - y).norm() / y.norm()) for other in found.values() for x, y in zip(other, right, strict=True))
    if worst > TOLERANCE:
        raise AssertionError(f"{setting}, T = {steps}: the loss or a gradient differs by {worst}")
    return worst


def side_by_side(functions: Mapping[str, Callable[[], object]], budget: float = 2.0) -> dict[str, list[float]]:
    """Processor seconds of each call; the functions take turns, for about so many seconds.

    Not seconds of the clock, as in `benchmarks.timing.alternate`: on a shared machine a call may be interrupted for
    longer than a short one takes.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()  # is not counted
    while len(times := seconds[next(iter(functions))]) < 3 or sum(times) * len(functions) < budget:
        for name, function in functions.items():
            start = time.process_time()
            function()
            seconds[name].append(time.process_time() - start)
    return seconds


def over(seconds: list[float], others: list[float]) -> float:
    """How many times the others: the median over turns, in each of which the machine is as busy for both."""
    return statistics.median(mine / other for mine, other in zip(seconds, others, strict=True))


def refinement(setting: str, size: int) -> dict[str, list[float]]:
    """Seconds of a refinement, and of the decoders alone in three ways."""
    teacher, batch, _ = sides(setting, size, 1)
    elbo: Elbo = teacher.elbo  # type: ignore[assignment]
    lam, z = torch.randn(size, 2 * LATENT) / 4, torch.randn(size, LATENT).requires_grad_()
    output_gradients = [torch.randn_like(x) for x in batch.values()]

    def decoded() -> list[Tensor]:
        return [elbo.decoders[s](z) for s in SHAPES]

    def likelihood() -> Tensor:
        return torch.stack([p.log_prob(batch[s]).sum() for s, p in elbo.decode(z).items()]).sum()

    def error() -> Tensor:
        return torch.stack(
            [F.mse_loss(x, batch[s], reduction="sum") for s, x in zip(SHAPES, decoded(), strict=True)]
        ).sum()

    return side_by_side(
        {
            "refinement": lambda: refine(lam, lambda lam: elbo(lam, batch), teacher.refiner, 1),
            "likelihood": lambda: torch.autograd.grad(likelihood(), z),
            "squared error": lambda: torch.autograd.grad(error(), z),
            "given gradients": lambda: torch.autograd.grad(decoded(), z, output_gradients),
        }
    )


def peak(function: Callable[[], object]) -> float:
    """The most bytes that were allocated during the call and not yet freed."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        function()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        profiled.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes: list[float] = [event["args"]["Bytes"] for event in events if event["name"] == "[memory]"]
    return max(itertools.accumulate(changes))


def memory(setting: str, size: int, steps: int) -> dict[str, float]:
    """Megabytes of T refinements and, except for the longest, of a training step in each form."""
    teacher, batch, forms = sides(setting, size, steps)
    lam = torch.randn(size, 2 * LATENT) / 4
    used = {"refine": peak(lambda: refine(lam, lambda lam: teacher.elbo(lam, batch), teacher.refiner, steps))}
    for form, step in forms.items() if steps < LONG else ():
        teacher.zero_grad()
        used[form] = peak(step)
    return {what: value / 1e6 for what, value in used.items()}


def passes(steps: int) -> tuple[float, float]:
    """How many passes two forwards and textbook need, over those of one pass."""
    one = 3 * (steps + 1)
    return (one + 2 * steps) / one, (one + steps) / one


def main() -> None:
    """Print tables and, as the last line, the ratio."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler is to print nothing
    torch.set_num_threads(1)
    places = [(setting, size) for setting in SETTINGS for size in BATCHES]
    print("a refinement, and how many times as long as the decoders alone, forward and back to z\n")
    print(f"{'':<30} refinement   likelihood   squared error   given gradients")
    price = {}
    for setting, size in places:
        seconds = refinement(setting, size)
        own = seconds.pop("refinement")
        price[setting, size] = [over(own, s) for s in seconds.values()]
        likelihood, error, given = price[setting, size]
        print(
            f"{setting + ', batch ' + str(size):<30} {1000 * statistics.median(own):7.2f} ms {likelihood:12.2f} "
            f"{error:15.2f} {given:17.2f}",
            flush=True,
        )

    print("\na training step; in brackets the count of passes alone\n")
    print(f"{'':<37}    two forwards        textbook        one pass   gradients agree to")
    ratios = {}
    agreement = {(setting, steps): check(setting, steps) for setting in SETTINGS for steps in STEPS}
    for setting, size in places:
        for steps in STEPS if size == BATCHES[0] else STEPS[1:2]:
            _, _, forms = sides(setting, size, steps)
            seconds = side_by_side(forms)
            ratio = [over(seconds[form], seconds["one pass"]) for form in ("two forwards", "textbook")]
            ratios[setting, size, steps] = ratio
            name = f"{setting}, batch {size}, T = {steps}"
            print(f"{name:<37}" + "".join(f"{1000 * statistics.median(s):13.1f} ms" for s in seconds.values()), end="")
            print(f"   {agreement[setting, steps]:.0e}")
            both = "".join(f"{r:9.2f} ({b:.2f})" for r, b in zip(ratio, passes(steps), strict=True))
            print(f"{'over one pass':>37}{both}", flush=True)

    print(f"\nmemory in MB, batch {BATCHES[0]}\n")
    print(" " * 30 + "".join(f"{what:>13}" for what in ("refine", "two forwards", "textbook", "one pass")))
    for setting in SETTINGS:
        for steps in (*STEPS, LONG):
            used = memory(setting, BATCHES[0], steps)
            print(f"{setting + ', T = ' + str(steps):<30}" + "".join(f"{mb:13.2f}" for mb in used.values()), flush=True)

    perceptrons, convolutions = (ratios[setting, 32, 4] for setting in SETTINGS)
    prices = " and ".join(f"{price[setting, 32][1]:.2f}" for setting in SETTINGS[::-1])
    print(
        f"ratio: {convolutions[0]:.2f} (simple form over one-pass form, a training step, batch 32, T = 4, "
        f"convolutions: two forwards; textbook {convolutions[1]:.2f}; small perceptrons {perceptrons[0]:.2f} and "
        f"{perceptrons[1]:.2f}; a refinement over the decoders with squared error, convolutions and small perceptrons: "
        f"{prices})"
    )


if __name__ == "__main__":
    main()
