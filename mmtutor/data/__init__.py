"""One small world of digits, seen through many senses, and a smartwatch's two."""

from .compose import SENSES, digits
from .fsdd import fsdd
from .glove import glove
from .items import SPLITS, Items, Source
from .mnist import mnist
from .monologue import Monologues, information, monologues
from .mosi import Mosi, convert_mosi, mosi
from .photos import Photos, flickr8k, photos
from .scene import COLOURS, Pairs, Scenes, scenes
from .senses import Senses
from .smartwatch import EXERCISES, smartwatch
from .svhn import svhn
from .vocabulary import Vocabulary

__all__ = [
    "COLOURS",
    "EXERCISES",
    "SENSES",
    "SPLITS",
    "Items",
    "Monologues",
    "Mosi",
    "Pairs",
    "Photos",
    "Scenes",
    "Senses",
    "Source",
    "Vocabulary",
    "convert_mosi",
    "digits",
    "flickr8k",
    "fsdd",
    "glove",
    "information",
    "mnist",
    "monologues",
    "mosi",
    "photos",
    "scenes",
    "smartwatch",
    "svhn",
]
