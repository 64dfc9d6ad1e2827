"""Lines, bars and points are the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from mmtutor import plotting
from mmtutor.plotting import bars, history, show
from mmtutor.training import History

NAN = float("nan")


def test_history_draws_both_curves():
    past = History(train={"loss": [3.0, 2.0, 1.5], "part": [1.0, 1.0, 1.0]}, valid={"loss": [3.1, 2.5, 2.6]})
    (axis,) = history(past, "A title").axes
    assert (axis.get_title(loc="left"), axis.get_xlabel(), axis.get_ylabel()) == ("A title", "epoch", "loss (nats)")
    lines = {line.get_label(): line for line in axis.lines}
    assert lines["training"].get_xydata().tolist() == [[1, 3.0], [2, 2.0], [3, 1.5]]
    assert lines["validation"].get_xydata().tolist() == [[1, 3.1], [2, 2.5], [3, 2.6]]
    assert len({to_hex(line.get_color()) for line in lines.values()}) == 2
    (axis,) = history(past, "A title", "part", unit="bits").axes
    assert [line.get_label() for line in axis.lines] == ["training"]
    assert axis.get_ylabel() == "part (bits)"
    (axis,) = history(past, "A title", "part", unit="").axes
    assert axis.get_ylabel() == "part"


@pytest.mark.parametrize("past", [History(), History(train={"loss": []}), History(train={"loss": [1.0]})])
def test_history_names_an_unknown_term(past):
    with pytest.raises(ValueError, match="history: unknown term 'los'"):
        history(past, "title", "los")


def test_bars_are_the_values_in_order():
    values = {"first": 0.25, "second": 0.5, "third": 0.75}
    (axis,) = bars(values, "A title", "accuracy (share)", chance=0.1).axes
    assert axis.get_title(loc="left") == "A title"
    assert axis.get_xlabel().startswith("accuracy (share)")
    names = [t.get_text() for t in axis.get_yticklabels()]
    assert dict(zip(names, [p.get_width() for p in axis.patches], strict=True)) == values
    tops = [axis.transData.transform((0, p.get_y()))[1] for p in axis.patches]
    assert names[int(np.argmax(tops))] == "first"  # read from the top
    texts = [t.get_text() for t in axis.texts]
    assert {"0.250", "0.500", "0.750"} <= set(texts)
    assert "chance" in " ".join([*texts, axis.get_xlabel()])  # what the dashed line is
    assert [line.get_xdata()[0] for line in axis.lines] == [0.1]


@pytest.mark.parametrize("values", [{}, {"a": NAN}, {"a": 1.0, "b": float("inf")}])
def test_bars_refuses_what_it_cannot_draw(values):
    with pytest.raises(ValueError, match="bars: values"):
        bars(values, "title", "unit")


def test_shares_are_bars_of_equal_length_in_proportion_to_their_parts(shown):
    parts = {"first": {"a": 3.0, "b": 1.0, "c": 0.0}, "second": {"a": 0.0, "b": 0.01, "c": 0.49}}
    figure = plotting.shares(parts, "A title", "bit")
    (axis,) = figure.axes
    assert figure.get_suptitle() == "A title"
    assert [t.get_text() for t in axis.get_yticklabels()] == ["first", "second"]
    assert axis.yaxis_inverted()  # read from the top
    for bars_of_part, name, widths, starts in zip(
        axis.containers, "abc", [(0.75, 0), (0.25, 0.02), (0, 0.98)], [(0, 0), (0.75, 0), (1, 0.02)], strict=True
    ):
        assert bars_of_part.get_label() == name
        assert [bar.get_width() for bar in bars_of_part] == pytest.approx(widths)
        assert [bar.get_x() for bar in bars_of_part] == pytest.approx(starts)
    assert len({to_hex(part[0].get_facecolor()) for part in axis.containers}) == 3
    texts = [t.get_text() for t in axis.texts if t.get_text()]
    assert sorted(texts) == sorted(["3.00", "1.00", "0.49", "4.00 bit", "0.50 bit"])  # no room for 0.01
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b", "c"]
    show(figure, "text")
    assert shown


def test_shares_of_nothing_are_no_bar():
    figure = plotting.shares({"x": {"a": 0.0, "b": 0.0}, "y": {"a": 1.0, "b": 3.0}}, "title", "bit")
    [axis] = figure.axes
    assert [bar.get_width() for bar in axis.patches] == [0.0, 0.25, 0.0, 0.75]
    assert "0.00 bit" in [text.get_text() for text in axis.texts]
    plt.close(figure)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "at least one bar"),
        ({"x": {}}, "at least one bar"),
        ({"x": {"a": 1.0}, "y": {"b": 1.0}}, "the same parts in all"),
        ({"x": {"a": 1.0}, "y": {"a": 1.0, "b": 1.0}}, "the same parts in all"),
        ({"x": {"a": 1.0, "b": -0.1}}, "at least 0, got"),
        ({"x": {"a": NAN}}, "'x' must be finite"),
        ({"x": {"a": "much"}}, "'x' must be numbers"),
    ],
)
def test_shares_refuses_what_it_cannot_draw(parts, message):
    with pytest.raises(ValueError, match=f"shares: .*{message}"):
        plotting.shares(parts, "title", "unit")


def test_moments_draws_both_objects_of_each_model_on_one_scale():
    shifts = {
        "one": {"named": [0.1, 0.2, 0.9], "before": [0.3, 0.2, 0.1], "chance": [0.1] * 3},
        "two": {"named": [0.1, 0.2, 0.3], "before": [0.5, 0.4, 0.1], "chance": [0.2] * 3},
    }
    figure = plotting.moments(shifts, "Look")
    assert [axis.get_title("left") for axis in figure.axes] == ["one", "two"]
    for axis, shift in zip(figure.axes, shifts.values(), strict=True):
        for line, key in zip(axis.lines, ("named", "before", "chance"), strict=False):
            assert line.get_xdata().tolist() == [-1, 0, 1]
            assert line.get_ydata().tolist() == shift[key]
        assert axis.get_ylim()[0] == 0
        assert axis.get_ylim()[1] > 0.9
    with pytest.raises(ValueError, match="at least one"):
        plotting.moments({}, "t")


def medians(figure):
    """Digit to where it is written."""
    (axis,) = figure.axes
    return {int(text.get_text()): text.get_position() for text in axis.texts}


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, lambda x: torch.tensor(x).requires_grad_()])
def test_latents_of_two_numbers_are_drawn_as_they_are(kind, shown):
    rng = np.random.default_rng(0)
    codes, labels = rng.normal(size=(200, 2)), rng.choice([0, 1, 3, 6, 9], 200)
    codes[labels == 3] += 5
    codes[0] = 1e3  # the median does not mind
    plotting.latents(kind(codes), torch.tensor(labels)[:, None], "A column of labels is a row")
    figure = plotting.latents(kind(codes), torch.tensor(labels), "Look")
    (axis,) = figure.axes
    (dots,) = axis.collections
    np.testing.assert_array_equal(dots.get_offsets(), codes)
    drawn = [to_hex(colour).upper() for colour in dots.get_facecolors()]
    assert drawn == [plotting.TEN_COLOURS[digit] for digit in labels]
    assert medians(figure).keys() == {0, 1, 3, 6, 9}
    for digit, place in medians(figure).items():
        assert place == pytest.approx(np.median(codes[labels == digit], 0))
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("z₁", "z₂")
    assert axis.get_title(loc="left") == "Look"
    assert axis.get_aspect() == 1  # a distance is the same in both directions
    assert axis.get_legend() is None
    show(figure, "text")


@pytest.mark.parametrize("seed", range(6))  # for each the decomposition comes with other signs
def test_latents_of_more_numbers_are_projected_on_the_two_principal_components(seed):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(300, 5)) * [1, 4, 0.5, 2, 0.1] @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + 10
    labels = rng.integers(0, 10, 300)
    figure = plotting.latents(codes, labels, "Look")
    (axis,) = figure.axes
    share, directions = np.linalg.eigh(np.cov(codes.T))  # another way to the same; the largest are the last
    share = share / share.sum()
    expected = (codes - codes.mean(0)) @ directions[:, [-1, -2]]
    expected *= np.sign(directions[np.abs(directions).argmax(0), range(5)])[[-1, -2]]
    np.testing.assert_allclose(axis.collections[0].get_offsets(), expected, atol=1e-9)
    assert axis.get_xlabel() == f"first principal component ({share[-1]:.0%} of variance)"
    assert axis.get_ylabel() == f"second principal component ({share[-2]:.0%} of variance)"
    assert medians(figure)[7] == pytest.approx(np.median(expected[labels == 7], 0))


def test_latents_does_not_change_the_codes_and_can_show_a_collapse():
    for d in (2, 3):
        codes = np.ones((4, d))
        (axis,) = plotting.latents(codes, [1, 2, 3, 3], "Nothing").axes
        assert (codes == 1).all()
        assert len(axis.texts) == 3
    (axis,) = plotting.latents(np.eye(3)[:2], [1, 2], "Two").axes
    assert axis.get_xlabel() == "first principal component (100% of variance)"
    assert axis.get_ylabel() == "second principal component (0% of variance)"


@pytest.mark.parametrize(
    ("codes", "labels", "words"),
    [
        (np.ones((3, 1)), [0] * 3, r"z must be \(n, d\), n and d at least 2, got \(3, 1\)"),
        (np.ones((1, 2)), [0], r"z must be .* got \(1, 2\)"),
        (np.ones(3), [0] * 3, r"z must be .* got \(3,\)"),
        (np.ones((3, 2, 2)), [0] * 3, "z must be"),
        ([[1, 2], [NAN, 1]], [0, 1], "z must be finite"),
        ([["a", "b"]] * 2, [0, 1], "z must be numbers"),
        ([[1, 2], [1]], [0, 1], "z must be numbers"),
        (np.ones((3, 2)), [0, 1], r"labels must be 3 whole numbers from 0 to 9, got int64 \(2,\)"),
        (np.ones((2, 2)), [0, 10], "labels must be 2 whole numbers from 0 to 9"),
        (np.ones((2, 2)), [-1, 1], "labels must be 2 whole"),
        (np.ones((2, 2)), [0.0, 1.0], "labels must be 2 whole numbers from 0 to 9, got float64"),
        (np.ones((2, 2)), [[0, 1]], "labels must be"),
    ],
)
def test_latents_refuses_what_does_not_fit(codes, labels, words):
    with pytest.raises(ValueError, match=f"latents: {words}"):
        plotting.latents(codes, labels, "t")
    assert not plt.get_fignums()


def test_gaussians_draws_contours_of_the_exact_one_and_ellipses_of_the_guesses(shown):
    exact = np.array([1.0, 2.0]), np.array([[2.0, 0.6], [0.6, 1.0]])
    guesses = {
        "short": {"t = 0": (torch.zeros(2), torch.eye(2)), "t = 9": ([1.0, 1.0], [[0.5, 0.1], [0.1, 0.3]])},
        "long": {"t = 0": ([3.0, 1.0], [[4.0, 0.0], [0.0, 0.25]])},
    }
    figure = plotting.gaussians(exact, guesses, "Closer")
    assert figure.get_suptitle() == "Closer"
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["short", "long"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["t = 0", "t = 9"]
    for axis, some in zip(figure.axes, guesses.values(), strict=True):
        assert axis.get_aspect() == 1
        for width, patch in zip((3, 2, 1), axis.patches, strict=True):  # each point of a contour is as far away
            far = patch.get_xy() - exact[0]
            np.testing.assert_allclose(np.einsum("ni,ij,nj->n", far, np.linalg.inv(exact[1]), far), width**2)
        joined, *rest = axis.lines
        np.testing.assert_allclose(joined.get_xydata(), [np.asarray(mean) for mean, _ in some.values()])
        for (mean, covariance), dot, line in zip(some.values(), rest[::2], rest[1::2], strict=True):
            np.testing.assert_allclose(dot.get_xydata(), [np.asarray(mean)])
            far = line.get_xydata() - np.asarray(mean)
            inverse = np.linalg.inv(np.asarray(covariance))
            np.testing.assert_allclose(np.einsum("ni,ij,nj->n", far, inverse, far), 1, rtol=1e-6)
            assert dot.get_color() == line.get_color()
    show(figure, "text")


@pytest.mark.parametrize(
    ("exact", "guesses", "words"),
    [
        (([0.0], np.eye(2)), {"a": {"b": ([0, 0], np.eye(2))}}, "'exact' must be a mean"),
        (([0, 0], np.eye(3)), {"a": {"b": ([0, 0], np.eye(2))}}, "'exact' must be a mean"),
        (([0, 0], np.eye(2)), {"a": {"b": ([0, 0], [[1.0, 2.0], [2.0, 1.0]])}}, "'b' must be .* positive definite"),
        (([0, 0], np.eye(2)), {"a": {"b": ([0, NAN], np.eye(2))}}, "'b' must be finite"),
        (([0, 0], np.eye(2)), {}, "each panel needs a guess"),
        (([0, 0], np.eye(2)), {"a": {}}, "each panel needs a guess"),
    ],
)
def test_gaussians_refuses_what_does_not_fit(exact, guesses, words):
    with pytest.raises(ValueError, match=f"gaussians: {words}"):
        plotting.gaussians(exact, guesses, "t")
    assert not plt.get_fignums()


def test_curves_are_means_with_a_band_from_the_lowest_to_the_highest(shown):
    x = [0, 1, 4]
    runs = np.array([[0.1, 0.5, 0.9], [0.3, 0.5, 0.6], [0.5, 0.2, 0.6]])
    values = {"three": runs, "one": [0.2, 0.3, 0.4], "tensor": torch.tensor([[0.0, 0.5, 1.0]]).requires_grad_()}
    figure = plotting.curves(x, values, "A title", "steps", "coherence (share)")
    (axis,) = figure.axes
    lines = dict(zip(values, axis.lines, strict=True))
    assert all(line.get_xdata().tolist() == x for line in axis.lines)
    assert lines["three"].get_ydata() == pytest.approx([0.3, 0.4, 0.7])
    assert lines["one"].get_ydata() == pytest.approx([0.2, 0.3, 0.4])
    assert lines["tensor"].get_ydata() == pytest.approx([0, 0.5, 1])
    (band,) = axis.collections  # of the one with several runs
    edges = {tuple(np.round(v, 9).tolist()) for v in band.get_paths()[0].vertices}
    assert edges == {(0, 0.1), (1, 0.2), (4, 0.6), (0, 0.5), (1, 0.5), (4, 0.9)}
    assert to_hex(band.get_facecolor()) == lines["three"].get_color().lower()
    assert [text.get_text() for text in axis.get_legend().get_texts()] == list(values)
    assert axis.get_legend().get_title().get_text() == "line: mean of the runs\nband: lowest to highest"
    assert (axis.get_title(loc="left"), axis.get_xlabel()) == ("A title", "steps")
    assert axis.get_ylabel() == "coherence (share)"
    show(figure, "text")
    figure = plotting.curves(x, {"one": [0.2, 0.3, 0.4]}, "t", "x", "y")
    assert figure.axes[0].get_legend().get_title().get_text() == ""  # no band, no word about one
    assert not figure.axes[0].collections


def test_each_of_many_curves_has_its_own_colour_and_marker():
    figure = plotting.curves([0, 1], {str(k): [k, k] for k in range(12)}, "t", "x", "y")
    lines = figure.axes[0].lines
    assert len({line.get_color() for line in lines[:10]}) == 10
    assert len({line.get_marker() for line in lines[:7]}) == 7
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 12
    figure.canvas.draw()
    assert figure.axes[0].get_legend().get_window_extent().x0 >= figure.axes[0].get_window_extent().x1  # hides nothing


@pytest.mark.parametrize(
    ("x", "values", "words"),
    [
        ([0, 1], {}, "needs at least one line"),
        ([], {"a": []}, r"needs .* over x \(n,\), got \['a'\] over \(0,\)"),
        ([[0, 1]], {"a": [0, 1]}, r"needs .* over \(1, 2\)"),
        ([0, NAN], {"a": [0, 1]}, "x must be finite"),
        (["a", "b"], {"a": [0, 1]}, "x must be numbers"),
        ([0, 1], {"a": [0, 1], "b": [0, 1, 2]}, r"'b' must be \(2,\) or \(runs, 2\), got \(3,\)"),
        ([0, 1], {"a": [[0], [1]]}, r"'a' must be .* got \(2, 1\)"),
        ([0, 1], {"a": np.ones((0, 2))}, r"'a' must be .* got \(0, 2\)"),
        ([0, 1], {"a": np.ones((1, 1, 2))}, r"'a' must be .* got \(1, 1, 2\)"),
        ([0, 1], {"a": 1.0}, r"'a' must be .* got \(\)"),
        ([0, 1], {"a": [0, NAN]}, "'a' must be finite"),
        ([0, 1], {"a": ["x", "y"]}, "'a' must be numbers"),
        ([0, 1], {"a": [[0, 1], [1]]}, "'a' must be numbers"),
    ],
)
def test_curves_refuses_what_does_not_fit(x, values, words):
    with pytest.raises(ValueError, match=f"curves: {words}"):
        plotting.curves(x, values, "t", "x", "y")
    assert not plt.get_fignums()


def test_scatter_puts_each_name_at_its_point():
    figure = plotting.scatter({"a": (0.5, 2.0), "b": (0.25, 8.0)}, "Two", "across", "up")
    (axis,) = figure.axes
    assert {of.get_label(): of.get_xydata().tolist() for of in axis.lines} == {"a": [[0.5, 2.0]], "b": [[0.25, 8.0]]}
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "b"]
    assert len({(of.get_color(), of.get_marker()) for of in axis.lines}) == 2
    assert (axis.get_title(loc="left"), axis.get_xlabel(), axis.get_ylabel()) == ("Two", "across", "up")


@pytest.mark.parametrize("points", [{}, {"a": (1.0,)}, {"a": (1.0, float("nan"))}])
def test_scatter_refuses_what_is_no_point(points):
    with pytest.raises(ValueError, match="scatter"):
        plotting.scatter(points, "Two", "across", "up")
