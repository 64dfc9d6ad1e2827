"""What the tests share: the devices that `fit` trains on, and the built site, made once for all that look at it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pretend_device as pretend  # here, since torch must know of the device before its first backward pass
import pytest
import torch
from filelock import FileLock
from sample_site import build, site_copy

FIT_DEVICES = ["cpu", "pretend" if pretend.HERE else "cuda"]


@pytest.fixture(params=FIT_DEVICES)
def fit_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where `fit` trains: on the CPU, and on a CUDA GPU if there is one, else on the pretend accelerator.

    ``@pytest.mark.parametrize("fit_device", ["cpu"], indirect=True)`` keeps a test to the CPU.
    """
    if request.param == "cuda":
        yield request.param
        return
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")  # other processes that a test starts keep to the CPU, too
    if request.param == "cpu":
        yield request.param
        return
    with pretend.chosen():
        yield request.param


@pytest.fixture
def bfloat16_on_any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a CPU has no bfloat16 oneDNN refuses an LSTM under autocast; then do what docs/devices.md says."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With a CUDA GPU the pretend accelerator cannot be in the same process."""
    says = "a process has CUDA or the pretend accelerator: CUDA_VISIBLE_DEVICES= pytest tests/devices"
    for item in items if not pretend.HERE else ():
        if "devices" in item.path.parts:
            item.add_marker(pytest.mark.skip(says))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that calls `fit` says where it trains: else it would do so on the GPU of whoever has one."""
    if not {"fit_device", "device"}.isdisjoint(getattr(item, "fixturenames", ())):  # the second one is tests/devices'
        return (yield)

    def refuse() -> None:
        pytest.fail("a test that calls fit uses the fixture `fit_device` of tests/conftest.py")

    with mock.patch("mmtutor.training.loop.own_accelerator", refuse):
        return (yield)


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; tests that run side by side share it, so nobody writes into it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the folder that all processes of this run have in common
    source, ready = folder / "whole_site", folder / "whole_site.ready"
    with FileLock(folder / "whole_site.lock"):
        if not ready.exists():
            done = build(site_copy(source, whole=True))
            assert done.returncode == 0, done.stderr
            ready.touch()
    return source / "site"
