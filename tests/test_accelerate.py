"""The same call of `fit` in one process and in two must train the same model."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "scripts" / "launched_fit.py"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process reported, and both of two."""
    base = tmp_path_factory.mktemp("launched")
    # An accelerate configuration of the user's own must not decide what is tested.
    env = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", "HF_HOME": str(base)}
    env["CUDA_VISIBLE_DEVICES"] = ""  # both processes would share the one GPU
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # `accelerate launch --cpu --num_processes 2` starts one process only (seen in accelerate 1.15: without
    # MPI it ignores the number), so the processes are asked for by --multi_gpu and kept to the CPU by the
    # variable above; accelerate then takes gloo.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(port)]
    said = {}
    for name, command in (("one", []), ("two", launch)):
        (base / name).mkdir()
        done = subprocess.run(
            [sys.executable, *command, str(SCRIPT), str(base / name)],
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        said[name] = done.stderr
    one, first, second = (base / "one/rank0.json", base / "two/rank0.json", base / "two/rank1.json")
    found = {name: json.loads(p.read_text()) for name, p in (("one", one), ("first", first), ("second", second))}
    return found | {"said": said}


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for name in sorted(value):
            yield from numbers(value[name])
    elif isinstance(value, list):
        for entry in value:
            yield from numbers(entry)
    else:
        yield value


def test_there_were_two_processes(reports: dict[str, Any]) -> None:
    assert [reports[name]["world"] for name in ("one", "first", "second")] == [1, 2, 2]


@pytest.mark.parametrize("name", ["uneven", "single", "halves", "unused", "InfoNCE", "hardest", "sigmoid"])
def test_two_processes_follow_the_curve_of_one(reports: dict[str, Any], name: str) -> None:
    """Float64, a last batch of 3 and of 1 (one process without examples), clipping and a schedule."""
    one, two = reports["one"][name], reports["first"][name]
    assert len(one["train"]["loss"]) >= 3
    for part in ("train", "valid", "weights"):
        assert list(numbers(two[part])) == pytest.approx(list(numbers(one[part])), abs=1e-12, rel=0)


def test_accumulated_batches_of_two_processes_are_one_large_batch(reports: dict[str, Any]) -> None:
    for part in ("train", "valid", "weights"):
        halves, whole = reports["first"]["halves"][part], reports["first"]["uneven"][part]
        assert list(numbers(halves)) == pytest.approx(list(numbers(whole)), abs=1e-12, rel=0)


@pytest.mark.parametrize("name", ["uneven", "single", "halves", "unused", "noisy", "resumed"])
def test_both_processes_end_with_the_same_bits(reports: dict[str, Any], name: str) -> None:
    """Running means of batch normalisation too, and although the first weights differed."""
    assert reports["first"][name] == reports["second"][name]


def test_a_resumed_run_of_two_processes_ends_with_the_same_bits(reports: dict[str, Any]) -> None:
    """Each process draws dropout of its own, so this needs the random state of each in the checkpoint."""
    assert reports["first"]["resumed"] == reports["first"]["noisy"]
    assert reports["first"]["stopped"]["weights"] != reports["first"]["noisy"]["weights"]


def test_one_process_alone_tells_that_the_run_is_carried_on(reports: dict[str, Any]) -> None:
    assert [reports["said"][name].count("is carried on, at epoch 3 of 4, step 1 of 3") for name in ("one", "two")] == [
        1,
        1,
    ]


def test_each_process_draws_noise_of_its_own(reports: dict[str, Any]) -> None:
    first, second = (set(reports[name]["draws"][4:]) for name in ("first", "second"))  # after the trials
    assert first
    assert not first & second
