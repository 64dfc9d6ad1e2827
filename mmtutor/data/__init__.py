"""One small world of digits, seen through many senses, and a smartwatch's two."""

from .compose import SENSES, digits
from .fsdd import fsdd
from .glove import glove
from .items import SPLITS, Items, Source
from .mnist import mnist
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
    "Pairs",
    "Photos",
    "Scenes",
    "Senses",
    "Source",
    "Vocabulary",
    "digits",
    "flickr8k",
    "fsdd",
    "glove",
    "mnist",
    "photos",
    "scenes",
    "smartwatch",
    "svhn",
]
