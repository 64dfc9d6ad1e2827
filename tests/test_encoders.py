"""What the encoders promise: shapes, regions, independence of the other examples, and clear refusals."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmtutor.encoders import (
    AudioEncoder,
    GridEncoder,
    ImageEncoder,
    SequenceEncoder,
    TabularEncoder,
    TextEncoder,
)

ENCODERS = {
    "tabular": (lambda: TabularEncoder(6, 5), (4, 6)),
    "image": (lambda: ImageEncoder(3, 5), (4, 3, 32, 32)),
    "odd image": (lambda: ImageEncoder(1, 5), (4, 1, 19, 45)),
    "image regions": (lambda: ImageEncoder(1, 5, tokens=True), (4, 1, 28, 28)),
    "audio": (lambda: AudioEncoder(5), (4, 1, 32, 32)),
    "audio regions": (lambda: AudioEncoder(5, tokens=True), (4, 1, 32, 32)),
    "text": (lambda: TextEncoder(27, 5), (4, 8, 27)),
    "letters": (lambda: TextEncoder(27, 5, tokens=True), (4, 8, 27)),
    "sequence": (lambda: SequenceEncoder(3, 5), (4, 50, 3)),
    "steps": (lambda: SequenceEncoder(3, 5, tokens=True), (4, 50, 3)),
}
every = pytest.mark.parametrize(("make", "shape"), ENCODERS.values(), ids=ENCODERS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@every
def test_an_example_does_not_depend_on_the_other_examples(make, shape):
    encoder, x = make().double(), torch.rand(shape, dtype=torch.float64)
    out = encoder(x)
    alone = torch.cat([encoder(x[i : i + 1]) for i in range(4)])
    assert (out - alone).abs().max() < 1e-12
    assert out.shape[0] == 4
    assert out.shape[-1] == encoder.dim == 5


@every
def test_every_parameter_gets_a_gradient_and_the_output_depends_on_the_input(make, shape):
    encoder, x = make().double(), torch.rand(16, *shape[1:], dtype=torch.float64, requires_grad=True)
    encoder(x).square().sum().backward()
    for name, p in encoder.named_parameters():
        assert p.grad is not None, name
        assert (p.grad != 0).any(), name
    assert (x.grad.flatten(1) != 0).any(1).all()


def test_tabular_by_hand():
    encoder, x = TabularEncoder(6, 5).double(), torch.rand(4, 6, dtype=torch.float64)
    first, _, second = encoder.net
    by_hand = F.relu(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    assert (encoder(x) - by_hand).abs().max() < 1e-12


def test_a_word_means_the_same_wherever_it_stands():
    """The strongest response along the text is kept; the padding must surround the word on both sides."""
    encoder, letters = TextEncoder(27, 5).double(), torch.zeros(3, 14, dtype=torch.long)
    for row, start in enumerate((4, 5, 6)):
        letters[row, start : start + 3] = torch.tensor([15, 14, 5])
    out = encoder(F.one_hot(letters, 27).double())
    assert (out - out[0]).abs().max() < 1e-12
    longer = F.pad(letters, (0, 9))  # nor does it matter how much silence follows
    assert (encoder(F.one_hot(longer, 27).double()) - out).abs().max() < 1e-12


def test_regions_of_an_image_tell_the_position():
    """A bright spot moves: the region that answers most must move with it."""
    encoder = ImageEncoder(1, 5, widths=(8,), tokens=True).double()
    dark = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    for row, column in ((0, 0), (1, 2), (3, 3)):
        bright = dark.clone()
        bright[0, 0, 8 * row + 4, 8 * column + 4] = 1
        moved = (encoder.convolutions[0](bright) - encoder.convolutions[0](dark)).abs().sum(1)
        assert F.adaptive_avg_pool2d(moved, 4).flatten().argmax() == 4 * row + column
    same = encoder(dark)[0]
    assert (same[0] - same[15]).abs().max() > 1e-3  # even a uniform picture has different regions


def test_order_of_time_matters_to_a_sequence_encoder():
    encoder, x = SequenceEncoder(3, 5).double(), torch.rand(2, 20, 3, dtype=torch.float64)
    assert (encoder(x) - encoder(x.flip(1))).abs().max() > 1e-4


@every
@pytest.mark.parametrize("spoil", [lambda x: x[0], lambda x: x[..., :-1][:, :0], lambda x: x[:0], lambda x: x[None]])
def test_bad_shapes_are_refused(make, shape, spoil):
    with pytest.raises(ValueError, match="expected"):
        make()(spoil(torch.rand(shape)))


@every
def test_bad_kinds_are_refused(make, shape):
    for x in (torch.zeros(shape, dtype=torch.uint8), torch.zeros(shape).long(), [[1.0]], None):
        with pytest.raises(TypeError, match="floating-point"):
            make()(x)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(ENCODERS)), st.lists(st.integers(0, 4), max_size=4))
def test_any_shape_ends_in_features_or_a_clear_error(name, shape):
    make, wanted = ENCODERS[name]
    encoder, x = make(), torch.rand(shape)
    free = {"image": {2, 3}, "audio": {2, 3}, "text": {1}, "letters": {1}, "sequence": {1}, "steps": {1}}
    fixed = [i for i in range(1, len(wanted)) if i not in free.get(name.replace("odd ", "").split()[0], set())]
    if len(shape) == len(wanted) and math.prod(shape) and all(shape[i] == wanted[i] for i in fixed):
        assert encoder(x).isfinite().all()
    else:
        with pytest.raises(ValueError, match="expected"):
            encoder(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TabularEncoder(0),
        lambda: TabularEncoder(3, dim=-1),
        lambda: ImageEncoder(0),
        lambda: ImageEncoder(3, widths=(16, 0)),
        lambda: AudioEncoder(dim=0),
        lambda: TextEncoder(27, width=2),
        lambda: TextEncoder(2.5),
        lambda: SequenceEncoder(3, hidden=0),
    ],
)
def test_bad_sizes_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()


# -------------------------------------------------------------------------------------------------- padding

PADDED = {
    "text": lambda **settings: TextEncoder(3, 5, width=5, **settings),
    "sequence": lambda **settings: SequenceEncoder(3, 5, **settings),
}
every_padded = pytest.mark.parametrize("make", PADDED.values(), ids=PADDED)
both_ends = pytest.mark.parametrize("end", ["end", "front"])


def padded(length, end, filler=0.0, steps=7):
    """Sequences (B, steps, 3) of so many real steps, and the same each on its own without padding."""
    alone = [torch.rand(1, n, 3, dtype=torch.float64) for n in length]
    rows = [torch.full((1, steps - n, 3), filler, dtype=torch.float64) for n in length]
    pairs = [(x, row) if end == "end" else (row, x) for x, row in zip(alone, rows, strict=True)]
    return torch.cat([torch.cat(pair, 1) for pair in pairs]), alone


@every_padded
@both_ends
@pytest.mark.parametrize("filler", [0.0, 9.0, math.nan, math.inf])
@pytest.mark.parametrize("tokens", [False, True], ids=["features", "tokens"])
def test_with_a_length_padding_is_not_read(make, end, filler, tokens):
    length = [7, 1, 4, 6]
    encoder = make(padding=end, tokens=tokens).double()
    x, alone = padded(length, end, filler)
    x.requires_grad_()
    out = encoder(x, torch.tensor(length))
    for i, n in enumerate(length):
        steps = slice(0, n) if end == "end" else slice(7 - n, 7)
        found = out[i, steps] if tokens else out[i]
        assert (found - encoder(alone[i])[0]).abs().max() < 1e-12, i
    real = torch.cat([out[i, :n] if end == "end" else out[i, 7 - n :] for i, n in enumerate(length)]) if tokens else out
    real.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() and (p.grad != 0).any() for p in encoder.parameters())
    for i, n in enumerate(length):
        there = x.grad[i, :n] if end == "end" else x.grad[i, 7 - n :]
        assert (there != 0).any(1).all() or isinstance(encoder, TextEncoder)
        assert (x.grad[i] != 0).any(1).sum() <= n


@every_padded
def test_a_length_that_says_all_steps_are_real_changes_nothing(make):
    encoder, x = make().double(), torch.rand(4, 7, 3, dtype=torch.float64)
    assert (encoder(x, torch.full((4,), 7)) - encoder(x)).abs().max() < 1e-12


def test_without_a_length_padding_is_read():
    for make in PADDED.values():
        x, alone = padded([3], "end")
        encoder = make().double()
        assert (encoder(x) - encoder(alone[0])).abs().max() > 1e-4


@every_padded
@both_ends
def test_padding_at_the_other_end_is_refused(make, end):
    other = "front" if end == "end" else "end"
    x, _ = padded([7, 7, 2, 5], other)
    says = f"padding must be at the {end}, but example 2 has it at the {other}; make the encoder with padding='{other}'"
    with pytest.raises(ValueError, match=says):
        make(padding=end).double()(x, torch.tensor([7, 7, 2, 5]))
    make(padding=end).double()(torch.zeros_like(x), torch.tensor([7, 7, 2, 5]))  # silence is no evidence


@every_padded
@pytest.mark.parametrize(
    ("length", "says"),
    [
        (torch.tensor([1, 2]), r"length must be int64 \(4,\), .* got torch.int64 \(2,\)"),
        (torch.tensor([1, 2, 3, 8]), "length must be from 1 to 7"),
        (torch.tensor([1, 2, 0, 7]), "length must be from 1 to 7"),
        (torch.ones(4), r"length must be int64 \(4,\), .* got torch.float32"),
        (torch.ones(4, 1).long(), "length must be int64"),
        ([1, 2, 3, 4], "length must be int64 .* got list"),
    ],
)
def test_bad_lengths_are_refused(make, length, says):
    with pytest.raises(ValueError, match=says):
        make()(torch.rand(4, 7, 3), length)


@every_padded
def test_the_end_of_padding_has_two_names(make):
    for padding in ("left", "back", None, 1):
        with pytest.raises(ValueError, match=r"Encoder: padding must be 'end' or 'front', got"):
            make(padding=padding)


# ------------------------------------------------------------------------------------------- types of numbers


@every
def test_another_float_type_is_named_with_what_to_do(make, shape):
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        with pytest.raises(
            TypeError, match=rf"Encoder: expected torch.float32, .* got {dtype}; convert it with .float"
        ):
            make()(torch.rand(shape).to(dtype))
    with pytest.raises(
        TypeError, match=r"expected torch.float64, .* got torch.float32; convert it with .to\(torch.float64"
    ):
        make().double()(torch.rand(shape))


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_an_encoder_reads_numbers_of_its_own_type(make, shape, dtype):
    out = make().to(dtype)(torch.rand(shape).to(dtype))
    assert out.dtype == dtype
    assert out.isfinite().all()


@every
def test_under_autocast_any_type_that_it_converts_is_read(make, shape):
    encoder = make()
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            assert encoder(torch.rand(shape).to(dtype)).isfinite().all()
        with pytest.raises(TypeError, match=r"got torch.float64"):
            encoder(torch.rand(shape).double())


def test_whole_numbers_are_refused_with_what_to_do():
    picture = torch.zeros(2, 3, 8, 8)
    for encoder in (ImageEncoder(3), GridEncoder(3)):
        with pytest.raises(TypeError, match=r"got torch.uint8; convert it with .float\(\) / 255"):
            encoder(picture.to(torch.uint8))
    for encoder, x in ((TabularEncoder(4), torch.zeros(2, 4)), (SequenceEncoder(4), torch.zeros(2, 3, 4))):
        with pytest.raises(TypeError, match=r"got torch.int64; convert it with .float\(\)$"):
            encoder(x.long())
        with pytest.raises(TypeError, match=r"ndarray.*convert it with torch.from_numpy"):
            encoder(x.numpy())
        with pytest.raises(TypeError, match=r"list.*convert it with torch.tensor"):
            encoder(x.tolist())


def test_channels_at_the_end_are_recognised():
    with pytest.raises(ValueError, match=r"got \(2, 8, 9, 3\); channels come first, as after .permute\(0, 3, 1, 2\)"):
        ImageEncoder(3)(torch.rand(2, 8, 9, 3))


def test_sizes_may_be_any_whole_number():
    n = np.int64(3)
    assert TabularEncoder(n, n, n)(torch.rand(2, 3)).shape == (2, 3)
    assert SequenceEncoder(torch.tensor(3), n, n)(torch.rand(2, 4, 3)).shape == (2, 3)
    for size in (np.float64(3), torch.tensor(3.0), "3", True, [3], None):
        with pytest.raises(ValueError, match="features must be a whole number of at least 1, got"):
            TabularEncoder(size)
    assert ImageEncoder(n, n, widths=[n, n])(torch.rand(2, 3, 8, 8)).shape == (2, 3)
    assert GridEncoder(n, np.array([3, 4])).eval()(torch.rand(2, 3, 8, 8)).shape == (2, 4, 6)
    for encoder in (ImageEncoder, GridEncoder):
        with pytest.raises(ValueError, match="widths must be a tuple of whole numbers, got 64"):
            encoder(3, widths=64)


# --------------------------------------------------------------------------------------------- GridEncoder


def grid(channels=3, **settings):
    """In eval mode, with statistics as if trained."""
    encoder = GridEncoder(channels, **settings).double()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return encoder.eval()


@pytest.mark.parametrize(
    ("size", "rows", "columns"), [((64, 64), 8, 8), ((40, 72), 5, 9), ((19, 45), 3, 6), ((8, 8), 1, 1), ((1, 1), 1, 1)]
)
def test_a_grid_for_pictures_of_any_size(size, rows, columns):
    out = grid()(torch.rand(2, 3, *size, dtype=torch.float64))
    assert out.shape == (2, rows * columns, 66)
    assert out.isfinite().all()
    if min(rows, columns) > 1:
        across, down = out[1, :, 64].view(rows, columns), out[1, :, 65].view(rows, columns)
        assert torch.equal(across, torch.linspace(-1, 1, columns, dtype=torch.float64).expand(rows, columns))
        assert torch.equal(down.T, torch.linspace(-1, 1, rows, dtype=torch.float64).expand(columns, rows))


def test_widths_decide_how_often_a_picture_is_halved():
    x = torch.rand(2, 1, 64, 32, dtype=torch.float64)
    for widths, shape in (((5,), (2, 32 * 16, 7)), ((4, 6), (2, 16 * 8, 8)), ((2, 3, 4, 5), (2, 4 * 2, 7))):
        encoder = grid(1, widths=widths)
        assert encoder(x).shape == shape
        assert encoder.dim == shape[2]
    assert GridEncoder(3).dim == 66


def test_regions_of_a_grid_go_from_the_top_left_row_by_row():
    encoder, dark = grid(), torch.zeros(1, 3, 64, 96, dtype=torch.float64)
    for p in encoder.parameters():
        nn.init.constant_(p, 0.05)  # a region answers to what is bright around it
    for row, column in ((2, 5), (5, 2), (3, 8), (6, 10)):
        bright = dark.clone()
        bright[..., 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 5
        changed = (encoder(bright) - encoder(dark)).abs().sum(2)[0]
        assert changed.argmax() == 12 * row + column
        assert (changed == 0).any()  # what is far away does not see it


def test_a_region_of_a_grid_sees_43_pixels_on_a_side():
    """Each width: one convolution that halves, then one that sees 4, 8, 16 pixels more."""
    x = torch.rand(1, 3, 80, 96, dtype=torch.float64, requires_grad=True)
    grid()(x)[0, 12 * 5 + 6, :64].sum().backward()  # around pixel 40 down, 48 across
    _, rows, columns = x.grad[0].nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40 - 21, 40 + 21, 48 - 21, 48 + 21)


def test_a_picture_moved_by_8_pixels_moves_the_features_by_one_region():
    encoder, big = grid(), torch.rand(1, 3, 104, 136, dtype=torch.float64)
    before = encoder(big[..., :96, :128]).view(12, 16, 66)
    after = encoder(big[..., 8:, 8:]).view(12, 16, 66)
    inner = slice(4, 8)
    assert (before[5:9, 5:9, :64] - after[inner, inner, :64]).abs().max() < 1e-12
    assert (before[inner, inner, :64] - after[inner, inner, :64]).abs().max() > 1e-3
    assert torch.equal(before[..., 64:], after[..., 64:])  # the position of a region


def test_a_grid_in_eval_mode_does_not_depend_on_the_other_examples_and_in_training_it_does():
    encoder, x = grid(), torch.rand(4, 3, 32, 40, dtype=torch.float64)
    alone = torch.cat([encoder(x[i : i + 1]) for i in range(4)])
    assert (encoder(x) - alone).abs().max() < 1e-12
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.train()
    assert (encoder(x)[:1] - encoder(x[:1])).abs().max() > 1e-3
    assert any(not torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


def test_what_a_grid_says_has_mean_0_and_variance_1_in_training():
    encoder = GridEncoder(3).double().train()
    out = encoder(torch.rand(16, 3, 64, 64, dtype=torch.float64))[..., :64].flatten(0, 1)
    assert out.mean(0).abs().max() < 1e-9
    assert (out.var(0, unbiased=False) - 1).abs().max() < 0.1  # less where the variance before is near 1e-5
    assert out.min() < -0.1  # not cut off at 0


def test_a_grid_learns_with_every_parameter():
    encoder, x = GridEncoder(3).double(), torch.rand(4, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    encoder(x).pow(3).sum().backward()
    for name, p in encoder.named_parameters():
        assert (p.grad != 0).any(), name
    assert (x.grad != 0).any()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GridEncoder(0), "channels must be"),
        (lambda: GridEncoder(2.0), "channels must be"),
        (lambda: GridEncoder(3, widths=()), "number of widths must be"),
        (lambda: GridEncoder(3, widths=(16, 0)), r"widths\[1\] must be"),
        (lambda: GridEncoder(3, widths=(-1, 16)), r"widths\[0\] must be"),
        (lambda: GridEncoder(3, widths=(16, 8.0)), r"widths\[1\] must be"),
    ],
)
def test_bad_sizes_of_a_grid_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_pictures_of_the_wrong_kind_or_shape_are_refused_by_a_grid():
    encoder = GridEncoder(3)
    for x in (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), None, [[1.0]]):
        with pytest.raises(TypeError, match="GridEncoder: expected a floating-point tensor"):
            encoder(x)
    for shape in ((3, 64, 64), (1, 1, 64, 64), (1, 4, 64, 64), (0, 3, 64, 64), (1, 3, 0, 64), (1, 3, 64, 64, 1)):
        with pytest.raises(ValueError, match=r"GridEncoder: expected \(B, channels, H, W\) = \(any, 3, any, any\)"):
            encoder(torch.rand(shape))
