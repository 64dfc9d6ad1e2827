"""Diagrams of models: no box covers another or leaves the figure, every box is joined, tensors have shapes."""

from itertools import combinations

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Annotation

from mmtutor.plotting import (
    answering_diagram,
    captioning_diagram,
    embedding_diagram,
    localisation_diagram,
    mfm_diagram,
    mfn_diagram,
    students_diagram,
    text_to_image_diagram,
)

DIAGRAMS = (
    answering_diagram,
    captioning_diagram,
    embedding_diagram,
    localisation_diagram,
    mfm_diagram,
    mfn_diagram,
    students_diagram,
    text_to_image_diagram,
)


@pytest.fixture(params=DIAGRAMS, ids=lambda f: f.__name__)
def axis(request):
    figure = request.param()
    figure.canvas.draw()
    yield figure.axes[0]
    plt.close(figure)


def test_boxes_stand_apart_and_hold_their_text(axis):
    boxes = [patch for patch in axis.patches if isinstance(patch, FancyBboxPatch)]
    extents = [box.get_window_extent() for box in boxes]
    assert len(boxes) >= 8
    assert not [1 for a, b in combinations(extents, 2) if a.overlaps(b)]
    words = [text for text in axis.texts if not isinstance(text, Annotation)]
    assert len(words) == len(boxes)
    for text, extent in zip(words, extents, strict=True):
        inside = text.get_window_extent()
        assert extent.x0 <= inside.x0, text.get_text()
        assert inside.x1 <= extent.x1, text.get_text()
        assert extent.y0 - 1 <= inside.y0, text.get_text()
        assert inside.y1 <= extent.y1 + 1, text.get_text()
    page = axis.figure.bbox
    assert all(page.x0 <= e.x0 and e.x1 <= page.x1 and page.y0 <= e.y0 and e.y1 <= page.y1 for e in extents)


def test_every_box_is_at_an_arrow_and_no_arrow_goes_through_another_box(axis):
    boxes = [patch for patch in axis.patches if isinstance(patch, FancyBboxPatch)]
    arrows = [note.arrow_patch for note in axis.texts if isinstance(note, Annotation)]
    ends = {id(patch) for arrow in arrows for patch in (arrow.patchA, arrow.patchB)}
    assert ends == {id(box) for box in boxes}
    for arrow in arrows:
        path = arrow.get_path().interpolated(20)
        points = arrow.get_transform().transform_path(path).vertices if arrow.get_transform() else path.vertices
        for box in boxes:
            if box not in (arrow.patchA, arrow.patchB):
                extent = box.get_window_extent()
                assert not [p for p in points if extent.contains(*p)], box


def test_tensors_have_shapes(axis):
    assert sum("(B, " in text.get_text() for text in axis.texts) >= 1
