"""The one training loop, and what a chapter needs around it: seeds, budgets and claims.

A model says how it is trained and `fit` trains it: ``model.loss(batch)`` takes a dict of tensors and returns
named scalar terms, ``"loss"`` among them, each a mean over the examples of the batch. `fit` knows nothing
else about a model. The same call runs on a CPU, on one GPU, and in several processes under
``accelerate launch``; it can be killed at any moment and carries on from its checkpoint as if nothing had been.
"""

from __future__ import annotations

import math
import os
import random
import reprlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmtutor.checkpoint import read_checkpoint, remove_leftovers, write_checkpoint
from mmtutor.data import Senses

T = TypeVar("T")
Batch = dict[str, Tensor]
Data = Dataset[Any] | DataLoader[Any]
Resume = Literal["auto", "never", "must"]
Schedule = Literal["constant", "one-cycle"]

# Purposes of the random streams that `fit` derives from its seed; each stream depends on nothing else.
_ORDER, _NOISE, _VALID, _CALLBACK = range(4)


@dataclass(frozen=True)
class History:
    """What a training run measured: plain lists of floats, one entry per finished epoch.

    Attributes:
        train: term name to its mean over the training examples, while the weights were changing.
        valid: term name to its mean over the validation examples after the epoch; empty without them.
        seconds: wall-clock time of each epoch, validation included.
        best_epoch: index into the lists of the lowest validation loss; None without validation.

    Examples:
        >>> import dataclasses, json
        >>> history = History(train={"loss": [0.9, 0.4]}, seconds=[1.0, 1.1])
        >>> json.loads(json.dumps(dataclasses.asdict(history)))["train"]
        {'loss': [0.9, 0.4]}
    """

    train: dict[str, list[float]] = field(default_factory=dict)
    valid: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None


Callback = Callable[[int, nn.Module, History], object]


def fit(
    model: nn.Module,
    train: Data,
    valid: Data | None = None,
    *,
    epochs: int,
    lr: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    schedule: Schedule = "constant",
    clip_norm: float | None = None,
    patience: int | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: Resume = "auto",
    progress: bool = True,
) -> History:
    """Train a model in place.

    The device is the one `accelerate` chooses (``ACCELERATE_USE_CPU=1`` keeps to the CPU); the model is moved
    there and stays there. It trains in training mode and is handed back in the mode it came in. Parameters
    with ``requires_grad=False`` are left alone.

    Randomness comes from ``seed`` alone: the global generators of Python, numpy and torch are set for the run
    and put back afterwards, and validation and callbacks draw from streams of their own. The weights are
    initialised by the caller, so call `seed_everything` before making the model.

    Under ``accelerate launch`` each batch is split over the processes, the last and smaller one too, and each
    share counts by its number of examples. So the loss curve is that of one process, up to rounding, for any
    loss that is a mean over examples; what depends on the batch as a whole (batch normalisation, contrast
    within a batch) or on random draws (dropout) sees the shares instead.

    Args:
        model: has ``loss(batch) -> dict[str, Tensor]``: scalar terms, ``"loss"`` among them.
        train: a map-style dataset of dicts of tensors, such as `mmtutor.data.Senses`, shuffled anew in every
            epoch; or a `DataLoader`, whose own batches are kept (its random generators are set from ``seed``).
        valid: the same, in its own order; the mean terms are measured after every epoch.
        epochs: passes over the training examples, at least 1.
        lr: learning rate; the highest one when the schedule is ``"one-cycle"``.
        batch_size: examples per step, over all processes together; the last batch may be smaller.
        seed: of the order of the examples and of all noise, 0 to 2³² - 1.
        optimizer: called as ``optimizer(parameters, lr=lr)``; use `functools.partial` for other settings.
        schedule: ``"constant"``, or ``"one-cycle"`` (warm-up and decay, Smith & Topin, arXiv:1708.07120).
        clip_norm: gradients are scaled down to this total norm.
        patience: stop after this many epochs without a lower validation loss and restore the weights of the
            best epoch. Without it the last weights stay.
        callbacks: called after each epoch, on every process, as ``callback(epoch, model, history)`` with
            ``epoch`` counted from 0 and the model in evaluation mode.
        checkpoint: a file, written after each epoch. A kill at any moment leaves the previous one whole. On
            the CPU a resumed run ends with the very bits of one that was never stopped.
        checkpoint_every: write it also after every so many steps.
        resume: ``"auto"`` carries on from the checkpoint if there is one, ``"never"`` starts anew, ``"must"``
            demands one. A run that has finished is loaded, not repeated; more ``epochs`` continue it.
        progress: show a bar on stderr once the run has taken a second.

    Returns:
        The history of the whole run, from before a resume too.

    Raises:
        TypeError: an argument, a batch or a term has the wrong type.
        ValueError: an argument is out of range, the loss is not as described, or the checkpoint is damaged or
            was made with other settings. Nothing has been changed then, except the model's device.
        FloatingPointError: a term or a weight is not finite; the last good checkpoint is kept.

    Examples:
        >>> class Mean(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.mean = nn.Parameter(torch.zeros(()))
        ...
        ...     def loss(self, batch):
        ...         return {"loss": ((batch["x"] - self.mean) ** 2).mean()}
        >>> model, data = Mean(), Senses({"x": torch.tensor([1.0, 2.0, 3.0])})
        >>> history = fit(model, data, epochs=50, lr=0.2, optimizer=torch.optim.SGD)
        >>> print(f"{model.mean.item():.3f} {history.train['loss'][-1]:.3f}")
        2.000 0.667
    """
    _check_model(model)
    for name, number in (("epochs", epochs), ("batch_size", batch_size)):
        _check_count(name, number)
    for name, optional in (("patience", patience), ("checkpoint_every", checkpoint_every)):
        if optional is not None:
            _check_count(name, optional)
    _check_positive("lr", lr)
    if clip_norm is not None:
        _check_positive("clip_norm", clip_norm)
    _check_seed(seed)
    _check_choice("schedule", schedule, ("constant", "one-cycle"))
    _check_choice("resume", resume, ("auto", "never", "must"))
    if patience is not None and valid is None:
        raise ValueError("fit: patience watches the validation loss, so it needs valid=...")
    if checkpoint is None and (checkpoint_every is not None or resume == "must"):
        raise ValueError("fit: checkpoint_every and resume='must' need checkpoint=...")
    for callback in [optimizer, *callbacks]:
        if not callable(callback):
            raise TypeError(f"fit: optimizer and callbacks must be callable, got {callback!r}")
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.is_dir():
        raise ValueError(f"fit: checkpoint must name a file, but {path} is a folder")
    examples = _Examples(train, "train", batch_size, seed, shuffle=True)
    held_out = None if valid is None else _Examples(valid, "valid", batch_size, seed, shuffle=False)

    with _accelerator() as accelerator, _modes_restored(model), _private_rng(seed):
        share = _Share(accelerator)
        noise = _mix(seed, _NOISE, share.rank)
        steps = len(examples.plan(0))
        model.to(accelerator.device)
        _try_loss(model, examples, held_out, share)
        weights = [p for p in model.parameters() if p.requires_grad]
        stepper = optimizer(weights, lr=lr)
        if not isinstance(stepper, torch.optim.Optimizer):
            raise TypeError(f"fit: optimizer(...) must make a torch Optimizer, got {type(stepper).__name__}")
        settings = {
            "optimizer": [type(stepper).__name__, [_plain(group) for group in stepper.param_groups]],
            "trained": [name for name, p in model.named_parameters() if p.requires_grad],
            "examples": [examples.count, held_out.count if held_out else None],
            **{"steps": steps, "batch_size": batch_size, "seed": seed, "lr": lr, "schedule": schedule},
            **{"clip_norm": clip_norm, "patience": patience},
        }
        scheduler = None
        if schedule == "one-cycle":
            # Momentum is the optimiser's own business: the schedule would overwrite the one that was asked for.
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                stepper, max_lr=lr, total_steps=epochs * steps, cycle_momentum=False
            )

        run = _Run(model, stepper, scheduler, settings, epochs)
        if path is not None:
            run.check_tensors()
            if resume == "must" or (resume == "auto" and path.exists()):
                run.restore(path, share.rank, noise)
            else:
                seed_everything(noise)
            if share.main:
                remove_leftovers(path)
        else:
            seed_everything(noise)
        # Only a wrapper is prepared: the caller's model keeps its own forward, and several processes average
        # gradients although `loss`, not `forward`, is what is called.
        wrapped, stepper = accelerator.prepare(_Loss(model), stepper)

        def save() -> None:
            if path is not None:
                states = share.gather(_rng_state())
                if share.main:
                    run.save(path, states)

        now = run.progress
        bar = tqdm(
            total=epochs * steps,
            initial=now.epoch * steps + now.step,
            disable=not (progress and share.main),
            delay=1.0,
            unit="step",
        )
        while now.epoch < epochs and not now.out_of(patience):
            started = time.perf_counter() - now.elapsed
            where = f"fit: epoch {now.epoch + 1} of {epochs}"
            plan = examples.plan(now.epoch)
            if len(plan) != steps:
                raise ValueError(f"{where} has {len(plan)} batches, the first one had {steps}")
            model.train()
            for size, weight, batch in share.batches(examples, plan[now.step :], now.epoch):
                stepper.zero_grad()
                terms: dict[str, Tensor] = wrapped(batch)
                # Gradients are averaged over the processes; this makes it the mean over the examples.
                accelerator.backward(terms["loss"] * (weight * share.count))
                values = share.mean(terms, weight)
                _check_finite(values, f"{where}, step {now.step + 1} of {steps}", path)
                if clip_norm is not None:
                    accelerator.clip_grad_norm_(weights, clip_norm)
                stepper.step()
                if scheduler is not None:
                    scheduler.step()
                now.add(values, size)
                now.elapsed = time.perf_counter() - started
                bar.set_postfix_str(f"epoch {now.epoch + 1}/{epochs}, loss {values['loss']:.4g}", refresh=False)
                bar.update()
                if checkpoint_every and now.step < steps and (now.epoch * steps + now.step) % checkpoint_every == 0:
                    _check_weights(model, where, path)
                    save()

            _check_weights(model, where, path)
            share.same_buffers(model)
            measured = {}
            if held_out is not None:
                with accelerator.autocast():
                    measured = _mean_terms(model, held_out, share, _mix(seed, _VALID, share.rank))
                _check_finite(measured, f"{where}, validation", path)
            now.elapsed = time.perf_counter() - started
            if now.finish(measured, examples.count) and patience is not None:
                run.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
            if callbacks:
                model.eval()
                with _private_rng(_mix(seed, _CALLBACK, share.rank)):
                    for callback in callbacks:
                        callback(now.epoch - 1, model, now.history())
            save()
        bar.close()
        stepper.zero_grad()
        if run.best:
            model.load_state_dict(run.best)
        return now.history()


def evaluate(model: nn.Module, data: Data, *, batch_size: int = 256, seed: int = 0) -> dict[str, float]:
    """Mean of each loss term over a dataset, in evaluation mode, on the model's own device.

    The model, its mode and the global random generators are as before when it returns.

    Args:
        model: has ``loss(batch)``, as for `fit`.
        data: as for `fit`.
        batch_size: examples per batch; the means weigh each example the same, whatever the batches.
        seed: of what the model draws, 0 to 2³² - 1.

    Returns:
        Term name to its mean over all examples.

    Raises:
        TypeError: an argument, a batch or a term has the wrong type.
        ValueError: an argument is out of range or the loss is not as described.
        FloatingPointError: a term is not finite.
    """
    _check_model(model, trains=False)
    _check_count("batch_size", batch_size)
    _check_seed(seed)
    examples = _Examples(data, "data", batch_size, seed, shuffle=False)
    means = _mean_terms(model, examples, _Share(), seed)
    _check_finite(means, "evaluate", None)
    return means


# --- seeds, budgets, claims --------------------------------------------------------------------------------


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (every device), 0 ≤ seed < 2³².

    Examples:
        >>> seed_everything(0)
        >>> first = torch.rand(3)
        >>> seed_everything(0)
        >>> bool((torch.rand(3) == first).all())
        True
    """
    _check_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  other people's code draws from this one
    torch.manual_seed(seed)


def budget(*, quick: T, full: T) -> T:
    """Pick a setting by what the machine can do.

    The variable ``MMTUTOR_BUDGET`` decides if it is set to ``quick`` or ``full``; else a CUDA device means
    ``full`` and everything else ``quick`` (a laptop's built-in GPU is no place for a paper's sizes).

    Args:
        quick: the setting for a CPU.
        full: the setting for a GPU.

    Returns:
        One of the two.

    Raises:
        ValueError: ``MMTUTOR_BUDGET`` is neither.

    Examples:
        >>> budget(quick=4_000, full=60_000) in (4_000, 60_000)
        True
    """
    choice = os.environ.get("MMTUTOR_BUDGET") or ("full" if torch.cuda.is_available() else "quick")
    if choice not in ("quick", "full"):
        raise ValueError(f"MMTUTOR_BUDGET must be 'quick' or 'full', got {choice!r}")
    return quick if choice == "quick" else full


class ClaimError(AssertionError):
    """A claim of a chapter does not hold."""


def claim(sentence: str, holds: object, figures: str = "") -> None:
    """State what was shown: print the sentence with a tick, or stop.

    Args:
        sentence: what is claimed, in words that are true on every device.
        holds: whether it is; a bool, a numpy bool or a boolean tensor of shape ``()``.
        figures: the numbers behind it. Printed only when the claim fails, for they differ between devices.

    Raises:
        ClaimError: it does not hold.
        TypeError: ``holds`` is not one boolean.

    Examples:
        >>> late, best = 0.97, 0.95
        >>> claim("late fusion beats the best single sense", late > best, f"{late:.3f} against {best:.3f}")
        ✓ late fusion beats the best single sense
    """
    if isinstance(holds, Tensor | np.ndarray):
        single = holds.ndim == 0 and holds.dtype in (torch.bool, np.dtype(bool))
    else:
        single = isinstance(holds, bool | np.bool_)
    if not single:
        raise TypeError(f"claim: holds must be one boolean, got {type(holds).__name__} {reprlib.repr(holds)}")
    if not holds:
        raise ClaimError(f"does not hold: {sentence}" + (f" ({figures})" if figures else ""))
    print(f"✓ {sentence}")


# --- examples and their batches ----------------------------------------------------------------------------


class _Examples:
    """Which examples make the batches of an epoch, and those batches.

    An epoch's batches are lists of indices made from the seed and the epoch alone. So a resumed run skips the
    batches it has seen without loading them, and several processes agree on them without talking.
    """

    def __init__(self, data: Data, name: str, batch_size: int, seed: int, *, shuffle: bool) -> None:
        self.loader = data if isinstance(data, DataLoader) else None
        self.dataset: Any = data.dataset if isinstance(data, DataLoader) else data
        if not (hasattr(self.dataset, "__getitem__") and hasattr(self.dataset, "__len__")):
            raise TypeError(
                f"{name} must be a map-style dataset (with a length) or a DataLoader of one, "
                f"got {type(data).__name__} of {type(self.dataset).__name__}"
            )
        if len(self.dataset) == 0:
            raise ValueError(f"{name} has no examples")
        self.name, self.batch_size, self.seed, self.shuffle = name, batch_size, seed, shuffle
        self.count = sum(map(len, self.plan(0)))
        if self.count == 0:
            raise ValueError(f"{name} makes no batches (does its DataLoader drop the only one?)")

    def plan(self, epoch: int) -> list[list[int]]:
        """The indices of each batch."""
        key = _mix(self.seed, _ORDER, epoch)
        if self.loader is None:
            order = list(range(len(self.dataset)))
            if self.shuffle:
                order = torch.randperm(len(order), generator=torch.Generator().manual_seed(key)).tolist()
            return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        samplers = [self.loader.batch_sampler, self.loader.sampler]
        samplers += [getattr(sampler, "sampler", None) for sampler in samplers]
        with _private_rng(key):
            for generator in [getattr(sampler, "generator", None) for sampler in samplers]:
                if generator is not None:
                    generator.manual_seed(key)
            # A loader with batch_size=None has a sampler that makes whole batches, as in `Senses.loader`.
            plan = list(samplers[0] if samplers[0] is not None else self.loader.sampler)
        if not all(isinstance(batch, list | tuple) for batch in plan):
            raise TypeError(f"{self.name}: its DataLoader must make batches, not single examples")
        return [list(batch) for batch in plan]

    def batches(self, plan: list[list[int]], epoch: int, device: torch.device) -> Iterator[Batch]:
        """The batches of a plan, on the device."""
        loaded: Iterable[Any]
        if isinstance(self.dataset, Senses):
            loaded = (self.dataset[torch.tensor(index)] for index in plan)
        else:
            # Its own generator, or starting to load would draw from the stream that the model draws from.
            generator = torch.Generator().manual_seed(_mix(self.seed, _ORDER, epoch))
            names = ("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn")
            kept = {name: getattr(self.loader, name) for name in names if self.loader is not None}
            if self.loader is not None and self.loader.batch_size is None and self.loader.batch_sampler is None:
                loaded = DataLoader(self.dataset, None, sampler=plan, generator=generator, **kept)
            else:
                loaded = DataLoader(self.dataset, batch_sampler=plan, generator=generator, **kept)
        for batch in loaded:
            if not (isinstance(batch, Mapping) and all(isinstance(value, Tensor) for value in batch.values())):
                raise TypeError(f"{self.name}: a batch must be a dict of tensors, got {reprlib.repr(batch)}")
            yield {name: value.to(device, non_blocking=True) for name, value in batch.items()}


class _Share:
    """This process's part of every batch; the whole of it when there is only one process."""

    def __init__(self, accelerator: Any = None) -> None:
        self.accelerator = accelerator
        self.count: int = accelerator.num_processes if accelerator else 1
        self.rank: int = accelerator.process_index if accelerator else 0
        self.main = self.rank == 0

    def batches(
        self, examples: _Examples, plan: list[list[int]], epoch: int, device: torch.device | None = None
    ) -> Iterator[tuple[int, float, Batch]]:
        """Size of the whole batch, the part of it that is ours (0 to 1), and our part."""
        parts, weights = [], []
        for index in plan:
            mine = index
            if self.count > 1:
                with self.accelerator.split_between_processes(index) as mine:
                    pass
            # Fewer examples than processes: take one along with weight 0, since all must step together.
            weights.append(len(mine) / len(index) if self.rank < len(index) else 0.0)
            parts.append(mine or index[-1:])
        loaded = examples.batches(parts, epoch, device or self.accelerator.device)
        for index, weight, batch in zip(plan, weights, loaded, strict=True):
            yield len(index), weight, batch

    def mean(self, terms: Mapping[str, Tensor], weight: float) -> dict[str, float]:
        """Each term's mean over the whole batch."""
        values = torch.stack([value.detach().float() if value.dtype != torch.float64 else value.detach()
                              for value in terms.values()])
        return dict(zip(terms, values.tolist(), strict=True))

    def gather(self, value: T) -> list[T]:
        """What each process has, in the order of the processes."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object([value])
        return gathered
