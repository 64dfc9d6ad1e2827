"""One small world of digits, seen through many senses, and a smartwatch's two."""

from .compose import SENSES, digits
from .fsdd import fsdd
from .items import SPLITS, Items, Source
from .mnist import mnist
from .senses import Senses
from .smartwatch import EXERCISES, smartwatch
from .svhn import svhn

__all__ = [
    "EXERCISES",
    "SENSES",
    "SPLITS",
    "Items",
    "Senses",
    "Source",
    "digits",
    "fsdd",
    "mnist",
    "smartwatch",
    "svhn",
]
