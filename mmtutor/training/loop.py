"""The one training loop."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mmtutor.data.progress import tqdm
from mmtutor.training.arguments import (
    Optimizer,
    check_choice,
    check_optimizer,
    direction,
    make_optimizer,
    positive,
    whole_number,
)
from mmtutor.training.batches import Data, Examples
from mmtutor.training.checkpoint import remove_leftovers
from mmtutor.training.description import Describer, Description, settled
from mmtutor.training.loss import (
    Loss,
    check_finite,
    check_model,
    check_weights,
    mean_terms,
    memory_noted,
    try_loss,
)
from mmtutor.training.modes import modes_restored, set_modes, training_modes, warn_of_drift
from mmtutor.training.processes import Share, own_accelerator
from mmtutor.training.readings import EVERY, Readings
from mmtutor.training.seeds import (
    CALLBACK,
    NOISE,
    VALID,
    check_seed,
    mix,
    private_rng,
    rng_state,
    seed_everything,
)
from mmtutor.training.state import History, Run

Resume = Literal["auto", "never", "must"]
Schedule = Literal["constant", "one-cycle"]
Mode = Literal["auto", "min", "max"]
Callback = Callable[[int, nn.Module, History], object]
NORM = "norm of the gradient"  # read with the terms of a step, to see whether it is finite


def fit(
    model: nn.Module,
    train: Data,
    valid: Data | None = None,
    *,
    epochs: int,
    lr: float = 1e-3,
    batch_size: int = 64,
    accumulate: int = 1,
    seed: int = 0,
    optimizer: Optimizer = torch.optim.Adam,
    schedule: Schedule = "constant",
    clip_norm: float | None = None,
    patience: int | None = None,
    monitor: str = "loss",
    mode: Mode = "auto",
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: Resume = "auto",
    progress: bool = True,
) -> History:
    """Train a model in place.

    The device is the one `accelerate` chooses (``ACCELERATE_USE_CPU=1`` keeps to the CPU); the model is moved
    there and stays there. A model in training mode trains as it is: a part that was put into evaluation mode,
    such as a frozen encoder, stays in it. A model that comes in evaluation mode as a whole is put into training
    mode, except for the parts in which nothing is trained. All are handed back in the mode they came in.
    Parameters with ``requires_grad=False`` are left alone.

    Randomness comes from ``seed`` alone: the global generators of Python, numpy and torch are set for the run
    and put back afterwards, and validation and callbacks draw from streams of their own. The weights are
    initialised by the caller, so call `seed_everything` before making the model.

    Under ``accelerate launch`` each batch is split over the processes, the last and smaller one too, and each
    share counts by its number of examples. So the loss curve is that of one process, up to rounding, for any
    loss that is a mean over examples; what depends on the batch as a whole (batch normalisation, contrast
    within a batch) or on random draws (dropout) sees the shares instead.

    Args:
        model: has ``loss(batch) -> dict[str, Tensor]``: scalar terms, ``"loss"`` among them.
        train: a dict of tensors, or a map-style dataset of dicts of tensors, such as `mmtutor.data.MultimodalDataset`,
            shuffled anew in every epoch; or a `DataLoader`, whose own batches are kept: its samplers, ``collate_fn``
            and workers (which start anew in every epoch). Its generators are set from ``seed``.
        valid: the same, in its own order; the mean terms are measured after every epoch.
        epochs: passes over the training examples, at least 1.
        lr: learning rate; the highest one when the schedule is ``"one-cycle"``.
        batch_size: examples per batch, over all processes together; the last batch may be smaller. A `DataLoader` has
            its own.
        accumulate: batches per step, whose gradients are added up. For a loss that is a mean over examples, a step is
            that of one batch ``accumulate`` times as large, up to rounding, in the memory of a small one.
        seed: of the order of the examples and of all noise, 0 to 2³² - 1.
        optimizer: called as ``optimizer(parameters, lr=lr)``; use `functools.partial` for other settings.
        schedule: ``"constant"``, or ``"one-cycle"`` (warm-up and decay, Smith & Topin, arXiv:1708.07120).
        clip_norm: gradients are scaled down to this total norm.
        patience: stop after this many epochs without a better validation and restore the weights of the best epoch.
            Without it the last weights stay.
        monitor: the term of the validation loss that tells which epoch is best, such as ``"accuracy"``.
        mode: whether that term is better when it is low (``"min"``) or high (``"max"``). ``"auto"`` knows it of
            ``"loss"`` and of names that say it, such as accuracy, F1 or MAE; any other name needs one of the two.
        callbacks: called after each epoch, on every process, as ``callback(epoch, model, history)`` with
            ``epoch`` counted from 0 and the model in evaluation mode.
        checkpoint: a file, written after each epoch. A kill at any moment leaves the previous one whole. On
            the CPU a resumed run ends with the very bits of one that was never stopped. The file is of one run: a
            call with other arguments, with a model of other attributes (such as β) or with other data is refused.
        checkpoint_every: write it also after every so many steps.
        resume: ``"auto"`` carries on from the checkpoint if there is one, ``"never"`` starts anew, ``"must"``
            demands one. A run that has finished is loaded, not repeated, and a line on stderr says so; more
            ``epochs`` continue it.
        progress: show a bar once the run has taken a second.

    Returns:
        The history of the whole run, from before a resume too.

    Raises:
        TypeError: an argument, a batch or a term has the wrong type.
        ValueError: an argument is out of range, the loss is not as described or cannot take the smallest batch, or
            the checkpoint is damaged or was made with other settings, another model or other data. Nothing has been
            changed then, except the model's device.
        FloatingPointError: a term, a weight or, with ``clip_norm``, the gradient is not finite; the last good
            checkpoint is kept.

    Examples:
        >>> from mmtutor.data import MultimodalDataset
        >>> class Mean(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.mean = nn.Parameter(torch.zeros(()))
        ...
        ...     def loss(self, batch):
        ...         return {"loss": ((batch["x"] - self.mean) ** 2).mean()}
        >>> model, data = Mean(), MultimodalDataset({"x": torch.tensor([1.0, 2.0, 3.0])})
        >>> history = fit(model, data, epochs=50, lr=0.2, optimizer=torch.optim.SGD)
        >>> print(f"{model.mean.item():.3f} {history.train['loss'][-1]:.3f}")
        2.000 0.667
    """
    check_model(model)
    epochs, batch_size, accumulate = (
        whole_number(name, number)
        for name, number in (("epochs", epochs), ("batch_size", batch_size), ("accumulate", accumulate))
    )
    patience = None if patience is None else whole_number("patience", patience)
    checkpoint_every = None if checkpoint_every is None else whole_number("checkpoint_every", checkpoint_every)
    lr, clip_norm = positive("lr", lr), None if clip_norm is None else positive("clip_norm", clip_norm)
    seed = check_seed(seed)
    check_choice("schedule", schedule, ("constant", "one-cycle"))
    check_choice("resume", resume, ("auto", "never", "must"))
    check_choice("mode", mode, ("auto", "min", "max"))
    if patience is not None and valid is None:
        raise ValueError("fit: patience watches the validation loss, so it needs valid=...")
    if checkpoint is None and (checkpoint_every is not None or resume == "must"):
        raise ValueError("fit: checkpoint_every and resume='must' need checkpoint=...")
    check_optimizer(optimizer, callbacks)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.is_dir():
        raise ValueError(f"fit: checkpoint must name a file, but {path} is a folder")
    examples = Examples(train, "train", batch_size, seed, shuffle=True)
    held_out = None if valid is None else Examples(valid, "valid", batch_size, seed, shuffle=False)

    with (
        own_accelerator() as accelerator,
        modes_restored(model),
        private_rng(seed),
        memory_noted(batch_size, accumulate),
    ):
        share = Share(accelerator)
        noise = mix(seed, NOISE, share.rank)
        steps = len(examples.steps(0, accumulate))
        model.to(accelerator.device)
        modes = training_modes(model)
        warn_of_drift(model)
        describer = None if path is None else Describer(model)
        before = _describe(describer, examples, held_out)
        check_choice("monitor", monitor, try_loss(model, examples, held_out, share, modes))
        better_if = direction(monitor, mode)
        after = _describe(describer, examples, held_out)
        weights = [p for p in model.parameters() if p.requires_grad]
        stepper = make_optimizer(optimizer, weights, lr)
        trains = dict(modes)
        settings = {
            "optimizer": [type(stepper).__name__, *stepper.state_dict()["param_groups"]],
            "parts in evaluation mode": [name for name, m in model.named_modules() if not trains[m]],
            "trained": [name for name, p in model.named_parameters() if p.requires_grad],
            "examples": [examples.count, held_out.count if held_out else None],
            "epochs": epochs,
            "batch_size": batch_size,
            "accumulate": accumulate,
            "steps": steps,
            "seed": seed,
            "lr": lr,
            "schedule": schedule,
            "clip_norm": clip_norm,
            "patience": patience,
            "monitor": monitor,
            "mode": better_if,
        }
        scheduler = None
        if schedule == "one-cycle":
            # Momentum is the optimiser's own: the schedule would overwrite the one that was asked for.
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                stepper, max_lr=lr, total_steps=epochs * steps, cycle_momentum=False
            )
        run = Run(model, stepper, scheduler, settings, {name: settled(before[name], after[name]) for name in before})
        seed_everything(noise)
        if path is not None and (resume == "must" or (resume == "auto" and path.exists())):
            run.restore(path, share.rank, noise)
            if share.main:
                print(run.report(path, patience), file=sys.stderr)
        if path is not None and share.main:
            remove_leftovers(path)
        # A wrapper is prepared, not the model: the caller's stays as it is, and gradients are averaged over
        # the processes although `loss`, not `forward`, is what is called.
        wrapped, prepared = accelerator.prepare(Loss(model), stepper)
        # accelerate's step looks for a package on the disk each time; only gradients scaled for fp16 need it.
        step = stepper.step if accelerator.scaler is None else prepared.step

        readings = Readings(share, 1 if accelerator.device.type == "cpu" else EVERY)

        def read() -> None:
            for where, size, means in readings.read():
                check_finite(means, where, path)
                now.add({name: value for name, value in means.items() if name != NORM}, size)
                bar.set_postfix_str(f"epoch {now.epoch + 1}, loss {means['loss']:.4g}", refresh=False)

        def save(where: str) -> None:
            check_weights(model, where, path)
            if path is not None:
                rng_states = share.gather(rng_state())
                if share.main:
                    run.save(path, rng_states)
                accelerator.wait_for_everyone()  # or another process could look for it too early

        now = run.progress
        done, total = now.epoch * steps + now.step, epochs * steps
        quiet = not (progress and share.main)
        with tqdm(total=total, initial=done, disable=quiet, delay=1.0, unit="step") as bar:
            while now.epoch < epochs and not now.out_of(patience):
                where = f"fit: epoch {now.epoch + 1} of {epochs}"
                started = time.perf_counter() - now.elapsed
                plan = examples.steps(now.epoch, accumulate)
                if len(plan) != steps:
                    raise ValueError(f"{where} has {len(plan)} steps, the first one had {steps}")
                set_modes(modes)
                left = plan[now.step :]
                loaded = share.batches(examples, [*chain(*left)], now.epoch, accelerator.device, model)
                for batches in left:
                    stepper.zero_grad()
                    together = sum(map(len, batches))
                    for k, (size, weight, batch) in enumerate(islice(loaded, len(batches)), 1):
                        # Processes wait for each other's gradients once a step.
                        with nullcontext() if k == len(batches) else accelerator.no_sync(wrapped):
                            terms: dict[str, Tensor] = wrapped(batch)
                            # Averaged over the processes, this is the gradient of the mean over the step's examples.
                            accelerator.backward(terms["loss"] * (weight * share.count * (size / together)))
                        if k == len(batches) and clip_norm is not None:
                            norm = accelerator.clip_grad_norm_(weights, clip_norm)
                            if accelerator.scaler is None:  # which leaves out such a step
                                terms = {**terms, NORM: norm.to(terms["loss"].dtype)}
                        readings.add(terms, f"{where}, step {now.step + 1} of {steps}", size, weight)
                    if readings.due:
                        read()
                    step()
                    if scheduler is not None:
                        scheduler.step()
                    now.step += 1
                    now.elapsed = time.perf_counter() - started
                    bar.update()
                    taken = now.epoch * steps + now.step
                    if checkpoint_every and now.step < steps and taken % checkpoint_every == 0:
                        read()
                        save(where)

                read()
                measured = {}
                share.same_buffers(model)
                if held_out is not None:
                    with accelerator.autocast():
                        measured = mean_terms(model, held_out, share, mix(seed, VALID, share.rank))
                    check_finite(measured, f"{where}, validation", path)
                now.elapsed = time.perf_counter() - started
                better = now.finish(measured, sum(map(len, chain(*plan))), monitor, better_if)
                if better and patience is not None:
                    run.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
                for callback in callbacks:
                    with private_rng(mix(seed, CALLBACK, share.rank, now.epoch)):
                        model.eval()
                        callback(now.epoch - 1, model, now.history())
                save(where)
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
    check_model(model, trains=False)
    batch_size, seed = whole_number("batch_size", batch_size), check_seed(seed)
    examples = Examples(data, "data", batch_size, seed, shuffle=False)
    with memory_noted(batch_size):
        means = mean_terms(model, examples, Share(), seed)
    check_finite(means, "evaluate", None)
    return means


def _describe(describer: Describer | None, train: Examples, valid: Examples | None) -> dict[str, Description]:
    """What the model and the data are, for the checkpoint."""
    if describer is None:
        return {}
    data = {examples.name: examples for examples in (train, valid) if examples is not None}
    return {"model": describer.model()} | {name: describer.data(e.source, e.plan(0)) for name, e in data.items()}
