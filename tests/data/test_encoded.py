"""Photographs are encoded once: what is in the file, and what a kill leaves of it."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

from mmtutor.data import EncodedPhotos, Photos, Vocabulary, encode_photos
from mmtutor.training.batches import batches_of

NAMES = [f"{k}.png" for k in range(7)]


class Encoder(nn.Module):
    """Photographs (B, 3, 8, 8) to regions (B, 4, 5); it counts what it was given, and may stop at one."""

    def __init__(self, seed=0, stop=None):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.calls, self.stop = nn.Conv2d(3, 5, 4, 4), [], [stop]  # lists: no settings

    def forward(self, x):
        assert not self.training
        self.calls.append(len(x))
        if self.stop[0] is not None and self.seen > self.stop[0]:
            raise KeyboardInterrupt
        return self.conv(x).flatten(2).transpose(1, 2)

    @property
    def seen(self):
        return sum(self.calls)


@pytest.fixture
def photos(tmp_path):
    torch.manual_seed(1)
    for name in NAMES:
        Image.fromarray((255 * torch.rand(8, 8, 3)).byte().numpy()).save(tmp_path / name)
    return Photos(tmp_path, NAMES, [["a dog", f"dog number {k}"] for k in range(7)], size=8)


def by_hand(encoder, photos):
    with torch.no_grad():
        return encoder.conv(torch.stack([p["photo"] for p in photos])).flatten(2).transpose(1, 2)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2), (torch.float32, 1e-6)])
def test_regions_are_what_the_encoder_gives(photos, tmp_path, dtype, error):
    encoder, path = Encoder().train(), tmp_path / "deep" / "regions.safetensors"
    data = encode_photos(encoder, photos, path, batch_size=3, dtype=dtype)
    assert encoder.training  # as it came
    assert data.tensors["regions"].dtype == dtype
    assert (data[:]["regions"] - by_hand(encoder, photos)).abs().max() < error
    assert data[2]["regions"].dtype == torch.float32
    assert data.captions == photos.captions
    assert {p.name for p in path.parent.iterdir()} == {path.name, path.name + ".lock"}
    with safe_open(path, "pt") as file:  # any program can read it
        assert file.get_tensor("regions").equal(data.tensors["regions"])


def test_the_encoder_runs_once(photos, tmp_path):
    first, again, path = Encoder(), Encoder(), tmp_path / "regions.safetensors"
    whole = encode_photos(first, photos, path, batch_size=2)
    assert first.seen == 8  # the first one twice: it tells the shape
    assert encode_photos(again, photos, path).tensors["regions"].equal(whole.tensors["regions"])
    assert again.seen == 0


@pytest.mark.parametrize("torn", [0, 1, 39])
def test_a_stop_loses_nothing(photos, tmp_path, torn):
    """What was computed stays; of a photograph that was being written the piece is computed again."""
    whole = encode_photos(Encoder(), photos, tmp_path / "whole.safetensors", batch_size=2)
    path, part = tmp_path / "regions.safetensors", tmp_path / "regions.safetensors.part"
    with pytest.raises(KeyboardInterrupt):
        encode_photos(Encoder(stop=5), photos, path, batch_size=2)
    assert not path.exists()
    with part.open("ab") as file:
        file.write(b"x" * torn)
    encoder = Encoder()
    data = encode_photos(encoder, photos, path, batch_size=2)
    assert encoder.seen == 1 + 7 - 4
    assert data.tensors["regions"].equal(whole.tensors["regions"])
    assert path.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not part.exists()


@pytest.mark.parametrize("length", [0, 1, 7, 8, 60])
def test_a_beginning_without_photographs_is_gone_on_with(photos, tmp_path, length):
    whole = encode_photos(Encoder(), photos, tmp_path / "whole.safetensors")
    path = tmp_path / "regions.safetensors"
    path.with_name("regions.safetensors.part").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:length])
    assert encode_photos(Encoder(), photos, path).tensors["regions"].equal(whole.tensors["regions"])


SLOW = """
import sys, time
from test_encoded import Encoder, NAMES
from mmtutor.data import Photos, encode_photos
forward = Encoder.forward
Encoder.forward = lambda self, x: time.sleep(0.1) or forward(self, x)
folder = sys.argv[1]
photos = Photos(folder, NAMES, [["a dog", f"dog number {k}"] for k in range(7)], size=8)
print("ready", flush=True)
encode_photos(Encoder(), photos, folder + "/regions.safetensors", batch_size=1, progress=False)
"""


def test_a_kill_loses_nothing(photos, tmp_path):
    """SIGKILL at moments that are not chosen: each time a little more is there."""
    path, whole = tmp_path / "regions.safetensors", tmp_path / "whole.safetensors"
    encode_photos(Encoder(), photos, whole, batch_size=1)
    part = path.with_name("regions.safetensors.part")
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__), "OMP_NUM_THREADS": "1"}
    sizes = [whole.stat().st_size - 7 * 40]  # the header's
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", SLOW, str(tmp_path)], stdout=subprocess.PIPE, env=environment, text=True
        )
        assert child.stdout.readline() == "ready\n"
        end = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > sizes[-1]) and time.monotonic() < end:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        sizes.append(part.stat().st_size)
    assert sizes == sorted(set(sizes)), sizes
    encoder = Encoder()
    encode_photos(encoder, photos, path, batch_size=1)
    assert encoder.seen < 7
    assert path.read_bytes() == whole.read_bytes()


def test_a_file_of_something_else_is_refused_and_left_alone(photos, tmp_path):
    path = tmp_path / "regions.safetensors"
    encode_photos(Encoder(), photos, path)
    before = path.read_bytes()
    fewer = Photos(tmp_path, NAMES[:6], photos.captions[:6], size=8)
    larger = Photos(tmp_path, NAMES, photos.captions, size=12)
    cases = {
        "another encoder": (Encoder(seed=1), photos, {}),
        "fewer photographs": (Encoder(), fewer, {}),
        "another size": (Encoder(), larger, {}),
        "another dtype": (Encoder(), photos, {"dtype": torch.float32}),
    }
    for name, (encoder, given, settings) in cases.items():
        with pytest.raises(ValueError, match=r"is of another encoder.*remove it, or give another path"):
            encode_photos(encoder, given, path, **settings)
        assert path.read_bytes() == before, name
        part = path.rename(path.with_name("regions.safetensors.part"))  # and the same of one that is not whole
        with pytest.raises(ValueError, match=r"is of another encoder.*remove it, or give another path"):
            encode_photos(encoder, given, path, **settings)
        assert part.rename(path).read_bytes() == before, name
    path.write_bytes(before[:100])
    with pytest.raises(ValueError, match="damaged, or no file of encode_photos"):
        encode_photos(Encoder(), photos, path)


class Gives(nn.Module):
    def __init__(self, regions):
        super().__init__()
        self.regions = regions

    def forward(self, x):
        return self.regions


@pytest.mark.parametrize(
    ("regions", "says"),
    [
        (torch.rand(1, 5), r"must give regions \(B, L, D\) with B = 1, got \(1, 5\)"),
        (torch.rand(2, 4, 5), "with B = 1, got"),
        (None, "got NoneType"),
        (torch.full((1, 4, 5), 1e6), "too large for torch.float16; dtype=torch.float32 holds more"),
        (torch.full((1, 4, 5), torch.nan), "not finite"),
    ],
)
def test_an_encoder_that_gives_no_regions(photos, tmp_path, regions, says):
    with pytest.raises(ValueError, match=says):
        encode_photos(Gives(regions), photos, tmp_path / "regions.safetensors")
    assert not (tmp_path / "regions.safetensors").exists()


def test_arguments_are_checked(photos, tmp_path):
    path = tmp_path / "regions.safetensors"
    with pytest.raises(TypeError, match=r"needs a torch.nn.Module and Photos, got Encoder and list"):
        encode_photos(Encoder(), [1], path)
    with pytest.raises(ValueError, match="dtype must be one of"):
        encode_photos(Encoder(), photos, path, dtype=torch.int64)
    with pytest.raises(ValueError, match="batch_size"):
        encode_photos(Encoder(), photos, path, batch_size=0)
    with pytest.raises(ValueError, match=r"regions must be .* \(N, L, D\)"):
        EncodedPhotos(torch.rand(3, 4), [["a"]] * 3)
    with pytest.raises(ValueError, match="3 photographs, but captions of 2"):
        EncodedPhotos(torch.rand(3, 4, 5), [["a"]] * 2)
    with pytest.raises(ValueError, match="no captions"):
        EncodedPhotos(torch.rand(1, 4, 5), [[]]).tokenised(Vocabulary(["a"]))


def test_captions_become_numbers_as_those_of_photos(photos, tmp_path):
    data = encode_photos(Encoder(), photos, tmp_path / "regions.safetensors")
    vocabulary = Vocabulary.from_captions(photos.captions)
    ours, theirs = data.tokenised(vocabulary, 4, 3), photos.tokenised(vocabulary, 4, 3)
    assert ours[:]["caption"].equal(torch.stack([theirs[k]["caption"] for k in range(7)]))
    batches = [*batches_of(ours, 3)]
    assert [len(batch["regions"]) for batch in batches] == [3, 3, 1]
    assert batches[0]["regions"].dtype == torch.float32
