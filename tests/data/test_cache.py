"""The cache on disk: the same tensors as fresh, whatever happens to the process or to the file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmtutor.data import MODALITIES, compose, digits
from mmtutor.data.cache import cached


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def make(*modalities, split="train", **settings):
    return digits(*modalities, split=split, **{"n": 6, "progress": False, **settings})[:]


def test_the_cached_are_the_same_as_fresh(own_cache):
    for settings in ({}, {"relation": "sum", "drop": 0.4}, {"split": "test", "seed": 3}):
        fresh = make(*MODALITIES, cache=False, **settings)
        for attempt in range(2):  # written, then read
            stored = make(*MODALITIES, **settings)
            assert fresh.keys() == stored.keys()
            for name, value in fresh.items():
                assert stored[name].dtype == value.dtype
                assert torch.equal(stored[name], value), (name, attempt)
    assert {f.name.split("-")[0] for f in files(own_cache)} == {"street", "spoken", "waveform", "shape"}
    assert not list(own_cache.rglob("*.part"))


def test_without_the_cache_nothing_is_written(own_cache):
    make(*MODALITIES, cache=False)
    make("handwritten", "word")  # as fast to make as to read
    assert not own_cache.exists() or not files(own_cache)


def test_what_is_cached_is_not_made_again(monkeypatch):
    first = make("street", "spoken", "shape", "waveform")

    def refuse(*_):
        raise AssertionError("made a second time")

    monkeypatch.setattr(compose, "_compose", refuse)
    again = make("waveform", "shape", "spoken", "street", drop={"street": 0.0})
    assert all(torch.equal(first[name], again[name]) for name in first)


BASE = {"split": "train", "n": 6, "seed": 0, "relation": "same", "street_difficulty": 0.5, "snr_db": (-3.0, 10.0)}
OTHER = {"split": "valid", "n": 7, "seed": 1, "relation": "sum", "street_difficulty": 0.6, "snr_db": (-3.0, 11.0)}


@pytest.mark.parametrize("argument", OTHER)
def test_every_argument_that_matters_is_in_the_key(argument, own_cache):
    modalities = ("street", "spoken", "waveform", "shape")
    make(*modalities, **BASE)
    before = files(own_cache)
    stored = make(*modalities, **{**BASE, argument: OTHER[argument]})
    fresh = make(*modalities, **{**BASE, argument: OTHER[argument]}, cache=False)
    assert all(torch.equal(stored[s], fresh[s]) for s in modalities)
    concerned = {"street_difficulty": {"street"}, "snr_db": {"spoken", "waveform"}}.get(argument, set(modalities))
    new = {f.name.split("-")[0] for f in files(own_cache) if f not in before}
    assert new == concerned, "and what does not depend on it is not made twice"


def test_what_does_not_matter_is_not_in_the_key(own_cache):
    """Equal numbers of another type, and what is applied afterwards, find the same file."""
    make("street", "spoken", "shape", "waveform", street_difficulty=1, snr_db=(-3, 10))
    before = files(own_cache)
    make("street", "spoken", "shape", "waveform", street_difficulty=1.0, snr_db=[-3.0, 10.0], drop=0.5)
    make("word", "street", street_difficulty=1.0, typos=0.5)
    assert files(own_cache) == before
    assert torch.equal(make("word", typos=0.9)["word"], make("word", typos=0.9, cache=False)["word"])
    assert not torch.equal(make("word", typos=0.9)["word"], make("word")["word"])


def test_new_versions_of_the_drawing_libraries_are_another_key(own_cache, monkeypatch):
    make("street")
    monkeypatch.setattr("PIL.__version__", "0")
    make("street")
    assert len(files(own_cache)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data.replace(b'"tensor"', b'"sensor"'),
        lambda data: data + b"more",
    ],
    ids=["last byte", "half", "empty", "zeros", "header", "name", "too long"],
)
def test_a_damaged_file_is_made_again(damage, own_cache):
    fresh = make("shape", cache=False)["shape"]
    make("shape")
    (path,) = files(own_cache)
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(make("shape")["shape"], fresh)
    assert files(own_cache) == [path]
    assert torch.equal(load_file(path)["tensor"].float(), fresh)  # and whole again


def test_a_folder_in_the_way_of_the_file_is_a_warning(own_cache):
    fresh = make("shape", cache=False)["shape"]
    make("shape")
    (path,) = files(own_cache)
    path.unlink()
    path.mkdir()
    with pytest.warns(UserWarning, match="shape is not cached"):
        assert torch.equal(make("shape")["shape"], fresh)
    assert not list(own_cache.rglob("*.part"))


def test_where_nothing_can_be_written_there_is_a_warning_and_the_tensors(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file is no folder, even for root")
    fresh = make("shape", "street", cache=False)
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("MMTUTOR_DATA", str(folder))
        with pytest.warns(UserWarning, match="not cached, .* cannot be written") as caught:
            got = make("shape", "street")
        assert len(caught) == 2
        assert all(torch.equal(got[name], fresh[name]) for name in fresh)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_warning(own_cache):
    (own_cache / "digits").mkdir(parents=True)
    (own_cache / "digits").chmod(0o500)
    with pytest.warns(UserWarning, match="not cached"):
        make("shape")


def test_a_full_disk_is_a_warning_and_leaves_nothing(tmp_path, monkeypatch):
    def full(tensors, path):
        Path(path).write_bytes(b"the first bytes")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.warns(UserWarning, match="No space left"):
        got = cached("x", [1], lambda: torch.arange(3), tmp_path)
    assert got.tolist() == [0, 1, 2]
    assert not files(tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_an_error_while_making_is_passed_on_and_frees_the_lock(tmp_path):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cached("x", [1], fail, tmp_path)
    assert not files(tmp_path)
    assert cached("x", [1], lambda: torch.ones(2), tmp_path).tolist() == [1, 1]


# ---- two processes, and a kill: played in one process that forks, so that torch is imported once

PLAY = """
import os, signal, sys, time, traceback
from pathlib import Path
import torch
from safetensors.torch import load_file
from mmtutor.data.cache import cached
torch.set_num_threads(1)
folder = Path(sys.argv[1])

def child(work):
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid

def kill(pid):
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])

def wait_for(found):
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.001)
"""

AT_ONCE = """
def work(value):
    def make():
        with (folder / "made").open("a") as file:
            file.write("x")
        time.sleep(0.4)
        return torch.full((1000,), value)
    tensor = cached("x", [1], make, folder)
    (folder / f"result {value}").write_text(str(tensor.unique().tolist()))

both = [child(lambda value=value: work(value)) for value in (2.0, 3.0)]
assert [os.waitpid(pid, 0)[1] for pid in both] == [0, 0]
"""

KILLED_WHILE_MAKING = """
def make():
    (folder / "making").touch()
    time.sleep(60)

victim = child(lambda: cached("x", [1], make, folder))
wait_for((folder / "making").exists)
kill(victim)
start = time.monotonic()
assert cached("x", [1], lambda: torch.ones(3), folder).tolist() == [1, 1, 1]
assert time.monotonic() - start < 5
"""

KILLED_WHILE_WRITING = """
import warnings
warnings.simplefilter("error")
size, halves = 250_000, 0

def write(below):
    for k in range(10**6):
        cached("x", [k], lambda: torch.full((size,), float(k)), below)

for attempt in range(16):
    below = folder / str(attempt)
    victim = child(lambda: write(below))
    wait_for(lambda: list(below.glob("*.safetensors")))
    time.sleep(0.0037 * attempt)
    kill(victim)
    halves += len(list(below.glob("*.part")))
    whole = list(below.glob("*.safetensors"))
    for path in whole:
        tensor = load_file(path)["tensor"]
        assert tensor.shape == (size,) and torch.equal(tensor, tensor[:1].expand(size)), path
    for k in (0, len(whole) - 1, len(whole), len(whole) + 1):  # replaced in spite of what lies there
        expected = torch.full((size,), float(k))
        for _ in range(2):
            assert torch.equal(cached("x", [k], lambda: expected, below), expected)
    assert not list(below.glob("*.part"))
print("killed with a half-written file:", halves)
"""


def play(code, folder):
    done = subprocess.run([sys.executable, "-c", PLAY + code, str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_at_once_make_it_once(tmp_path):
    play(AT_ONCE, tmp_path)
    results = [(tmp_path / f"result {value}").read_text() for value in (2.0, 3.0)]
    assert results[0] == results[1] in ("[2.0]", "[3.0]")  # the second waited, and read what the first had made
    assert (tmp_path / "made").read_text() == "x"
    assert len(files(tmp_path)) == 1


def test_a_process_killed_while_making_leaves_no_lock(tmp_path):
    play(KILLED_WHILE_MAKING, tmp_path)


def test_a_process_killed_while_writing_leaves_no_damaged_file(tmp_path):
    """Files of 1 MB, written one after the other; killed at sixteen moments, many of them in the middle of one."""
    said = play(KILLED_WHILE_WRITING, tmp_path)
    assert int(said.split()[-1]) > 0, "no kill came while a file was written: the test tested nothing"


def test_a_half_written_file_of_a_killed_process_is_overwritten(tmp_path):
    cached("x", [1], lambda: torch.ones(3), tmp_path)
    (path,) = files(tmp_path)
    half = path.read_bytes()[:20]
    path.unlink()
    path.with_suffix(".part").write_bytes(half)  # what a kill before the rename leaves
    assert cached("x", [1], lambda: torch.ones(3), tmp_path).tolist() == [1, 1, 1]
    assert load_file(path)["tensor"].tolist() == [1, 1, 1]
    assert not path.with_suffix(".part").exists()


def test_the_final_name_appears_only_when_the_file_is_whole(tmp_path, monkeypatch):
    """Writing and renaming: at the moment of the rename the file is complete, and under no other name before."""
    seen = []
    replace = Path.replace

    def watch(self, target):
        seen.append((self.suffix, Path(target).exists(), load_file(self)["tensor"].tolist()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    cached("x", [1], lambda: torch.arange(3), tmp_path)
    assert seen == [(".part", False, [0, 1, 2])]
