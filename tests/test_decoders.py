"""Decoders, from a vector to a modality."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmtutor.decoders import ImageDecoder


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (2, 4)])
def test_an_image_against_its_layers_one_by_one(channels, size):
    torch.manual_seed(0)
    decoder, x = ImageDecoder(5, channels, size, widths=(4, 3)).double(), torch.randn(2, 5).double()
    first, _, _, second, _, third, _ = decoder.layers
    grid = (x @ first.weight.T + first.bias).view(2, 4, size // 4, size // 4).relu()
    grid = F.conv_transpose2d(grid, second.weight, second.bias, stride=2, padding=1).relu()
    image = F.conv_transpose2d(grid, third.weight, third.bias, stride=2, padding=1).sigmoid()
    assert (decoder(x) - image).abs().max() < 1e-12
    assert image.shape == (2, channels, size, size)


def test_it_learns_one_image_for_each_vector():
    torch.manual_seed(0)
    decoder, z, images = ImageDecoder(3, 1, 8), torch.eye(3), (torch.rand(3, 1, 8, 8) > 0.5).float()
    optimizer = torch.optim.Adam(decoder.parameters(), 0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss = (decoder(z) - images).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.01


@pytest.mark.parametrize("size", [2, 6, 30])
def test_a_size_that_is_no_multiple_of_four_is_refused(size):
    with pytest.raises(ValueError, match=f"size must be a multiple of 4, got {size}"):
        ImageDecoder(3, 1, size)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((3, 1, 0), "size must be a whole number of at least 1, got 0"),
        ((3, 1, 8.0), "size must be"),
        ((0, 1, 8), "dim must be"),
        ((3, True, 8), "channels must be"),
        ((3, 1, 8, (4, 0)), "widths must be"),
        ((3, 1, 8, 32), "widths must be two whole numbers, got 32"),
    ],
)
def test_sizes_that_are_no_whole_numbers_are_refused(sizes, says):
    with pytest.raises(ValueError, match=f"ImageDecoder: {says}"):
        ImageDecoder(*sizes)


def test_without_its_sigmoid_it_gives_logits():
    torch.manual_seed(0)
    decoder = ImageDecoder(5, 1, 8)
    logits, x = ImageDecoder(5, 1, 8, logits=True), torch.randn(4, 5)
    logits.load_state_dict(decoder.state_dict())
    assert (decoder.probabilities, logits.probabilities) == (True, False)
    assert torch.equal(logits(x).sigmoid(), decoder(x))


def test_the_whole_numbers_of_numpy_are_sizes():
    decoder = ImageDecoder(np.int64(3), np.int32(1), np.int64(8), (np.int64(4), np.int64(3)))
    assert decoder(torch.rand(2, 3)).shape == (2, 1, 8, 8)


def test_what_is_no_vector_of_its_size_and_type_is_refused():
    decoder = ImageDecoder(3, 1, 8)
    for wrong, got in ((torch.rand(2, 4), r"\(2, 4\)"), (torch.rand(3), r"\(3,\)"), ([1.0, 2.0, 3.0], "list")):
        with pytest.raises(ValueError, match=rf"ImageDecoder: expected vectors \(B, 3\), got {got}"):
            decoder(wrong)
    with pytest.raises(TypeError, match=r"ImageDecoder: the vectors are torch.float64, the parameters torch.float32"):
        decoder(torch.rand(2, 3).double())
    with torch.autocast("cpu", torch.bfloat16):
        assert decoder(torch.rand(2, 3).bfloat16()).isfinite().all()
