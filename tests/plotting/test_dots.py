"""Several numbers for each name, as points on one line."""

import pytest
from matplotlib.colors import to_hex

from mmtutor.plotting import dots


def test_dots_are_the_values_line_by_line():
    values = {"first": {"a": 1.0, "b": 2.0}, "second": {"b": 4.0, "a": 3.0}}
    (axis,) = dots(values, "A title", "nats").axes
    assert axis.get_title(loc="left") == "A title"
    assert axis.get_xlabel() == "nats"
    assert [t.get_text() for t in axis.get_yticklabels()] == ["first", "second"]
    assert axis.yaxis_inverted()  # read from the top
    drawn = [line for line in axis.lines if line.get_marker() != "None"]
    assert {(line.get_xdata()[0], line.get_ydata()[0]) for line in drawn} == {(1, 0), (2, 0), (3, 1), (4, 1)}
    looks = {x: (to_hex(line.get_color()), line.get_marker()) for line in drawn for x in line.get_xdata()}
    assert looks[1] == looks[3] != looks[2] == looks[4]
    assert looks[1][0] != looks[2][0]
    assert looks[1][1] != looks[2][1]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["a", "b"]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"x": {}},
        {"x": {"a": 1.0}, "y": {"b": 1.0}},
        {"x": {"a": float("nan")}},
        {"x": dict.fromkeys(range(8), 1.0)},
    ],
)
def test_dots_refuses_what_it_cannot_draw(values):
    with pytest.raises(ValueError, match="dots: "):
        dots(values, "title", "unit")
