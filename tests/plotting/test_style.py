"""Colours that can be told apart."""

import numpy as np

from mmtutor import plotting


def test_colours_can_be_told_apart_without_red_and_green():
    """Okabe and Ito's colours, in the matrix of Viénot, Brettel and Mollon (1999) for deuteranopia: linear RGB to
    LMS, M from L and S, and back. Every pair stays far apart."""
    assert plotting.TEN_COLOURS[:6] == plotting.COLOURS
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in plotting.TEN_COLOURS]) ** 2.2
    lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    blind = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    seen = np.clip(rgb @ (np.linalg.inv(lms) @ blind @ lms).T, 0, 1) ** (1 / 2.2)
    for a in range(len(seen)):
        for b in range(a):
            assert np.linalg.norm(seen[a] - seen[b]) > 0.1, (plotting.TEN_COLOURS[a], plotting.TEN_COLOURS[b])
    light = rgb @ [0.2126, 0.7152, 0.0722]
    assert (1.05 / (light + 0.05) > 2).all()  # against white
