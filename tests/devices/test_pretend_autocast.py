"""Mixed precision on the pretend device: whether it follows the rules that it is meant to follow."""

import pretend_autocast
import pretend_device as pretend
import pytest
import torch
from torch import nn
from torch.nn import functional as F

LOW, FULL = torch.bfloat16, torch.float32
# what comes of x (float32) and low (bfloat16), both (4, 6); and its type by CUDA's rules
FUNCTIONS = {
    "linear": (lambda x, low: F.linear(x, x), LOW),
    "matmul": (lambda x, low: x @ x.T, LOW),
    "einsum": (lambda x, low: torch.einsum("ij,kj->ik", x, x), LOW),
    "bmm": (lambda x, low: torch.bmm(x[None], low.T[None]), LOW),
    "baddbmm": (lambda x, low: torch.baddbmm(x[None, :, :4], x[None], low.T[None]), LOW),
    "convolution": (lambda x, low: F.conv1d(x[None], x[None, :, :3], padding=1), LOW),
    "transposed convolution": (lambda x, low: F.conv_transpose1d(x[None], x[:, None, :2]), LOW),
    "prelu": (lambda x, low: F.prelu(low, torch.ones(1).to(x)), LOW),
    "attention": (lambda x, low: F.scaled_dot_product_attention(x[None], low[None], low[None]), LOW),
    "relu": (lambda x, low: low.relu(), LOW),
    "tanh": (lambda x, low: low.tanh(), LOW),
    "sum of both": (lambda x, low: x + low, FULL),
    "cat": (lambda x, low: torch.cat([low, x]), FULL),
    "stack": (lambda x, low: torch.stack([low, x]), FULL),
    "exp": (lambda x, low: low.exp(), FULL),
    "log": (lambda x, low: low.abs().log(), FULL),
    "power": (lambda x, low: low**2, FULL),
    "softplus": (lambda x, low: F.softplus(low), FULL),
    "logsumexp": (lambda x, low: low.logsumexp(1), FULL),
    "layer norm": (lambda x, low: F.layer_norm(low, (6,)), FULL),
    "group norm": (lambda x, low: F.group_norm(low, 2), FULL),
    "softmax": (lambda x, low: low.softmax(1), FULL),
    "log softmax": (lambda x, low: low.log_softmax(1), FULL),
    "log softmax, asked for": (lambda x, low: x.log_softmax(1, dtype=LOW), LOW),
    "sum": (lambda x, low: low.sum(), FULL),
    "sum of rows": (lambda x, low: low.sum(1), FULL),
    "product": (lambda x, low: low.prod(1), FULL),
    "running sum": (lambda x, low: low.cumsum(1), FULL),
    "norm": (lambda x, low: low.norm(), FULL),
    "norm of rows": (lambda x, low: low.norm(dim=1), FULL),
    "norm of rows, kept": (lambda x, low: torch.norm(low, 2, 1, True), FULL),
    "distances": (lambda x, low: torch.cdist(low, low), FULL),
    "addcmul": (lambda x, low: torch.addcmul(x, low, low), FULL),
    "squared error": (lambda x, low: F.mse_loss(low, low), FULL),
    "cross-entropy": (lambda x, low: F.cross_entropy(low, torch.arange(4, device=low.device)), FULL),
    "binary cross-entropy": (lambda x, low: F.binary_cross_entropy_with_logits(low, low.sigmoid()), FULL),
    "mean": (lambda x, low: low.mean(), LOW),
    "integers": (lambda x, low: torch.arange(4, device=x.device).sum(), torch.int64),
    "float64": (lambda x, low: x.double() @ x.double().T, torch.float64),
}


def given(device):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(4, 6, generator=g)
    return x.to(device), x.to(device, LOW)


def outcome(function, device):
    """The result's type and what it is, or the error."""
    try:
        with torch.autocast(device.type, dtype=LOW):
            out = function(*given(device))
    except RuntimeError:  # an argument has another type than the others
        return RuntimeError, None
    return out.dtype, out.cpu().double()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_cudas_rules_are_those_of_its_documentation(name):
    function, expected = FUNCTIONS[name]
    with pretend.Mode():
        dtype, value = outcome(function, pretend.DEVICE)
    assert dtype == expected
    exact = function(*(x.double() for x in given("cpu"))).double()
    torch.testing.assert_close(value, exact, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_cpus_rules_are_those_that_it_follows(name):
    function, _ = FUNCTIONS[name]
    expected, wanted = outcome(function, torch.device("cpu"))
    with pretend.Mode(), pretend_autocast.rules("CPU"):
        dtype, value = outcome(function, pretend.DEVICE)
    assert dtype == expected
    torch.testing.assert_close(value, wanted, rtol=5e-2, atol=5e-2)


def test_each_function_that_has_a_rule_on_cuda_has_one_here():
    with_rule = set(pretend_autocast.functions("AutocastCUDA"))
    assert {name for name in with_rule if "cudnn" not in name} == pretend_autocast.RULES["CUDA"].keys()


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_recurrent_cells_are_in_bfloat16_by_cudas_rules(cell):
    with pretend.Mode():
        model, (x, _) = cell(6, 3).to(pretend.DEVICE), given(pretend.DEVICE)
        with torch.autocast("pretend", dtype=LOW):
            out = model(x)
    assert {h.dtype for h in (out if isinstance(out, tuple) else (out,))} == {LOW}


def test_binary_cross_entropy_of_probabilities_is_refused_by_cudas_rules_only():
    with pretend.Mode(), torch.autocast("pretend", dtype=LOW):
        x, low = given(pretend.DEVICE)
        for p in (x, low):
            with pytest.raises(RuntimeError, match="unsafe to autocast"):
                F.binary_cross_entropy(p, p)
        with torch.autocast("pretend", enabled=False):
            assert F.binary_cross_entropy(x, x).dtype == FULL
        with pretend_autocast.rules("CPU"):
            assert F.binary_cross_entropy(low, low).dtype == FULL
        with pytest.raises(RuntimeError, match="unsafe to autocast"):
            F.binary_cross_entropy(x, x)


def test_gradients_have_the_type_of_the_weights_and_nothing_is_cast_outside():
    with pretend.Mode():
        layer, (x, low) = nn.Linear(6, 3).to(pretend.DEVICE), given(pretend.DEVICE)
        with torch.autocast("pretend", dtype=LOW):
            loss = layer(x).log_softmax(1).sum()
        loss.backward()
        assert layer.weight.grad.dtype == FULL
        assert layer(x).dtype == FULL
        assert low.exp().dtype == LOW
