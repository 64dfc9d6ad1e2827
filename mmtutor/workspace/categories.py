"""Modules that share a category: each keeps its own data and parameters, and they exchange messages about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .checks import check_batch, check_names, named, on_device, whole
from .links import MixtureLink, TableLink
from .messages import CategoricalMessage

Names = str | Sequence[str] | None


class SharedCategories(nn.Module):
    """Finds categories that explain what several modules observe, without a label and without joint training.

    Modules may be of different kinds, as in Neuro-SERKET: a Gaussian mixture of a vector, such as a VAE's latent code,
    or a table of labels or words. In each step of EM (expectation, maximisation) every module says how well each
    category explains what it observed, p(xₘ | c); the product is the belief about c; and each module updates its own
    parameters with it. A vector counts as observed: how sure a VAE is of it is not used.
    With one module alone it is a mixture model. Where a mask ``"<modality>_present"`` bool (B,) is False the module
    says nothing: an example needs no complete set of modalities, and a label may be there for a few examples alone.

    Args:
        links: for each modality a `MixtureLink` or `TableLink`, all with the same number of categories K.

    Attributes:
        prior: p(c), (K,).

    Raises:
        TypeError: a link is neither.
        ValueError: they differ in the number of categories.

    Examples:
        >>> z = torch.tensor([[-1.1], [-0.9], [0.9], [1.1]])
        >>> model = SharedCategories({"picture": MixtureLink(2, 1, pseudo=0.1), "label": TableLink(2, 2)})
        >>> batch = {"picture": z, "label": torch.tensor([1, 0, 0, 0]), "label_present": torch.arange(4) < 1}
        >>> score = model.fit_em(batch, steps=20)
        >>> model.predict({"picture": z}, to="label").probs.argmax(1)  # one label is enough for two examples
        tensor([1, 1, 0, 0])
    """

    prior: Tensor

    def __init__(self, links: Mapping[str, MixtureLink | TableLink]) -> None:
        categories = _check_links(links)
        super().__init__()
        self.links = nn.ModuleDict(links)
        self.categories = categories
        self.register_buffer("prior", torch.full((categories,), 1 / categories).to(next(self.buffers())))

    def messages(self, batch: Mapping[str, Tensor], modalities: Names = None) -> dict[str, CategoricalMessage]:
        """What each module says about the category, log p(xₘ | c); zeros where it observed nothing.

        Args:
            batch: what is observed: a vector, float (B, d), or a value, int64 (B,), and masks.
            modalities: which of the modules are asked; None: all that are in the batch.

        Raises:
            TypeError: a modality is no tensor.
            ValueError: a modality is missing or misspelt, or sizes, dtypes or values do not fit.
        """
        batch = self._checked(batch)
        asked = [m for m in batch if m in self.links] if modalities is None else named(
            "SharedCategories", modalities, [m for m in self.links if m in batch])  # fmt: skip
        return {m: self._message(m, batch) for m in asked}

    def belief(self, batch: Mapping[str, Tensor], modalities: Names = None) -> CategoricalMessage:
        """p(c | x_S) ∝ p(c) ∏ₘ p(xₘ | c); its ``logits`` are log p(c, x_S), as `messages`."""
        logits = self.prior.log() + sum(told.logits for told in self.messages(batch, modalities).values())  # (B, K)
        return CategoricalMessage(logits)

    def predict(self, batch: Mapping[str, Tensor], to: str, modalities: Names = None) -> CategoricalMessage:
        """p(x_to | x_S) of a module with a table, such as a label's, from the others."""
        others = [m for m in self.links if m != to and m in batch] if modalities is None else modalities
        known = self.belief(batch, others)
        link = self.links[
            named("SharedCategories", to, [m for m, k in self.links.items() if isinstance(k, TableLink)])[0]
        ]
        assert isinstance(link, TableLink)
        return link.down(known)

    @torch.no_grad()
    def fit_em(self, batch: Mapping[str, Tensor], steps: int = 50, starts: int = 1, seed: int = 0) -> Tensor:
        """EM on all examples at once; the best of several starts.

        A start is drawn as by k-means++: examples that lie far apart, and each example goes to the nearest.

        Args:
            batch: of all modalities.
            steps: of EM.
            starts: how many. That with the highest score is kept.
            seed: of the starts.

        Returns:
            The score after each step, (steps,), which never falls: log p(x) + log p(parameters), over the number of
            examples.

        Raises:
            TypeError, ValueError: as `messages`; or no modality of vectors is there to start with.
        """
        steps, starts = whole("fit_em", "steps", steps), whole("fit_em", "starts", starts)
        batch = self._checked(batch, complete=True)
        generator, best, kept = torch.Generator().manual_seed(seed), None, {}
        for _ in range(starts):
            score = self._em(batch, self._start(batch, generator), steps)
            if best is None or bool(score[-1] > best[-1]):
                best, kept = score, {name: x.clone() for name, x in self.state_dict().items()}
        self.load_state_dict(kept)
        assert best is not None
        return best

    def _em(self, batch: Mapping[str, Tensor], responsibility: Tensor, steps: int) -> Tensor:
        self._update(batch, responsibility)
        score = []
        for _ in range(steps):
            self._update(batch, self.belief(batch).probs)  # E, then M
            log_p = self.belief(batch).logits.logsumexp(1)  # (B,)
            of_parameters = sum(link.log_prior() for link in self.links.values())  # type: ignore[operator]
            score.append(log_p.mean() + of_parameters / len(log_p))
        return torch.stack(score)

    def _update(self, batch: Mapping[str, Tensor], responsibility: Tensor) -> None:
        self.prior.copy_(responsibility.mean(0))
        for m, link in self.links.items():
            present = batch.get(f"{m}_present")
            weight = responsibility if present is None else responsibility * present[:, None]
            link.update(filled(batch[m], present), weight)  # type: ignore[operator]

    def _message(self, m: str, batch: Mapping[str, Tensor]) -> CategoricalMessage:
        present, link = batch.get(f"{m}_present"), self.links[m]
        logits = link.up(filled(batch[m], present)).logits  # type: ignore[operator]
        return CategoricalMessage(logits if present is None else logits.where(present[:, None], 0.0))

    def _start(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """The responsibilities to begin with, one-hot (B, K)."""
        vectors = [m for m, link in self.links.items() if isinstance(link, MixtureLink)]
        if not vectors:
            raise ValueError("SharedCategories: a start needs a modality of vectors, such as a VAE's latent codes")
        z = torch.cat([filled(batch[m], batch.get(f"{m}_present")) for m in vectors], 1).cpu()  # (B, d)
        chosen = [int(torch.randint(len(z), (), generator=generator))]
        distance = (z - z[chosen[0]]).square().sum(1)  # (B,), to the nearest that is chosen
        for _ in range(self.categories - 1):
            far = distance if bool(distance.any()) else torch.ones_like(distance)
            chosen.append(int(torch.multinomial(far, 1, generator=generator)))
            distance = torch.minimum(distance, (z - z[chosen[-1]]).square().sum(1))
        nearest = torch.cdist(z, z[chosen]).argmin(1)
        return nn.functional.one_hot(nearest, self.categories).to(self.prior)

    # ---- messages

    def _checked(self, batch: Mapping[str, Tensor], *, complete: bool = False) -> dict[str, Tensor]:
        here = check_batch("SharedCategories", batch, self.links)
        if complete and (missing := [m for m in self.links if m not in here]):
            raise ValueError(
                f"SharedCategories: the batch has no {missing[0]!r}; where it is missing for some examples, say so "
                f"with '{missing[0]}_present'"
            )
        keys = [*here, *(f"{m}_present" for m in here if f"{m}_present" in batch)]
        return {name: on_device(batch[name], self.prior.device) for name in keys}


def filled(x: Tensor, present: Tensor | None) -> Tensor:
    """Zeros where an example is not there: its value, NaN perhaps, is never read."""
    return x if present is None else torch.where(present.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))


def _check_links(links: Mapping[str, MixtureLink | TableLink]) -> int:
    who = "SharedCategories"
    if not isinstance(links, Mapping | nn.ModuleDict) or not links:
        raise TypeError(f"{who}: links must be a dict from modality to MixtureLink or TableLink, and not empty")
    check_names(who, [m for m in links if m != "label"])
    for m, link in links.items():
        if not isinstance(link, MixtureLink | TableLink):
            raise TypeError(f"{who}: links[{m!r}] must be a MixtureLink or TableLink, got {link!r}")
    categories = {m: link.sizes[0] for m, link in links.items()}
    if len(set(categories.values())) > 1:
        raise ValueError(f"{who}: all links need the same number of categories, got {categories}")
    return next(iter(categories.values()))
