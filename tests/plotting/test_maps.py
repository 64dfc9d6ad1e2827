"""Maps name what they should, and nothing in them is out of place."""

from mmtutor.plotting import fusion_map, show


def test_fusion_map_has_its_three_titles(shown):
    figure = fusion_map()
    assert [a.get_title(loc="left").split(":")[0] for a in figure.axes] == ["Early", "Late", "In between"]
    for axis in figure.axes:
        words = {t.get_text() for t in axis.texts}
        assert {"image", "sound", "table", "learner", "class"} <= words
    show(figure, "text")
