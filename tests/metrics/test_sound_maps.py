"""Maps of where a sound comes from: against brute force on drawn masks, and what trivial answers get."""

import math

import numpy as np
import pytest
import torch

from mmtutor.data import scenes, speak
from mmtutor.metrics import hearing, map_overlap, map_pointing, speaker_masks


@pytest.fixture(scope="module")
def data():
    return speak(scenes("test", n=40, progress=False), "test", progress=False)


def drawn(n=30, H=16, W=24):
    rng = np.random.default_rng(0)
    masks = np.zeros((n, H, W), bool)
    for mask in masks:
        top, left = rng.integers(0, H - 2), rng.integers(0, W - 2)
        mask[top : top + rng.integers(1, 12), left : left + rng.integers(1, 18)] = True
    return rng.standard_normal((n, 4, 6)), masks


@pytest.mark.parametrize("side", [4, 8, 16])
def test_pointing_pixel_by_pixel(data, side):
    cell = 64 // side
    maps = np.random.default_rng(side).standard_normal((40, side, side))
    found, every = map_pointing(maps, data), map_pointing(maps.reshape(40, -1), data, every=True)
    close = map_pointing(maps, data, tolerance=2)
    for k, values in enumerate(maps):
        row, column = max(((r, c) for r in range(side) for c in range(side)), key=lambda place: values[place])
        point = (row + 0.5) * cell - 0.5, (column + 0.5) * cell - 0.5
        owner, speaks = data[k]["owner_label"], data[k]["speaks_label"]
        places = [(math.dist(point, (i, j)), int(owner[i, j])) for i, j in (owner >= 0).nonzero().tolist()]
        distance, whose = min(places)
        assert every[k] == (distance <= 6)
        assert found[k] == (distance <= 6 and speaks[whose])
        assert close[k] == (distance <= 2 and speaks[whose])
    assert 0 < every.sum() < 40


def enlarged(values, H, W):
    """Bilinear, the centres of cells at (k + ½)·H/rows, the border repeated."""
    rows, columns = values.shape
    large = np.empty((H, W))
    for i in range(H):
        for j in range(W):
            y = min(max((i + 0.5) * rows / H - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / W - 0.5, 0), columns - 1)
            r, c = min(int(y), rows - 2), min(int(x), columns - 2)
            down, across = y - r, x - c
            top = (1 - across) * values[r, c] + across * values[r, c + 1]
            bottom = (1 - across) * values[r + 1, c] + across * values[r + 1, c + 1]
            large[i, j] = (1 - down) * top + down * bottom
    return large


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0, "median"])
def test_the_overlap_pixel_by_pixel(threshold):
    maps, masks = drawn()
    found = map_overlap(maps, masks, threshold)
    wanted = []
    for values, mask in zip(maps, masks, strict=True):
        large = enlarged(values, *mask.shape)
        if threshold == "median":
            answer = large > sorted(large.flatten())[large.size // 2]
        else:
            answer = (large - large.min()) / (large.max() - large.min()) >= threshold
        both = sum(a and b for a, b in zip(answer.flat, mask.flat, strict=True))
        either = sum(a or b for a, b in zip(answer.flat, mask.flat, strict=True))
        wanted.append(both / either)
    assert found.iou == pytest.approx(wanted, abs=1e-12)
    assert found.half == sum(x >= 0.5 for x in wanted) / len(wanted)
    u = (np.arange(100_000) + 0.5) / 100_000
    share = (np.sort(wanted)[:, None] >= u).mean(0)
    assert found.auc == pytest.approx(share.mean(), abs=1e-4)  # the area is the mean


def test_the_whole_picture_is_right_where_the_object_fills_half_of_it():
    masks = np.zeros((10, 10, 10), bool)
    for k, mask in enumerate(masks):
        mask[: k + 1] = True  # a share of (k + 1)/10
    found = map_overlap(np.zeros((10, 5, 5)), masks)
    assert found.iou == pytest.approx((np.arange(10) + 1) / 10)
    assert found.half == 0.6
    assert not map_overlap(np.zeros((10, 5, 5)), masks, "median").iou.any()


def test_at_the_median_the_answer_is_half_the_picture_whatever_the_map_says():
    share = np.arange(1, 17) / 16
    masks = np.zeros((16, 16, 16), bool)
    for k, mask in enumerate(masks):
        mask[: k + 1] = True
    best = np.broadcast_to(-np.arange(16.0)[:, None] - 1e-3 * np.arange(16.0), (16, 16, 16))  # falls row by row
    found = map_overlap(best, masks, "median")
    bound = np.minimum(share, 0.5) / np.maximum(share, 0.5)
    assert found.iou == pytest.approx(bound, abs=0.02)


def test_masks_are_those_of_the_speaker(data):
    boxes, masks = speaker_masks(data), speaker_masks(data, pixels=True)
    every = speaker_masks(data, every=True, pixels=True)
    for k in range(40):
        example = data[k]
        (who,) = example["speaks_label"].nonzero().flatten().tolist()
        assert (torch.from_numpy(masks[k]) == (example["owner_label"] == who)).all()
        left, top, right, bottom = example["box_label"][who].tolist()
        box = torch.zeros(64, 64, dtype=torch.bool)
        box[top:bottom, left:right] = True
        assert (torch.from_numpy(boxes[k]) == box).all()
        assert (torch.from_numpy(every[k]) == (example["owner_label"] >= 0)).all()


def test_an_answer_that_ignores_the_sound_is_right_for_one_of_n():
    """Over all objects of a scene as speakers, exactly."""
    shown = scenes("test", n=40, progress=False)
    here, deaf = shown.tensors["digit_label"] >= 0, np.zeros((40, 64, 64))
    deaf[shown.tensors["owner_label"].numpy() == 0] = 1  # a pixel of the first object, whatever is said
    right = torch.zeros(40)
    for who in range(3):
        shown.tensors["speaks_label"] = here & (torch.arange(3) == who)
        right += torch.from_numpy(map_pointing(deaf, shown))
    assert (right == 1).all()
    n = here.sum(1)
    assert hearing(right / n, 1 / n) == pytest.approx(0, abs=1e-6)


def test_what_listening_wins():
    assert hearing([1, 1, 1, 1], [0.5, 0.25, 0.25, 0]) == 1
    assert hearing([1, 0, 0, 0], [0.25] * 4) == 0
    assert hearing([0, 0], [0.5, 0.5]) == -1
    with pytest.raises(ValueError, match="without listening all is right already"):
        hearing([1, 1], [1, 1])
    for wrong in (([], []), ([1, 0, 1], [0.5]), (1.0, 0.5)):
        with pytest.raises(ValueError, match=r"own and deaf must be \(n,\) each"):
            hearing(*wrong)


def test_bad_input_is_refused(data):
    maps, _ = drawn()
    maps = maps[:, :, :4]
    voiced = speak(scenes("test", n=30, progress=False), "test", progress=False)
    for call, masks in ((map_pointing, voiced), (map_overlap, np.zeros((30, 64, 64), bool))):
        for wrong in (maps[:5], maps[:, :3], maps[0], np.zeros((30, 20)), np.zeros((30, 0))):
            with pytest.raises(ValueError, match=f"^{call.__name__}: maps must be"):
                call(wrong, masks)
        with pytest.raises(ValueError, match="NaN"):
            call(np.full_like(maps, np.nan), masks)
    for threshold in (1.5, "mean"):
        with pytest.raises(ValueError, match="threshold must be from 0 to 1, or 'median'"):
            map_overlap(maps, masks, threshold)
    with pytest.raises(TypeError, match="map_pointing: data must be Scenes"):
        map_pointing(maps, masks)
    with pytest.raises(ValueError, match="map_pointing: the scenes have no sound"):
        map_pointing(np.zeros((2, 64)), scenes("test", n=2, progress=False))
    with pytest.raises(TypeError, match="data must be Scenes"):
        speaker_masks({"owner_label": torch.zeros(2, 4, 4)})
    with pytest.raises(ValueError, match="the scenes have no sound"):
        speaker_masks(scenes("test", n=2, progress=False))
