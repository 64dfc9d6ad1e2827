"""Modules that exchange messages on a tree: two sweeps, and each knows what all of them know together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .checks import kind, on_device
from .links import Link
from .messages import CategoricalMessage, GaussianMessage, Message

Known = Message | Tensor  # about a variable: a message, or the variable itself, observed


class MessageTree(nn.Module):
    """Modules on a tree, each with a variable of its own: what it observed, and what its neighbours tell it.

    A module never sees another one's data. In the first sweep each tells its parent what follows for it from all that
    it knows; in the second each parent tells its children what it knows *without what they said themselves*.
    If all links are exact so are the beliefs: those of the joint posterior. Linear links are, and so is what goes up
    from a mixture or a table; what goes down to the vector of a mixture is rounded to a Gaussian.

    Args:
        links: for each module but the root its parent, and how its variable depends on the parent's.
        prior: of the root's categories, probabilities (K,); None: uniform, or N(0, I) where the root is a vector.

    Raises:
        TypeError: a link is none.
        ValueError: the links make no tree, or sizes do not fit.

    Examples:
        >>> from mmtutor.workspace import LinearLink
        >>> one = torch.eye(1)
        >>> tree = MessageTree({"picture": ("scene", LinearLink(one, one)), "voice": ("scene", LinearLink(one, one))})
        >>> beliefs = tree.beliefs({"picture": torch.tensor([[3.0]]), "voice": torch.tensor([[0.0]])})
        >>> beliefs["scene"].mean, beliefs["scene"].covariance  # 1 from the prior, 1 from each module
        (tensor([[1.]]), tensor([[0.3333]]))
        >>> tree.beliefs({"picture": torch.tensor([[3.0]])})["voice"].mean  # what the picture makes it expect
        tensor([[1.5000]])
    """

    prior: Tensor | None

    def __init__(self, links: Mapping[str, tuple[str, Link]], prior: Tensor | None = None) -> None:
        self.order, self.parents, self.kinds, self.sizes = _check_links(links)
        super().__init__()
        self.links = nn.ModuleDict({child: link for child, (_, link) in links.items()})
        self.register_buffer("prior", _check_prior(prior, self.kinds[self.order[0]], self.sizes[self.order[0]]))

    def beliefs(self, evidence: Mapping[str, Known]) -> dict[str, Known]:
        """What each module knows after both sweeps.

        Args:
            evidence: what some of the modules observed: a message, or the variable itself, float (B, d) or categories
                int64 (B,). Who is not named observed nothing.

        Returns:
            p(variable | all evidence) of each module, as a message; the variable itself where it is observed.

        Raises:
            TypeError: evidence is neither.
            ValueError: it is of another size, dtype or kind than the module's variable, or of an unknown module.
        """
        own = self._evidence(evidence)
        known, told = self._sweep_up(own)
        root, *others = self.order
        above = {root: self._prior(own[root])}  # what each is told by its parent
        for child in others:  # parents first
            parent = self.parents[child]
            rest = _together(own[parent], above[parent])
            for sibling in others:
                if self.parents[sibling] == parent and sibling != child:
                    rest = _together(rest, told[sibling])
            above[child] = self._link(child).down(rest)
        return {m: _together(known[m], above[m]) for m in self.order}

    def _sweep_up(self, own: Mapping[str, Known]) -> tuple[dict[str, Known], dict[str, Message]]:
        """The first sweep: what each module knows from itself and from below, and what it told its parent."""
        known, told = dict(own), dict[str, Message]()
        for child in reversed(self.order[1:]):  # children first
            told[child] = self._link(child).up(known[child])
            known[self.parents[child]] = _together(known[self.parents[child]], told[child])
        return known, told

    def _prior(self, known: Known) -> Message:
        root = self._nothing(self.order[0], len(known))
        if isinstance(root, GaussianMessage):
            return GaussianMessage(root.h, torch.eye(root.h.shape[1]).to(root.h))
        return root if self.prior is None else CategoricalMessage(root.logits + self.prior.log())

    def _nothing(self, module: str, B: int) -> Message:
        """A message that says nothing."""
        d, like = self.sizes[module], next(self.buffers())
        zeros = like.new_zeros(B, d)
        return (
            CategoricalMessage(zeros)
            if self.kinds[module] == "category"
            else GaussianMessage(zeros, like.new_zeros(d, d))
        )

    def _link(self, child: str) -> Link:
        link = self.links[child]
        assert isinstance(link, Link)
        return link

    # ---- messages

    def _evidence(self, evidence: Mapping[str, Known]) -> dict[str, Known]:
        """The evidence, checked and on the device of the links, and messages that say nothing for the others."""
        if not isinstance(evidence, Mapping) or not evidence:
            raise ValueError(f"MessageTree: evidence must be a dict by module and not empty, got {kind(evidence)}")
        if unknown := [m for m in evidence if m not in self.order]:
            raise ValueError(f"MessageTree: no module {unknown[0]!r}, only {', '.join(self.order)}")
        here = {m: self._checked(m, known) for m, known in evidence.items()}
        sizes = {m: len(known) for m, known in here.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"MessageTree: all evidence needs the same number of examples, got {sizes}")
        B = next(iter(sizes.values()))
        return here | {m: self._nothing(m, B) for m in self.order if m not in here}

    def _checked(self, module: str, known: Known) -> Known:
        category, d, like = self.kinds[module] == "category", self.sizes[module], next(self.buffers())
        message = CategoricalMessage if category else GaussianMessage
        wanted = f"int64 (B,) below {d}" if category else f"{like.dtype} (B, {d})"
        if not isinstance(known, Tensor | message):
            raise TypeError(f"MessageTree: evidence of {module!r} must be a {message.__name__} or a tensor, {wanted}, "
                            f"got {kind(known)}")  # fmt: skip
        if isinstance(known, Tensor):
            fits = known.shape[1:] == (() if category else (d,)) and known.ndim == 2 - category
            if not fits or known.dtype != (torch.int64 if category else like.dtype):
                raise ValueError(f"MessageTree: evidence of {module!r} must be {wanted}, got {kind(known)}")
            return on_device(known, like.device)
        of = known.logits if isinstance(known, CategoricalMessage) else known.h
        if of.shape[1] != d or of.dtype != like.dtype:
            raise ValueError(f"MessageTree: a message of {module!r} must be {like.dtype} (B, {d}), got {kind(of)}")
        return known.to(like.device)


def _together(known: Known, told: Message) -> Known:
    """What is known and what is told; what is observed stays what it is."""
    if isinstance(known, GaussianMessage) and isinstance(told, GaussianMessage):
        return known * told
    if isinstance(known, CategoricalMessage) and isinstance(told, CategoricalMessage):
        return known * told
    return known


def _check_links(
    links: Mapping[str, tuple[str, Link]],
) -> tuple[list[str], dict[str, str], dict[str, str], dict[str, int]]:
    """The modules, parents first; their parents, kinds of variable and sizes."""
    who = "MessageTree"
    if not isinstance(links, Mapping) or not links:
        raise TypeError(f"{who}: links must be a dict, child to (parent, link), and not empty, got {kind(links)}")
    kinds: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for child, pair in links.items():
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[1], Link):
            raise TypeError(f"{who}: links[{child!r}] must be (parent, link), got {pair!r}")
        parent, link = pair
        for module, variable, size in ((parent, link.parent, link.sizes[0]), (child, link.child, link.sizes[1])):
            if (kinds.setdefault(module, variable), sizes.setdefault(module, size)) != (variable, size):
                raise ValueError(f"{who}: {module!r} is a {kinds[module]} of {sizes[module]} in one link and a "
                                 f"{variable} of {size} in another")  # fmt: skip
    parents = {child: parent for child, (parent, _) in links.items()}
    roots = [module for module in kinds if module not in parents]
    order = roots[:1]
    for module in order:  # grows
        order += [child for child, parent in parents.items() if parent == module]
    if len(roots) != 1 or len(order) != len(kinds):
        raise ValueError(
            f"{who}: the links must make one tree, with one root and no circle; they have the roots {roots}"
        )
    return order, parents, kinds, sizes


def _check_prior(prior: Tensor | None, variable: str, size: int) -> Tensor | None:
    if prior is None:
        return None
    if variable != "category":
        raise ValueError("MessageTree: prior is for a root with categories; that of a vector is N(0, I)")
    if not isinstance(prior, Tensor) or prior.shape != (size,) or not prior.is_floating_point():
        raise ValueError(f"MessageTree: prior must be probabilities, float ({size},), got {kind(prior)}")
    if prior.device.type == "cpu" and not (bool((prior >= 0).all()) and abs(float(prior.sum()) - 1) < 1e-4):
        raise ValueError("MessageTree: prior must be probabilities that add up to 1")
    return prior
