"""How a captioner generates captions: greedy decoding, sampling, beam search.

    greedy       yₜ = argmax p(yₜ | y₀ … yₜ₋₁)
    sample       yₜ ~ p(yₜ | y₀ … yₜ₋₁)^(1/temperature)
    beam search  the K likeliest beginnings y₀ … yₜ, found from the K V continuations of the K before

In the code B images have K beams each; with greedy decoding and sampling K = 1.

The batch may be on any device, the captions are on the model's. The program reads from that device once a word, to see
whether all captions have ended; it waits for it nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import Captioner, Features, check_image
from .checks import check_finite, whole


class Captions(NamedTuple):
    """Generated captions, one for each image; from `beam_candidates` K for each.

    Attributes:
        tokens: int64 (B, T) or (B, K, T), without the start; after its end a caption is filled with padding.
        score: (B,) or (B, K), the log-probability of the caption in nats, its end included, among the words that can be
            generated: all but padding and start.
        alpha: (B, T, L) or (B, K, T, L), the attention weights at each word, zeros after the end; None without
            attention. With hard attention the region with the largest weight was seen.
    """

    tokens: Tensor
    score: Tensor
    alpha: Tensor | None


def greedy(model: Captioner, batch: Mapping[str, Tensor], length: int) -> Captions:
    """Take the likeliest word each time.

    Args:
        model: a captioner; it decodes in evaluation mode and is handed back in the mode it came in.
        batch: has the images.
        length: the largest number of words, the end included; a caption that has not ended by then stops there.

    Raises:
        ValueError: ``length`` is not at least 1, or the images are not what the model takes.
    """
    return _decode(model, batch, whole("greedy", "length", length), temperature=0.0)


def sample(model: Captioner, batch: Mapping[str, Tensor], length: int, temperature: float = 1.0) -> Captions:
    """Sample each word from p(yₜ)^(1/temperature), with torch's global random numbers.

    Args:
        model: a captioner.
        batch: has the images.
        length: the largest number of words, the end included.
        temperature: above 0; near 0 it is `greedy`, with 1 the model's own distribution, with more it is flatter.

    Raises:
        ValueError: the temperature is not above 0; else as in `greedy`.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"sample: temperature must be above 0, got {temperature!r}")
    return _decode(model, batch, whole("sample", "length", length), temperature)


def _decode(model: Captioner, batch: Mapping[str, Tensor], length: int, temperature: float) -> Captions:
    """One caption for each image; with temperature 0 the likeliest word each time."""
    with _evaluating(model):
        features = _encode(model, batch)
        state = model.initial_state(features)
        B = len(features[0])
        word = torch.full((B, 1), model.tokens.start, device=features[0].device)  # (B, 1)
        score = features[0].new_zeros(B, dtype=_precise(features[0]))  # (B,)
        running = torch.ones_like(word[:, 0], dtype=torch.bool)  # (B,)
        words, alphas = [], []
        for _ in range(length):
            logits, state, alpha = model.step(features, state, word)
            logits = _possible(model, logits[:, 0])  # (B, V)
            if temperature:
                # The largest is subtracted first, or a small temperature would make it infinite.
                p = ((logits - logits.amax(1, keepdim=True)) / temperature).softmax(1)  # (B, V)
                # `torch.multinomial` samples in this way too, but waits for a GPU to check p; see `HardAttention.draw`.
                chosen = (p / torch.empty_like(p).exponential_()).argmax(1, keepdim=True)  # (B, 1)
            else:
                chosen = logits.argmax(1, keepdim=True)  # (B, 1)
            word = torch.where(running[:, None], chosen, model.tokens.pad)  # (B, 1)
            log_p = logits.log_softmax(1).gather(1, word).squeeze(1)  # (B,)
            score = torch.where(running, score + log_p, score)  # (B,)
            words.append(word)
            if alpha is not None:
                alphas.append(alpha * running[:, None, None])
            running = running & (word[:, 0] != model.tokens.end)  # (B,)
            if not running.any():
                break
        return Captions(torch.cat(words, 1), score, torch.cat(alphas, 1) if alphas else None)


def beam_search(
    model: Captioner, batch: Mapping[str, Tensor], length: int, beams: int = 5, normalise: float = 0.0
) -> Captions:
    """Keep the ``beams`` likeliest beginnings of each image, all images and beams together.

    A beginning that ends is set aside, and the others go on until none of them can become better than the best that
    has ended. If none has ended within ``length`` words, the best beginning is returned as it is.

    Args:
        model: a captioner.
        batch: has the images.
        length: the largest number of words, the end included.
        beams: K, at least 1, which is `greedy`; may be more than there are words.
        normalise: captions are compared by log p / (number of words)^normalise; 0 compares log p, which favours
            short ones, 1 the mean per word.

    Returns:
        The best caption of each image. Its score is log p, not normalised.

    Raises:
        ValueError: ``length`` or ``beams`` is not at least 1, or ``normalise`` not from 0 to 2.

    Examples:
        >>> from mmtutor.captioning import ShowAttendTell, Tokens
        >>> model = ShowAttendTell(nn.Identity(), 4, Tokens(9), image="regions")
        >>> beam_search(model, {"regions": torch.rand(2, 6, 4)}, length=6, beams=3).tokens.shape[0]
        2
        >>> sample(model, {"regions": torch.rand(2, 6, 4)}, length=6).tokens.shape[0]
        2
        >>> beam_search(model, {"regions": torch.rand(2, 6, 4)}, length=1, beams=3).tokens.shape
        torch.Size([2, 1])
    """
    tokens, score, alpha = _search("beam_search", model, batch, length, beams, normalise, keep=1)
    return Captions(tokens[:, 0], score[:, 0], None if alpha is None else alpha[:, 0])


def beam_candidates(
    model: Captioner, batch: Mapping[str, Tensor], length: int, beams: int = 5, normalise: float = 0.0
) -> Captions:
    """The ``beams`` best captions of each image that a beam search finds, the best first.

    The search goes on until no beginning can become better than the last of them; the first is that of `beam_search`.
    With as many beams as there are sequences of ``length`` words, these are the likeliest captions of all.

    Args:
        model: a captioner.
        batch: has the images.
        length: the largest number of words, the end included.
        beams: K, at least 1, of beginnings that are kept and of captions that are returned.
        normalise: as in `beam_search`.

    Returns:
        K captions of each image: tokens (B, K, T), score (B, K), alpha (B, K, T, L). Where fewer than K have ended
        within ``length`` words, the rest is padding with score −inf.

    Raises:
        ValueError: as in `beam_search`.

    Examples:
        >>> from mmtutor.captioning import ShowAttendTell, Tokens
        >>> model = ShowAttendTell(nn.Identity(), 4, Tokens(9), image="regions")
        >>> found = beam_candidates(model, {"regions": torch.rand(2, 6, 4)}, length=6, beams=3)
        >>> found.score.shape, bool((found.score[:, 0] >= found.score[:, 1]).all())
        (torch.Size([2, 3]), True)
    """
    return _search("beam_candidates", model, batch, length, beams, normalise, keep=beams)


def _search(
    who: str, model: Captioner, batch: Mapping[str, Tensor], length: int, beams: int, normalise: float, keep: int
) -> Captions:
    """Beam search for the N = ``keep`` best captions of each image: tokens (B, N, T), score (B, N)."""
    K, length = whole(who, "beams", beams), whole(who, "length", length)
    if not 0 <= normalise <= 2:
        raise ValueError(f"{who}: normalise must be from 0 to 2, got {normalise!r}")
    with _evaluating(model):
        features = _encode(model, batch)
        B, V, N, end = len(features[0]), model.tokens.size, int(keep), model.tokens.end
        state = tuple(part.expand(B, K, -1) for part in model.initial_state(features))
        word = torch.full((B, K), model.tokens.start, device=features[0].device)  # (B, K)
        live = features[0].new_full((B, K), -math.inf, dtype=_precise(features[0]))  # (B, K)
        live[:, 0] = 0  # log p of each beginning; -inf: there is none
        best, score = live.new_full((B, N), -math.inf), live.new_full((B, N), -math.inf)
        last, slot = word.new_full((B, N), -1), word.new_zeros(B, N)  # where a caption ends: its word and its beam
        on = torch.arange(B, device=word.device)  # images whose search goes on: rows of features, state, word, live
        slots = torch.arange(K, device=word.device)  # (K,)
        parents, words, alphas = [], [], []
        for t in range(length):
            logits, state, alpha = model.step(features, state, word)
            log_p = live.unsqueeze(2) + _possible(model, logits).log_softmax(2)  # (b_t, K, V)
            live, choice = log_p.flatten(1).topk(K)  # the best of K V continuations
            parent, word = choice // V, choice % V
            state = tuple(_take(part, parent) for part in state)
            parents.append(_rows(parent, on, B))
            words.append(_rows(word, on, B))
            if alpha is not None:
                alphas.append(_rows(_take(alpha, parent), on, B))
            ended = live.masked_fill(word != end, -math.inf)  # (b_t, K)
            if t + 1 == length:  # of an image of which no beginning has ended, all count as ended
                none = torch.maximum(ended.amax(1), best[on, 0]) == -math.inf  # (b_t,)
                ended = torch.where(none.unsqueeze(1), live, ended)  # (b_t, K)
            # The best N of those before and the new ones; of two equally good ones the first to end comes first. NaN
            # counts as more than any number, so it goes on, and is seen in the score.
            value = torch.cat([best[on], ended / (t + 1) ** normalise], 1)  # (b_t, N + K)
            order = value.argsort(dim=1, descending=True, stable=True)[:, :N]  # (b_t, N)
            there = torch.full_like(word, t).masked_fill(ended == -math.inf, -1)  # (b_t, K)
            best = best.index_copy(0, on, value.gather(1, order))  # (B, N)
            score = score.index_copy(0, on, torch.cat([score[on], ended], 1).gather(1, order))  # (B, N)
            last = last.index_copy(0, on, torch.cat([last[on], there], 1).gather(1, order))  # (B, N)
            slot = slot.index_copy(0, on, torch.cat([slot[on], slots.expand_as(word)], 1).gather(1, order))  # (B, N)
            live = live.masked_fill(word == end, -math.inf)  # (b_t, K)
            # log p only falls, and is negative: this is the best value that a beginning can still get. "Not at most"
            # where one expects "more than", for NaN.
            going = ~(live.amax(1) / length**normalise <= best[on, N - 1])  # (b_t,)
            count, T = torch.stack([going.sum(), last.max() + 1]).tolist()  # the device is waited for here
            if count == 0:
                break
            if count < len(going):
                rows = (~going).long().argsort(stable=True)[:count]  # (b_(t+1),)
                features, state = tuple(part[rows] for part in features), tuple(part[rows] for part in state)
                on, word, live = on[rows], word[rows], live[rows]
        tokens, chosen = _trace(model, parents, words, alphas, last, slot, T)
        return Captions(tokens, score, chosen)


def _trace(
    model: Captioner,
    parents: list[Tensor],
    words: list[Tensor],
    alphas: list[Tensor],
    last: Tensor,
    slot: Tensor,
    T: int,
) -> tuple[Tensor, Tensor | None]:
    """Follow each caption back from its last word (B, N), which stands in a slot (B, N) of its step; T is the most."""
    tokens = words[0].new_full((*last.shape, T), model.tokens.pad)  # (B, N, T)
    alpha = alphas[0].new_zeros(*last.shape, T, alphas[0].shape[2]) if alphas else None  # (B, N, T, L)
    for t in reversed(range(T)):
        there = t <= last  # (B, N)
        tokens[:, :, t] = torch.where(there, words[t].gather(1, slot), model.tokens.pad)
        if alpha is not None:
            alpha[:, :, t] = _take(alphas[t], slot) * there.unsqueeze(2)
        slot = torch.where(there, parents[t].gather(1, slot), slot)  # (B, N)
    return tokens, alpha


def _take(values: Tensor, index: Tensor) -> Tensor:
    """``values[b, index[b, k]]`` of (B, K, n) for an index (B, k)."""
    return values.gather(1, index.unsqueeze(2).expand(-1, -1, values.shape[2]))  # (B, k, n)


def _rows(values: Tensor, on: Tensor, B: int) -> Tensor:
    """Values of the images ``on`` at their rows among B, zeros elsewhere."""
    return values.new_zeros(B, *values.shape[1:]).index_copy(0, on, values)  # (B, ...)


def _possible(model: Captioner, logits: Tensor) -> Tensor:
    """Logits (…, V) in which padding and the start, which are no words, are impossible."""
    logits = logits.to(_precise(logits), copy=True)  # (..., V)
    logits[..., model.tokens.pad] = -math.inf  # one by one: a list would be copied to the device, which waits
    logits[..., model.tokens.start] = -math.inf
    return logits


def _precise(x: Tensor) -> torch.dtype:
    """In which type log-probabilities are summed: float32 where the model computes in half of it."""
    return torch.promote_types(x.dtype, torch.float32)


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


# ---- messages


def _encode(model: Captioner, batch: Mapping[str, Tensor]) -> Features:
    """The features of the images, or an error if images or features are not what they should be."""
    features = model.encode_image(check_image(model, batch))
    check_finite(type(model).__name__, f"the encoding of {model.image}", features[0])
    return features
