"""Captioning: a training step against its textbook formulation, and beam search all at once against one by one.

``python -m benchmarks.captioning`` with one thread, at the size of the published recipe: 32 photographs as grids of
196 regions with 2,048 features, captions of at most 20 words, a vocabulary of 9,490 words, 512 units everywhere.

The library has a plain loop over the words: the keys of the regions are computed once, the vocabulary is scored once
for all words, padding is masked in the loss. The textbook formulation is written here from the equations as they
stand: for each word the keys are computed anew, and the vocabulary is scored; the batch is sorted by length and shrinks
as captions end. Both have the same parameters; loss and gradient are asserted to be equal before anything is timed.

The possible gain is bounded. Counting multiplications only, this batch of 431 words needs 565 GFLOP in the textbook
formulation and 73 with the keys computed once, since LSTM, vocabulary and the gradients of the keys remain: 7.7 times
with the image encoder fine-tuned, 6.4 with it frozen. The plain loop does not shrink the batch and so has some of the
work of the padding as well. In beam search both have the same cost for attention, LSTM and vocabulary of every beam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import alternate
from mmtutor.captioning import ShowAttendTell, Tokens, beam_search

B, L, D, WORDS, LENGTH, UNITS = 32, 196, 2048, 9490, 20, 512


def show_attend_tell(doubly_stochastic: float = 0.0) -> ShowAttendTell:
    """A model of the recipe's size that is given the regions."""
    torch.manual_seed(0)
    return ShowAttendTell(
        nn.Identity(), D, Tokens(WORDS), image="regions", embed=UNITS, hidden=UNITS, attend=UNITS,
        doubly_stochastic=doubly_stochastic,
    )  # fmt: skip


class Textbook(nn.Module):
    """The equations of Xu and others word by word, with the parameters of ours."""

    def __init__(self, ours: ShowAttendTell) -> None:
        super().__init__()
        self.ours = ours

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """−Σₜ log p(yₜ) and the doubly stochastic term, the mean over captions."""
        m = self.ours
        lengths, order = (batch["caption"] != m.tokens.pad).sum(1).sort(descending=True)
        regions, caption = batch["regions"][order], batch["caption"][order]
        mean = regions.mean(1)
        h, c = torch.tanh(m.first_h(mean)), torch.tanh(m.first_c(mean))
        total = regions.new_zeros(())
        attention = regions.new_zeros(B, L)
        for t in range(int(lengths[0]) - 1):
            on = int((lengths > t + 1).sum())  # captions that have a word t + 1
            regions, h, c = regions[:on], h[:on], c[:on]
            e = m.score(torch.tanh(m.key(regions) + m.query(h).unsqueeze(1))).squeeze(2)
            alpha = torch.softmax(e, 1)
            z = torch.sigmoid(m.gate(h)) * (regions * alpha.unsqueeze(2)).sum(1)
            embedded = m.embedding(caption[:on, t])
            h, c = m.lstm(torch.cat([embedded, z], 1), (h, c))
            scores = m.output(embedded + m.from_h(h) + m.from_z(z))
            total = total + F.cross_entropy(scores, caption[:on, t + 1], reduction="sum")
            attention = attention + F.pad(alpha, (0, 0, 0, B - on))
        doubly_stochastic = ((lengths - 1).unsqueeze(1) / L - attention).square().sum()
        return (total + m.doubly_stochastic * doubly_stochastic) / B


def photographs() -> dict[str, Tensor]:
    """Grids and captions of the recipe's size, drawn at random; lengths spread as in photo captions."""
    lengths = torch.randint(8, LENGTH + 1, (B,))
    caption = torch.randint(4, WORDS, (B, LENGTH))
    caption[:, 0] = 1
    caption[torch.arange(B), lengths - 1] = 2
    caption[torch.arange(LENGTH) >= lengths.unsqueeze(1)] = 0
    return {"regions": torch.rand(B, L, D), "caption": caption}


def step(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Forward and backward."""

    def run() -> Tensor:
        model.zero_grad()
        value = loss()
        value.backward()
        return value.detach()

    return run


def gradient_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Of all together."""
    return torch.stack([x.grad.norm() for x in tensors if x.grad is not None]).norm()


def kept_megabytes(loss: Callable[[], Tensor]) -> float:
    """What the forward pass keeps for the backward pass, each piece of memory counted once, in MB."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        value = loss()
    del value
    return sum(kept.values()) / 1e6


def textbook_beam_search(m: ShowAttendTell, regions: Tensor, beams: int) -> list[int]:
    """One image (L, D), its beams side by side; keys are computed anew for each beam and word."""
    mean = regions.mean(0, keepdim=True)
    h, c = torch.tanh(m.first_h(mean)), torch.tanh(m.first_c(mean))
    begun: list[list[int]] = [[m.tokens.start]]
    scores = torch.zeros(1)
    best, ended = -torch.inf, begun[0]
    for _ in range(LENGTH):
        here = regions.expand(len(begun), -1, -1)
        e = m.score(torch.tanh(m.key(here) + m.query(h).unsqueeze(1))).squeeze(2)
        z = torch.sigmoid(m.gate(h)) * (here * torch.softmax(e, 1).unsqueeze(2)).sum(1)
        embedded = m.embedding(torch.tensor([words[-1] for words in begun]))
        h, c = m.lstm(torch.cat([embedded, z], 1), (h, c))
        logits = m.output(embedded + m.from_h(h) + m.from_z(z))
        logits[:, [m.tokens.pad, m.tokens.start]] = -torch.inf
        scores, choice = (scores.unsqueeze(1) + logits.log_softmax(1)).flatten().topk(beams)
        parent = choice // WORDS
        begun = [[*begun[p], w] for p, w in zip(parent.tolist(), (choice % WORDS).tolist(), strict=True)]
        for words, score in zip(begun, scores.tolist(), strict=True):
            if words[-1] == m.tokens.end and score > best:
                best, ended = score, words
        live = [k for k, words in enumerate(begun) if words[-1] != m.tokens.end]
        begun, scores, h, c = [begun[k] for k in live], scores[live], h[parent[live]], c[parent[live]]
        if not live or scores.max() <= best:
            break
    return (ended if best > -torch.inf else begun[int(scores.argmax())])[1:]


def training_step(fine_tuned: bool) -> float:
    """Compare one step, the image encoder frozen or fine-tuned (then the regions get a gradient); return the ratio."""
    ours = show_attend_tell(doubly_stochastic=1.0)
    textbook, batch = Textbook(ours), photographs()
    batch["regions"].requires_grad_(fine_tuned)
    losses = {"textbook": lambda: textbook.loss(batch), "ours": lambda: ours.loss(batch)["loss"]}
    steps = {name: step(ours, loss) for name, loss in losses.items()}
    seen = []
    for run in steps.values():
        batch["regions"].grad = None
        seen.append((run(), gradient_norm([*ours.parameters(), batch["regions"]])))
    for a, b in zip(*seen, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=0)
    seconds = alternate(steps, repeats=3)
    print(f"image encoder {'fine-tuned' if fine_tuned else 'frozen'}")
    for name, loss in losses.items():
        print(f"{name:>11} {seconds[name]:6.2f} s, keeps {kept_megabytes(loss):4.0f} MB for the backward pass")
    return seconds["textbook"] / seconds["ours"]


@torch.no_grad()
def search(beams: int = 5) -> float:
    """Compare beam search on all images at once with the textbook's, image by image; return the ratio."""
    model = show_attend_tell().eval()
    model.output.bias[model.tokens.end] += 1.2  # some captions end early, some late, some never
    batch = {"regions": 4 * torch.randn(B, L, D)}
    ways = {
        "textbook": lambda: [textbook_beam_search(model, x, beams) for x in batch["regions"]],
        "ours, one by one": lambda: [
            beam_search(model, {"regions": x[None]}, LENGTH, beams).tokens[0].tolist() for x in batch["regions"]
        ],
        "ours, together": lambda: [
            [w for w in row if w != model.tokens.pad]
            for row in beam_search(model, batch, LENGTH, beams).tokens.tolist()
        ],
    }
    captions = [way() for way in ways.values()]
    if captions[0] != captions[1] or captions[0] != captions[2]:
        raise AssertionError("the searches give different captions")
    lengths = sorted({len(words) for words in captions[0]})
    seconds = alternate(ways, repeats=2)
    print(f"beam search, {B} images, {beams} beams: the same captions, of {lengths[0]} to {lengths[-1]} words")
    for name, s in seconds.items():
        print(f"{name:>16} {s:6.2f} s")
    return seconds["textbook"] / seconds["ours, together"]


def main() -> None:
    """Print times and ratios; the last line is the ratio of the training step, the one before that of beam search."""
    torch.set_num_threads(1)
    print(f"forward and backward, batch {B}, {L} regions of {D}, at most {LENGTH} words of {WORDS}, one thread")
    frozen, fine_tuned = training_step(False), training_step(True)
    print(f"beam ratio: {search():.1f} (textbook, one image at a time, over ours, all together)")
    says = f"a step, image encoder fine-tuned; {frozen:.1f} with it frozen"
    print(f"ratio: {fine_tuned:.1f} (textbook over ours, {says})")


if __name__ == "__main__":
    main()
