"""The training loop against numbers worked by hand, and its promises one by one."""

import copy
import dataclasses
import doctest
import functools
import importlib
import itertools
import json
import math
import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    get_worker_info,
)

from mmtutor.data import MultimodalDataset
from mmtutor.training import ClaimError, History, budget, claim, evaluate, fit, seed_everything
from mmtutor.training.arguments import direction
from mmtutor.training.batches import batches_of
from mmtutor.training.checkpoint import read_checkpoint, write_checkpoint

SGD = torch.optim.SGD
pytestmark = pytest.mark.usefixtures("fit_device")  # each test runs on each device, unless it says otherwise

# Two runs end with the same bits: so it is on the CPU, whose kernels the pretend device has. A GPU promises less.
same_bits = pytest.mark.parametrize("fit_device", ["cpu", "pretend"], indirect=True)
on_the_cpu = pytest.mark.parametrize("fit_device", ["cpu"], indirect=True)


class Mean(nn.Module):
    """(x - w)², whose minimum is the mean of the data and whose gradient is 2 (w - mean x)."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": ((batch["x"] - self.w) ** 2).mean()}


class Line(nn.Module):
    """mean(x) + w: the gradient is 1 whatever happens, and seen remembers the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.seen: list[list[float]] = []
        self.weights: list[float] = []

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.seen.append(batch["x"].tolist())
        self.weights.append(self.w.item())
        return {"loss": batch["x"].mean() + self.w, "data": batch["x"].mean()}


class Noisy(nn.Module):
    """All that makes resuming hard: dropout, running means, noise from three generators, and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        seed_everything(3)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))
        self.frozen = nn.Linear(4, 2).requires_grad_(False)
        self.steps = 0

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.training:
            self.steps += 1
        logits = self.net(batch["x"]) + self.frozen(batch["x"])
        noise = random.random() + float(np.random.rand()) + torch.rand((), device=logits.device)  # noqa: NPY002
        loss = nn.functional.cross_entropy(logits, batch["label"])
        return {"loss": loss + noise * self.net[0].weight.square().mean(), "noise": noise}


def interrupt(model: Noisy, step: int) -> None:
    """Stop its training, as Ctrl-C does, at that pass through it."""
    calls = itertools.count(1)

    def stop(module: nn.Module, _: object) -> None:
        if module.training and next(calls) == step:
            raise KeyboardInterrupt

    model.net.register_forward_pre_hook(stop)


def modalities(n: int = 22, seed: int = 0) -> MultimodalDataset:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g)
    return MultimodalDataset({"x": x, "label": (x.sum(1) > 0).long()})


def numbers(*values: float) -> MultimodalDataset:
    return MultimodalDataset({"x": torch.tensor(values, dtype=torch.float64)})


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights and buffers, on the CPU."""
    return {name: value.cpu().clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def curves(history: History) -> dict[str, Any]:
    """A history without the times, the only part that differs between two equal runs."""
    return {k: v for k, v in dataclasses.asdict(history).items() if k != "seconds"}


# --- steps worked by hand ----------------------------------------------------------------------------------


def test_two_steps_with_momentum() -> None:
    """x̄ = 2, lr 0.1: g₁ = -4, w₁ = 0.4; g₂ = -3.2, v₂ = 0.9·(-4) - 3.2 = -6.8, w₂ = 0.4 + 0.68."""
    model = Mean()
    history = fit(model, numbers(1, 2, 3), epochs=2, lr=0.1, optimizer=functools.partial(SGD, momentum=0.9))
    assert model.w.item() == pytest.approx(1.08, abs=1e-12)
    # (1 + 4 + 9) / 3, then (0.36 + 2.56 + 6.76) / 3
    assert history.train["loss"] == pytest.approx([14 / 3, 9.68 / 3], abs=1e-12)


def test_the_first_adam_step_is_the_learning_rate() -> None:
    """The first step of Adam is lr · g / (|g| + ε)."""
    model = Mean()
    fit(model, numbers(1, 2, 3), epochs=1, lr=0.01)
    assert model.w.item() == pytest.approx(0.01 * 4 / (4 + 1e-8), abs=1e-15)


def test_clipping_scales_the_gradient_to_the_norm() -> None:
    model = Mean()
    fit(model, numbers(1, 2, 3), epochs=1, lr=0.1, optimizer=SGD, clip_norm=0.5)
    assert model.w.item() == pytest.approx(0.1 * 0.5, abs=1e-6)


def test_one_cycle_follows_its_formula() -> None:
    """Cosine from lr/25 up to lr over the first 30 % of the steps, then down to lr/25/10⁴."""
    model = Line()
    epochs, steps, lr = 5, 4, 0.3
    fit(model, numbers(*range(16)), epochs=epochs, batch_size=4, lr=lr, optimizer=SGD, schedule="one-cycle")
    taken = -np.diff([*model.weights[1:], model.w.item()])  # the first call is the trial before training
    last, peak = epochs * steps - 1, 0.3 * epochs * steps - 1

    def rate(step: int) -> float:
        start, end, x = (lr / 25, lr, step / peak) if step <= peak else (lr, lr / 25e4, (step - peak) / (last - peak))
        return end + (start - end) * (1 + math.cos(math.pi * x)) / 2

    assert taken == pytest.approx([rate(step) for step in range(last + 1)], abs=1e-12)


def test_means_count_every_example_once() -> None:
    """Ten examples in batches of 4, 4 and 2: the mean of the batch means would be another number."""
    data = numbers(*range(9), 100)
    history = fit(Line(), data, data, epochs=1, batch_size=4, lr=0.1)
    assert history.train["data"] == pytest.approx([13.6], abs=1e-12)
    assert history.valid["data"] == pytest.approx([13.6], abs=1e-12)
    assert evaluate(Line(), data, batch_size=3)["data"] == pytest.approx(13.6, abs=1e-12)


def test_early_stopping_restores_the_best_weights() -> None:
    """w goes 3 (1 - 0.9ᵏ): it passes the validation's 1 in epoch 4 (index 3), and stops 2 epochs later."""
    model = Mean()
    history = fit(model, numbers(3), numbers(1), epochs=50, lr=0.05, optimizer=SGD, patience=2, callbacks=[])
    w = [3 * (1 - 0.9**k) for k in range(1, 7)]
    assert history.valid["loss"] == pytest.approx([(v - 1) ** 2 for v in w], abs=1e-12)
    assert history.best_epoch == 3
    assert model.w.item() == pytest.approx(w[3], abs=1e-12)


def test_early_stopping_by_another_term_than_the_loss() -> None:
    """The loss falls all the time; the other term is least as w passes 1 and says when to stop."""

    class Two(Mean):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {**super().loss(batch), "from one": (self.w - 1).square()}

    model = Two()
    options: dict[str, Any] = {"lr": 0.05, "optimizer": SGD, "patience": 2, "monitor": "from one", "mode": "min"}
    history = fit(model, numbers(3), numbers(3), epochs=50, **options)
    assert history.best_epoch == 3
    assert model.w.item() == pytest.approx(3 * (1 - 0.9**4), abs=1e-12)
    assert history.valid["loss"] == sorted(history.valid["loss"], reverse=True)
    model = Two()
    with pytest.raises(ValueError, match=r"monitor must be .*loss.*from one.*got .label."):
        fit(model, numbers(3), numbers(3), epochs=1, patience=2, monitor="label")
    assert model.w.item() == 0


class Scored(Mean):
    """It passes 1 at epoch 4; a term of any name is highest there."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**super().loss(batch), self.name: 1 - (self.w - 1).square()}


@pytest.mark.parametrize(("name", "mode"), [("accuracy", "auto"), ("label", "max"), ("error", "max")])
def test_early_stopping_on_what_should_rise(name: str, mode: Any) -> None:
    model = Scored(name)
    options: dict[str, Any] = {"lr": 0.05, "optimizer": SGD, "patience": 2, "monitor": name, "mode": mode}
    history = fit(model, numbers(3), numbers(3), epochs=50, **options)
    assert history.best_epoch == 3
    assert len(history.seconds) == 6
    assert history.valid[name][3] == max(history.valid[name])
    assert model.w.item() == pytest.approx(3 * (1 - 0.9**4), abs=1e-12)


def test_a_term_whose_name_does_not_tell_needs_a_direction() -> None:
    model = Scored("label")
    with pytest.raises(ValueError, match=r"monitor='label'.*low.*high.*add mode='min' or mode='max'"):
        fit(model, numbers(3), numbers(3), epochs=1, monitor="label")
    with pytest.raises(ValueError, match="mode must be one of 'auto', 'min', 'max', got 'lowest'"):
        fit(model, numbers(3), numbers(3), epochs=1, mode="lowest")  # type: ignore[arg-type]
    assert model.w.item() == 0


@pytest.mark.parametrize(
    ("rises", "names"),
    [
        (True, "accuracy|acc|Accuracy|valid_acc|top-1 accuracy|acc-7|acc7|macro F1|f1|AUROC|auc|recall@5|precision"),
        (True, "pearson correlation|corr|BLEU-4|bleu4|cider|METEOR|rouge_l|r2|mIoU|dice|score|f1_score"),
        (False, "loss|valid loss|label_loss|dice loss|error|word error rate|MSE|mae|rmse|nll|kl|KL|ce|cross_entropy"),
        (False, "cross-entropy|perplexity|cost|brier score|mae score|loss score"),
        (None, "label|image|noise|closs|lossy|place|accent|distal|entropy|kl and accuracy|1 - accuracy|-f1|neg_dice"),
        (None, "negative loss|elbo|likelihood|"),
    ],
)
def test_the_direction_is_known_by_whole_words(rises: bool | None, names: str) -> None:
    for name in names.split("|"):
        if rises is None:
            with pytest.raises(ValueError, match="add mode="):
                direction(name, "auto")
        else:
            assert direction(name, "auto") == ("max" if rises else "min"), name
        assert direction(name, "min") == "min"
        assert direction(name, "max") == "max"


def test_without_patience_the_last_weights_stay() -> None:
    model = Mean()
    history = fit(model, numbers(3), numbers(1), epochs=6, lr=0.05, optimizer=SGD)
    assert history.best_epoch == 3
    assert model.w.item() == pytest.approx(3 * (1 - 0.9**6), abs=1e-12)


# --- order and randomness ----------------------------------------------------------------------------------


def batches_seen(seed: int, data: Any = None, **options: Any) -> list[list[float]]:
    model = Line()
    fit(model, data or numbers(*range(10)), epochs=2, batch_size=4, seed=seed, optimizer=SGD, **options)
    first, second, *_ = model.seen  # tried before training: the first batch, and where one is smaller, so much of it
    small = len(second) < len(first) and second == first[: len(second)]
    return model.seen[2 if small else 1 :]


def test_each_epoch_has_every_example_once_in_a_new_order() -> None:
    seen = batches_seen(0)
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    first, second = list(itertools.chain(*seen[:3])), list(itertools.chain(*seen[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert len({tuple(first), tuple(second), tuple(range(10))}) == 3


def test_the_order_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = batches_seen(0)
    torch.manual_seed(2)
    assert batches_seen(0) == first
    assert batches_seen(1) != first
    assert batches_seen(2**31) != first


def test_the_global_generators_are_left_as_they_were() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()  # noqa: NPY002

    seed_everything(11)
    expected = draw()
    seed_everything(11)
    model, data = Noisy(), modalities()
    seed_everything(11)
    fit(model, data, data, epochs=2)
    evaluate(model, data)
    with pytest.raises(FloatingPointError):
        fit(Mean(), numbers(math.nan), epochs=1)
    assert draw() == expected


@on_the_cpu
def test_the_loss_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """By accelerate's setting, as the page on devices says; here traced and differentiated, but not made faster."""
    seed_everything(0)
    first = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 2))
    first.loss = lambda batch: {"loss": nn.functional.cross_entropy(first(batch["x"]), batch["label"])}
    before, frames = state(first), []
    plain = fit(first, modalities(), epochs=2, batch_size=8)
    after = state(first)
    first.load_state_dict(before)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "aot_eager")
    monkeypatch.setattr(
        torch, "compile", lambda model, compile=torch.compile, **o: frames.append(1) or compile(model, **o)
    )
    compiled = fit(first, modalities(), epochs=2, batch_size=8)
    assert frames
    assert compiled.train["loss"] == pytest.approx(plain.train["loss"], rel=1e-5)
    torch.testing.assert_close(state(first), after, rtol=1e-4, atol=1e-6)


@same_bits
def test_validation_and_callbacks_change_nothing() -> None:
    """Dropout, noise and running means: with and without them, the weights have the same bits."""

    def disturb(epoch: int, model: nn.Module, history: History) -> None:
        assert not model.training
        torch.rand(100)
        random.random()
        history.train["loss"].append(0.0)

    alone, watched = Noisy(), Noisy()
    first = fit(alone, modalities(), epochs=3, batch_size=8)
    second = fit(watched, modalities(), modalities(9, 1), epochs=3, batch_size=8, callbacks=[disturb])
    assert same(state(alone), state(watched))
    assert first.train == second.train


def test_validation_draws_the_same_noise_in_every_epoch() -> None:
    model = Noisy()
    history = fit(model, modalities(), modalities(9, 1), epochs=3)
    assert len(set(history.valid["noise"])) == 1
    assert len(set(history.train["noise"])) == 3


def test_callbacks_come_after_each_epoch() -> None:
    calls: list[tuple[int, int]] = []
    fit(Mean(), numbers(1), epochs=3, callbacks=[lambda e, m, h: calls.append((e, len(h.train["loss"])))])
    assert calls == [(0, 1), (1, 2), (2, 3)]


# --- what is left behind -----------------------------------------------------------------------------------


def test_modes_frozen_parts_and_gradients() -> None:
    model = Noisy()
    model.eval()
    model.net[1].train()
    frozen = state(model.frozen)
    fit(model, modalities(), modalities(), epochs=1)
    assert [m.training for m in (model, model.net, model.net[1], model.net[2])] == [False, False, True, False]
    assert same(state(model.frozen), frozen)
    assert all(p.grad is None for p in model.parameters())


class Parts(nn.Module):
    """An encoder and a head, both with batch normalisation; it keeps the modes in which it trained."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.2)))
        self.head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
        self.trained_in: list[tuple[bool, ...]] = []

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if torch.is_grad_enabled():
            parts = (self, self.encoder, self.encoder[1], self.encoder[1][0], self.encoder[1][1], self.head)
            self.trained_in.append(tuple(part.training for part in parts))
        return {"loss": nn.functional.cross_entropy(self.head(self.encoder(batch["x"])), batch["label"])}


def test_a_frozen_part_in_evaluation_mode_stays_as_it_is() -> None:
    """After validation and callbacks, too, and whatever mode the whole model comes in."""

    def switch(epoch: int, model: nn.Module, history: History) -> None:
        model.train()

    for whole in (True, False):
        model = Parts()
        model.encoder.requires_grad_(False)
        model.train(whole).encoder.eval()
        before, head = state(model.encoder), state(model.head)
        fit(model, modalities(), modalities(), epochs=3, batch_size=8, callbacks=[switch])
        assert same(state(model.encoder), before)
        assert not same(state(model.head), head)
        assert set(model.trained_in) == {(True, False, False, False, False, True)}
        assert [m.training for m in (model, model.encoder, model.encoder[1], model.head)] == [
            whole,
            *[False] * 2,
            whole,
        ]


def test_a_model_in_training_mode_trains_as_it_is() -> None:
    """Its parameters are trained, but batch normalisation of the encoder is held, as in fine-tuning."""
    model = Parts()
    model.encoder[1].eval()
    before = state(model.encoder[1])
    fit(model, modalities(), modalities(), epochs=2, batch_size=8)
    assert set(model.trained_in) == {(True, True, False, False, False, True)}
    assert torch.equal(state(model.encoder[1])["0.running_mean"], before["0.running_mean"])
    assert not torch.equal(state(model.encoder[1])["0.weight"], before["0.weight"])


def test_a_model_in_evaluation_mode_is_put_into_training_mode() -> None:
    model = Parts().eval()
    fit(model, modalities(), epochs=1)
    assert set(model.trained_in) == {(True,) * 6}
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        (lambda m: m.encoder.requires_grad_(False), r"'encoder' is frozen, but its BatchNorm1d .*model\.encoder\.eval"),
        (lambda m: m.encoder[1].requires_grad_(False), r"'encoder\.1' .*model\.get_submodule\('encoder\.1'\)\.eval"),
    ],
)
def test_a_frozen_part_that_drifts_is_warned_of_once(freeze: Callable[[Parts], Any], words: str) -> None:
    model = Parts()
    freeze(model)
    with pytest.warns(UserWarning, match=words) as warned:
        fit(model, modalities(), epochs=2, batch_size=8)
    assert len(warned) == 1
    assert warned[0].filename == __file__


def test_no_state_of_accelerate_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    fit(Mean(), numbers(1), epochs=1)
    assert not any(cls._shared_state for cls in (AcceleratorState, GradientState, PartialState))
    mine = accelerate.Accelerator()
    fit(Mean(), numbers(1), epochs=1)
    assert mine.num_processes == 1
    assert mine.device.type
    for cls in (AcceleratorState, GradientState, PartialState):
        cls._shared_state.clear()


def test_the_forward_of_the_model_stays_its_own() -> None:
    model = Noisy()
    before = set(vars(model))
    fit(model, modalities(), epochs=1)
    assert set(vars(model)) == before
    assert isinstance(pickle.loads(pickle.dumps(model)), Noisy)


def test_the_bar_is_on_stderr_and_only_for_long_runs(capsys: pytest.CaptureFixture[str]) -> None:
    class Slow(Mean):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            import time

            time.sleep(0.3)
            return super().loss(batch)

    fit(Mean(), numbers(1), epochs=3)
    fit(Slow(), numbers(1), epochs=5, progress=False)
    captured = capsys.readouterr()
    assert captured == ("", "")
    fit(Slow(), numbers(1), epochs=5)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "5/5" in captured.err
    assert "epoch 5, loss" in captured.err


# --- datasets and loaders ----------------------------------------------------------------------------------


class Plain(Dataset[dict[str, Tensor]]):
    """A map-style dataset that is not a `MultimodalDataset`, and draws from the global generator."""

    def __init__(self, n: int = 10, noise: float = 0.0) -> None:
        self.n, self.noise = n, noise

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.tensor(float(index), dtype=torch.float64)
        return {"x": x + self.noise * torch.rand((), dtype=torch.float64)}


def test_any_map_style_dataset_is_shuffled_like_modalities() -> None:
    assert batches_seen(5, Plain()) == batches_seen(5)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.3}, {"schedule": "one-cycle"}, {"loader": True}], ids=str)
def test_accumulated_batches_are_one_large_batch(options: dict[str, Any]) -> None:
    """Steps of 24, 24 and 2 examples, in batches of 8; the same batches without accumulation are another run."""

    def trained(batch_size: int, accumulate: int, loader: bool = False, **options: Any) -> dict[str, Any]:
        seed_everything(0)
        model = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 2)).double()
        model.loss = lambda batch: {"loss": nn.functional.cross_entropy(model(batch["x"].double()), batch["label"])}
        data: Any = modalities(50)
        if loader:
            data = DataLoader(data, batch_size, shuffle=True, generator=torch.Generator())
        history = fit(model, data, epochs=3, lr=0.05, batch_size=batch_size, accumulate=accumulate, **options)
        return {"loss": torch.tensor(history.train["loss"], dtype=torch.float64), **state(model)}

    one, several, other = trained(24, 1, **options), trained(8, 3, **options), trained(8, 1, **options)
    torch.testing.assert_close(several, one, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(other["loss"], one["loss"], rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: numbers(*range(10)).loader(3, shuffle=True, seed=9),
        lambda: DataLoader(Plain(), batch_size=3, shuffle=True),
        lambda: DataLoader(Plain(), batch_size=3, shuffle=True, generator=torch.Generator()),
        lambda: DataLoader(Plain(), sampler=WeightedRandomSampler([1.0] * 10, 10), batch_size=3),
        lambda: DataLoader(Plain(), batch_sampler=[[0, 1], [5, 6, 7]]),
        lambda: DataLoader(Plain(), batch_size=4, drop_last=True),
        lambda: DataLoader(Plain(), batch_size=4, num_workers=1),
    ],
)
def test_a_loader_keeps_its_own_batches(make: Callable[[], DataLoader[Any]]) -> None:
    """Their sizes are the loader's; their order follows from the seed, whatever state the loader is in."""
    loader = make()
    sizes = [len(batch["x"]) for batch in loader]
    first = batches_seen(0, loader)
    assert [len(batch) for batch in first] == sizes * 2
    torch.rand(3)
    assert batches_seen(0, loader) == batches_seen(0, make()) == first


def plus_one(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    batch = default_collate(items)
    return {**batch, "x": batch["x"] + 1}


def set_up(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    info.dataset.tensors["x"] = info.dataset.tensors["x"] + 1


class Shifted(MultimodalDataset):
    """One's own examples, in code that is right for a single one only."""

    def __getitem__(self, index: Any) -> dict[str, Tensor]:
        item = super().__getitem__(index)
        assert item["x"].ndim == 0
        return {**item, "x": item["x"] + 1}


def shifted() -> Shifted:
    return Shifted(numbers(*range(10)).tensors)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(numbers(*range(10)), 4, shuffle=True, collate_fn=plus_one),
        lambda: DataLoader(Plain(), 4, shuffle=True, collate_fn=plus_one),
        lambda: DataLoader(numbers(*range(10)), 4, shuffle=True, num_workers=1, worker_init_fn=set_up),
        lambda: DataLoader(numbers(*range(10)), 4, shuffle=True, num_workers=1, collate_fn=plus_one, prefetch_factor=3),
        shifted,
        lambda: DataLoader(shifted(), 4, shuffle=True),
        lambda: Subset(shifted(), range(10)),
    ],
)
def test_what_a_loader_or_a_dataset_does_with_examples_reaches_the_model(make: Callable[[], Any]) -> None:
    seen = batches_seen(0, make())
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    assert sorted(itertools.chain(*seen[:3])) == list(range(1, 11))
    model = Line()
    evaluate(model, make())
    assert sorted(itertools.chain(*model.seen)) == list(range(1, 11))
    assert sorted(itertools.chain(*(batch["x"].tolist() for batch in batches_of(make(), 4)))) == list(range(1, 11))


def test_a_loader_with_batches_of_its_own_making_is_refused() -> None:
    class Twice(DataLoader[Any]):
        def __iter__(self) -> Any:
            for _ in range(2):
                yield from super().__iter__()

    model = Mean(1.0)
    with pytest.raises(TypeError, match=r"train: Twice has an __iter__ of its own.*plain DataLoader.*collate_fn"):
        fit(model, Twice(numbers(1, 2), 2), epochs=1)
    assert model.w.item() == 1.0


def test_a_dict_of_tensors_is_a_dataset() -> None:
    columns = numbers(*range(10)).tensors
    assert batches_seen(0, columns) == batches_seen(0)
    assert evaluate(Line(), columns) == evaluate(Line(), numbers(*range(10)))
    assert [batch["x"].tolist() for batch in batches_of(columns, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    history = fit(Mean(), columns, columns, epochs=1)
    assert history.valid.keys() == {"loss"}


def test_examples_with_different_names_are_noted() -> None:
    with pytest.raises(KeyError, match="y") as found:
        fit(Mean(), [{"x": torch.ones(1), "y": torch.ones(1)}, {"x": torch.ones(1)}], epochs=1)
    assert found.value.__notes__ == ["Have all examples of a batch the same names?", "This is about train."]


def test_a_list_of_examples_is_a_dataset() -> None:
    assert batches_seen(0, [{"x": torch.tensor(float(k), dtype=torch.float64)} for k in range(10)]) == batches_seen(0)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (lambda: {"x": np.ones(3)}, r"^(train|valid|data): MultimodalDataset: 'x' .*torch.from_numpy\(…\)\.float\(\)$"),
        (lambda: {"x": torch.ones(3), "y": torch.ones(2)}, r"^(train|valid|data): .*same length.*'x': 3, 'y': 2"),
        (lambda: torch.ones(3, 2), "must be a dict of tensors such as .*; got Tensor: put its columns into a dict"),
        (lambda: np.ones((3, 2)), "got ndarray: put its columns into a dict"),
        (lambda: (torch.ones(3), torch.ones(3)), "got tuple of Tensor"),
        (lambda: [(torch.ones(3), torch.ones(3))], "got list of tuple"),
        (lambda: ({"x": x} for x in torch.ones(3)), "a map-style dataset .*; got generator"),
        (lambda: DataLoader({"x": torch.ones(3)}), "got DataLoader of dict"),
        (lambda: DataLoader(TensorDataset(torch.ones(3))), "each example must be a dict such as"),
        (lambda: [{"x": torch.ones(1), "name": "a"}] * 2, "'name' is list \\['a', 'a'\\]; make it a tensor"),
        (lambda: [{"x": torch.ones(2)}, {"x": torch.ones(3)}], "different shapes .*pad them in the collate_fn"),
        (lambda: [], "no examples"),
        (lambda: Plain(0), "no examples"),
        (lambda: 3, "map-style"),
        (lambda: DataLoader(type("Stream", (IterableDataset,), {"__iter__": lambda s: iter([])})()), "map-style"),
        (lambda: DataLoader(Plain(3), batch_size=4, drop_last=True), "no batches"),
        (lambda: DataLoader(Plain(3), batch_size=None), "must make batches"),
        (lambda: TensorDataset(torch.rand(3, 2)), "dict of tensors"),
        (lambda: [{"x": "word"}, {"x": "other"}], "dict of tensors"),
    ],
)
def test_other_data_is_refused(data: Callable[[], Any], error: str) -> None:
    for arguments in ((data(), None), (numbers(1.0), data())):
        model = Mean(1.0)
        with pytest.raises((TypeError, ValueError), match=error) as found:
            fit(model, *arguments, epochs=1)
        assert ("valid" if arguments[1] is not None else "train") in str(found.value)
        assert model.w.item() == 1.0
    with pytest.raises((TypeError, ValueError), match=error):
        evaluate(Mean(), data())
    with pytest.raises((TypeError, ValueError), match=error):
        list(batches_of(data(), 2))


@pytest.mark.parametrize("make", [lambda data: data, lambda data: DataLoader(data, 8), lambda data: [*data]])
@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_what_a_model_says_of_its_data_names_the_argument(make: Callable[[Any], Any], error: type[Exception]) -> None:
    """The same whether the batch is checked by the loss, or before it leaves the CPU."""

    class Checks(Mean):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            if batch["x"].device.type == "cpu":
                self.check_batch(batch)
            return super().loss(batch)

        def check_batch(self, batch: dict[str, Tensor]) -> None:
            if batch["x"].dtype != torch.float64:
                raise error("Checks: 'x' is float32")

    good, bad = make(numbers(1, 2)), make(MultimodalDataset({"x": torch.tensor([1.0, 2.0])}))
    model = Checks()
    with pytest.raises(error, match=r"^train: Checks: 'x' is float32$"):
        fit(model, bad, epochs=1)
    with pytest.raises(error, match=r"^valid: Checks: 'x' is float32$"):
        fit(model, good, bad, epochs=1)
    with pytest.raises(error, match=r"^data: Checks: 'x' is float32$"):
        evaluate(model, bad)
    assert model.w.item() == 0


@pytest.mark.parametrize("n", [9, 17])
@pytest.mark.parametrize("loader", [False, True])
def test_a_batch_that_is_too_small_is_named_before_training(n: int, loader: bool) -> None:
    """Batch normalisation cannot take one example; a last batch of one is tried before the first step."""

    def trains(n: int, **options: Any) -> nn.Module:
        model = Parts()
        data: Any = modalities(n)
        fit(model, DataLoader(data, 8, **options) if loader else data, epochs=1, batch_size=8)
        return model

    torch.manual_seed(0)
    before, drawn = state(Parts()), torch.rand(())
    torch.manual_seed(0)
    model = Parts()
    words = rf"^train has {n} examples and a batch of only 1, which Parts cannot take \(.*more than 1 value.*\); "
    with pytest.raises(ValueError, match=words + "choose another batch_size, or .* DataLoader with drop_last=True"):
        fit(model, DataLoader(modalities(n), 8) if loader else modalities(n), epochs=1, batch_size=8)
    assert same(state(model), before)
    assert torch.rand(()) == drawn
    assert model.training
    for size in (1, n):
        with pytest.raises(ValueError, match=r"a batch of only 1, which Parts cannot take .Expected more than 1 value"):
            fit(Parts(), modalities(1 if size == n else n), epochs=1, batch_size=size)
    trains(n + 1)
    if loader:
        trains(n, drop_last=True)


def test_a_validation_batch_that_is_too_small_is_named_before_training() -> None:
    class Pairs(Mean):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            if len(batch["x"]) < 2:
                raise IndexError("no pair")
            return super().loss(batch)

    model = Pairs()
    with pytest.raises(ValueError, match=r"^valid has 3 examples and a batch of only 1, which Pairs .*no pair"):
        fit(model, numbers(1, 2), numbers(1, 2, 3), epochs=1, batch_size=2)
    assert model.w.item() == 0


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epochs": 0}, ValueError, "epochs"),
        ({"epochs": 1.5}, TypeError, "epochs"),
        ({"epochs": True}, TypeError, "epochs"),
        ({"lr": 0.0}, ValueError, "lr"),
        ({"lr": -1}, ValueError, "lr"),
        ({"lr": math.nan}, ValueError, "lr"),
        ({"lr": math.inf}, ValueError, "lr"),
        ({"lr": "fast"}, TypeError, "lr"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"accumulate": 0}, ValueError, "accumulate"),
        ({"accumulate": 2.0}, TypeError, "accumulate"),
        ({"batch_size": None}, TypeError, "batch_size"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 2**32}, ValueError, "seed"),
        ({"seed": 0.0}, TypeError, "seed"),
        ({"clip_norm": 0}, ValueError, "clip_norm"),
        ({"patience": 1}, ValueError, "valid"),
        ({"patience": 0, "valid": numbers(1.0)}, ValueError, "patience"),
        ({"schedule": "cosine"}, ValueError, "schedule"),
        ({"resume": True}, ValueError, "resume"),
        ({"resume": "must"}, ValueError, "checkpoint"),
        ({"checkpoint_every": 2}, ValueError, "checkpoint"),
        ({"checkpoint": "x", "checkpoint_every": 0}, ValueError, "checkpoint_every"),
        ({"checkpoint": "."}, ValueError, "folder"),
        ({"callbacks": [3]}, TypeError, "callable"),
        ({"callbacks": print}, TypeError, "callbacks must be a list of functions"),
        ({"optimizer": "adam"}, TypeError, r"callable, such as torch\.optim\.AdamW"),
        ({"optimizer": SGD([nn.Parameter(torch.ones(1))])}, TypeError, r"not a ready SGD: hand over torch\.optim\.SGD"),
        ({"optimizer": functools.partial(SGD, lr=0.1)}, ValueError, "give lr=… to fit"),
        ({"optimizer": torch.optim.LBFGS}, ValueError, "LBFGS asks for the loss again"),
        ({"schedule": torch.optim.lr_scheduler.StepLR}, ValueError, "schedule must be one of"),
        ({"batch_size": np.bool_(True)}, TypeError, "batch_size"),
        ({"lr": True}, TypeError, "lr"),
        ({"lr": np.float64(-1)}, ValueError, "lr"),
        ({"optimizer": lambda p, lr: 3}, TypeError, "Optimizer"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], words: str) -> None:
    model = Mean(1.0)
    with pytest.raises(error, match=words):
        fit(model, numbers(2.0), **{"epochs": 1, **options})
    assert model.w.item() == 1.0


@on_the_cpu
def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    """Also in a checkpoint, which is the same as that of plain numbers."""
    whole = {"epochs": 2, "batch_size": 2, "accumulate": 1, "seed": 3, "patience": 2, "checkpoint_every": 1}
    real = {"lr": 0.25, "clip_norm": 0.5}
    options: dict[str, Any] = {name: np.int64(value) for name, value in whole.items()}
    options |= {name: np.float32(value) for name, value in real.items()}
    data, path = numbers(1, 2, 3), tmp_path / "run"
    first = fit(Mean(), data, data, checkpoint=path, **options)
    assert fit(Mean(), data, data, checkpoint=path, **whole, **real) == first  # type: ignore[arg-type]
    assert evaluate(Mean(), data, batch_size=np.int32(2), seed=np.uint8(1)) == evaluate(Mean(), data)
    seed_everything(np.int64(3))


@pytest.mark.parametrize(
    ("error", "noted"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (RuntimeError("something else"), False),
    ],
)
def test_out_of_memory_says_what_to_do(error: Exception, noted: bool) -> None:
    class Large(Mean):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            if self.w.item():  # after the first step
                raise error
            return super().loss(batch)

    options: dict[str, Any] = {"epochs": 2, "batch_size": 2, "accumulate": 3}
    with pytest.raises(type(error), match=r"out of memory|allocate|something") as found:
        fit(Large(), numbers(1, 2), **options)
    notes = " ".join(getattr(found.value, "__notes__", ()))
    assert ("batch_size=2" in notes and "accumulate=6" in notes) == noted


def with_loss(loss: Callable[[Any, dict[str, Tensor]], Any]) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model.loss = functools.partial(loss, model)  # type: ignore[assignment]
    return model


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        (lambda m, b: m(b["x"]).mean(), TypeError, r"dict of terms, got (Pretend)?Tensor"),
        (lambda m, b: {"nll": m(b["x"]).mean()}, ValueError, "'loss'.*nll"),
        (lambda m, b: {"loss": m(b["x"])}, ValueError, r"'loss' must be one real number.*\(22, 4\)"),
        (lambda m, b: {"loss": m(b["x"]).mean(), "kl": 3.0}, TypeError, "'kl' must be a tensor, got float"),
        (lambda m, b: {"loss": m(b["x"]).mean(), "kl": m(b["x"])[0]}, ValueError, "'kl'"),
        (lambda m, b: {"loss": m(b["x"]).mean().detach()}, ValueError, "does not depend"),
        (lambda m, b: {"loss": m(b["sound"]).mean()}, KeyError, "sound"),
    ],
)
def test_bad_losses_leave_the_model_untouched(loss: Any, error: type[Exception], words: str) -> None:
    """Running means of batch normalisation too, which a forward pass changes."""
    model = with_loss(loss)
    before = copy.deepcopy(state(model))
    with pytest.raises(error, match=words):
        fit(model, modalities(), epochs=1)
    assert same(state(model), before)


def test_models_without_a_loss_or_anything_to_train() -> None:
    with pytest.raises(TypeError, match="loss"):
        fit(nn.Linear(1, 1), numbers(1), epochs=1)
    with pytest.raises(TypeError, match=r"nn\.Module"):
        fit(3, numbers(1), epochs=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"nn\.Module, got the class Mean"):
        fit(Mean, numbers(1), epochs=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no parameter to train"):
        fit(Mean().requires_grad_(False), numbers(1), epochs=1)


def test_terms_must_stay_the_same() -> None:
    model = Mean()
    calls = itertools.count()

    def loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        terms = Mean.loss(model, batch)
        return terms if next(calls) < 2 else terms | {"more": terms["loss"]}

    model.loss = loss  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"\['loss', 'more'\], before \['loss'\]"):
        fit(model, numbers(1, 2, 3), epochs=1, batch_size=1)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, fit_device: str) -> None:
    """Named are the term, the epoch and the step; the checkpoint is the one before it, and on the CPU the weights."""

    class Exploding(Noisy):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            terms = super().loss(batch)
            bad = self.training and self.steps == TRIALS + 3 + 2
            return terms | {"kl": terms["loss"].detach() * (math.inf if bad else 1.0)}

    path = tmp_path / "run"
    model = Exploding()
    with pytest.raises(FloatingPointError, match=r"epoch 2 of 5, step 2 of 3: the term 'kl' is inf.*run"):
        fit(model, modalities(), epochs=5, batch_size=8, checkpoint=path, checkpoint_every=1)
    tensors, record = read_checkpoint(path)
    assert (record["progress"]["epoch"], record["progress"]["step"]) == (1, 1)
    if fit_device == "cpu":  # elsewhere the loss is read after the step, so that the step need not wait for it
        trained = [name for name, _ in model.named_parameters()]
        assert all(torch.equal(tensors[f"model/{name}"], model.get_parameter(name)) for name in trained)


@pytest.mark.parametrize("every", [None, 1])
@pytest.mark.parametrize(
    ("clip", "named"), [(None, "'weight w' is nan"), (1.0, "step 1 of 1: the term 'norm of the gradient' is nan")]
)
def test_a_gradient_that_is_not_finite_never_gets_into_a_checkpoint(
    tmp_path: Path, fit_device: str, every: int | None, clip: float | None, named: str
) -> None:
    """√(w²) at 0 is a finite loss whose gradient is 0/0. On the CPU a clipped one never gets into a weight either."""

    class Root(Mean):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"loss": (self.w**2 * batch["x"].mean()).sqrt()}

    path, model = tmp_path / "run", Root()
    with pytest.raises(FloatingPointError, match=named):
        fit(model, numbers(1, 2), epochs=1, batch_size=2, clip_norm=clip, checkpoint=path, checkpoint_every=every)
    assert not path.exists()
    assert bool(model.w.isfinite()) == (clip is not None and fit_device == "cpu")  # elsewhere it is read after the step


def test_a_validation_loss_that_is_not_finite_is_named() -> None:
    with pytest.raises(FloatingPointError, match="epoch 1 of 1, validation: the term 'loss' is nan"):
        fit(Mean(), numbers(1), numbers(math.nan), epochs=1)
    with pytest.raises(FloatingPointError, match="evaluate: the term 'loss' is nan"):
        evaluate(Mean(), numbers(math.nan))


# --- checkpoints -------------------------------------------------------------------------------------------

EPOCHS, STEPS = 3, 3  # 22 examples in batches of 8, 8 and 6
TRIALS = 2  # before training: of a batch of 8, and of one of 6


def train(model: Noisy, path: Path | None, **options: Any) -> History:
    return fit(
        model,
        **{
            "train": modalities(),
            "valid": modalities(9, 1),
            "epochs": EPOCHS,
            "batch_size": 8,
            "lr": 0.05,
            "patience": 3,
            "checkpoint": path,
            **options,
        },
    )


@same_bits
@pytest.mark.parametrize(
    "options",
    [
        {"checkpoint_every": 1},
        {"checkpoint_every": 2, "schedule": "one-cycle", "clip_norm": 0.1},
        {"optimizer": functools.partial(SGD, momentum=0.9, nesterov=True)},
        {"optimizer": SGD},
        {
            "optimizer": functools.partial(torch.optim.AdamW, amsgrad=True),
            "train": modalities().loader(8, shuffle=True),
        },
        {"checkpoint_every": 1, "accumulate": 2, "clip_norm": 0.1},
    ],
    ids=["each step", "one-cycle", "momentum", "stateless", "loader", "accumulated"],
)
def test_resuming_from_any_step_gives_the_same_bits(tmp_path: Path, fit_device: str, options: dict[str, Any]) -> None:
    whole = Noisy()
    expected = train(whole, None if "checkpoint_every" not in options else tmp_path / "whole", **options)
    for stop in range(1, EPOCHS * STEPS + 1, 1 if fit_device == "cpu" else 4):  # the pretend device takes its time
        path = tmp_path / f"{stop}.safetensors"
        model = Noisy()
        interrupt(model, TRIALS + stop)
        with pytest.raises(KeyboardInterrupt):
            train(model, path, **options)
        torch.rand(7)
        other = Noisy()
        if path.exists():  # then what is resumed does not depend on the weights one starts with
            with torch.no_grad():
                for value in other.state_dict().values():
                    value.add_(1)
        assert curves(train(other, path, **options)) == curves(expected), stop
        assert same(state(other), state(whole)), stop


def test_a_dataset_that_draws_noise_is_resumed_exactly(tmp_path: Path) -> None:
    data = Plain(12, noise=1.0)
    whole, stopped = Line(), Line()
    fit(whole, data, epochs=2, batch_size=4)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    options: dict[str, Any] = {"batch_size": 4, "checkpoint": tmp_path / "run", "checkpoint_every": 1}
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, data, epochs=2, callbacks=[stop], **options)
    _, record = read_checkpoint(tmp_path / "run")
    assert (record["progress"]["epoch"], record["progress"]["step"]) == (0, 2)
    fit(stopped, data, epochs=2, **options)
    assert stopped.seen[-4:] == whole.seen[-4:]
    assert stopped.w.item() == whole.w.item()


@same_bits
def test_a_finished_run_is_loaded_and_more_epochs_continue_it(tmp_path: Path) -> None:
    path = tmp_path / "run"
    model, again, longer, whole = Noisy(), Noisy(), Noisy(), Noisy()
    first = train(model, path, epochs=2, patience=9)
    assert train(again, path, epochs=2, patience=9, resume="must") == first
    assert again.steps == TRIALS
    assert same(state(again), state(model))
    history = train(longer, path, epochs=5, patience=9)
    assert curves(history) == curves(train(whole, None, epochs=5, patience=9))
    assert same(state(longer), state(whole))


def test_an_early_stop_is_not_trained_further_when_resumed(tmp_path: Path) -> None:
    options: dict[str, Any] = {"lr": 0.05, "optimizer": SGD, "patience": 2, "checkpoint": tmp_path / "run"}
    first, second = Mean(), Mean()
    history = fit(first, numbers(3), numbers(1), epochs=50, **options)
    assert fit(second, numbers(3), numbers(1), epochs=50, **options) == history
    assert second.w.item() == first.w.item()


def test_resume_never_and_must(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "run"
    with pytest.raises(FileNotFoundError, match="run"):
        train(Noisy(), path, resume="must")
    assert not path.exists()
    train(Noisy(), path)
    model = Noisy()
    train(model, path, resume="never")
    assert model.steps == TRIALS + EPOCHS * STEPS


class Wider(Noisy):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 2, bias=False).requires_grad_(False)


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (Noisy, {"epochs": 2}, "epochs 3, this call has 2"),
        (Noisy, {"batch_size": 7}, "batch_size"),
        (Noisy, {"accumulate": 2}, "accumulate"),
        (Noisy, {"seed": 1}, "seed 0, this call has 1"),
        (Noisy, {"lr": 0.1}, "lr|optimizer"),
        (Noisy, {"schedule": "one-cycle"}, "schedule|optimizer"),
        (Noisy, {"clip_norm": 1.0}, "clip_norm"),
        (Noisy, {"patience": 2}, "patience"),
        (Noisy, {"monitor": "data"}, "monitor"),
        (Noisy, {"optimizer": SGD}, "optimizer"),
        (Noisy, {"optimizer": functools.partial(torch.optim.Adam, weight_decay=0.1)}, "optimizer"),
        (Noisy, {"train": modalities(21)}, "examples"),
        (Noisy, {"valid": modalities(10)}, "examples"),
        (Wider, {}, "another model: 'frozen.bias'"),
        (lambda: Noisy().double(), {"train": None}, "another model"),
        (lambda: Noisy().requires_grad_(True), {}, "trained|optimizer"),
    ],
)
def test_another_run_is_refused_and_nothing_changes(
    tmp_path: Path, make: Callable[[], Noisy], options: dict[str, Any], words: str
) -> None:
    path = tmp_path / "run"
    train(Noisy(), path)
    content, model = path.read_bytes(), make()
    if options.get("train", 0) is None:
        x = {name: v.double() if v.is_floating_point() else v for name, v in modalities().tensors.items()}
        options = {"train": MultimodalDataset(x), "valid": MultimodalDataset({name: v[:9] for name, v in x.items()})}
    before = state(model)
    with pytest.raises(ValueError, match=words):
        train(model, path, **options)
    assert same(state(model), before)
    assert path.read_bytes() == content


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good"
    train(Noisy(), good)
    content = good.read_bytes()
    rng = random.Random(0)
    bad = [b"", b"hello", content[:7], content[:200], content[:-1], content + b"x", pickle.dumps({"w": 1})]
    for _ in range(30):
        place = rng.randrange(len(content))
        bad.append(content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :])
    path = tmp_path / "bad"
    for damaged in bad:
        path.write_bytes(damaged)
        model = Noisy()
        before = state(model)
        with pytest.raises(ValueError, match=r"damaged|not written by mmtutor"):
            train(model, path)
        assert same(state(model), before)
        assert path.read_bytes() == damaged
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not written by mmtutor"):
        train(Noisy(), path)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(Noisy(), tmp_path / "run", epochs=1)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    train(Noisy(), tmp_path / "run")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "run"
    write_checkpoint(path, {"w": torch.ones(3)}, {"n": 1})

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(f"os.{call}", fail)
    with pytest.raises(OSError, match="no space"):
        write_checkpoint(path, {"w": torch.zeros(3)}, {"n": 2})
    monkeypatch.undo()
    tensors, record = read_checkpoint(path)
    assert record == {"n": 1}
    assert torch.equal(tensors["w"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_the_file_is_flushed_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, name=name: (calls.append(name), real(*a))[1])
    write_checkpoint(tmp_path / "run", {"w": torch.ones(3)}, None)
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    for name in (".run.12.tmp", ".run.99.tmp", ".runner.12.tmp"):
        (tmp_path / name).write_bytes(b"half")
    train(Noisy(), tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".runner.12.tmp", "run"]


@given(
    shape=st.lists(st.integers(0, 3), max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8]),
    record=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
)
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], dtype: torch.dtype, record: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "written"
    value = (torch.rand(shape) * 9).to(dtype)
    # Shared memory and other strides, as tied weights and transposes have them.
    tensors = {"a": value, "b": value, "c": value.T if value.ndim == 2 else value.expand(2, *shape)}
    write_checkpoint(path, tensors, record)
    got, read = read_checkpoint(path)
    assert same(got, tensors)
    assert all(got[name].dtype == dtype for name in tensors)
    assert read == record


@on_the_cpu  # with many processes
def test_thirty_kills_at_random_moments(tmp_path: Path) -> None:
    script = Path(__file__).parent / "scripts" / "killed_fit.py"
    command = [sys.executable, str(script), str(tmp_path), "30", "0"]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}  # a process that has used CUDA cannot be forked and use it again
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["kills"] >= 30
    assert {name: report[name] for name in ("lost", "different", "leftovers")} == {
        "lost": 0,
        "different": 0,
        "leftovers": 0,
    }


# --- the rest ----------------------------------------------------------------------------------------------


def test_examples_that_train_hold_on_each_device() -> None:
    """Those of all docstrings; pytest runs them where `accelerate` chooses."""
    root = Path(__file__).resolve().parents[1]
    files = [path for path in (root / "mmtutor").rglob("*.py") if re.search(r">>> .*\bfit\(", path.read_text())]
    assert root / "mmtutor/training/loop.py" in files
    for path in files:
        module = importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
        found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
        assert found.attempted > 0
        assert found.failed == 0


def test_history_is_plain_data() -> None:
    history = fit(Noisy(), modalities(), modalities(), epochs=2)
    assert History(**json.loads(json.dumps(dataclasses.asdict(history)))) == history
    assert len(history.seconds) == 2
    assert all(s > 0 for s in history.seconds)
    with pytest.raises(dataclasses.FrozenInstanceError):
        history.best_epoch = 0  # type: ignore[misc]


def test_evaluate_changes_nothing() -> None:
    model = Noisy()
    before = state(model)
    first = evaluate(model, modalities(), batch_size=5)
    assert same(state(model), before)
    assert model.training
    assert evaluate(model, modalities(), batch_size=5) == first
    assert evaluate(model.requires_grad_(False), modalities(), batch_size=5) == first
    with pytest.raises(ValueError, match="batch_size"):
        evaluate(model, modalities(), batch_size=0)


def test_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMTUTOR_BUDGET", raising=False)
    for gpu, expected in ((False, 1), (True, 2)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert budget(quick=1, full=2) == expected
    monkeypatch.setenv("MMTUTOR_BUDGET", "quick")
    assert budget(quick=1, full=2) == 1
    monkeypatch.setenv("MMTUTOR_BUDGET", "full")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert budget(quick=1, full=2) == 2
    monkeypatch.setenv("MMTUTOR_BUDGET", "huge")
    with pytest.raises(ValueError, match=r"MMTUTOR_BUDGET.*huge"):
        budget(quick=1, full=2)


@pytest.mark.parametrize("yes", [True, np.True_, np.array(True), torch.tensor(True), torch.ones(3).all()])
def test_a_claim_that_holds(yes: object, capsys: pytest.CaptureFixture[str]) -> None:
    claim("water is wet", yes, "wetness 0.93")
    assert capsys.readouterr().out == "✓ water is wet\n"


@pytest.mark.parametrize("no", [False, np.False_, np.array(False), torch.tensor(False)])
def test_a_claim_that_does_not_hold(no: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ClaimError, match=r"does not hold: water is dry \(wetness 0\.93\)") as caught:
        claim("water is dry", no, "wetness 0.93")
    assert isinstance(caught.value, AssertionError)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "odd",
    [
        *(1, 0, 0.0, math.nan, None, "yes", [], [True], torch.tensor([True]), torch.tensor([True, False])),
        *(torch.tensor(1.0), torch.tensor(math.nan), np.array([True]), np.float64(1.0), np.array(1)),
    ],
)
def test_a_claim_wants_one_boolean(odd: object) -> None:
    with pytest.raises(TypeError, match="one boolean"):
        claim("water is wet", odd)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "a", None, True])
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="seed"):
        seed_everything(seed)


@on_the_cpu  # where torch is imported, it is all the same
def test_importing_costs_no_accelerate() -> None:
    code = "import sys, mmtutor; assert 'torch' not in sys.modules; import mmtutor.training as t; "
    code += "assert 'accelerate' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
