"""A generator and a discriminator, trained with one loss. Equations: see ``__init__.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .checks import check_batch, check_names, flag, kind, module, moved, number, reading, whole
from .objectives import MatchingAware, Objective


class TextToImageGAN(nn.Module):
    """Two players in one loss: the gradient of each player's parameters is that of its own objective alone.

    The discriminator is shown pictures that are detached from the generator; the generator is judged by a discriminator
    whose parameters are constants. So one optimiser and one backward pass train both at once.

    A batch may be on any device; what is returned is on that of the parameters.

    Args:
        generator: from a sentence (B, …) and noise (B, Z) to pictures (B, C, H, W).
        discriminator: from pictures (B, C, H, W) and sentences (B, …) to logits (B,).
        noise: Z.
        objective: `MatchingAware` (None), `ConditionalGAN` or `Relativistic`.
        picture: name of the pictures in a batch.
        sentence: name of the sentences in a batch.
        together: whether the discriminator reads real, wrong and false pairs as one batch. It matters if it normalises
            over its batch: apart, it can tell them by what each batch has in common.
        average: drawing uses the generator's moving average, with this weight of the past at each step; 0: none.

    Examples:
        >>> from mmtutor.text_to_image import Discriminator, Generator
        >>> reader = lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 8))
        >>> model = TextToImageGAN(Generator(reader(), 8, 5), Discriminator(reader(), 8), noise=5)
        >>> batch = {"picture": torch.rand(6, 3, 16, 16), "sentence": torch.rand(6, 4)}
        >>> sorted(model.loss(batch)), model.draw(batch["sentence"]).shape
        (['discriminator', 'generator', 'loss'], torch.Size([6, 3, 16, 16]))
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        noise: int,
        objective: Objective | None = None,
        *,
        picture: str = "picture",
        sentence: str = "sentence",
        together: bool = True,
        average: float = 0.99,
    ) -> None:
        super().__init__()
        who = "TextToImageGAN"
        self.generator = module(who, "generator", generator)
        self.discriminator = module(who, "discriminator", discriminator)
        self.noise = whole(who, "noise", noise)
        if not isinstance(objective, Objective | None):
            raise TypeError(f"{who}: objective must be one such as MatchingAware(), got {objective!r}")
        self.objective: Objective = MatchingAware() if objective is None else objective
        self.names = (picture, sentence)
        check_names(who, self.names)
        self.together = flag(who, "together", together)
        self.weight = number(who, "average", average, 0, 1)
        self.average = deepcopy(generator).requires_grad_(False).eval()

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What both players minimise, each with its own parameters: ``"loss"``, the sum, and its two terms, ().

        Raises:
            TypeError: a modality is no tensor, or pictures are of another float type than the parameters.
            ValueError: a modality is missing, sizes differ, or a network gives something else than it should.
        """
        real, sentence = self._read(batch)
        z = torch.randn(len(real), self.noise, dtype=real.dtype, device=real.device)  # (B, Z)
        fake = self._drawn(self.generator, sentence, z)  # (B, C, H, W)
        if fake.shape != real.shape:
            raise ValueError(f"TextToImageGAN: the generator gives {kind(fake)}, the pictures are {kind(real)}")
        discriminator = self.objective.discriminator(self._judge, real, fake.detach(), sentence)
        generator = self.objective.generator(self._frozen_judge, real, fake, sentence)
        if self.training:
            self._keep_average()
        return {"loss": discriminator + generator, "discriminator": discriminator, "generator": generator}

    def draw(self, sentence: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pictures of sentences (B, …), (B, C, H, W), by the averaged generator; noise (B, Z) is drawn if not given."""
        like = next(self.average.parameters())
        sentence = sentence.to(like.device)
        if noise is None:
            noise = torch.randn(len(sentence), self.noise, dtype=like.dtype, device=like.device)
        return self._drawn(self.average if self.weight else self.generator, sentence, noise.to(like.device))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Pictures of the sentences of a batch, (B, C, H, W)."""
        return self.draw(batch[self.names[1]])

    def _drawn(self, generator: nn.Module, sentence: Tensor, z: Tensor) -> Tensor:
        with reading("TextToImageGAN", self.names[1], sentence, generator):
            picture: Tensor = generator(sentence, z)
        return picture

    def _judge(self, pairs: Sequence[tuple[Tensor, Tensor]], constant: bool = False) -> list[Tensor]:
        """The logits of pairs, each (B,)."""

        def logits(x: Tensor, s: Tensor) -> Tensor:
            if not constant:
                of: Tensor = self.discriminator(x, s)
            else:
                of = functional_call(self.discriminator, {n: p.detach() for n, p in parameters}, (x, s))
            if of.shape != x.shape[:1]:
                raise ValueError(f"TextToImageGAN: the discriminator must give logits ({len(x)},), got {kind(of)}")
            return of

        parameters = [*self.discriminator.named_parameters()]
        if not self.together:
            return [logits(x, s) for x, s in pairs]
        pictures, sentences = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return [*logits(pictures, sentences).chunk(len(pairs))]

    def _frozen_judge(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        return self._judge(pairs, constant=True)

    @torch.no_grad()
    def _keep_average(self) -> None:
        for kept, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            kept.lerp_(now.to(kept.dtype), 1 - self.weight)
        for state, new in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            state.copy_(new)

    def train(self, mode: bool = True) -> TextToImageGAN:
        """As of any module; the average only draws, so it stays in evaluation mode."""
        super().train(mode)
        self.average.eval()
        return self

    # ---- messages

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        here = check_batch("TextToImageGAN", batch, self.names, model=self)
        if len(here) < 2:
            missing = next(m for m in self.names if m not in here)
            raise ValueError(f"TextToImageGAN: the batch has no {missing!r}, only {', '.join(batch)}")
        if any(f"{m}_present" in batch for m in self.names):
            raise ValueError("TextToImageGAN: needs both modalities in all examples; leave out those that lack one")
        if len(batch[here[0]]) < 2:
            raise ValueError("TextToImageGAN: one example has no other sentence; make batches of at least two")

    def _read(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        self.check_batch(batch)
        batch = moved({name: batch[name] for name in self.names}, self)
        real, sentence = (batch[name] for name in self.names)
        return real, sentence
