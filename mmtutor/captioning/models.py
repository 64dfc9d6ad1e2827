"""Show and Tell; Show, Attend and Tell: from a batch to the loss. Equations and symbols: see ``__init__.py``.

In training each next word is predicted after the true words before it (teacher forcing).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import SoftAttention
from .base import (
    Captioner,
    Features,
    State,
    TeacherForcing,
    Tokens,
    check_captions,
    check_encoding,
    check_ends,
    check_sizes,
)
from .checks import flag, moved, number, reading


class ShowAndTell(Captioner):
    """The LSTM reads the image once, x₋₁ = W a, then the words, xₜ = E yₜ (Vinyals, equations 10 to 12).

        hₜ = LSTM(xₜ, hₜ₋₁),  p(yₜ₊₁) ∝ exp(Lₒ hₜ),  loss = −Σₜ log p(yₜ).

    An image encoder that gives regions is averaged over them.

    Args:
        encoder: the image encoder, from ``batch[image]`` to one vector (B, D) or to regions (B, L, D).
        dim: D.
        tokens: size of the vocabulary and its special tokens.
        image: the image's name in a batch.
        embed: size of a word vector, E.
        hidden: units of the LSTM, H.
        dropout: dropout probability, before the next word is predicted.
        vectors: word vectors to start from, (V, E).
        freeze_vectors: do not train them.

    Examples:
        >>> model = ShowAndTell(nn.Flatten(), 12, Tokens(9))
        >>> batch = {"scene": torch.rand(2, 3, 2, 2), "caption": torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2]])}
        >>> sorted(model.loss(batch))
        ['loss', 'words']
        >>> from mmtutor.captioning import greedy
        >>> greedy(model, batch, length=6).tokens.shape[0]
        2
    """

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        tokens: Tokens,
        *,
        image: str = "scene",
        embed: int = 64,
        hidden: int = 128,
        dropout: float = 0.0,
        vectors: Tensor | None = None,
        freeze_vectors: bool = False,
    ) -> None:
        dim, embed, hidden = check_sizes(self, dim=dim, embed=embed, hidden=hidden)
        super().__init__(
            encoder, dim, tokens, image=image, embed=embed, dropout=dropout, vectors=vectors,
            freeze_vectors=freeze_vectors,
        )  # fmt: skip
        self.show = nn.Linear(dim, embed)
        self.lstm = nn.LSTM(embed, hidden, batch_first=True)
        self.output = nn.Linear(hidden, tokens.size)

    def encode_image(self, image: Tensor) -> Features:
        """x₋₁ = W a, (B, E), in a tuple."""
        with reading(type(self).__name__, self.image, image, self.encoder):
            a = self.encoder(image.to(self.embedding.weight.device))  # (B, ..., D)
        check_encoding(self, a, len(image))
        a = a if a.ndim == 2 else a.mean(1)  # (B, D)
        return (self.show(a),)

    def forward(self, batch: Mapping[str, Tensor]) -> TeacherForcing:
        """Read the true captions, and predict each next word."""
        batch = moved(check_captions(self, batch), self)
        caption = batch["caption"]  # (B, R, T + 1)
        inputs, target = caption[..., :-1], caption[..., 1:]
        B, R, T = target.shape
        (x,) = self.encode_image(batch[self.image])
        image = x.view(B, 1, 1, -1).expand(B, R, 1, -1)  # (B, R, 1, E)
        x = torch.cat([image, self.embedding(inputs)], 2)  # (B, R, T + 1, E)
        h, _ = self.lstm(x.flatten(0, 1))
        h = h.view(B, R, T + 1, -1)[:, :, 1:]  # (B, R, T, H)
        logits = self.output(self.dropout(h))  # (B, R, T, V)
        return TeacherForcing(logits, target)

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """−Σₜ log p(yₜ), the mean over captions, in nats; padding is ignored.

        Args:
            batch: the image, and ``"caption"`` int64 (B, T + 1) or (B, R, T + 1) with R captions of each, on any
                device. What the words are is checked on the CPU only.

        Raises:
            TypeError: the captions are not int64, or the images of another float type than the parameters.
            ValueError: images or captions are missing or have another shape, values are not finite, or a caption has
                an unknown word, does not begin with the start, goes on after its end, or is empty; or none has an end.
        """
        check_ends(self, batch)
        logits, target, *_ = self(batch)
        nll = F.cross_entropy(
            logits.flatten(0, 2), target.flatten(), ignore_index=self.tokens.pad, reduction="none"
        )  # (B R T,)
        words = nll.view_as(target).sum(2).mean()  # ()
        return {"loss": words, "words": words}

    def initial_state(self, features: Features) -> State:
        """The state h and c after the image was read, each (B, 1, H)."""
        _, (h, c) = self.lstm(features[0].unsqueeze(1))
        return h.transpose(0, 1), c.transpose(0, 1)

    def step(self, features: Features, state: State, last: Tensor) -> tuple[Tensor, State, None]:
        """One word of the decoder; see `Captioner.step`."""
        B, R = last.shape
        x = self.embedding(last.to(self.embedding.weight.device)).view(B * R, 1, -1)  # (B R, 1, E)
        h, c = (part.reshape(1, B * R, -1) for part in state)
        _, (h, c) = self.lstm(x, (h, c))
        h = h.view(B, R, -1)  # (B, R, H)
        logits = self.output(self.dropout(h))  # (B, R, V)
        return logits, (h, c.view(B, R, -1)), None


class ShowAttendTell(Captioner):
    """Attends to the regions of the image before every word. Equations and symbols: see ``__init__.py``.

    The gate βₜ is one number, as in the paper; some implementations have one for each feature.

    Args:
        encoder: the image encoder, from ``batch[image]`` to regions (B, L, D).
        dim: D.
        tokens: size of the vocabulary and its special tokens.
        image: the image's name in a batch.
        embed: size of a word vector, E.
        hidden: units of the LSTM, H.
        attend: units of the attention, A.
        attention: `SoftAttention` (None) or `HardAttention`.
        read_first: the LSTM reads the previous word before the model attends, not after.
        doubly_stochastic: λ of the doubly stochastic term, a sum over regions; what it is in other programs, see
            ``__init__.py``.
        tau: τ in it, which changes its value but no gradient; None is T/L, T the number of words of each caption, its
            end included, start and padding not.
        dropout: dropout probability, before the next word is predicted.
        vectors: word vectors to start from, (V, E).
        freeze_vectors: do not train them.

    Examples:
        >>> model = ShowAttendTell(nn.Identity(), 4, Tokens(9), image="regions")
        >>> batch = {"regions": torch.rand(2, 6, 4), "caption": torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2]])}
        >>> sorted(model.loss(batch))
        ['doubly_stochastic', 'loss', 'words']
        >>> from mmtutor.captioning import HardAttention, greedy
        >>> greedy(model, batch, length=6).alpha.shape[2]
        6
        >>> hard = ShowAttendTell(
        ...     nn.Identity(), 4, Tokens(9), image="regions", attention=HardAttention(), read_first=True
        ... )
        >>> hard.loss(batch)["words"].shape
        torch.Size([])
    """

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        tokens: Tokens,
        *,
        image: str = "scene",
        embed: int = 64,
        hidden: int = 128,
        attend: int = 64,
        attention: SoftAttention | None = None,
        read_first: bool = False,
        doubly_stochastic: float = 0.0,
        tau: float | None = None,
        dropout: float = 0.0,
        vectors: Tensor | None = None,
        freeze_vectors: bool = False,
    ) -> None:
        dim, embed, hidden, attend = check_sizes(self, dim=dim, embed=embed, hidden=hidden, attend=attend)
        super().__init__(
            encoder, dim, tokens, image=image, embed=embed, dropout=dropout, vectors=vectors,
            freeze_vectors=freeze_vectors,
        )  # fmt: skip
        _check_attention(attention)
        self.attention = SoftAttention() if attention is None else attention
        who = type(self).__name__
        self.read_first = flag(who, "read_first", read_first)
        self.doubly_stochastic = number(who, "doubly_stochastic", doubly_stochastic)
        self.tau = None if tau is None else number(who, "tau", tau)
        self.key, self.query, self.score = nn.Linear(dim, attend), nn.Linear(hidden, attend), nn.Linear(attend, 1)
        self.gate = nn.Linear(hidden, 1)
        self.first_h, self.first_c = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.lstm = nn.LSTMCell(embed + dim, hidden)
        self.from_h, self.from_z = nn.Linear(hidden, embed), nn.Linear(dim, embed, bias=False)
        self.output = nn.Linear(embed, tokens.size)

    def encode_image(self, image: Tensor) -> Features:
        """The regions aᵢ (B, L, D) and their keys Wₐ aᵢ (B, L, A)."""
        with reading(type(self).__name__, self.image, image, self.encoder):
            a = self.encoder(image.to(self.embedding.weight.device))  # (B, L, D)
        check_encoding(self, a, len(image), regions=True)
        return a, self.key(a)

    def initial_state(self, features: Features) -> State:
        """h₀ and c₀ from the mean of the regions (Xu, section 3.1.2), each (B, 1, H), and that mean, (B, 1, D)."""
        mean = features[0].mean(1, keepdim=True)  # (B, 1, D)
        return torch.tanh(self.first_h(mean)), torch.tanh(self.first_c(mean)), mean

    def advance(
        self, features: Features, state: State, embedded: Tensor, sampled: Tensor | None = None
    ) -> tuple[State, Tensor, Tensor]:
        """One word: attend to the regions, then read the last word; or, with ``read_first``, the other way round.

        Args:
            features: a (B, L, D) and its keys (B, L, A).
            state: h, c and z, (B, R, ·).
            embedded: the last word's vector E yₜ₋₁, (B, R, E).
            sampled: which captions see a sampled region, see `HardAttention`.

        Returns:
            The new state, log αₜ (B, R, L), and log αₜ[sₜ] (B, R).
        """
        (a, keys), (B, R, _) = features, embedded.shape
        h, c, z, word = (part.flatten(0, 1) for part in (*state, embedded))
        if self.read_first:
            h, c = self.lstm(torch.cat([word, z], 1), (h, c))
        # Equations 4, 5 and 13; the LSTM is equation 1.
        query = self.query(h).view(B, R, 1, -1)  # (B, R, 1, A)
        e = self.score(torch.tanh(keys.unsqueeze(1) + query)).squeeze(3)  # (B, R, L)
        log_alpha = F.log_softmax(e, 2)  # (B, R, L)
        weights, log_s = self.attention(log_alpha, sampled)
        z = torch.sigmoid(self.gate(h)) * (weights @ a).flatten(0, 1)  # (B R, D)
        if not self.read_first:
            h, c = self.lstm(torch.cat([word, z], 1), (h, c))
        return (h.view(B, R, -1), c.view(B, R, -1), z.view(B, R, -1)), log_alpha, log_s

    def forward(self, batch: Mapping[str, Tensor]) -> TeacherForcing:
        """Read the true captions word by word, then predict each next word."""
        batch = moved(check_captions(self, batch), self)
        caption = batch["caption"]  # (B, R, T + 1)
        inputs, target = caption[..., :-1], caption[..., 1:]
        B, R, T = target.shape
        features = self.encode_image(batch[self.image])
        state = tuple(part.expand(B, R, -1) for part in self.initial_state(features))
        embedded = self.embedding(inputs)  # (B, R, T, E)
        sampled = self.attention.sampled(state[0])  # (B, R, 1)
        steps = []
        for t in range(T):
            state, log_alpha, log_s = self.advance(features, state, embedded[:, :, t], sampled)
            steps.append((state[0], state[2], log_alpha, log_s))
        # Equation 7, for all words at once.
        h, z, log_alpha, log_s = (torch.stack(values, 2) for values in zip(*steps, strict=True))
        logits = self.output(self.dropout(embedded + self.from_h(h) + self.from_z(z)))  # (B, R, T, V)
        return TeacherForcing(logits, target, log_alpha, log_s)

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """−Σₜ log p(yₜ) + λ Σᵢ (τ − Σₜ αₜᵢ)² and what `HardAttention` adds, the mean over captions.

        Args:
            batch: the image, and ``"caption"`` int64 (B, T + 1) or (B, R, T + 1) with R captions of each, on any
                device. What the words are is checked on the CPU only.

        Returns:
            ``"loss"``; ``"words"``, −Σₜ log p(yₜ) in nats; ``"doubly_stochastic"``, Σᵢ (τ − Σₜ αₜᵢ)², not weighted.
            With `HardAttention` the loss has the value of the sum, and also the gradient of REINFORCE.

        Raises:
            TypeError: as in `ShowAndTell.loss`.
            ValueError: as in `ShowAndTell.loss`.
        """
        check_ends(self, batch)
        logits, target, log_alpha, log_s = self(batch)
        real = target != self.tokens.pad  # (B, R, T)
        nll = F.cross_entropy(
            logits.flatten(0, 2), target.flatten(), ignore_index=self.tokens.pad, reduction="none"
        )  # (B R T,)
        log_p = -nll.view_as(target).sum(2)  # (B, R)
        words = -log_p.mean()  # ()
        alpha = log_alpha.exp() * real.unsqueeze(3)  # (B, R, T, L)
        tau = real.sum(2, keepdim=True) / alpha.shape[3] if self.tau is None else self.tau
        penalty = (tau - alpha.sum(2)).square().sum(2).mean()  # ()
        attention = self.attention.loss(log_p, (log_s * real).sum(2), alpha, log_alpha)  # ()
        loss = words + self.doubly_stochastic * penalty + attention  # ()
        return {"loss": loss, "words": words, "doubly_stochastic": penalty}

    def step(self, features: Features, state: State, last: Tensor) -> tuple[Tensor, State, Tensor]:
        """One word of the decoder; see `Captioner.step`."""
        embedded = self.embedding(last.to(self.embedding.weight.device))  # (B, R, E)
        (h, c, z), log_alpha, _ = self.advance(features, state, embedded)
        logits = self.output(self.dropout(embedded + self.from_h(h) + self.from_z(z)))  # (B, R, V)
        return logits, (h, c, z), log_alpha.exp()


# ---- messages


def _check_attention(attention: SoftAttention | None) -> None:
    if not isinstance(attention, SoftAttention | None):
        raise TypeError(f"ShowAttendTell: attention must be SoftAttention() or HardAttention(), got {attention!r}")
