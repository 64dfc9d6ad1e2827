"""A captioner for photographs in one file, and a command that captions a picture with it.

    python -m mmtutor.photographs dog.jpg --weights captioner.safetensors --figure attention.png

``python -m experiments.photographs`` in the repository trains one, forty minutes on a CPU core, and writes the file. It
has all that is needed: the weights of image encoder and decoder, their sizes, and the vocabulary. Nothing in it is run.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from mmtutor.captioning import HardAttention, ShowAndTell, ShowAttendTell, Tokens, beam_search
from mmtutor.data import Vocabulary
from mmtutor.data.pictures import read_picture
from mmtutor.photo_encoders import EfficientNetLiteGrid, PhotoGrid, ResNetGrid
from mmtutor.plotting import attention
from mmtutor.training.checkpoint import read_checkpoint, write_checkpoint

KIND = "captioner for photographs 1"
Decoder = ShowAndTell | ShowAttendTell


class CaptionedPhoto(NamedTuple):
    """A photograph and what a model says about it.

    Attributes:
        photo: as the model sees it, float (3, size, size) in [0, 1].
        words: of the caption.
        score: log-probability of the caption in nats, its end included.
        alpha: attention weights at each word, (words, L); None without attention.
    """

    photo: Tensor
    words: list[str]
    score: float
    alpha: Tensor | None


class PhotoCaptioner(nn.Module):
    """An image encoder, a decoder and a vocabulary: from a photograph to a sentence.

    Args:
        encoder: from photographs (B, 3, size, size) to regions (B, L, D).
        decoder: a captioner of ``"regions"``, whose own encoder is ``nn.Identity()``.
        vocabulary: that it was trained with.
        size: pixels on a side of the square that a photograph is cut to.
        length: the largest number of words, the end included.
        normalise: how beams are ranked, see `mmtutor.captioning.beam_search`.

    Raises:
        ValueError: decoder and vocabulary do not belong together.
    """

    def __init__(
        self,
        encoder: PhotoGrid,
        decoder: Decoder,
        vocabulary: Vocabulary,
        *,
        size: int = 224,
        length: int = 22,
        normalise: float = 0.0,
    ) -> None:
        super().__init__()
        if decoder.tokens.size != len(vocabulary) or decoder.image != "regions":
            raise ValueError(
                f"PhotoCaptioner: the decoder should read 'regions' and know {len(vocabulary)} words, "
                f"it reads {decoder.image!r} and knows {decoder.tokens.size}"
            )
        self.encoder, self.decoder, self.vocabulary = encoder, decoder, vocabulary
        self.size, self.length, self.normalise = size, length, normalise
        self.eval()

    def caption(self, photo: str | os.PathLike[str] | bytes, beams: int = 5) -> CaptionedPhoto:
        """A sentence about one photograph.

        Args:
            photo: a file of any kind that Pillow reads, or its content; see `mmtutor.data.Photos` for what is done with
                it.
            beams: of the beam search.

        Raises:
            OSError: there is no such file.
            ValueError: it is no picture.
        """
        content = photo if isinstance(photo, bytes) else Path(photo).read_bytes()
        try:
            picture = read_picture(content, self.size)
        except Exception as error:  # Pillow raises a dozen kinds for a damaged file
            name = "the photograph" if isinstance(photo, bytes) else os.fspath(photo)
            raise ValueError(f"PhotoCaptioner: cannot read {name} ({error})") from error
        with torch.no_grad():
            regions = self.encoder(picture[None])  # (1, L, D)
        tokens, score, alpha = beam_search(self.decoder, {"regions": regions}, self.length, beams, self.normalise)
        words = self.vocabulary.decode(tokens[0]).split()
        return CaptionedPhoto(picture, words, score.item(), None if alpha is None else alpha[0, : len(words)].cpu())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into one safetensors file; what lay at the path is replaced only when all is written."""
        record = {
            "kind": KIND,
            "encoder": {"name": _encoder_name(self.encoder), "grid": self.encoder.grid},
            "decoder": _decoder_settings(self.decoder),
            "words": self.vocabulary.words,
            "size": self.size,
            "length": self.length,
            "normalise": self.normalise,
        }
        write_checkpoint(path, self.state_dict(), record)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PhotoCaptioner:
        """Read what `save` wrote; nothing is unpickled.

        Raises:
            ImportError: the extra with the image encoder is not installed.
            ValueError: the file is damaged, or something else.
            FileNotFoundError: there is no such file.
        """
        tensors, record = read_checkpoint(path)
        if not isinstance(record, dict) or record.get("kind") != KIND:
            raise ValueError(
                f"{path}: holds no captioner for photographs; python -m experiments.photographs trains one and writes "
                "it as captioner.safetensors"
            )
        encoder, vocabulary = _encoder(**record["encoder"]), Vocabulary(record["words"][4:])
        decoder = _decoder(record["decoder"], encoder.dim, len(vocabulary))
        settings = {name: record[name] for name in ("size", "length", "normalise")}
        model = cls(encoder, decoder, vocabulary, **settings)
        model.load_state_dict(tensors)
        return model


def _encoder_name(encoder: PhotoGrid) -> str:
    if isinstance(encoder, EfficientNetLiteGrid):
        return "efficientnet-lite0"
    blocks = tuple(len(part) for part in encoder.network if isinstance(part, nn.Sequential))
    depths = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
    if blocks not in depths:
        raise ValueError("PhotoCaptioner: can keep EfficientNet-lite0, ResNet-50, -101 or -152 in a file, no other")
    return f"resnet{depths[blocks]}"


def _encoder(name: str, grid: int) -> PhotoGrid:
    """The encoder of that name; its weights are those of the file, later."""
    if name == "efficientnet-lite0":
        return EfficientNetLiteGrid.pretrained(grid)
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError(f"PhotoCaptioner: the image encoder is a {name}: pip install 'mmtutor[resnet]'") from error
    return ResNetGrid(models.get_model(name), grid, trained=())


def _decoder_settings(decoder: Decoder) -> dict[str, Any]:
    """What a decoder was made with."""
    shared = {"embed": decoder.embedding.embedding_dim, "hidden": decoder.lstm.hidden_size}
    if isinstance(decoder, ShowAttendTell):
        hard = isinstance(decoder.attention, HardAttention)
        return {"attend": decoder.key.out_features, "read_first": decoder.read_first, "hard": hard, **shared}
    return shared


def _decoder(settings: dict[str, Any], dim: int, words: int) -> Decoder:
    """A decoder from its settings."""
    settings = dict(settings)
    if "attend" not in settings:
        return ShowAndTell(nn.Identity(), dim, Tokens(words), image="regions", **settings)
    attention = HardAttention() if settings.pop("hard") else None
    return ShowAttendTell(nn.Identity(), dim, Tokens(words), image="regions", attention=attention, **settings)


def main() -> None:
    """Caption the pictures that are named, and draw what the model attends to."""
    parser = argparse.ArgumentParser(prog="python -m mmtutor.photographs", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("photo", nargs="+", help="a picture of any kind that Pillow reads")
    parser.add_argument("--weights", required=True, help="captioner.safetensors of experiments.photographs")
    parser.add_argument("--beams", type=int, default=5, help="of the beam search; 1 is greedy")
    parser.add_argument("--figure", type=Path, help="draw attention word by word into this file; of one photo")
    given = parser.parse_args()
    if given.figure is not None and len(given.photo) > 1:
        parser.error("--figure draws one photo")
    try:
        model = PhotoCaptioner.load(given.weights)
        for photo in given.photo:
            found = model.caption(photo, given.beams)
            name = f"{photo}: " if len(given.photo) > 1 else ""
            print(f"{name}{' '.join(found.words)}")
            if given.figure is not None:
                draw(found).savefig(given.figure)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"{parser.prog}: {error}")


def draw(found: CaptionedPhoto) -> Figure:
    """A figure of a photograph and what the model attended to at each word.

    Args:
        found: from `PhotoCaptioner.caption`, of a model with attention.

    Raises:
        ValueError: the model has no attention.
    """
    if found.alpha is None:
        raise ValueError("draw: Show and Tell reads the photograph once, it has no attention to draw")
    figure = attention(found.photo, found.words, found.alpha, " ".join(found.words))
    figure.axes[0].set_title("photograph", loc="center", size=10)
    return figure


if __name__ == "__main__":
    main()
