"""What the encoders promise: shapes, places, independence of neighbours, and clear refusals."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor.encoders import AudioEncoder, ImageEncoder, SequenceEncoder, TabularEncoder, TextEncoder

ENCODERS = {
    "tabular": (lambda: TabularEncoder(6, 5), (4, 6)),
    "image": (lambda: ImageEncoder(3, 5), (4, 3, 32, 32)),
    "odd image": (lambda: ImageEncoder(1, 5), (4, 1, 19, 45)),
    "image places": (lambda: ImageEncoder(1, 5, tokens=True), (4, 1, 28, 28)),
    "audio": (lambda: AudioEncoder(5), (4, 1, 32, 32)),
    "audio places": (lambda: AudioEncoder(5, tokens=True), (4, 1, 32, 32)),
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
def test_an_example_does_not_see_its_neighbours(make, shape):
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


def test_places_of_a_picture_tell_where():
    """A bright spot moves: the place that answers most must move with it."""
    encoder = ImageEncoder(1, 5, widths=(8,), tokens=True).double()
    dark = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    for row, column in ((0, 0), (1, 2), (3, 3)):
        bright = dark.clone()
        bright[0, 0, 8 * row + 4, 8 * column + 4] = 1
        moved = (encoder.convolutions[0](bright) - encoder.convolutions[0](dark)).abs().sum(1)
        assert F.adaptive_avg_pool2d(moved, 4).flatten().argmax() == 4 * row + column
    same = encoder(dark)[0]
    assert (same[0] - same[15]).abs().max() > 1e-3  # even a uniform picture has different places


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
