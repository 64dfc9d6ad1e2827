"""Where a model looks when it is asked: against loops over the pixels."""

import pytest
import torch

from mmtutor.data import scenes
from mmtutor.data.question import KINDS, questions
from mmtutor.metrics import question_pointing


@pytest.fixture(scope="module")
def asked():
    world = scenes("test", n=60, objects=(2, 3), progress=False)
    return questions(world, n=80, progress=False)


def test_pointing_is_counted_pixel_by_pixel(asked):
    torch.manual_seed(0)
    alpha = torch.rand(80, 16, dtype=torch.float64).softmax(1)
    found = question_pointing(alpha, asked)
    rows = {}
    for k in range(80):
        example = asked[k]
        about = example["asked_label"].nonzero().flatten().tolist()
        if not about:
            continue
        on = []
        for region in range(16):
            down, across = 16 * (region // 4), 16 * (region % 4)
            pixels = example["owner_label"][down : down + 16, across : across + 16]
            on.append(any((pixels == thing).any().item() for thing in about))
        mass = sum(alpha[k, region].item() for region in range(16) if on[region])
        rows.setdefault(asked.asked[k].kind, []).append((on[int(alpha[k].argmax())], mass, sum(on) / 16))
    assert found.keys() == rows.keys()
    assert len(found) == len(KINDS)
    for kind, values in rows.items():
        hits, mass, chance = (sum(column) / len(values) for column in zip(*values, strict=True))
        assert found[kind] == pytest.approx((hits, mass, chance, len(values)))


def test_who_looks_at_what_is_asked_always_points(asked):
    owner = asked.tensors["owner_label"][asked.tensors["scene_label"]]
    about = asked.tensors["asked_label"]
    alpha = torch.stack([about[:, k, None, None] & (owner == k) for k in range(about.shape[1])]).any(0)
    alpha = alpha.double().unflatten(1, (8, 8)).unflatten(3, (8, 8)).sum((2, 4)).flatten(1)
    assert all(point.hits == 1 for point in question_pointing(alpha, asked).values())
    assert all(point.hits < 0.6 for point in question_pointing(torch.rand(80, 64), asked).values())


def test_what_does_not_fit_is_refused(asked):
    with pytest.raises(TypeError, match="data must be Questions, got dict"):
        question_pointing(torch.rand(80, 16), {})
    with pytest.raises(ValueError, match="no 'owner_label'"):
        question_pointing(torch.rand(80, 16), asked.showing({"regions": torch.rand(60, 16, 3)}))
    for shape in ((80, 2, 16), (79, 16), (80, 15), (80, 9)):
        with pytest.raises(ValueError, match=r"alpha must be \(n, L\)"):
            question_pointing(torch.rand(*shape), asked)
