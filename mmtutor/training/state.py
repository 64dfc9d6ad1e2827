"""The state of a training run: what it measured, and all it needs to carry on after a kill."""

from __future__ import annotations

import copy
import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmtutor.training.arguments import Direction
from mmtutor.training.checkpoint import read_checkpoint, write_checkpoint
from mmtutor.training.description import Description, difference
from mmtutor.training.loss import add_means
from mmtutor.training.seeds import mix, seed_everything, set_rng_state

WAYS = "give the same ones or another path, or start anew with resume='never'"


@dataclass(frozen=True)
class History:
    """What a training run measured: plain lists of floats, one entry per finished epoch.

    Attributes:
        train: term name to its mean over the training examples, while the weights were changing.
        valid: term name to its mean over the validation examples after the epoch; empty without them.
        seconds: wall-clock time of each epoch, validation included.
        best_epoch: index into the lists of the best epoch: that of the lowest validation loss, or of the best value
            of the term that `fit` was told to monitor; None without validation.

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


@dataclass
class Progress:
    """How far a run is, and what it has measured."""

    epoch: int = 0  # finished ones
    step: int = 0  # of the epoch under way
    sums: dict[str, float] = field(default_factory=dict)  # of each term over its examples so far
    elapsed: float = 0.0
    train: dict[str, list[float]] = field(default_factory=dict)
    valid: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None

    def add(self, means: Mapping[str, float], size: int) -> None:
        """Count a batch by its number of examples."""
        add_means(self.sums, means, size)

    def finish(self, measured: Mapping[str, float], count: int, monitor: str, mode: Direction) -> bool:
        """Close the epoch; true if the monitored term of the validation is the best so far."""
        for name, value in self.sums.items():
            self.train.setdefault(name, []).append(value / count)
        for name, value in measured.items():
            self.valid.setdefault(name, []).append(value)
        self.seconds.append(self.elapsed)
        self.epoch, self.step, self.sums, self.elapsed = self.epoch + 1, 0, {}, 0.0
        sign = -1 if mode == "max" else 1
        costs = [sign * value for value in self.valid.get(monitor, [])]
        better = bool(costs) and (self.best_epoch is None or costs[-1] < costs[self.best_epoch])
        if better:
            self.best_epoch = self.epoch - 1
        return better

    def out_of(self, patience: int | None) -> bool:
        """Whether the validation has not become better for that many epochs."""
        if patience is None or self.best_epoch is None:
            return False
        return self.epoch - 1 - self.best_epoch >= patience

    def history(self) -> History:
        """A copy that later epochs do not change."""
        kept = copy.deepcopy(self)
        return History(kept.train, kept.valid, kept.seconds, kept.best_epoch)


class Run:
    """All that a checkpoint must hold for a run to carry on as if it had never stopped."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        settings: dict[str, Any],
        descriptions: dict[str, Description],
    ) -> None:
        self.model, self.optimizer, self.scheduler, self.settings = model, optimizer, scheduler, settings
        self.descriptions = descriptions  # of the model and of the data
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}

    def save(self, path: Path, rng_states: list[Any]) -> None:
        """Write the checkpoint; ``rng_states`` has one entry per process."""
        optimizer = self.optimizer.state_dict()
        state = [(str(i), key, value) for i, of in optimizer["state"].items() for key, value in of.items()]
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors |= {f"optimizer/{i}/{key}": value for i, key, value in state if isinstance(value, Tensor)}
        record = {
            "settings": self.settings,
            "descriptions": self.descriptions,
            "progress": asdict(self.progress),
            "optimizer": [entry for entry in state if not isinstance(entry[2], Tensor)],
            "groups": optimizer["param_groups"],
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "rng": rng_states,
        }
        write_checkpoint(path, tensors, record)

    def restore(self, path: Path, rank: int, noise: int) -> None:
        """Carry on from a checkpoint; everything is checked before anything is changed."""
        tensors, record = read_checkpoint(path)
        part = {
            prefix: {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
            for prefix in ("model/", "best/", "optimizer/")
        }
        self._check_settings(path, record["settings"])
        self._check_weights(path, part["model/"])
        self._check_descriptions(path, record["descriptions"])
        state: dict[int, dict[str, Any]] = {}
        for name, value in part["optimizer/"].items():
            index, key = name.split("/", 1)
            state.setdefault(int(index), {})[key] = value
        for index, key, value in record["optimizer"]:
            state.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        for group, kept in zip(groups, record["groups"], strict=True):
            for key, value in kept.items():  # JSON turned tuples into lists
                group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
        self.model.load_state_dict(part["model/"])
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self.scheduler:
            self.scheduler.load_state_dict(record["scheduler"])
        self.best, self.progress = part["best/"], Progress(**record["progress"])
        if rank < len(record["rng"]):
            set_rng_state(record["rng"][rank])
        else:  # more processes than before: the new ones start a stream of their own
            seed_everything(mix(noise, self.progress.epoch, self.progress.step))

    def report(self, path: Path, patience: int | None) -> str:
        """Where the run stands that was restored."""
        now, epochs = self.progress, self.settings["epochs"]
        if now.epoch < epochs and not now.out_of(patience):
            step = f"step {now.step + 1} of {self.settings['steps']}"
            return f"fit: the run in {path} is carried on, at epoch {now.epoch + 1} of {epochs}, {step}"
        return (
            f"fit: the run in {path} has finished and is loaded, not trained: {now.epoch} of {epochs} epochs, "
            f"last loss {now.train['loss'][-1]:.4g}; resume='never' trains anew"
        )

    # ---- messages

    def _check_settings(self, path: Path, saved: dict[str, Any]) -> None:
        """Refuse a checkpoint that was made with other arguments of `fit`."""
        ours = _jsonable(self.settings)
        for name, value in ours.items():
            longer = name == "epochs" and ours["schedule"] == "constant" and saved[name] <= value
            if saved.get(name) != value and not longer:
                was, is_ = reprlib.repr(saved.get(name)), reprlib.repr(value)
                raise ValueError(f"fit: the checkpoint {path} was made with {name} {was}, this call has {is_}; {WAYS}")

    def _check_weights(self, path: Path, saved: Mapping[str, Tensor]) -> None:
        """Refuse a checkpoint of other weights."""
        now = {name: (tuple(v.shape), v.dtype) for name, v in self.model.state_dict().items()}
        then = {name: (tuple(v.shape), v.dtype) for name, v in saved.items()}
        for name in sorted(now.keys() | then.keys()):
            if now.get(name) != then.get(name):
                raise ValueError(
                    f"fit: the checkpoint {path} is of another model: "
                    f"{name!r} is {then.get(name, 'missing')} there and {now.get(name, 'missing')} here; {WAYS}"
                )

    def _check_descriptions(self, path: Path, saved: Mapping[str, Description]) -> None:
        """Refuse a checkpoint of a model with other settings, or of other data."""
        for what, description in self.descriptions.items():
            if differs := difference(saved.get(what, {}), description):
                name, then, now = differs
                other = f"the model's {name} {then}" if what == "model" else f"other data: {what}'s {name} is {then}"
                raise ValueError(f"fit: the checkpoint {path} was made with {other}, this call has {now}; {WAYS}")


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value, default=repr))
