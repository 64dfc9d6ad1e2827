"""What is measured, each number defined once.

| file | what is in it |
| --- | --- |
| ``reading.py`` | a classifier's scores, which examples are right, intervals, tables of mistakes |
| ``scores.py`` | regressions, such as sentiment from −3 to 3, and classes that are not equally frequent |
| ``captions.py`` | generated captions: what is true of them, where the attention was |
| ``answers.py`` | questions about scenes: where the attention was |
| ``localisation.py`` | maps of where a sound comes from: pointing, overlap, what listening adds |
| ``references.py`` | captions against references: BLEU, CIDEr-D |
| ``information.py`` | what two modalities tell about a label: redundancy, unique information, synergy |
| ``probes.py`` | linear probes: how much of a label features or latent codes hold |
| ``retrieval.py`` | a joint embedding: recall at K and its ceiling, the floor of InfoNCE, analogies, modality gap |
| ``additive.py`` | what a model owes to two modalities together: its additive projection |
| ``generation.py`` | generated modalities: coherence, Fréchet distance, coverage, variety, style |
"""

from mmtutor.metrics.additive import emap
from mmtutor.metrics.answers import question_pointing
from mmtutor.metrics.captions import (
    Mention,
    Pointing,
    attention_shift,
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
    coverage,
    frechet_distance,
    image_style,
    joint_coherence,
    variety,
)
from mmtutor.metrics.information import InformationParts, information_parts, mutual_information
from mmtutor.metrics.localisation import Overlap, hearing, map_overlap, map_pointing, speaker_masks
from mmtutor.metrics.probes import linear_probe, probe_loss
from mmtutor.metrics.reading import (
    Interval,
    confusion,
    correct,
    mean_interval,
    paired_interval,
    predict,
    share_interval,
)
from mmtutor.metrics.references import bleu, cider
from mmtutor.metrics.retrieval import (
    alignment,
    analogies,
    contrastive_floor,
    modality_gap,
    ranks,
    recall_at,
    recall_ceiling,
    uniformity,
)
from mmtutor.metrics.scores import (
    accuracy_7,
    balanced_accuracy,
    correlation,
    f1,
    mean_absolute_error,
    sentiment_scores,
)

__all__ = [
    "EvaluationClassifier",
    "InformationParts",
    "Interval",
    "Mention",
    "Overlap",
    "Pointing",
    "accuracy_7",
    "alignment",
    "analogies",
    "attention_shift",
    "balanced_accuracy",
    "bleu",
    "caption_facts",
    "cider",
    "coherence",
    "confusion",
    "contrastive_floor",
    "correct",
    "correlation",
    "coverage",
    "emap",
    "evenness",
    "f1",
    "frechet_distance",
    "generate_captions",
    "hearing",
    "image_style",
    "information_parts",
    "joint_coherence",
    "linear_probe",
    "map_overlap",
    "map_pointing",
    "mean_absolute_error",
    "mean_interval",
    "mentions",
    "modality_gap",
    "mutual_information",
    "object_recall",
    "paired_interval",
    "pointing",
    "predict",
    "probe_loss",
    "question_pointing",
    "ranks",
    "recall_at",
    "recall_ceiling",
    "sentiment_scores",
    "share_interval",
    "speaker_masks",
    "uniformity",
    "variety",
]
