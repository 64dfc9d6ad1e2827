"""Each shape comment in a model file is true: docstring examples run, and each value is compared with its comment."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import pytest
import torch
from shapes import Watch, prepare, read_shape, rewrite, watched

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("encoders.py", "decoders.py", "lineargaussian.py", "fusion", "captioning", "mfm", "vae", "iterative")
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
# Examples in which no two sizes are the same, for lines where letters have one size in the docstrings'.
MORE = {
    "encoders.py": """
import torch
from mmtutor.encoders import GridEncoder
GridEncoder(3).eval()(torch.rand(2, 3, 32, 56))
""",
    "lineargaussian.py": """
from mmtutor.lineargaussian import LinearGaussian
world = LinearGaussian.random({"a": 3, "b": 4}, latent=2, noise=0.5, seed=1)
world.naive_product(world.sample(7, seed=2)[1])
""",
    "fusion": """
import torch
from mmtutor.fusion import Arithmetic, HarmonicRule, InnerProduct, MeanRule
InnerProduct([6, 6, 6], parts=2)([torch.rand(4, 6) for _ in range(3)])
for operator in ("sum", "product"):
    Arithmetic([5, 5, 5], operator)([torch.rand(2, 5) for _ in range(3)])
for rule in (MeanRule(), HarmonicRule()):
    rule(torch.rand(2, 3, 4).log(), torch.ones(2, 3, dtype=torch.bool))
""",
    "captioning": """
import torch
from torch import nn
from mmtutor.captioning import ShowAttendTell, Tokens, beam_search
model = ShowAttendTell(nn.Identity(), 4, Tokens(9), image="regions")
for images in (2, 5, 7):
    beam_search(model, {"regions": torch.rand(images, 6, 4)}, length=8, beams=3)
""",
    "mfm": """
import torch
from mmtutor.mfm import LSTMEncoder, Surrogate, sequence_mfm
model = sequence_mfm({"words": 3, "voice": 2}, steps=4, classes=2)
Surrogate(model, "voice", LSTMEncoder("words", 3, 6), 6).latents({"words": torch.rand(5, 4, 3)})
""",
    "vae": """
import torch
from torch import nn
from mmtutor.lineargaussian import LinearGaussian
from mmtutor.vae import DMVAE, MMVAE, TELBO, Coordinated, MMVAEPlus, MoPoE, gaussian
sizes, d, private = {"a": 3, "b": 4, "c": 9}, 5, 6
batch = {name: torch.rand(7, size) for name, size in sizes.items()}
class Joint(nn.Linear):
    def forward(self, batch):
        return super().forward(torch.cat(list(batch.values()), 1))
def networks(more=0):
    encoders = {name: nn.Linear(size, 2 * (d + more)) for name, size in sizes.items()}
    return encoders, {name: nn.Linear(d + more, size) for name, size in sizes.items()}, likelihoods, d
likelihoods = {name: gaussian(1.0) for name in sizes}
models = [MMVAE(*networks(), k=2, objective="dreg"), MMVAEPlus(*networks(private), private, k=2)]
models += [Coordinated(*networks()), TELBO(Joint(16, 2 * d), *networks()), MoPoE(*networks(), sets=["a", ("a", "b")])]
models += [DMVAE(*networks(private), private)]
for model in models:
    model.loss(batch)
    model.generate(n=2)
world = LinearGaussian.random(sizes, latent=d, noise={"a": torch.eye(3), "b": torch.ones(4), "c": 0.5})
_, seen = world.sample(7, seed=0)
world.gap(seen, world.posterior(seen, "b"))
world.predict({"a": seen["a"]}, "b")
""",
}


@pytest.fixture(scope="module")
def watch() -> Watch:
    """What the shape comments of all model files were, and what was seen when the examples ran."""
    parts = [f"mmtutor/{part}" for part in PARTS if (ROOT / "mmtutor" / part).exists()]
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=FLAGS)
    with torch.random.fork_rng(), watched(ROOT, parts) as (watch, modules):
        for test in [test for module in modules for test in finder.find(module)]:
            torch.manual_seed(0)
            runner.run(test, out=lambda text: None)
        for code in MORE.values():
            torch.manual_seed(0)
            exec(code, {})
        assert runner.summarize(verbose=False).failed == 0
    return watch


@pytest.mark.parametrize("part", PARTS)
def test_each_shape_comment_of_a_model_file_is_true(part: str, watch: Watch):
    assert [fault for fault in watch.faults if fault.startswith(f"mmtutor/{part}")] == []


@pytest.mark.parametrize("part", PARTS)
def test_each_shape_comment_of_a_model_file_was_compared(part: str, watch: Watch):
    assert [where for where in watch.unseen if where.startswith(f"mmtutor/{part}")] == []


@pytest.mark.parametrize("part", PARTS)
def test_letters_that_could_change_places_unnoticed_do_not(part: str, watch: Watch):
    """An example whose sizes all differ settles it: add one to `MORE`."""
    assert [where for where in watch.alike if where.startswith(f"mmtutor/{part}")] == []


TOY = '''
"""A toy."""
import torch

def mix(x, y, steps=1, offset=None):
    """Two matrices, side by side."""
    both = torch.cat([x, y], 1)  # (B, 2 d)
    more = torch.cat(
        [both] * 3,
        1,
    )  # (B, 3·2 d)
    less = both[:, 1:]  # (B, 2 d - 1)
    flat = x.flatten()  # (B d,)
    B, rest = len(x), None
    for t in range(1, steps + 1):
        wide: torch.Tensor = both.repeat(1, t)  # (B, k_t)
        long = both.repeat(t, 1)  # (t B, 2 d)
    total = both.sum()  # ()
    shift = offset  # (B,)
    return both[:, None]  # (..., 1, 2 d)
'''


def toy(source: str = TOY, *calls: str) -> Watch:
    watch = Watch()
    namespace = prepare({}, watch)
    exec(compile(rewrite("toy.py", source, watch), "toy.py", "exec"), namespace)
    for call in calls or ("mix(torch.ones(2, 3), torch.ones(2, 3), 3, torch.ones(2))", "mix(*torch.ones(2, 5, 4))"):
        exec(call, namespace)
    return watch


def test_true_comments_pass_and_each_call_has_letters_of_its_own():
    watch = toy()
    assert (watch.faults, watch.unseen) == ([], [])
    assert len(watch.lines) == 9


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("# (B, 2 d)", "# (B, 3 d)", "toy.py:11: # (B, 3·2 d) has an axis of 18, where B = 2, d = 2"),
        ("# (B, 2 d)\n    more", "# (B, d, 2)\n    more", "toy.py:7: # (B, d, 2) is (2, 6)"),
        ("# (B, 2 d)\n    more", "# (B, 7)\n    more", "toy.py:7: # (B, 7) has an axis of 6"),
        ("# (B, 3·2 d)", "# (B, 3 d)", "toy.py:11: # (B, 3 d) has an axis of 18, where"),
        ("# (B, 2 d - 1)", "# (B, 2 d + 1)", "toy.py:12: # (B, 2 d + 1) has an axis of 5, where B = 2, d = 3"),
        ("# (B d,)", "# (d, d)", "toy.py:13: # (d, d) is (6,)"),
        ("# (B, k_t)", "# (B, k)", "toy.py:16: # (B, k) has an axis of 12, where"),
        ("# (t B, 2 d)", "# (B, 2 d)", "toy.py:17: # (B, 2 d) has an axis of 4"),
        ("# ()", "# (1,)", "toy.py:18: # (1,) is ()"),
        ("# (..., 1, 2 d)", "# (..., B, 2 d)", "toy.py:20: # (..., B, 2 d) has an axis of 1, where B = 2"),
        ("# (..., 1, 2 d)", "# (..., 1, 1, 2, 2 d)", "toy.py:20: # (..., 1, 1, 2, 2 d) is (2, 1, 6)"),
        ("B, rest = len(x), None", "B, rest = 7, None", "toy.py:16: # (B, k_t) has an axis of 2, where B = 7"),
        ("total = both.sum()", "total = len(both)", "toy.py:18: # () is said of a int, not of a tensor"),
        ("B, rest = len(x), None", "B, rest = len(x), y  # (), (B, d)", "a shape comment is a shape and nothing else"),
        ("B, rest = len(x), None", "B, rest = x.shape  # (B, d)", "toy.py:14: # (B, d) stands at no `name = value`"),
        ("# (B d,)", "# (B d,) as seen", "toy.py:13: # (B d,) as seen: a shape comment is a shape and nothing else"),
        ("# (B d,)", "# (B/d,)", "toy.py:13: # (B/d,): cannot read the axis 'B/d'"),
        ("# (B d,)", "# (..., …)", "only one axis can be ..."),
    ],
)
def test_gate_a_comment_that_lies(old: str, new: str, fault: str):
    assert old in TOY
    found = toy(TOY.replace(old, new, 1)).faults
    assert any(fault in text for text in found), found


def test_gate_a_comment_that_nothing_runs():
    assert toy(TOY, "mix(torch.ones(2, 3), torch.ones(2, 3), 0)").unseen == [
        "toy.py:16: # (B, k_t)", "toy.py:17: # (t B, 2 d)", "toy.py:19: # (B,)"
    ]  # fmt: skip


def test_gate_letters_that_have_one_size():
    assert toy().alike == []
    found = toy(TOY, "mix(torch.ones(3, 3), torch.ones(3, 3), 3, torch.ones(3))").alike
    assert "toy.py:7: B = d in # (B, 2 d)" in found


def test_two_unknown_letters_wait_until_one_is_known():
    source = "import torch\ndef f(x):\n    y = x.flatten()  # (B R,)\n    return x.T  # (R, {})\n"
    assert toy(source.format("B"), "f(torch.ones(2, 3))").faults == []
    (fault,) = toy(source.format("2 B"), "f(torch.ones(2, 5))").faults[:1]
    assert fault == "toy.py:4: # (R, 2 B) has an axis of 2, where B = 2, R = 5"


def test_a_distribution_has_a_shape():
    source = "from torch.distributions import Normal, Independent\nimport torch\ndef f(x):\n    return {}  # (B, d)\n"
    assert toy(source.format("Independent(Normal(x, 1), 1)"), "f(torch.ones(2, 3))").faults == []
    assert toy(source.format("Normal(x[0], 1)"), "f(torch.ones(2, 3))").faults == ["toy.py:4: # (B, d) is (3,)"]


@pytest.mark.parametrize("comment", ["# says why", "# (eq. 4)", "# noqa: E501", "# Eq. (3), as (B, T)"])
def test_other_comments_are_left_alone(comment: str):
    assert read_shape(comment) is None


def test_the_modules_in_use_are_left_as_they_were():
    import mmtutor.fusion

    before = mmtutor.fusion
    with watched(ROOT, ["mmtutor/encoders.py"]):
        assert "mmtutor.fusion" not in sys.modules
    assert sys.modules["mmtutor.fusion"] is before
