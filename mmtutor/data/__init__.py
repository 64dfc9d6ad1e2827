"""Multimodal data: a small world of digits in six modalities, scenes, monologues, and real recordings."""

from .compose import MODALITIES, digits
from .dataset import MultimodalDataset
from .drawing import Drawings, drawings
from .encoded import EncodedPhotos, encode_photos
from .fsdd import fsdd
from .glove import glove
from .items import SPLITS, Items, Source
from .mnist import mnist
from .monologue import Monologues, information, monologues
from .mosi import Mosi, convert_mosi, mosi
from .photos import Photos, flickr8k, photos
from .question import Questions, picture_alone, question_alone, questions
from .same_length import same_length
from .scene import COLOURS, Pairs, Scenes, scenes, twins
from .smartwatch import EXERCISES, smartwatch
from .svhn import svhn
from .vocabulary import Vocabulary, tokenise
from .voice import speak

__all__ = [
    "COLOURS",
    "EXERCISES",
    "MODALITIES",
    "SPLITS",
    "Drawings",
    "EncodedPhotos",
    "Items",
    "Monologues",
    "Mosi",
    "MultimodalDataset",
    "Pairs",
    "Photos",
    "Questions",
    "Scenes",
    "Source",
    "Vocabulary",
    "convert_mosi",
    "digits",
    "drawings",
    "encode_photos",
    "flickr8k",
    "fsdd",
    "glove",
    "information",
    "mnist",
    "monologues",
    "mosi",
    "photos",
    "picture_alone",
    "question_alone",
    "questions",
    "same_length",
    "scenes",
    "smartwatch",
    "speak",
    "svhn",
    "tokenise",
    "twins",
]
