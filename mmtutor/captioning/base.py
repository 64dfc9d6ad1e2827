"""What all captioners share, and what their batches must be.

A batch has the image, such as ``"scene"`` (B, …), and ``"caption"``, int64 (B, T + 1) or (B, R, T + 1) with R captions
of each image: the start, and T words, the end among them. It may be on any device, and is moved to the model's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .checks import check_batch, check_names, flag, kind, module, number, whole

Features = tuple[Tensor, ...]  # what is computed once for an image, each (B, …)
State = tuple[Tensor, ...]  # what goes on from word to word: h and c of the LSTM (B, R, H), perhaps z (B, R, D)


class Tokens(NamedTuple):
    """Which numbers stand for words: 0 to size − 1, three of which are special.

    Attributes:
        size: of the vocabulary, the special tokens included.
        pad: fills a caption after its end.
        start: stands before the first word.
        end: stands after the last word.
    """

    size: int
    pad: int = 0
    start: int = 1
    end: int = 2


class TeacherForcing(NamedTuple):
    """What a captioner computes when it reads the true captions.

    Attributes:
        logits: of each next word, (B, R, T, V).
        target: the next words, int64 (B, R, T).
        log_alpha: log αₜ, (B, R, T, L); None without attention.
        log_s: log αₜ[sₜ] of the sampled regions, (B, R, T), zero where none was sampled; None without attention.

    What stands where ``target`` is padding has no meaning.
    """

    logits: Tensor
    target: Tensor
    log_alpha: Tensor | None = None
    log_s: Tensor | None = None


class Captioner(nn.Module, ABC):
    """What all captioners share; abstract.

    A subclass gives what is computed once for an image (`encode_image`), the state before the first word
    (`initial_state`), one word of the decoder (`step`), and `loss`.

    Args:
        encoder: the image encoder, from ``batch[image]`` to one vector (B, D) or to regions (B, L, D).
        dim: D.
        tokens: size of the vocabulary and its special tokens.
        image: the image's name in a batch.
        embed: size of a word vector, E.
        dropout: dropout probability, before the next word is predicted.
        vectors: word vectors to start from, (V, E), such as `mmtutor.data.glove` gives.
        freeze_vectors: do not train the word vectors.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        tokens: Tokens,
        *,
        image: str,
        embed: int,
        dropout: float,
        vectors: Tensor | None,
        freeze_vectors: bool,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        check_names(who, [image])
        freeze_vectors = flag(who, "freeze_vectors", freeze_vectors)
        _check_tokens(self, tokens)
        _check_vectors(self, vectors, (tokens.size, embed), freeze_vectors)
        self.encoder, self.dim, self.tokens, self.image = module(who, "encoder", encoder), dim, tokens, image
        self.embedding = nn.Embedding(tokens.size, embed, padding_idx=tokens.pad)
        if vectors is not None:
            with torch.no_grad():
                self.embedding.weight.copy_(vectors)
        self.embedding.weight.requires_grad_(not freeze_vectors)
        self.dropout = nn.Dropout(number(who, "dropout", dropout, 0, 1))

    @abstractmethod
    def encode_image(self, image: Tensor) -> Features:
        """What is computed once for each image, to be handed to `initial_state` and `step`.

        Args:
            image: (B, …), as the encoder takes it, on any device.

        Raises:
            ValueError: the encoder gives another shape than promised.
        """

    @abstractmethod
    def initial_state(self, features: Features) -> State:
        """The state before the first word, each (B, 1, ·), from what `encode_image` gave."""

    @abstractmethod
    def step(self, features: Features, state: State, last: Tensor) -> tuple[Tensor, State, Tensor | None]:
        """One word of the decoder.

        Args:
            features: from `encode_image`.
            state: h and c, each (B, R, H); in `ShowAttendTell` also z, (B, R, D).
            last: the word before, int64 (B, R).

        Returns:
            Logits of the next word (B, R, V), the new state, and attention weights (B, R, L) or None.
        """

    @abstractmethod
    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Named terms of the loss, ``"loss"`` and ``"words"`` among them, each the mean over captions, in nats."""

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        check_captions(self, batch)
        check_ends(self, batch)


# ---- messages


def check_image(model: Captioner, batch: Mapping[str, Tensor]) -> Tensor:
    """The images of a batch, (B, …), where they are."""
    check_batch(type(model).__name__, batch, [model.image], also=["caption"], model=model)
    return batch[model.image]


def check_captions(model: Captioner, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The images of a batch (B, …) and its ``"caption"``, int64 (B, R, T + 1), where they are.

    Captions on the CPU are checked word by word, and cut to the longest. To read captions on another device a program
    would have to wait for it: they are left as they are. The padding that is not cut then is ignored by the loss.
    """
    who, (size, pad, start, end) = type(model).__name__, model.tokens
    image = check_image(model, batch)
    images = len(image)
    if "caption" not in batch:
        raise ValueError(f"{who}: the batch has no 'caption', only {', '.join(batch)}")
    caption = batch["caption"]
    if not isinstance(caption, Tensor):
        raise TypeError(
            f"{who}: 'caption' must be int64 (B, T) or (B, R, T), got {kind(caption)}; make it one with torch.as_tensor"
        )
    if caption.dtype != torch.int64:
        raise TypeError(
            f"{who}: 'caption' must be int64 (B, T) or (B, R, T), got {kind(caption)}; convert it with .long()"
        )
    caption = caption.unsqueeze(1) if caption.ndim == 2 else caption
    if caption.ndim != 3 or 0 in caption.shape or len(caption) != images:
        raise ValueError(
            f"{who}: 'caption' must be (B, T) or (B, R, T) with B = {images}, got {tuple(batch['caption'].shape)}"
        )
    present = batch.get("caption_present")
    if caption.device.type == "cpu":
        real = caption != pad
        after = real[..., 1:] & (~real[..., :-1] | (caption[..., :-1] == end))
        faults = {
            f"has a word that is not among the {size} known": (caption < 0) | (caption >= size),
            f"does not begin with the start, {start}": caption[..., :1] != start,
            "goes on after padding or after its end": after,
            "is empty": (real & (caption != end)).sum(2, keepdim=True) < 2,
        }
        for says, wrong in faults.items():
            if wrong.any():
                row = int(wrong.nonzero()[0, 0])
                front = "; padding stands at the end, not in front" if (caption[row, :, 0] == pad).any() else ""
                raise ValueError(f"{who}: 'caption' {says}, in example {row}{front}")
        caption = caption[..., : int(real.sum(2).max())]
    if present is not None and present.device.type == "cpu" and not present.all():
        raise ValueError(f"{who}: a caption is missing; leave the examples without one out")
    return {model.image: image, "caption": caption}


def check_ends(model: Captioner, batch: Mapping[str, Tensor]) -> None:
    """Refuse captions on the CPU of which none has its end: a model would never learn to stop.

    This is of the loss alone: the probability of the beginning of a caption has a meaning, too.
    """
    caption = batch.get("caption") if isinstance(batch, Mapping) else None
    if not isinstance(caption, Tensor) or caption.device.type != "cpu" or caption.dtype != torch.int64:
        return
    if caption.ndim in (2, 3) and caption[..., 1:].numel() and not (caption == model.tokens.end).any():
        raise ValueError(
            f"{type(model).__name__}: no 'caption' of the batch has the end, {model.tokens.end}, after its last word; "
            "put it there, or the model never learns to stop"
        )


def check_encoding(model: Captioner, a: Tensor, images: int, regions: bool = False) -> None:
    """Refuse what the image encoder gives if it has another shape than promised."""
    fits = a.ndim in ((3,) if regions else (2, 3)) and len(a) == images and a.shape[-1] == model.dim
    if not fits or 0 in a.shape:
        shapes = f"regions (B, L, {model.dim})" if regions else f"(B, {model.dim}) or (B, L, {model.dim})"
        raise ValueError(
            f"{type(model).__name__}: the image encoder must give {shapes} with B = {images}, got {tuple(a.shape)}"
        )


def check_sizes(model: Captioner, **sizes: int) -> tuple[int, ...]:
    """Whole numbers of at least 1."""
    return tuple(whole(type(model).__name__, name, size) for name, size in sizes.items())


def _check_tokens(model: Captioner, tokens: Tokens) -> None:
    who = type(model).__name__
    if not isinstance(tokens, Tokens):
        size = tokens if isinstance(tokens, int) else "len(vocabulary)"
        raise TypeError(
            f"{who}: tokens must be Tokens(size, pad, start, end), got {kind(tokens)}; Tokens({size}) has the numbers "
            "that a Vocabulary gives"
        )
    size, *special = tokens
    whole(who, "tokens.size", size)
    if len({*special}) < 3 or any(whole(who, "tokens", number, 0) >= size for number in special):
        raise ValueError(
            f"{who}: pad, start and end must be three of {size} tokens, got {', '.join(map(str, special))}"
        )


def _check_vectors(model: Captioner, vectors: Tensor | None, shape: tuple[int, int], freeze: bool) -> None:
    who = type(model).__name__
    if freeze and vectors is None:
        raise ValueError(f"{who}: freeze_vectors needs vectors; random ones are not worth keeping")
    if vectors is not None and vectors.shape != shape:
        raise ValueError(f"{who}: vectors must be (size, embed) = {shape}, got {tuple(vectors.shape)}")
