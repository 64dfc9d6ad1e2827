"""Trained weights, loaded into a model: what comes back, and what is refused before anything is changed."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from mmtutor.training import evaluate, fit, load_weights
from mmtutor.training.checkpoint import write_checkpoint


class Net(nn.Module):
    """Weights, running means, and a tied weight."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, size), nn.BatchNorm1d(size))
        self.head = nn.Linear(size, 1)
        self.tied = self.head

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": (self.tied(self.encoder(batch["x"]))[:, 0] - batch["y"]).square().mean()}


def columns(seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(8, 2, generator=g), "y": torch.randn(8, generator=g)}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("patience", [None, 2])
def test_the_weights_of_a_run_come_back(tmp_path: Path, fit_device: str, patience: int | None) -> None:
    """Of the best epoch where early stopping kept it, also of a run that was stopped before its end; else the last."""
    path, trained, epochs = tmp_path / "run", Net(), []

    def keep(epoch: int, model: nn.Module, history: object) -> None:
        epochs.append(state(model))

    options: dict[str, Any] = {"epochs": 30, "lr": 0.3, "patience": patience, "checkpoint": path, "progress": False}
    history = fit(trained, columns(), columns(1), callbacks=[keep], **options)
    best = len(epochs) - 1 if patience is None else history.best_epoch
    assert patience is None or best < len(epochs) - 1
    model = Net()
    assert load_weights(model, path) is model
    assert not any(module.training for module in model.modules())
    assert same(state(model), state(trained))
    assert same(state(model), epochs[best])
    assert evaluate(model, columns(1)) == pytest.approx(evaluate(load_weights(Net(), str(path)), columns(1)))


def test_the_weights_stay_where_the_model_is(tmp_path: Path, fit_device: str) -> None:
    model = Net()
    fit(model, columns(), epochs=1, checkpoint=tmp_path / "run", progress=False)
    device = next(model.parameters()).device
    expected = state(model)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    load_weights(model, tmp_path / "run")
    assert {p.device for p in model.parameters()} == {device}
    assert same(state(model), expected)


@pytest.mark.parametrize("write", [lambda m, p: save_model(m, p), lambda m, p: save_file(state(m), p)])
def test_files_of_other_programs_are_read(tmp_path: Path, write: Callable[[nn.Module, Path], None]) -> None:
    """`save_model` keeps one name of a tied weight only."""
    other, model, path = Net(), Net(), tmp_path / "weights.safetensors"
    write(other, path)
    load_weights(model, path)
    assert same(state(model), state(other))
    assert model.tied is model.head


def test_a_half_precision_file_is_read_into_the_model_s_own(tmp_path: Path) -> None:
    path, model = tmp_path / "weights", nn.Linear(2, 1)
    save_file({"weight": torch.ones(1, 2).bfloat16(), "bias": torch.zeros(1).bfloat16()}, path)
    assert load_weights(model, path).weight.dtype == torch.float32
    assert model.weight.tolist() == [[1.0, 1.0]]


def renamed(model: nn.Module, rename: Callable[[str], str]) -> dict[str, Tensor]:
    return {rename(name): value for name, value in state(model).items()}


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "shape": (lambda p: save_file(state(Net(4)), p), r"'encoder\.0\.weight' is float32 \(4, 2\) .* float32 \(3, 2\)"),
    "kind": (
        lambda p: save_file({n: x.long() for n, x in state(Net()).items()}, p),
        r"'encoder\.0\.weight' is int64 \(3, 2\) in the file and float32 \(3, 2\) in the model",
    ),
    "missing": (
        lambda p: save_file({n: x for n, x in state(Net()).items() if n != "head.bias"}, p),
        r"of another model: the file has no 'head\.bias'$",
    ),
    "more": (lambda p: save_file({**state(Net()), "b": torch.ones(1)}, p), "the model has no 'b'$"),
    "wrapped": (
        lambda p: save_file(renamed(Net(), "module.{}".format), p),
        r"no 'encoder\.0\.weight', but 'module\.encoder\.0\.weight': .* part 'module' .* without 'module\.'",
    ),
    "a part": (
        lambda p: save_file(state(Net().encoder), p),
        r"no 'encoder\.0\.weight', but '0\.weight': .* call load_weights\(model\.encoder, path\)",
    ),
    "other names": (
        lambda p: save_file(renamed(Net(), lambda n: n.replace("encoder", "enc")), p),
        r"no 'encoder\.0\.weight', but 'enc\.0\.bias'",
    ),
    "torch.save": (lambda p: torch.save(state(Net()), p), r"pickle.*load_state_dict\(torch\.load\(.*weights_only=True"),
    "old torch.save": (
        lambda p: torch.save(state(Net()), p, _use_new_zipfile_serialization=False),
        "is a pickle",
    ),
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"w": 1})), "is a pickle"),
    "text": (lambda p: p.write_text("weights"), "damaged or is no checkpoint"),
    "empty": (lambda p: p.write_bytes(b""), "damaged or is no checkpoint"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "another version": (
        lambda p: save_file(state(Net()), p, {"format": "mmtutor checkpoint 0", "record": "{}", "crc": "1"}),
        "written by another version of mmtutor",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_other_files_are_refused_and_nothing_is_changed(tmp_path: Path, kind: str) -> None:
    write, words = BAD[kind]
    path, model = tmp_path / "weights", Net()
    write(path)
    before = state(model)
    with pytest.raises(ValueError, match=words):
        load_weights(model, path)
    assert same(state(model), before)
    assert model.training


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "run", Net()
    write_checkpoint(path, {f"model/{name}": value for name, value in state(Net()).items()}, None)
    content = path.read_bytes()
    before = state(model)
    for place in range(0, len(content), 37):
        path.write_bytes(content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"damaged|another (model|version)"):
            load_weights(model, path)
        assert same(state(model), before)


def test_what_is_no_model_and_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nowhere"):
        load_weights(Net(), tmp_path / "nowhere")
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got dict"):
        load_weights({}, tmp_path)  # type: ignore[type-var]
    save_file(state(nn.Linear(2, 1)), tmp_path / "weights")
    with pytest.raises(ValueError, match=r"'weight' has no shape yet; take one batch"):
        load_weights(nn.LazyLinear(1), tmp_path / "weights")


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.delattr(pickle, name)
    torch.save(state(Net()), tmp_path / "weights")
    with pytest.raises(ValueError, match="is a pickle"):
        load_weights(Net(), tmp_path / "weights")
