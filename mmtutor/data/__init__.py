"""One small world of digits, seen through many senses."""

from .senses import Senses

__all__ = ["Senses"]
