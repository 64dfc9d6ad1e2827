"""What is measured, each number defined once.

| file | what is in it |
| --- | --- |
| ``reading.py`` | a classifier's scores, which examples are right, intervals, tables of mistakes |
| ``captions.py`` | generated captions: what is true of them, where the attention was, BLEU |
| ``generation.py`` | generated modalities: coherence, Fréchet distance, style; linear probe of latent codes |
"""

from mmtutor.metrics.captions import (
    Mention,
    Pointing,
    attention_shift,
    bleu,
    caption_facts,
    evenness,
    generate_captions,
    mentions,
    object_recall,
    pointing,
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
    "attention_shift",
    "bleu",
    "caption_facts",
    "coherence",
    "confusion",
    "correct",
    "evenness",
    "frechet_distance",
    "generate_captions",
    "image_style",
    "joint_coherence",
    "linear_probe",
    "mean_interval",
    "mentions",
    "object_recall",
    "paired_interval",
    "pointing",
    "predict",
    "share_interval",
]
