"""What is measured, each number defined once.

| file | what is in it |
| --- | --- |
| ``reading.py`` | a classifier's scores, which examples are right, intervals, tables of mistakes |
| ``captions.py`` | sentences about scenes: what is true of them, where attention was, BLEU |
| ``generation.py`` | what a model made: coherence, distance from the data, style, what a code knows |
"""

from mmtutor.metrics.captions import (
    Mention,
    Pointing,
    bleu,
    caption_facts,
    evenness,
    gaze,
    mentions,
    named,
    pointing,
    write,
)
from mmtutor.metrics.generation import (
    EvaluationClassifier,
    coherence,
    frechet_distance,
    image_style,
    joint_coherence,
    linear_probe,
)
from mmtutor.metrics.reading import (
    Interval,
    confusion,
    correct,
    mean_interval,
    paired_interval,
    predict,
    share_interval,
)

__all__ = [
    "EvaluationClassifier",
    "Interval",
    "Mention",
    "Pointing",
    "bleu",
    "caption_facts",
    "coherence",
    "confusion",
    "correct",
    "evenness",
    "frechet_distance",
    "gaze",
    "image_style",
    "joint_coherence",
    "linear_probe",
    "mean_interval",
    "mentions",
    "named",
    "paired_interval",
    "pointing",
    "predict",
    "share_interval",
    "write",
]
