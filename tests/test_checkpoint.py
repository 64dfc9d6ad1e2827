"""Of which model and of which data a checkpoint is: what must be refused, and what must not."""

import collections
import copy
import dataclasses
import functools
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset, default_collate

from mmtutor.data import MultimodalDataset
from mmtutor.training import History, fit
from mmtutor.training.checkpoint import FORMAT
from mmtutor.training.description import Describer, Description, difference, settled
from mmtutor.vae import MVAE, gaussian

on_the_cpu = pytest.mark.parametrize("fit_device", ["cpu"], indirect=True)


class Line(nn.Module):
    """A line through (x, y), with whatever settings; it counts and keeps what it has seen."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.line = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.1))
        self.steps = 0
        self.seen: list[Tensor] = []
        vars(self).update(settings)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.steps += 1
        self.seen.append(batch["x"])
        self.last = batch["x"]
        return {"loss": (self.line(batch["x"])[:, 0] - batch["y"]).square().mean()}


def columns(seed: int = 0, n: int = 8) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(n, 2, generator=g), "y": torch.randn(n, generator=g)}


def run(path: Path, model: nn.Module | None = None, train: Any = None, valid: Any = None, **options: Any) -> History:
    options = {"epochs": 2, "batch_size": 4, "checkpoint": path, "progress": False, **options}
    return fit(model or Line(), columns() if train is None else train, valid, **options)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- descriptions of values ---------------------------------------------------------------------------------


class Config:
    beta = 0.1

    def __init__(self, **own: Any) -> None:
        vars(self).update(own)


def edited(number: float) -> type:
    """A class of one name, as a notebook's cell makes it anew after an edit."""

    class Edited:
        beta = number

    return Edited


class OtherConfig(Config):
    beta = 0.2


@dataclasses.dataclass
class Data:
    a: int = 1
    inner: Any = None


class Pair(NamedTuple):
    a: int
    b: str


class Slots:
    __slots__ = ("a",)

    def __init__(self, a: int) -> None:
        self.a = a


def power(n: int) -> Callable[[Any], Any]:
    return lambda x: x**n


def with_default(x: int, y: int = 1) -> int:
    return x + y


def with_other_default(x: int, y: int = 2) -> int:
    return x + y


with_other_default.__qualname__ = "with_default"


def net(dropout: float) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Dropout(dropout)).apply(lambda m: [p.data.zero_() for p in m.parameters()])


def recursive(x: int) -> list[Any]:
    loop: list[Any] = [x]
    loop.append(loop)
    return loop


DIFFERENT: list[tuple[Any, Any]] = [
    (0.01, 100.0),
    (1, "1"),
    (True, 1),
    (None, 0),
    ("a" * 500, "a" * 499 + "b"),
    ((1, 2), (2, 1)),
    ({1, 2}, {1, 3}),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    (list(range(5000)), [*range(4999), 0]),
    (torch.float32, torch.float64),
    (torch.zeros(3), torch.ones(3)),
    (torch.zeros(3), torch.zeros(3, dtype=torch.float64)),
    (torch.zeros(2, 3), torch.zeros(3, 2)),
    (np.zeros(3), np.array([0.0, 0.0, 1e-9])),
    (np.float64(0.1), np.float64(0.2)),
    (torch.relu, torch.tanh),
    (nn.functional.relu, nn.functional.gelu),
    (lambda x: x + 1, lambda x: x + 2),
    (lambda x: x + 1, lambda x: x - 1),
    (lambda x: x.exp(), lambda x: x.log()),
    (lambda x: [y + 1 for y in x], lambda x: [y + 2 for y in x]),
    (power(2), power(3)),
    (with_default, with_other_default),
    (functools.partial(power, 2), functools.partial(power, 3)),
    (Config(beta=1).__repr__, Config(beta=2).__repr__),
    (Config(), OtherConfig()),
    (Config, OtherConfig),
    (edited(0.1)(), edited(0.2)()),
    (edited(0.1), edited(0.2)),
    (Config(a=1), Config(a=2)),
    (Config(_a=1), Config(_a=2)),
    (Config(a=Config(a=Config(a=1))), Config(a=Config(a=Config(a=2)))),
    (Data(inner=Data(1)), Data(inner=Data(2))),
    (Pair(1, "a"), Pair(1, "b")),
    (Slots(1), Slots(2)),
    (SimpleNamespace(a=1), SimpleNamespace(a=2)),
    (Path("a"), Path("b")),
    (re.compile("a"), re.compile("b")),
    (range(10**12), range(10**12 + 1)),
    (slice(3), slice(4)),
    ((net(0.1),), (net(0.2),)),  # a teacher in a tuple, so that it is no part of the model
    ((net(0.1),), (net(0.1).apply(lambda m: [p.data.fill_(1) for p in m.parameters()]),)),
    (torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(0.0, 2.0)),
    (recursive(1), recursive(2)),
]


def described(value: Any) -> Description:
    return Describer(Line()).model() | Describer(model := Line(setting=value)).model() | {"steps": str(model.steps)}


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_what_differs_is_told_apart_and_what_is_copied_is_not(a: Any, b: Any) -> None:
    differs = difference(described(a), described(b))
    assert differs is not None
    assert differs[0].partition(".")[0] == "setting"
    assert all(len(text) < 200 for text in differs)
    for value in (a, b):
        assert difference(described(value), described(value)) is None
        assert difference(described(value), described(copy.deepcopy(value))) is None


SAME: list[tuple[Any, Any]] = [
    (1, 1.0),
    ((1, 2), [1, 2]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (np.float64(0.5), 0.5),
    (torch.Size([2]), (2,)),
    (torch.arange(4).view(2, 2).T.contiguous(), torch.arange(4).view(2, 2).T),
    (random.Random(0), random.Random(1)),
    (np.random.default_rng(0), np.random.default_rng(1)),
    (torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)),
    (torch.device("cpu"), torch.device("cuda")),
    ((i for i in range(2)), (i for i in range(3))),
    (threading.Lock(), threading.Lock()),
    (object(), object()),
    (power(2), power(2)),
    (collections.OrderedDict(a=1), {"a": 1}),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_what_means_the_same_is_the_same(a: Any, b: Any) -> None:
    assert difference(described(a), described(b)) is None


def test_weights_are_no_settings_but_the_part_they_are_in_is() -> None:
    class Holds(nn.Module):
        def __init__(self, part: int) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(2, 2), nn.LSTM(2, 2), nn.Dropout(0.1)])
            self.listed = [*self.parts]
            self.weight = [self.parts[0].weight]
            self.me = self.forward
            self.parts[2].p = part / 10

    first, second, other = (Describer(Holds(part)).model() for part in (1, 1, 2))
    assert first == second
    assert difference(first, other) == ("parts.2.p", "0.1", "0.2")


def test_what_changes_in_use_is_no_setting() -> None:
    before, after = {"beta": "1", "steps": "0", "a.seen": "()"}, {"beta": "1", "steps": "1", "a.seen": "(1)", "b": "2"}
    recorded = settled(before, after)
    assert recorded == {"beta": "1", "steps": None, "a.seen": None, "b": None}
    assert difference(recorded, {"beta": "1", "steps": "9", "a.seen": "(1, 2)", "b": "3"}) is None
    assert difference(recorded, {**recorded, "beta": "2"}) == ("beta", "1", "2")
    assert difference({"a._cache": "None", "a._beta": "1"}, {"a._cache": "float32 (3,)", "a._beta": "1"}) is None
    assert difference({"a._beta": "1"}, {"a._beta": "2"}) == ("a._beta", "1", "2")
    assert difference({}, {"a": "1"}) == ("a", "nothing", "1")
    assert difference({"cache": None}, {"cache": "dict of 1", "cache.'k'.a": "1"}) is None


def test_a_new_process_describes_the_same() -> None:
    code = """
import json, random, sys
import torch
from torch import nn
from mmtutor.data import MultimodalDataset
from mmtutor.training.description import Describer
from mmtutor.vae import MVAE, bernoulli, gaussian
kinds = [bernoulli(), gaussian(0.5)]
model = MVAE({n: nn.Linear(4, 4) for n in "ab"}, {n: nn.Linear(2, 4) for n in "ab"}, dict(zip("ab", kinds)), 2, beta=3)
model.names, model.more = {"x", "y", "z"}, [lambda x, k=n: x + k for n in range(3)]
model.object, model.type = object(), type("T", (), {"a": {"q", "r"}})
data = MultimodalDataset({"a": torch.arange(4.0), "b": torch.arange(4.0)})
describer = Describer(model)
print(json.dumps([describer.model(), describer.data(data, [[0, 1]])], sort_keys=True))
"""
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code],
            env=env | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    assert first == second
    assert json.loads(first)[0]["beta"] == "3.0"


# --- a checkpoint of another model --------------------------------------------------------------------------


def mvae(beta: float, scale: float = 1.0, learned: bool = False) -> MVAE:
    torch.manual_seed(0)
    x = {"x": nn.Linear(2, 4)}
    return MVAE(x, {"x": nn.Linear(2, 2)}, {"x": gaussian(scale)}, 2, beta=beta)


@pytest.mark.usefixtures("fit_device")
def test_a_sweep_over_a_setting_with_one_path_is_refused(tmp_path: Path) -> None:
    path, data = tmp_path / "run", {"x": columns()["x"]}
    run(path, mvae(0.01), data)
    content = path.read_bytes()
    for model, words in (
        (mvae(100.0), r"the model's beta 0\.01, this call has 100\.0"),
        (mvae(0.01, 2.0), r"the model's likelihoods\.'x'\.scale 1\.0, this call has 2\.0"),
    ):
        before = state(model)
        with pytest.raises(
            ValueError, match=rf"checkpoint .*run was made with {words}; give .* resume='never'$"
        ) as error:
            run(path, model, data)
        assert "\n" not in str(error.value)
        assert same(state(model), before)
        assert path.read_bytes() == content
    assert run(path, mvae(0.01), data) == run(path, copy.deepcopy(mvae(0.01)), data)
    run(path, mvae(100.0), data, resume="never")
    assert path.read_bytes() != content


@on_the_cpu
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: setattr(m.line[1], "p", 0.2), r"model's line\.1\.p 0\.1, this call has 0\.2"),
        (lambda m: m.line.__setitem__(1, nn.AlphaDropout(0.1)), r"line\.1\.class Dropout, this call has AlphaDropout"),
        (lambda m: setattr(m, "transform", torch.tanh), "model's transform "),
        (lambda m: setattr(m, "beta", 1.0), "model's beta nothing, this call has 1.0"),
        (lambda m: m.line[0].requires_grad_(False).bias.requires_grad_(True), "trained|optimizer"),
        (lambda m: m.line[1].eval(), r"parts in evaluation mode \[\], this call has \['line.1'\]"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, fit_device: str, change: Callable[[Line], Any], words: str) -> None:
    run(tmp_path / "run")
    model = Line()
    change(model)
    before = state(model)
    with pytest.raises(ValueError, match=f"was made with .*{words}.*"):
        run(tmp_path / "run", model)
    assert same(state(model), before)


@on_the_cpu
def test_a_model_that_was_used_since_is_the_same_model(tmp_path: Path, fit_device: str) -> None:
    """The second run of a notebook's cell: counters, caches and lists of losses are not what they were."""
    model = Line()
    first = run(tmp_path / "run", model)
    assert model.steps > 2
    model.loss({name: x[:1] for name, x in columns().items()})
    assert run(tmp_path / "run", model) == first
    assert run(tmp_path / "run", copy.deepcopy(model).eval()) == first


# --- a checkpoint of other data -----------------------------------------------------------------------------


class Items(Dataset[dict[str, Tensor]]):
    """Examples one by one, moved at random; it remembers which were read."""

    def __init__(self, columns: dict[str, Tensor], noise: float = 0.0) -> None:
        self.columns, self.noise = columns, noise
        self.cache: dict[int, dict[str, Tensor]] = {}
        self.count = 0

    def __len__(self) -> int:
        return len(self.columns["y"])

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        self.count += 1
        if k not in self.cache:
            self.cache[k] = {name: x[k] for name, x in self.columns.items()}
        return {**self.cache[k], "x": self.cache[k]["x"] + self.noise * torch.rand(2)}


def as_tuples(x: dict[str, Tensor]) -> DataLoader[Any]:
    def collate(items: list[Any]) -> dict[str, Tensor]:
        return {"x": torch.stack([a for a, _ in items]), "y": torch.stack([b for _, b in items])}

    return DataLoader(TensorDataset(x["x"], x["y"]), 4, collate_fn=collate)


def shifted(by: float) -> Callable[[list[Any]], dict[str, Tensor]]:
    def collate(items: list[Any]) -> dict[str, Tensor]:
        batch = default_collate(items)
        return {**batch, "x": batch["x"] + by}

    return collate


def changed(x: dict[str, Tensor]) -> dict[str, Tensor]:
    y = x["y"].clone()
    y[5] += 1e-6
    return {**x, "y": y}


DATA: dict[str, tuple[Callable[[], Any], Callable[[], Any], str]] = {
    "values": (columns, lambda: changed(columns()), "train's 'y' is float32 (8,) "),
    "another modality": (columns, lambda: {**columns(), "z": columns()["x"]}, "train's 'z' is nothing"),
    "no longer a modality": (lambda: {**columns(), "z": columns()["x"]}, columns, "train's 'z' is float32 (8, 2)"),
    "order": (columns, lambda: {n: x.flip(0) for n, x in columns().items()}, "train's 'x' is float32 (8, 2) "),
    "list": (
        lambda: [*MultimodalDataset(columns())],
        lambda: [*MultimodalDataset(columns(1))],
        "train's examples.0 is ",
    ),
    "tuples": (lambda: as_tuples(columns()), lambda: as_tuples(columns(1)), "train's tensors is "),
    "subset": (
        lambda: Subset(MultimodalDataset(columns()), range(6)),
        lambda: Subset(MultimodalDataset(columns()), range(2, 8)),
        "train's indices is ",
    ),
    "of a subset": (
        lambda: Subset(Items(columns()), [0, 1]),
        lambda: Subset(Items(columns(1)), [0, 1]),
        "train's dataset.columns is ",
    ),
    "several": (
        lambda: ConcatDataset([Items(columns()), Items(columns(1))]),
        lambda: ConcatDataset([Items(columns()), Items(columns(2))]),
        "train's datasets.1.columns is ",
    ),
    "own dataset": (lambda: Items(columns()), lambda: Items(columns(), 0.1), "train's noise is 0.0, this call has 0.1"),
    "loader's sampler": (
        lambda: DataLoader(MultimodalDataset(columns()), 4),
        lambda: DataLoader(MultimodalDataset(columns()), 4, shuffle=True),
        "train's batches is ",
    ),
    "loader's collate_fn": (
        lambda: DataLoader(Items(columns()), 4, collate_fn=shifted(1.0)),
        lambda: DataLoader(Items(columns()), 4, collate_fn=shifted(2.0)),
        "train's collate_fn.by is 1.0, this call has 2.0",
    ),
}


@on_the_cpu
@pytest.mark.parametrize("kind", DATA)
def test_other_data_are_refused_and_the_same_are_not(tmp_path: Path, fit_device: str, kind: str) -> None:
    make, other, words = DATA[kind]
    data = make()
    history = run(tmp_path / "run", train=data)
    with pytest.raises(ValueError, match=f"was made with other data: {re.escape(words)}.*resume='never'") as error:
        run(tmp_path / "run", train=other())
    assert len(str(error.value)) < 500 + len(str(tmp_path))
    for again in (data, make(), copy.deepcopy(make())):
        assert run(tmp_path / "run", train=again) == history


@on_the_cpu
def test_validation_data_are_compared_too(tmp_path: Path, fit_device: str) -> None:
    run(tmp_path / "run", valid=columns(1))
    with pytest.raises(ValueError, match="other data: valid's 'x' is"):
        run(tmp_path / "run", valid=columns(2))
    with pytest.raises(ValueError, match="examples"):
        run(tmp_path / "run")


@on_the_cpu
@pytest.mark.parametrize("workers", [0, 1])
def test_augmentation_does_not_make_other_data(tmp_path: Path, fit_device: str, workers: int) -> None:
    first = run(tmp_path / "run", train=Items(columns(), 1.0), epochs=1)
    torch.rand(5)
    assert run(tmp_path / "run", train=Items(columns(), 1.0), epochs=1) == first
    loaders = [DataLoader(Items(columns(), 1.0), 4, num_workers=workers) for _ in range(2)]
    first = run(tmp_path / "loaded", train=loaders[0], epochs=1)
    assert run(tmp_path / "loaded", train=loaders[1], epochs=1) == first


@on_the_cpu
def test_data_are_described_for_a_checkpoint_only(fit_device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Describer, "text")
    run(None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="text"):
        run(Path("never written"))


# --- what is said, and other formats ------------------------------------------------------------------------


@pytest.mark.usefixtures("fit_device")
def test_a_line_tells_of_a_run_that_is_loaded_or_carried_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"
    first = run(path)
    assert capsys.readouterr() == ("", "")
    run(path)
    last = f"{first.train['loss'][-1]:.4g}"
    said = f"fit: the run in {path} has finished and is loaded, not trained: 2 of 2 epochs, last loss {last}; "
    assert capsys.readouterr() == ("", f"{said}resume='never' trains anew\n")
    run(path, epochs=3)
    assert capsys.readouterr() == ("", f"fit: the run in {path} is carried on, at epoch 3 of 3, step 1 of 2\n")
    run(path, epochs=3, resume="never")
    assert capsys.readouterr() == ("", "")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, resume="never", checkpoint_every=1, callbacks=[stop])
    run(path)
    assert capsys.readouterr().err == f"fit: the run in {path} is carried on, at epoch 1 of 2, step 2 of 2\n"


@on_the_cpu
def test_an_older_format_is_refused_in_words_of_its_own(tmp_path: Path, fit_device: str) -> None:
    path = tmp_path / "run"
    run(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    assert header["format"] == FORMAT
    save_file({"model/w": torch.zeros(1)}, path, {**header, "format": "mmtutor checkpoint 1"})
    with pytest.raises(ValueError, match=r"another version of mmtutor: .*'mmtutor checkpoint 1'.*resume='never'"):
        run(path)
