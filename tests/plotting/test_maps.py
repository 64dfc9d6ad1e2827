"""Maps name what they should, their arrows join what they should, and nothing in them is out of place."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from matplotlib.patches import Circle
from matplotlib.text import Annotation

from mmtutor.plotting import fusion_map, show, vae_map


def test_fusion_map_has_its_three_titles(shown):
    figure = fusion_map()
    assert [a.get_title(loc="left").split(":")[0] for a in figure.axes] == [
        "Early fusion",
        "Late fusion",
        "Cross-modal fusion",
    ]
    for axis in figure.axes:
        words = {t.get_text() for t in axis.texts}
        assert {"image", "sound", "table", "learner", "class"} <= words
    show(figure, "text")


# ---- the map of VAEs


@pytest.fixture
def drawn():
    figure = vae_map()
    figure.canvas.draw()
    return figure


def texts(axis):
    return [t for t in axis.texts if not isinstance(t, Annotation)]


def extent(axis, artist):
    """In the axis's own units: left, bottom, right, top."""
    box = artist.get_window_extent().transformed(axis.transData.inverted())
    return np.array([box.x0, box.y0, box.x1, box.y1])


def areas(axis):
    """Title to its rectangle's extent, for all that is wider than a node."""
    wide = [extent(axis, p) for p in axis.patches if not isinstance(p, Circle) and p.get_width() > 5]
    found = {}
    for box in wide:
        (title,) = [
            t.get_text()
            for t in texts(axis)
            if t.get_weight() == "bold" and box[1] < t.get_position()[1] < box[3] < t.get_position()[1] + 0.3
        ]
        found[title] = box
    return found


def nodes(axis):
    """(name, extent) of each box or circle: the text at its middle."""
    found = []
    for patch in axis.patches:
        box = extent(axis, patch)
        if box[2] - box[0] < 5:
            middle = (box[:2] + box[2:]) / 2
            (name,) = [t.get_text() for t in texts(axis) if np.hypot(*(t.get_position() - middle)) < 0.01]
            found.append((name, box))
    return found


def at(places, point):
    """The one node at whose edge a point is, grown by a little."""
    (hit,) = [k for k, (_, b) in enumerate(places) if (b[:2] - 0.02 <= point).all() and (point <= b[2:] + 0.02).all()]
    inside = (places[hit][1][:2] + 0.06 < point).all() and (point < places[hit][1][2:] - 0.06).all()
    assert not inside, f"{point} is within {places[hit][0]}"
    return hit


def edges(axis, top, bottom):
    """How often which node leads to which other, by an arrow whose middle is between two heights."""
    places, found = nodes(axis), Counter()
    for arrow in axis.texts:
        if isinstance(arrow, Annotation) and bottom < (arrow.xy[1] + arrow.xyann[1]) / 2 < top:
            ends = places[at(places, arrow.xyann)][0], places[at(places, arrow.xy)][0]
            found[(*ends, arrow.arrowprops["arrowstyle"], arrow.arrowprops["linestyle"])] += 1
    return found


def each(start, end, line="-", times=1):
    return Counter({(start.format(n), end.format(n), "->", line): times for n in "₁₂₃"})


def test_vae_map_has_each_model_in_its_part(drawn, shown):
    (axis,) = drawn.axes
    assert axis.get_title(loc="left") == "Multimodal VAEs differ in how q(z|X) is built"
    found = areas(axis)
    coordinated, joint, *parts = found.values()
    assert [title.partition(":")[0] for title in found] == [
        "Coordinated",
        "Joint",
        "Surrogate",
        "Aggregation",
        "Private latents",
    ]
    assert joint[3] < coordinated[1]
    for above, part in zip([coordinated, *parts], parts, strict=False):
        assert part[3] < above[1]  # below the one before
        assert (part[:2] > joint[:2]).all()
        assert (part[2:] < joint[2:]).all()
    where = {"JMVAE": 0, "TELBO": 0, "MVAE": 1, "MVTCAE": 1, "MMVAE": 1, "MoPoE": 1, "DMVAE": 2, "MMVAE+": 2}
    for model, k in where.items():
        said = [t for t in texts(axis) if model in t.get_text().replace(",", " ").split()]
        assert len(said) == 1, model
        assert parts[k][1] < said[0].get_position()[1] < parts[k][3], model
    show(drawn, "text")


def test_vae_map_can_be_read_on_a_phone(drawn):
    (axis,) = drawn.axes
    assert drawn.get_figwidth() <= 6.5
    assert min(t.get_size() for t in texts(axis)) >= 9
    boxes = [(t.get_text(), extent(axis, t)) for t in texts(axis)]
    for name, box in boxes:
        assert box[0] > 0.1, name
        assert box[2] < 6.38, name
    for (one, a), (two, b) in combinations(boxes, 2):
        assert (a[:2] >= b[2:]).any() or (b[:2] >= a[2:]).any(), f"{one!r} is over {two!r}"
    for (one, a), (two, b) in combinations(nodes(axis), 2):
        assert (a[:2] >= b[2:]).any() or (b[:2] >= a[2:]).any(), f"the boxes of {one} and {two} overlap"
    for name, box in nodes(axis):
        (text,) = [b for n, b in boxes if n == name and (b[:2] >= box[:2]).all() and (b[2:] <= box[2:]).all()]
        assert text is not None  # a text fits its box
        around = [a for a in areas(axis).values() if (a[:2] < box[:2]).all() and (box[2:] < a[2:]).all()]
        assert around, f"{name} sticks out"


def test_vae_map_joins_what_belongs_together(drawn):
    (axis,) = drawn.axes
    coordinated, _, surrogate, aggregation, private = areas(axis).values()
    near = Counter({("q₂", q, "<->", "-"): 1 for q in ("q₁", "q₃")})
    assert edges(axis, *coordinated[[3, 1]]) == each("x{}", "q{}") + each("q{}", "z") + near
    joined = each("x{}", "q(z|X)") + Counter({("q(z|X)", "z", "->", "-"): 1})
    assert edges(axis, *surrogate[[3, 1]]) == joined + each("x{}", "q{}", "--") + each("q{}", "z", "--")
    assert edges(axis, *aggregation[[3, 1]]) == each("x{}", "q{}", times=3) + each("q{}", "∏") + each("q{}", "Σ")
    mixed = each("q{}", "∏ or Σ") + Counter({("∏ or Σ", "z", "->", "-"): 1})
    assert edges(axis, *private[[3, 1]]) == each("x{}", "q{}") + each("x{}", "w{}") + mixed


def test_vae_map_makes_mopoe_of_all_seven_sets(drawn):
    (axis,) = drawn.axes
    places = nodes(axis)
    members, mixed = {}, Counter()
    for line in axis.lines:
        if len(line.get_xdata()) == 2 and line.get_ydata()[0] != line.get_ydata()[1]:
            start, end = (at(places, point) for point in line.get_xydata())
            if places[end][0] == "∏":
                members.setdefault(end, set()).add(places[start][0])
            else:
                mixed[start, places[end][0]] += 1
    names = ["q₁", "q₂", "q₃"]
    assert sorted(map(sorted, members.values())) == sorted(list(c) for n in (1, 2, 3) for c in combinations(names, n))
    assert mixed == Counter({(k, "Σ"): 1 for k in members})


def test_vae_map_draws_the_product_and_the_mixtures_of_its_three_experts(drawn):
    (axis,) = drawn.axes
    curves = [line for line in axis.lines if len(line.get_xdata()) > 2]
    assert len(curves) == 9
    assert len(axis.collections) == 3
    for k, fill in enumerate(axis.collections):
        outline = fill.get_paths()[0].vertices
        base = outline[:, 1].min()
        x = curves[3 * k].get_xdata()
        assert outline[:, 0].min() == pytest.approx(x[0])
        # The outline has the base line and the curve, in this or the other order; at each place the curve is higher.
        height = np.array([outline[np.isclose(outline[:, 0], at), 1].max() for at in x]) - base
        a, b, c = (line.get_ydata() - base for line in curves[3 * k : 3 * k + 3])
        area = np.trapezoid(a, x)
        for expert in (b, c):
            assert np.trapezoid(expert, x) == pytest.approx(area, rel=0.01)
        products = [p * area / np.trapezoid(p, x) for p in (a, b, c, a * b, a * c, b * c, a * b * c)]
        expected = (products[-1], np.mean(products[:3], 0), np.mean(products, 0))[k]
        np.testing.assert_allclose(height, expected, atol=0.01 * expected.max())
        assert base + height.max() < min(b[1] for name, b in nodes(axis) if name in "∏Σ" and b[1] > base)
