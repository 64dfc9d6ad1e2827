"""Where a captioner looks on photographs: what can be measured without knowing where the objects are.

On scenes everything is known, and `mmtutor.metrics.pointing` says whether attention is on the object that a word names.
Photographs come without boxes. Left are how widely attention is spread, whether it is on the middle of any photograph,
whether two models that were trained apart look at the same regions, and what the loss of those regions costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmtutor.captioning import ShowAttendTell
from mmtutor.data import EncodedPhotos, Vocabulary

# Words for what a person could point at, among the most frequent of Flickr8k; and words for which nobody could.
NOUNS = (
    "dog dogs man woman boy girl child children people person ball grass water snow beach shirt bike bicycle rock car "
    "street hat jacket horse tree bench boat pool sand"
).split()  # fmt: skip
FUNCTION = "a an the in on of with and is are at to".split()
HIDDEN = 5  # regions that are taken away, of 49


class Reading:
    """What a model attends to while it reads the first true caption of each photograph.

    Attributes:
        alpha: attention weights (N, T, L), the t-th row belongs to word t, counted from 0.
        log_p: log p of each word given those before, (N, T).
        words: of each caption, a list of lists.
    """

    def __init__(self, model: ShowAttendTell, data: EncodedPhotos, vocabulary: Vocabulary, length: int) -> None:
        self.length = length
        self.model, self.data = model.eval(), data.tokenised(vocabulary, length, references=1)
        self.words = [texts[0].split()[: length - 2] for texts in data.captions]
        self.log_p, self.alpha = self.read(self.data.tensors["regions"])

    def read(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Log p of each word (N, T) and attention weights (N, T, L), the photographs being these regions (N, L, D)."""
        log_p, alpha = [], []
        for k in range(0, len(regions), 100):
            batch = {"regions": regions[k : k + 100].float(), "caption": self.data.tensors["caption"][k : k + 100]}
            with torch.no_grad():
                out = self.model(batch)
            assert out.log_alpha is not None
            pad = self.length - 1 - out.target.shape[2]
            chosen = out.logits.log_softmax(3).gather(3, out.target.unsqueeze(3)).squeeze(3)[:, 0].cpu()
            log_p.append(nn.functional.pad(chosen, (0, pad)))
            alpha.append(nn.functional.pad(out.log_alpha.exp()[:, 0].cpu(), (0, 0, 0, pad)))
        return torch.cat(log_p), torch.cat(alpha)

    def places(self, of: Sequence[str]) -> Tensor:
        """Photograph and position of each such word, int64 (M, 2)."""
        return torch.tensor(
            [(k, t) for k, words in enumerate(self.words) for t, word in enumerate(words) if word in of]
        )

    def first_nouns(self) -> Tensor:
        """Photograph and position of the first noun of each caption that has one, int64 (M, 2)."""
        places = self.places(NOUNS)
        first = torch.ones(len(places), dtype=torch.bool)
        first[1:] = places[1:, 0] != places[:-1, 0]
        return places[first]

    def without(self, places: Tensor, hidden: Tensor) -> float:
        """By how many nats log p of the words at these places falls if regions, int64 (M, k), become the mean one."""
        regions = self.data.tensors["regions"].float()  # (N, L, D)
        mean = regions.mean(1, keepdim=True)  # (N, 1, D)
        photo, word = places.unbind(1)
        index = hidden.unsqueeze(2).expand(-1, -1, regions.shape[2])  # (M, k, D)
        regions[photo] = regions[photo].scatter(1, index, mean[photo].expand(-1, hidden.shape[1], -1))
        log_p, _ = self.read(regions)
        return (self.log_p - log_p)[photo, word].mean().item()


def centre(regions: int) -> Tensor:
    """Which regions of a square grid are in its middle: of 7 × 7 the 3 × 3; bool (L,)."""
    side = round(regions**0.5)
    middle = torch.zeros(side, side, dtype=torch.bool)
    edge = (side - round(side * 3 / 7)) // 2
    middle[edge : side - edge, edge : side - edge] = True
    return middle.flatten()


def looking(reading: Reading, again: Reading) -> dict[str, float]:
    """What can be said of attention without knowing where objects are.

    Args:
        reading: of a model.
        again: of the same recipe with another seed.
    """
    out: dict[str, float] = {}
    middle = centre(reading.alpha.shape[2])
    out["share of the middle, uniform"] = middle.double().mean().item()
    for name, words in (("nouns", NOUNS), ("function words", FUNCTION)):
        photo, word = reading.places(words).unbind(1)
        alpha = reading.alpha[photo, word].double()  # (M, L)
        out[f"regions attended, {name}"] = torch.special.entr(alpha).sum(1).exp().mean().item()
        out[f"share of the middle, {name}"] = alpha[:, middle].sum(1).mean().item()
        other = again.alpha[photo, word].double()
        out[f"agreement of two seeds, {name}"] = correlation(alpha, other)
        # Another photograph with the same word: what is left is where such words are looked for in any photograph.
        shift = torch.tensor(
            partners([reading.words[k][t] for k, t in zip(photo.tolist(), word.tolist(), strict=True)])
        )
        out[f"agreement with another photograph, {name}"] = correlation(alpha, other[shift])
    places = reading.first_nouns()
    photo, word = places.unbind(1)
    generator = torch.Generator().manual_seed(0)
    L = reading.alpha.shape[2]
    near = torch.cdist(grid(L), grid(L)[L // 2 : L // 2 + 1]).squeeze(1).argsort(stable=True)[:HIDDEN]
    ways = {
        "attended": reading.alpha[photo, word].topk(HIDDEN).indices,
        "least attended": (-reading.alpha[photo, word]).topk(HIDDEN).indices,
        "random": torch.stack([torch.randperm(L, generator=generator)[:HIDDEN] for _ in photo]),
        "middle": near.expand(len(photo), -1),
    }
    for name, hidden in ways.items():
        out[f"log p of a noun lost, {name} regions hidden"] = reading.without(places, hidden)
    return out


def grid(regions: int) -> Tensor:
    """Row and column of each region of a square grid, (L, 2)."""
    side = torch.arange(round(regions**0.5)).double()
    return torch.cartesian_prod(side, side)


def correlation(a: Tensor, b: Tensor) -> float:
    """Of two maps (M, L) over the regions, the mean over M."""
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)).mean().item()


def partners(words: Sequence[str]) -> list[int]:
    """For each place the next place with the same word, in a circle; one that is alone has itself."""
    rows: dict[str, list[int]] = {}
    for k, word in enumerate(words):
        rows.setdefault(word, []).append(k)
    out = [0] * len(words)
    for same in rows.values():
        for k, following in zip(same, [*same[1:], same[0]], strict=True):
            out[k] = following
    return out
