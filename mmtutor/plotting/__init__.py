"""Figures and sounds: one message each, colours that colour-blind readers can tell apart, a text beside each.

| file | what is in it |
| --- | --- |
| ``notebook.py`` | a figure or a sound in a notebook, with its text |
| ``examples.py`` | examples of the data, and what a model made of them |
| ``figures.py`` | numbers as lines, bars and points |
| ``frames.py`` | a figure to move: the reader chooses one of several |
| ``diagrams.py`` | what goes where in one model, with shapes |
| ``maps.py`` | boxes and arrows: how the models of a field differ |
| ``claims.py`` | claims with their intervals and verdicts |
| ``style.py`` | colours, markers and the look of all figures |
"""

from mmtutor.plotting.claims import verdicts
from mmtutor.plotting.diagrams import (
    answering_diagram,
    captioning_diagram,
    embedding_diagram,
    localisation_diagram,
    mfm_diagram,
    mfn_diagram,
    students_diagram,
    text_to_image_diagram,
    workspace_diagram,
)
from mmtutor.plotting.examples import attention, captioned, grid, retrieved, sentence_heatmap, world
from mmtutor.plotting.figures import bars, curves, dots, gaussians, history, latents, moments, scatter, shares
from mmtutor.plotting.frames import frames
from mmtutor.plotting.maps import fusion_map, vae_map
from mmtutor.plotting.notebook import show, sound
from mmtutor.plotting.style import COLOURS, MARKERS, TEN_COLOURS

__all__ = [
    "COLOURS",
    "MARKERS",
    "TEN_COLOURS",
    "answering_diagram",
    "attention",
    "bars",
    "captioned",
    "captioning_diagram",
    "curves",
    "dots",
    "embedding_diagram",
    "frames",
    "fusion_map",
    "gaussians",
    "grid",
    "history",
    "latents",
    "localisation_diagram",
    "mfm_diagram",
    "mfn_diagram",
    "moments",
    "retrieved",
    "scatter",
    "sentence_heatmap",
    "shares",
    "show",
    "sound",
    "students_diagram",
    "text_to_image_diagram",
    "vae_map",
    "verdicts",
    "workspace_diagram",
    "world",
]
