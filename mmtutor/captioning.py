"""Captioning: a network looks at a picture and writes a sentence, word by word.

*Show and Tell* (Vinyals and others, 2015, arXiv:1411.4555) is shown the picture once, as one vector, before the first
word. *Show, Attend and Tell* (Xu and others, 2015, arXiv:1502.03044) looks again before every word, at the places that
matter for it: on all of them a little (soft attention) or at one that is drawn (hard attention).

    eₜᵢ = wᵀ tanh(Wₐ aᵢ + Wₕ hₜ₋₁)        how much place i matters for word t         (Xu, equation 4)
    αₜ  = softmax(eₜ)                       where to look                                 (5)
    zₜ  = βₜ Σᵢ αₜᵢ aᵢ,  βₜ = σ(f(hₜ₋₁))    what is seen, and how much it counts          (13, section 4.2.1)
    hₜ  = LSTM([E yₜ₋₁; zₜ], hₜ₋₁)          what was said and seen so far                 (1)
    p(yₜ) ∝ exp(Lₒ(E yₜ₋₁ + Lₕ hₜ + L_z zₜ))                                              (7)
    loss = −Σₜ log p(yₜ) + λ Σᵢ (τ − Σₜ αₜᵢ)²                                             (14)

Here the place is chosen before the last word yₜ₋₁ is read, for hₜ₋₁ does not contain it. ``read_first=True`` turns this
round, as Lu and others (2017, arXiv:1612.01887) do, who look with hₜ: hₜ = LSTM([E yₜ₋₁; zₜ₋₁], hₜ₋₁), and αₜ and zₜ
are made from hₜ. Unlike theirs, this LSTM reads the last look (z₀ is the mean of the places), and there is no sentinel.

The last term of the loss, *doubly stochastic*, asks that every place be looked at equally often. The paper says τ = 1;
but the T words of a sentence give away T in all, so L places cannot get 1 each unless L = T. τ = T/L can be reached.
For learning τ is all one: Σᵢ (τ − Aᵢ)² = Σᵢ Aᵢ² − 2τT + Lτ² with Aᵢ = Σₜ αₜᵢ, so no gradient contains it.

| symbol | in the code | shape |
| --- | --- | --- |
| aᵢ | ``places``, what the encoder says of place i | (B, L, D) |
| Wₐ aᵢ | ``keys``, computed once for a picture | (B, L, A) |
| hₜ | ``h``, of R sentences about each picture at once | (B, R, H) |
| αₜ, zₜ | ``alpha``, ``z`` | (B, R, L), (B, R, D) |
| yₜ | ``caption[..., t]``; y₀ is ``<start>`` | (B, R, T) |

What is fast: the keys are computed once and not at each word, the words are scored together after the loop, a picture
whose captions have ended is let go, the gradient of the places is made once for all words, and all sentences about a
picture share its places, be they references in training or beams in a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

__all__ = ["Captioner", "Sentences", "ShowAndTell", "ShowAttendTell", "beam_search", "greedy", "sample"]

Glance = Callable[[Tensor], Tensor]  # from log alpha (B, R, L) to the weighed sum of the places (B, R, D)
State = tuple[Tensor, ...]  # what goes on from word to word: h and c of the LSTM (B, R, H), perhaps z (B, R, D)


class Sentences(NamedTuple):
    """What a model wrote.

    Attributes:
        tokens: int64 (B, T), without the start; after its end a sentence is filled with padding.
        score: (B,), the log-probability of the sentence in nats, its end included, among the words that can be
            written: all but padding and start.
        alpha: (B, T, L), the attention before each word, zeros after the end; None without attention. A model with
            hard attention looked at the likeliest place.
    """

    tokens: Tensor
    score: Tensor
    alpha: Tensor | None


class Captioner(nn.Module):
    """What all captioners share: an encoder, words, and how one is trained and asked.

    A subclass says how a sentence begins (`begin`), how it goes on by a word (`step`), and gives `loss`.

    Args:
        encoder: from ``batch[image]`` to one vector a picture (B, D) or one for each place (B, L, D).
        dim: D.
        words: size of the vocabulary.
        image: name of the picture's modality.
        embed: size of a word vector.
        hidden: units of the LSTM.
        dropout: share of what the word is chosen from that is dropped in training.
        vectors: word vectors to start from, (words, embed), such as `mmtutor.data.glove` gives.
        freeze_vectors: keep the word vectors as they are.
        pad: number of the padding; ``start`` and ``end`` likewise. They differ.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        words: int,
        *,
        image: str,
        embed: int,
        hidden: int,
        dropout: float,
        vectors: Tensor | None,
        freeze_vectors: bool,
        pad: int,
        start: int,
        end: int,
    ) -> None:
        super().__init__()
        for name, size in (("dim", dim), ("words", words), ("embed", embed), ("hidden", hidden)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{type(self).__name__}: {name} must be an int of at least 1, got {size!r}")
        if len({pad, start, end}) < 3 or not all(0 <= number < words for number in (pad, start, end)):
            raise ValueError(
                f"{type(self).__name__}: pad, start and end must be three of {words} words, got {pad}, {start}, {end}"
            )
        if freeze_vectors and vectors is None:
            raise ValueError(f"{type(self).__name__}: freeze_vectors needs vectors; random ones are not worth keeping")
        if vectors is not None and vectors.shape != (words, embed):
            raise ValueError(
                f"{type(self).__name__}: vectors must be (words, embed) = {words, embed}, got {tuple(vectors.shape)}"
            )
        self.encoder, self.dim, self.words, self.image = encoder, dim, words, image
        self.pad, self.start, self.end = pad, start, end
        self.embedding = nn.Embedding(words, embed, padding_idx=pad)
        if vectors is not None:
            with torch.no_grad():
                self.embedding.weight.copy_(vectors)
        self.embedding.weight.requires_grad_(not freeze_vectors)
        self.dropout = nn.Dropout(dropout)

    def see(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """All that is computed once for each picture, to be handed to `begin` and `step`.

        Raises:
            ValueError: the picture is missing, its encoding has another shape than promised, or is not finite.
        """
        picture = self._modality(batch, self.image)
        seen: Tensor = self.encoder(picture)
        if seen.ndim not in (2, 3) or len(seen) != len(picture) or seen.shape[-1] != self.dim or 0 in seen.shape:
            raise ValueError(
                f"{type(self).__name__}: the encoder must give (B, {self.dim}) or (B, L, {self.dim}) "
                f"with B = {len(picture)}, got {tuple(seen.shape)}"
            )
        if not all(x.isfinite() for x in seen.detach().aminmax()):
            raise ValueError(f"{type(self).__name__}: {self.image!r} or its encoding has NaN or infinite values")
        return self._prepare(seen)

    def _modality(self, batch: Mapping[str, Tensor], name: str) -> Tensor:
        """A tensor of the batch, or an error that says what is missing."""
        if name not in batch:
            raise ValueError(f"{type(self).__name__}: the batch has no {name!r}, only {', '.join(batch)}")
        if not isinstance(batch[name], Tensor):
            raise TypeError(f"{type(self).__name__}: {name!r} must be a tensor, got {type(batch[name]).__name__}")
        return batch[name]

    def _prepare(self, seen: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def begin(self, sight: tuple[Tensor, ...]) -> State:
        """The state before the first word, each (B, 1, H)."""
        raise NotImplementedError

    def step(self, sight: tuple[Tensor, ...], state: State, last: Tensor) -> tuple[Tensor, State, Tensor | None]:
        """One word further.

        Args:
            sight: from `see`.
            state: h and c, each (B, R, H); in `ShowAttendTell` also z, (B, R, D).
            last: the word before, int64 (B, R).

        Returns:
            Scores of the next word (B, R, words), the new state, and alpha (B, R, L) or None.
        """
        raise NotImplementedError

    def captions(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The captions of a batch, checked, int64 (B, R, T), cut to the longest.

        Raises:
            TypeError: they are not int64.
            ValueError: there are none; a shape, a word's number or the start is wrong; or one has no word.
        """
        who, pictures = type(self).__name__, len(self._modality(batch, self.image))
        caption = self._modality(batch, "caption")
        if caption.dtype != torch.int64:
            raise TypeError(f"{who}: 'caption' must be int64, got {caption.dtype}")
        if caption.ndim == 2:
            caption = caption.unsqueeze(1)
        if caption.ndim != 3 or 0 in caption.shape or len(caption) != pictures:
            raise ValueError(
                f"{who}: 'caption' must be (B, T) or (B, R, T) with B = {pictures}, got {tuple(batch['caption'].shape)}"
            )
        if not ((caption >= 0) & (caption < self.words)).all():
            raise ValueError(f"{who}: a word of 'caption' is not among the {self.words} known")
        if not (caption[..., 0] == self.start).all():
            raise ValueError(f"{who}: a caption does not begin with the start, {self.start}")
        real = caption != self.pad
        if (real[..., 1:] & (~real[..., :-1] | (caption[..., :-1] == self.end))).any():
            raise ValueError(f"{who}: a caption goes on after padding or after its end")
        if (real & (caption != self.end)).sum(-1).min() < 2:
            raise ValueError(f"{who}: a caption is empty")
        return caption[..., : int(real.any(0).any(0).sum())]

    def _log_p(self, logits: Tensor, target: Tensor) -> Tensor:
        """Σₜ log p(yₜ) in nats, (B, R), from the scores of the words that are not padding, (N, words)."""
        real = target != self.pad
        nll = F.cross_entropy(logits, target[real], reduction="none")
        return -nll.new_zeros(target.shape).masked_scatter(real, nll).sum(-1)


class ShowAndTell(Captioner):
    """The picture is shown once: x₋₁ = W a, then x_t = E y_t, h = LSTM(x), p(y) ∝ exp(Lₒ h) (Vinyals, 10 to 12).

    An encoder that gives places is averaged over them.

    Args:
        encoder: from ``batch[image]`` to (B, D) or (B, L, D).
        dim: D.
        words: size of the vocabulary.
        image: name of the picture's modality.
        embed: size of a word vector.
        hidden: units of the LSTM.
        dropout: share of what the word is chosen from that is dropped in training.
        vectors: word vectors to start from, (words, embed).
        freeze_vectors: keep them as they are.
        pad: number of the padding; ``start`` and ``end`` likewise.
        start: see there.
        end: see there.

    Examples:
        >>> model = ShowAndTell(nn.Flatten(), 12, words=9)
        >>> batch = {"scene": torch.rand(2, 3, 2, 2), "caption": torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2]])}
        >>> sorted(model.loss(batch))
        ['loss', 'words']
        >>> greedy(model, batch, length=6).tokens.shape[0]
        2
    """

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        words: int,
        *,
        image: str = "scene",
        embed: int = 64,
        hidden: int = 128,
        dropout: float = 0.0,
        vectors: Tensor | None = None,
        freeze_vectors: bool = False,
        pad: int = 0,
        start: int = 1,
        end: int = 2,
    ) -> None:
        super().__init__(
            encoder, dim, words, image=image, embed=embed, hidden=hidden, dropout=dropout, vectors=vectors,
            freeze_vectors=freeze_vectors, pad=pad, start=start, end=end,
        )  # fmt: skip
        self.show = nn.Linear(dim, embed)
        self.lstm = nn.LSTM(embed, hidden, batch_first=True)
        self.output = nn.Linear(hidden, words)

    def _prepare(self, seen: Tensor) -> tuple[Tensor, ...]:
        return (self.show(seen if seen.ndim == 2 else seen.mean(1)),)  # (B, E)

    def begin(self, sight: tuple[Tensor, ...]) -> State:
        """The state after the picture was shown, each (B, 1, H)."""
        _, (h, c) = self.lstm(sight[0].unsqueeze(1))
        return h.transpose(0, 1), c.transpose(0, 1)

    def step(self, sight: tuple[Tensor, ...], state: State, last: Tensor) -> tuple[Tensor, State, None]:
        """One word further; see `Captioner.step`."""
        h, c = (s.flatten(0, 1).unsqueeze(0) for s in state)  # (1, B R, H)
        out, (h, c) = self.lstm(self.embedding(last).flatten(0, 1).unsqueeze(1), (h, c))
        logits = self._score(out.squeeze(1))
        return logits.view(*last.shape, -1), (h[0].unflatten(0, last.shape), c[0].unflatten(0, last.shape)), None

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Scores of each next word given the true ones before, (B, R, T - 1, words)."""
        return self._score(self._teach(batch, self.captions(batch)))

    def _teach(self, batch: Mapping[str, Tensor], caption: Tensor) -> Tensor:
        """All hₜ, (B, R, T - 1, H)."""
        h, c = self.begin(self.see(batch))
        B, R, _ = caption.shape
        h, c = (s.expand(B, R, -1).reshape(1, B * R, -1).contiguous() for s in (h, c))
        out, _ = self.lstm(self.embedding(caption[..., :-1]).flatten(0, 1), (h, c))
        hidden: Tensor = out.view(B, R, *out.shape[1:])
        return hidden

    def _score(self, h: Tensor) -> Tensor:
        scores: Tensor = self.output(self.dropout(h))
        return scores

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """−Σₜ log p(yₜ), the mean over captions, in nats.

        Args:
            batch: the picture, and ``"caption"`` int64 (B, T) or (B, R, T) with R captions of each.
        """
        caption = self.captions(batch)
        target = caption[..., 1:]
        h = self._teach(batch, caption)[target != self.pad]
        words = -self._log_p(self._score(h), target).mean()
        return {"loss": words, "words": words}


class ShowAttendTell(Captioner):
    """Looks again before every word. Equations and symbols stand at the top of this file.

    With ``attention="hard"`` a place sₜ is drawn from αₜ, and the paper's learning rule (Xu, section 4.1) is followed:

        loss = −Σₜ [log p(yₜ | s) + λᵣ (R − b) log αₜ[sₜ] + λ_H H(αₜ)],   R = Σₜ log p(yₜ | s), held fixed

    with b a moving average of R (decay .9; in the first batch, of that batch). For half of the captions no place is
    drawn: they see the expectation, as with soft attention. When not training, the likeliest place is looked at.

    The gate βₜ is one number, as in the paper; some implementations have one for each feature.

    Args:
        encoder: from ``batch[image]`` to places (B, L, D).
        dim: D.
        words: size of the vocabulary.
        image: name of the picture's modality.
        embed: size of a word vector.
        hidden: units of the LSTM.
        attend: units of the attention, A.
        attention: ``"soft"`` or ``"hard"``.
        read_first: read the last word before looking, not after.
        spread: λ of the doubly stochastic term.
        target: its τ, which changes its value but no gradient; None is T/L with the T of each caption.
        reinforce: λᵣ. With 1 the gradient is exact in expectation; with less it is biased, varies less, and often
            learns better.
        entropy: λ_H.
        dropout: share of what the word is chosen from that is dropped in training.
        vectors: word vectors to start from, (words, embed).
        freeze_vectors: keep them as they are.
        pad: number of the padding; ``start`` and ``end`` likewise.
        start: see there.
        end: see there.

    Examples:
        >>> model = ShowAttendTell(nn.Identity(), 4, words=9, image="places")
        >>> batch = {"places": torch.rand(2, 6, 4), "caption": torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2]])}
        >>> sorted(model.loss(batch))
        ['loss', 'spread', 'words']
        >>> greedy(model, batch, length=6).alpha.shape[2]
        6
    """

    mix = 0.5  # share of captions that see the expectation although attention is hard
    decay = 0.9  # of the moving average

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        words: int,
        *,
        image: str = "scene",
        embed: int = 64,
        hidden: int = 128,
        attend: int = 64,
        attention: str = "soft",
        read_first: bool = False,
        spread: float = 0.0,
        target: float | None = None,
        reinforce: float = 1.0,
        entropy: float = 0.01,
        dropout: float = 0.0,
        vectors: Tensor | None = None,
        freeze_vectors: bool = False,
        pad: int = 0,
        start: int = 1,
        end: int = 2,
    ) -> None:
        super().__init__(
            encoder, dim, words, image=image, embed=embed, hidden=hidden, dropout=dropout, vectors=vectors,
            freeze_vectors=freeze_vectors, pad=pad, start=start, end=end,
        )  # fmt: skip
        if attention not in ("soft", "hard"):
            raise ValueError(f"ShowAttendTell: attention must be 'soft' or 'hard', got {attention!r}")
        for name, weight in (("spread", spread), ("reinforce", reinforce), ("entropy", entropy)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"ShowAttendTell: {name} must be a finite weight of at least 0, got {weight!r}")
        if not isinstance(attend, int) or attend < 1:
            raise ValueError(f"ShowAttendTell: attend must be an int of at least 1, got {attend!r}")
        if target is not None and not 0 <= target < math.inf:
            raise ValueError(f"ShowAttendTell: target must be at least 0, or None, got {target!r}")
        self.attention, self.read_first, self.spread, self.target = attention, read_first, spread, target
        self.reinforce, self.entropy = reinforce, entropy
        self.key, self.query, self.score = nn.Linear(dim, attend), nn.Linear(hidden, attend), nn.Linear(attend, 1)
        self.gate = nn.Linear(hidden, 1)
        self.first_h, self.first_c = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.lstm = nn.LSTMCell(embed + dim, hidden)
        self.from_h, self.from_z = nn.Linear(hidden, embed), nn.Linear(dim, embed, bias=False)
        self.output = nn.Linear(embed, words)
        self.reward: Tensor
        self.reward_weight: Tensor
        self.register_buffer("reward", torch.zeros(()))
        self.register_buffer("reward_weight", torch.zeros(()))

    def _prepare(self, seen: Tensor) -> tuple[Tensor, ...]:
        if seen.ndim != 3:
            raise ValueError(
                f"ShowAttendTell: attention needs places, the encoder must give (B, L, {self.dim}), "
                f"got {tuple(seen.shape)}"
            )
        return seen, self.key(seen)  # aᵢ and Wₐ aᵢ

    def begin(self, sight: tuple[Tensor, ...]) -> State:
        """The first h and c from the mean of the places (Xu, section 3.1.2), (B, 1, H), and that mean, (B, 1, D)."""
        mean = sight[0].mean(1, keepdim=True)
        return torch.tanh(self.first_h(mean)), torch.tanh(self.first_c(mean)), mean

    def where(self, sight: tuple[Tensor, ...], h: Tensor) -> Tensor:
        """The log-probability of each place, log αₜ (B, R, L), from hₜ₋₁ (B, R, H)."""
        _, keys = sight
        e = self.score(torch.tanh(keys.unsqueeze(1) + self.query(h).unsqueeze(2))).squeeze(3)  # (B, R, L)
        return F.log_softmax(e, 2)

    def _look(self, sight: tuple[Tensor, ...], h: Tensor, glance: Glance) -> tuple[Tensor, Tensor]:
        """What is seen, z (B, R, D), where ``glance`` looks given log alpha; and log alpha (B, R, L)."""
        log_alpha = self.where(sight, h)
        return torch.sigmoid(self.gate(h)) * glance(log_alpha), log_alpha

    def _read(self, embedded: Tensor, state: State) -> State:
        """The LSTM reads a word and what is seen."""
        h, c, z = state
        new = self.lstm(torch.cat([embedded, z], 2).flatten(0, 1), (h.flatten(0, 1), c.flatten(0, 1)))
        return new[0].view_as(h), new[1].view_as(c), z

    def _advance(
        self, sight: tuple[Tensor, ...], state: State, embedded: Tensor, glance: Glance
    ) -> tuple[State, Tensor]:
        """The state one word further, and where the model looked: log alpha (B, R, L)."""
        h, c, z = self._read(embedded, state) if self.read_first else state
        z, log_alpha = self._look(sight, h, glance)
        state = (h, c, z)
        return (state if self.read_first else self._read(embedded, state)), log_alpha

    def _score(self, embedded: Tensor, h: Tensor, z: Tensor) -> Tensor:
        """Lₒ(E yₜ₋₁ + Lₕ hₜ + L_z zₜ), for one word of each sentence or for all words at once."""
        scores: Tensor = self.output(self.dropout(embedded + self.from_h(h) + self.from_z(z)))
        return scores

    def step(self, sight: tuple[Tensor, ...], state: State, last: Tensor) -> tuple[Tensor, State, Tensor]:
        """One word further; see `Captioner.step`."""
        embedded = self.embedding(last)
        state, log_alpha = self._advance(sight, state, embedded, lambda log_a: self._likeliest(log_a) @ sight[0])
        return self._score(embedded, state[0], state[2]), state, log_alpha.exp()

    def _likeliest(self, log_alpha: Tensor) -> Tensor:
        return log_alpha.exp() if self.attention == "soft" else _one_hot(log_alpha.argmax(2), log_alpha)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Read the true captions.

        Returns:
            Scores of each next word (B, R, T - 1, words); log αₜ (B, R, T - 1, L); and, where places were drawn,
            log αₜ[sₜ] (B, R, T - 1), zero where the expectation was seen, else None. What stands after the longest
            caption of a picture has no meaning.
        """
        embedded, h, z, log_alpha, log_place = self._teach(batch, self.captions(batch))
        return self._score(embedded, h, z), log_alpha, log_place

    def _teach(
        self, batch: Mapping[str, Tensor], caption: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Embedded words, h, z, log alpha, each (B, R, T - 1, ·), and the log-probability of drawn places."""
        B, R, T = caption.shape
        length, order = (caption != self.pad).sum(2).amax(1).sort(descending=True, stable=True)
        running = [int((length > t + 1).sum()) for t in range(T - 1)]  # pictures with a word t + 1: the first so many
        places, keys = self.see({self.image: self._modality(batch, self.image)[order]})
        state = tuple(part.expand(B, R, -1) for part in self.begin((places, keys)))
        embedded = self.embedding(caption[order, :, :-1])  # (B, R, T-1, E)
        draws = self.attention == "hard" and self.training
        if draws:
            drawn = torch.rand(B, R, 1, device=caption.device) >= self.mix
        hs: list[Tensor] = []
        zs: list[Tensor] = []
        looks: list[Tensor] = []
        weights: list[Tensor] = []
        log_places: list[Tensor] = []
        later = _Later.apply(places, weights, T - 1, R).unbind(2)  # type: ignore[no-untyped-call]

        def glance(log_alpha: Tensor) -> Tensor:
            n, t = len(log_alpha), len(weights)
            if not draws:
                weight = self._likeliest(log_alpha)
            else:
                alpha = log_alpha.exp()
                s = torch.multinomial(alpha.detach().flatten(0, 1), 1).view(n, R)
                log_places.append(log_alpha.gather(2, s.unsqueeze(2)).squeeze(2) * drawn[:n].squeeze(2))
                weight = torch.where(drawn[:n], _one_hot(s, alpha), alpha)
            weights.append(weight.detach())
            z: Tensor = weight @ places[:n].detach() + later[t][:n]
            return z

        for t, n in enumerate(running):
            if n < len(keys):
                keys, state = keys[:n], tuple(part[:n] for part in state)
            state, log_alpha = self._advance((places[:n], keys), state, embedded[:n, :, t], glance)
            for values, value in zip((hs, zs, looks), (state[0], state[2], log_alpha), strict=True):
                values.append(value)
        back = order.argsort()
        h, z, log_alpha = (_padded(values, B)[back] for values in (hs, zs, looks))
        return embedded[back], h, z, log_alpha, _padded(log_places, B)[back] if draws else None

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss at the top of this file (soft) or of this class (hard), the mean over captions.

        Args:
            batch: the picture, and ``"caption"`` int64 (B, T) or (B, R, T) with R captions of each.

        Returns:
            ``"loss"``; ``"words"``, −Σₜ log p(yₜ) in nats; ``"spread"``, Σᵢ (τ − Σₜ αₜᵢ)² without its weight. When
            places are drawn ``"loss"`` has the value of the sum, and also the gradient of REINFORCE.
        """
        caption = self.captions(batch)
        target = caption[..., 1:]
        embedded, h, z, log_alpha, log_place = self._teach(batch, caption)
        real = target != self.pad
        log_p = self._log_p(self._score(embedded[real], h[real], z[real]), target)  # (B, R)
        real = real.unsqueeze(3)  # (B, R, T-1, 1)
        alpha = log_alpha.exp() * real
        length = real.sum(2)  # T of each caption, (B, R, 1)
        tau = length / alpha.shape[3] if self.target is None else self.target
        spread = (tau - alpha.sum(2)).square().sum(2).mean()
        words = -log_p.mean()
        loss = words + self.spread * spread
        if log_place is not None:
            entropy = -(alpha * log_alpha).sum((2, 3)).mean()
            surprise = (log_place * real.squeeze(3)).sum(2)  # log p(s), (B, R)
            advantage = log_p.detach() - self._baseline(log_p.detach().mean())
            term = (advantage * surprise).mean()
            loss = loss - self.reinforce * (term - term.detach()) - self.entropy * entropy
        return {"loss": loss, "words": words, "spread": spread}

    def _baseline(self, reward: Tensor) -> Tensor:
        """The moving average of the rewards before this one; then this one joins it."""
        before = torch.where(self.reward_weight > 0, self.reward / self.reward_weight.clamp_min(1e-12), reward)
        self.reward.lerp_(reward.to(self.reward.dtype), 1 - self.decay)
        self.reward_weight.lerp_(torch.ones_like(self.reward_weight), 1 - self.decay)
        return before


class _Later(torch.autograd.Function):
    """Zeros (B, R, T, D) to be added to zₜ = Σᵢ wₜᵢ aᵢ with aᵢ held fixed; they bring aᵢ its gradient, Σₜ wₜᵢ ∂L/∂zₜ.

    Of itself autograd would make a gradient of all places at each word, (B, L, D), and add them up; this is one product
    over the words. The weights, (B or less, R, L) for each word, are known only after the loop: they come in a list.
    """

    @staticmethod
    def forward(ctx: Any, places: Tensor, weights: list[Tensor], words: int, sentences: int) -> Tensor:
        ctx.weights = weights
        return places.new_zeros(len(places), sentences, words, places.shape[2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        weights = _padded(ctx.weights, len(grad))  # (B, R, T, L)
        return weights.flatten(1, 2).transpose(1, 2) @ grad.flatten(1, 2), None, None, None


def _padded(values: list[Tensor], B: int) -> Tensor:
    """Values of the first pictures at each word, (B or less, R, …), as (B, R, T, …); zeros for the other pictures."""
    return torch.stack([torch.cat([value, value.new_zeros(B - len(value), *value.shape[1:])]) for value in values], 2)


def greedy(model: Captioner, batch: Mapping[str, Tensor], length: int) -> Sentences:
    """Write by taking the likeliest word each time.

    Args:
        model: a captioner; it writes in evaluation mode and is handed back in the mode it came in.
        batch: has the pictures.
        length: the most words, the end included; a sentence that has not ended by then stops there.

    Raises:
        ValueError: ``length`` is not at least 1, or the pictures are not what the model takes.
    """
    return _write(model, batch, length, lambda logits: logits.argmax(1))


def sample(model: Captioner, batch: Mapping[str, Tensor], length: int, temperature: float = 1.0) -> Sentences:
    """Write by drawing each word from p(yₜ)^(1/temperature), with torch's global random numbers.

    Args:
        model: a captioner.
        batch: has the pictures.
        length: the most words, the end included.
        temperature: above 0; near 0 is `greedy`, 1 the model's own distribution, more is bolder.

    Raises:
        ValueError: the temperature is not above 0; else as in `greedy`.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"sample: temperature must be above 0, got {temperature!r}")

    def draw(logits: Tensor) -> Tensor:
        # The largest is subtracted first, or a small temperature would make it infinite.
        p = ((logits - logits.amax(1, keepdim=True)) / temperature).softmax(1)
        return torch.multinomial(p, 1)[:, 0]

    return _write(model, batch, length, draw)


def _write(model: Captioner, batch: Mapping[str, Tensor], length: int, choose: Callable[[Tensor], Tensor]) -> Sentences:
    """One sentence a picture; ``choose`` gets scores (B, words)."""
    _at_least_one("length", length)
    with _evaluating(model):
        sight = model.see(batch)
        state = model.begin(sight)
        B = len(sight[0])
        word = torch.full((B, 1), model.start, device=sight[0].device)
        score = sight[0].new_zeros(B)
        running = torch.ones(B, dtype=torch.bool, device=word.device)
        words, looks = [], []
        for _ in range(length):
            logits, state, alpha = model.step(sight, state, word)
            logits = _sayable(model, logits[:, 0])
            word = torch.where(running, choose(logits), model.pad).unsqueeze(1)
            said = logits.log_softmax(1).gather(1, word).squeeze(1)
            score = torch.where(running, score + said, score)
            words.append(word)
            if alpha is not None:
                looks.append(alpha * running[:, None, None])
            running = running & (word[:, 0] != model.end)
            if not running.any():
                break
        return Sentences(torch.cat(words, 1), score, torch.cat(looks, 1) if looks else None)


def beam_search(
    model: Captioner, batch: Mapping[str, Tensor], length: int, beams: int = 5, normalise: float = 0.0
) -> Sentences:
    """Write by keeping the ``beams`` likeliest beginnings of each picture, all pictures and beams together.

    A beginning that ends is set aside, and the others go on until none of them can become better than the best that
    has ended. If none has ended within ``length`` words, the best beginning is returned as it is.

    Args:
        model: a captioner.
        batch: has the pictures.
        length: the most words, the end included.
        beams: at least 1, which is `greedy`; may be more than there are words.
        normalise: sentences are compared by log p / (number of words)^normalise; 0 compares log p, which favours
            short ones, 1 the mean per word.

    Returns:
        The best sentence of each picture. Its score is log p, not normalised.

    Raises:
        ValueError: ``length`` or ``beams`` is not at least 1, or ``normalise`` not from 0 to 2.
    """
    _at_least_one("length", length)
    _at_least_one("beams", beams)
    if not 0 <= normalise <= 2:
        raise ValueError(f"beam_search: normalise must be from 0 to 2, got {normalise!r}")
    with _evaluating(model):
        sight = model.see(batch)
        first = model.begin(sight)
        B, K, V = len(first[0]), beams, model.words
        state = tuple(part.expand(B, K, -1) for part in first)
        word = torch.full((B, K), model.start, device=first[0].device)
        live = first[0].new_full((B, K), -math.inf)  # log p of each beginning; -inf: there is none
        live[:, 0] = 0
        best, best_step, best_slot = live.new_full((B,), -math.inf), word.new_zeros(B), word.new_zeros(B)
        score = best.clone()
        on = torch.arange(B, device=word.device)  # the pictures whose search goes on; all but ``best…`` has their rows
        parents, words, looks = [], [], []
        for t in range(length):
            logits, state, alpha = model.step(sight, state, word)
            log_p = _sayable(model, logits).log_softmax(2)
            live, choice = (live.unsqueeze(2) + log_p).flatten(1).topk(K)  # the best of K·V continuations
            parent, word = choice // V, choice % V
            state = tuple(_take(part, parent) for part in state)
            parents.append(_rows(parent, on, B))
            words.append(_rows(word, on, B))
            if alpha is not None:
                looks.append(_rows(_take(alpha, parent), on, B))
            ended = live.masked_fill(word != model.end, -math.inf)
            value, slot = (ended / (t + 1) ** normalise).max(1)
            better = value > best[on]
            rows = on[better]
            best[rows], best_step[rows], best_slot[rows] = value[better], t, slot[better]
            score[rows] = ended.gather(1, slot[:, None])[better, 0]
            live = live.masked_fill(word == model.end, -math.inf)
            going = live.amax(1) / length**normalise > best[on]  # log p only falls, and is negative
            if not going.any():
                break
            if not going.all():
                sight, state = tuple(part[going] for part in sight), tuple(part[going] for part in state)
                on, word, live = on[going], word[going], live[going]
        unfinished = best[on] == -math.inf
        rows = on[unfinished]
        best_step[rows], best_slot[rows] = len(words) - 1, live.argmax(1)[unfinished]
        score[rows] = live.amax(1)[unfinished]
        return _trace(model, parents, words, looks, best_step, best_slot, score)


def _trace(
    model: Captioner,
    parents: list[Tensor],
    words: list[Tensor],
    looks: list[Tensor],
    last: Tensor,
    slot: Tensor,
    score: Tensor,
) -> Sentences:
    """Follow each best sentence back from its last word (B,), which stands in a slot of its step."""
    T = int(last.max()) + 1
    tokens = torch.full((len(last), T), model.pad, device=last.device)
    alpha = looks[0].new_zeros(len(last), T, looks[0].shape[2]) if looks else None
    for t in reversed(range(T)):
        on = t <= last
        tokens[:, t] = torch.where(on, words[t].gather(1, slot[:, None])[:, 0], model.pad)
        if alpha is not None:
            alpha[:, t] = _take(looks[t], slot[:, None])[:, 0] * on[:, None]
        slot = torch.where(on, parents[t].gather(1, slot[:, None])[:, 0], slot)
    return Sentences(tokens, score, alpha)


def _take(values: Tensor, index: Tensor) -> Tensor:
    """``values[b, index[b, k]]`` of (B, K, n) for an index (B, k)."""
    return values.gather(1, index.unsqueeze(2).expand(-1, -1, values.shape[2]))


def _rows(values: Tensor, on: Tensor, B: int) -> Tensor:
    """Values of the rows ``on`` put where they belong among B, zeros elsewhere."""
    return values.new_zeros(B, *values.shape[1:]).index_copy(0, on, values)


def _sayable(model: Captioner, logits: Tensor) -> Tensor:
    """Padding and the start are not words that can be written."""
    logits = logits.clone()
    logits[..., [model.pad, model.start]] = -math.inf
    return logits


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(index, like.shape[-1]).to(like.dtype)


def _at_least_one(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1, got {value!r}")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every part is left in the mode it came in."""
    before = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in before:
            module.training = training
