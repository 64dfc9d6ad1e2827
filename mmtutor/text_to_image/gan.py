"""A generator and a discriminator, trained with one loss. Equations: see ``__init__.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .average import MovingAverage
from .checks import check_names, flag, kind, module, moved, number, reading, whole
from .objectives import MatchingAware, Objective
from .pairs import check_pairs


class TextToImageGAN(nn.Module):
    """Two players in one loss: the gradient of each player's parameters is that of its own objective alone.

    The discriminator is shown pictures that are detached from the generator; the generator is judged by a discriminator
    whose parameters are constants. So one optimiser and one backward pass train both at once, a step each. GANs want
    less momentum than Adam's default, such as ``optimizer=partial(torch.optim.Adam, betas=(0.5, 0.99))``; ``clip_norm``
    would be one norm for both. No term of the loss says how good the pictures are, so there is nothing to stop by.

    A batch may be on any device; what is returned is on that of the parameters.

    Args:
        generator: from a sentence (B, …) and noise (B, Z) to pictures (B, C, H, W) in [0, 1].
        discriminator: from pictures (B, C, H, W) and sentences (B, …) to logits (B,). It shares no part that is trained
            with the generator.
        noise: Z.
        objective: `MatchingAware` (None), `ConditionalGAN` or `Relativistic`.
        picture: name of the pictures in a batch.
        sentence: name of the sentences in a batch.
        wrong: name of sentences (B, …) that do not fit the picture, for `MatchingAware`; None takes those of the
            example before. The more a wrong sentence resembles the right one, the better D must read.
        together: whether the discriminator reads real, wrong and fake pairs as one batch. It matters if it normalises
            over its batch.
        average: drawing uses the generator's `MovingAverage` with this decay.

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
        wrong: str | None = None,
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
        self.names = (picture, sentence) if wrong is None else (picture, sentence, wrong)
        check_names(who, self.names)
        self.together = flag(who, "together", together)
        _check_players(generator, discriminator, self.objective.penalty)
        self.average = MovingAverage(generator, number(who, "average", average, 0, 1))

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What both players minimise, each with its own parameters: ``"loss"``, the sum, and its two terms, ().

        Raises:
            TypeError: a modality is no tensor, or pictures are of another float type than the parameters.
            ValueError: a modality is missing, sizes differ, or a network gives something else than it should.
        """
        self.check_batch(batch)
        batch = moved({name: batch[name] for name in self.names}, self)
        real, sentence, *given = (batch[name] for name in self.names)
        wrong = given[0] if given else sentence.roll(1, 0)
        z = torch.randn(len(real), self.noise, dtype=real.dtype, device=real.device)  # (B, Z)
        fake = self._drawn(self.generator, sentence, z).to(real.dtype)  # (B, C, H, W)
        if fake.shape != real.shape:
            raise ValueError(f"TextToImageGAN: the generator gives {kind(fake)}, the pictures are {kind(real)}")
        discriminator = self.objective.discriminator(self._judge, real, fake.detach(), sentence, wrong)
        generator = self.objective.generator(self._frozen_judge, real, fake, sentence, wrong)
        if self.training:
            self.average.follow(self.generator, sentence, z)
        return {"loss": discriminator + generator, "discriminator": discriminator, "generator": generator}

    @torch.no_grad()
    def draw(self, sentence: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pictures of sentences (B, …), (B, C, H, W), by the averaged generator; noise (B, Z) is drawn if not given."""
        like = next(self.average.parameters())
        sentence = sentence.to(like.device)
        if noise is None:
            noise = torch.randn(len(sentence), self.noise, dtype=like.dtype, device=like.device)
        if noise.shape != (len(sentence), self.noise):
            raise ValueError(f"TextToImageGAN.draw: noise must be ({len(sentence)}, {self.noise}), got {kind(noise)}")
        return self._drawn(self.average, sentence, noise.to(like.device))

    def _drawn(self, generator: nn.Module, sentence: Tensor, z: Tensor) -> Tensor:
        with reading("TextToImageGAN", self.names[1], sentence, generator):
            picture: Tensor = generator(sentence, z)
        return picture

    def _judge(self, pairs: Sequence[tuple[Tensor, Tensor]], constant: bool = False) -> list[Tensor]:
        """The logits of pairs, each (B,)."""

        def logits(x: Tensor, s: Tensor) -> Tensor:
            if not constant:
                of: Tensor = self.discriminator(x, s)
            else:  # its parameters get no gradient, and its running statistics do not move
                with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
                    of = functional_call(self.discriminator, state, (x, s))
            of = of.to(torch.promote_types(of.dtype, torch.float32))
            if of.shape != x.shape[:1]:
                raise ValueError(f"TextToImageGAN: the discriminator must give logits ({len(x)},), got {kind(of)}")
            return of

        state = {name: p.detach() for name, p in self.discriminator.named_parameters()} if constant else {}
        state |= {name: b.clone() for name, b in self.discriminator.named_buffers()} if constant else {}
        if not self.together:
            return [logits(x, s) for x, s in pairs]
        pictures, sentences = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return [*logits(pictures, sentences).chunk(len(pairs))]

    def _frozen_judge(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        return self._judge(pairs, constant=True)

    # ---- messages

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        check_pairs("TextToImageGAN", batch, self.names, self)
        sentence, wrong = (batch[name] for name in (self.names[1], self.names[-1]))
        if len(self.names) > 2 and (wrong.shape != sentence.shape or wrong.dtype != sentence.dtype):
            raise ValueError(
                f"TextToImageGAN: {self.names[-1]!r} must be like {self.names[1]!r}, {kind(sentence)}, got "
                f"{kind(wrong)}; pad both to one length"
            )
        if len(self.names) == 2 and len(batch[self.names[0]]) < self.objective.least:
            raise ValueError("TextToImageGAN: one example has no other sentence; make batches of at least two")


def _check_players(generator: nn.Module, discriminator: nn.Module, penalty: float) -> None:
    own = {id(p) for p in generator.parameters() if p.requires_grad}
    if any(id(p) in own for p in discriminator.parameters()):
        raise ValueError(
            "TextToImageGAN: generator and discriminator share parameters that are trained, and both would move them; "
            "give each a network of its own, such as copy.deepcopy(reader)"
        )
    if penalty and any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in discriminator.modules()):
        raise ValueError(
            "TextToImageGAN: a gradient penalty needs logits that depend on their own picture alone, and the "
            "discriminator has batch normalisation; use Discriminator(…, normalise=False)"
        )
