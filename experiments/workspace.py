"""Modules joined by messages or a shared workspace, over several seeds: ``python -m experiments.workspace --seeds 5``.

A picture's module and a voice's module are trained apart and stay as they are. What is joined is measured by the digits
that are right, and by the pairs that it needs. A quarter of an hour a seed on one core; stops and resumes seed by seed.
``--choose`` prints validation scores with other settings, of seeds that no result has.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from experiments.results import Claim, measure
from mmtutor.data import digits
from mmtutor.decoders import ImageDecoder
from mmtutor.embedding import InfoNCE
from mmtutor.encoders import AudioEncoder, ImageEncoder
from mmtutor.metrics import predict
from mmtutor.training import fit, seed_everything
from mmtutor.vae import JMVAE, MVAE, MultimodalVAE, bernoulli, gaussian
from mmtutor.workspace import MessageTree, MixtureLink, SharedCategories, SharedWorkspace, TableLink

SETTINGS: dict[str, Any] = {
    "train": "4,000 pairs of a handwritten and a spoken digit",
    "test": "1,000 pairs",
    "picture's module": "VAE, 10 numbers, 10 epochs of 64, Adam 3e-3, one-cycle",
    "voice's module": "16 principal components, of variance 1",
    "categories": 20,  # these two were best for each module alone, on validation examples of seeds 90 and 91
    "pseudo-examples of a category": 50,  # with 200 the modules alone find less, and together more
    "EM": "60 steps, the best of 5 starts",
    "numbers in the workspace": 10,
    "workspace": "15 epochs of 256 (at least a fifth of the rows are pairs), Adam, one-cycle",
    "together": "MVAE and JMVAE, 10 numbers, 5,000 steps of 64 (half as many with 300 pairs), Adam, one-cycle",
}
TRAIN, TEST, SIZES = 4000, 1000, {"picture": 10, "voice": 16}
STARTS, PSEUDO, EPOCHS, ALONE = 5, 50.0, 15, 10  # of EM, of its categories, of the workspace, of a VAE
TOGETHER = 80  # epochs of MVAE and JMVAE, half as many with 300 pairs
PAIRS = (10, 30, 100, 300, 1000, 4000)
LABELS = (20, 50, 200, 2000)
NAKAMURA, TANIGUCHI, DEVILLERS, OURS = "Nakamura 2018", "Taniguchi 2020", "Devillers 2024", "ours"
LOSSES = {
    "pairs alone": {"translation": 1.0},
    "demi-cycles": {"translation": 1.0, "demi_cycle": 1.0},
    "cycles": {"translation": 1.0, "demi_cycle": 1.0, "cycle": 0.3},
    "contrast": {"translation": 1.0, "contrastive": 0.03},
    "all losses": {"translation": 1.0, "contrastive": 0.03, "demi_cycle": 1.0, "cycle": 0.3},
}
# Best on validation examples of seeds 90 and 91, of 3e-3, 1e-2, 3e-2 and 1e-1, which diverges; of VAEs 1e-3 to 1e-2
LR = {"pairs alone": 3e-2, "demi-cycles": 3e-2, "cycles": 3e-3, "contrast": 3e-2, "all losses": 3e-2,
      "MVAE": 3e-3, "JMVAE": 6e-3}  # fmt: skip
RIGHT, RAND, FEWER = "digits right", "adjusted Rand index", "times fewer pairs, as log₂"

CLAIMS = [
    Claim("Trained with messages the picture's module tells more of the digit than trained alone", TANIGUCHI,
          "Rand, picture, joined", "Rand, picture, alone", RAND),
    Claim("Trained with messages the voice's module tells more of the digit than trained alone", TANIGUCHI,
          "Rand, voice, joined", "Rand, voice, alone", RAND),
    Claim("Both together tell more than the better one alone", NAKAMURA,
          "Rand, both, joined", "Rand, best alone", RAND),
    Claim("Modules that exchange messages find digits as well as one mixture of all numbers, but for .03", OURS,
          "Rand, both, joined, and .03", "Rand, both, one mixture", RAND),
    Claim("With the voices of other examples, messages do not help the picture's module, but for .03", OURS,
          "Rand, picture, alone, and .03", "Rand, picture, shuffled", RAND),
    Claim("With 20 labels, categories and a table are right more often than a classifier of the labelled codes", OURS,
          "messages, 20 labels", "labelled alone, 20 labels", RIGHT,
          show=("at the best, 20 labels", "messages, 200 labels", "labelled alone, 200 labels")),
    Claim("With 2,000 labels a classifier of the labelled codes is right more often", OURS,
          "labelled alone, 2000 labels", "messages, 2000 labels", RIGHT),
    Claim("With 100 pairs, unpaired demi-cycles make more digits right", DEVILLERS,
          "voice to picture, demi-cycles, 100",
          "voice to picture, pairs alone, 100", RIGHT),
    Claim("With 100 pairs, cycles besides demi-cycles make more digits right", DEVILLERS,
          "voice to picture, cycles, 100", "voice to picture, demi-cycles, 100", RIGHT),
    Claim("With 100 pairs, contrast besides translation makes more digits right", DEVILLERS,
          "voice to picture, contrast, 100", "voice to picture, pairs alone, 100", RIGHT),
    Claim("To be as good as 100 pairs without cycles, fewer are enough with them", DEVILLERS,
          "saved, voice to picture, all losses, 100", "zero", FEWER,
          show=("saved, voice to picture, all losses, 300", "beyond, voice to picture, all losses, 100")),
    Claim("At least 4 times fewer are enough", DEVILLERS, "saved, voice to picture, all losses, 100", "four", FEWER),
    Claim("To be as good as 1,000 pairs without cycles, fewer are enough with them", DEVILLERS,
          "saved, voice to picture, all losses, 1000", "zero", FEWER,
          show=("beyond, voice to picture, all losses, 1000",)),
    Claim("From pictures to voices, too, fewer are as good as 100 without cycles", DEVILLERS,
          "saved, picture to voice, all losses, 100", "zero", FEWER,
          show=("saved, picture to voice, all losses, 1000", "beyond, picture to voice, all losses, 1000")),
    Claim("From pictures to voices, with 1,000 pairs, cycles make fewer digits right", OURS,
          "picture to voice, contrast, 1000", "picture to voice, all losses, 1000", RIGHT,
          show=("picture to voice, pairs alone, 1000", "picture to voice, cycles, 1000", "ceiling of voices")),
    Claim("From voices to pictures, with all 4,000 pairs, cycles without contrast make fewer digits right", OURS,
          "voice to picture, pairs alone, 4000", "voice to picture, cycles, 4000", RIGHT),
    Claim("Where two modules see the same pictures, at least 4 times fewer are as good as 100", DEVILLERS,
          "saved, same picture, cycles, 100", "four", FEWER,
          show=("saved, same picture, cycles, 300", "beyond, same picture, cycles, 100")),
    Claim("Without contrast, cycles save more pairs where two modules see the same pictures than for voices",
          OURS, "saved, same picture, cycles, 100", "saved, voice to picture, cycles, 100", FEWER,
          show=("beyond, voice to picture, cycles, 100",)),
    Claim("With all 4,000 pairs messages draw more digits right than the workspace, trained by translation", OURS,
          "voice to picture, messages, 4000", "voice to picture, pairs alone, 4000", RIGHT,
          show=("ceiling of pictures", "voice to picture, contrast, 4000", "voice to picture, all losses, 4000")),
    Claim("Twice the epochs add at most .03 to that workspace", OURS, "voice to picture, pairs alone, 4000, and .03",
          "voice to picture, pairs alone, twice the epochs, 4000", RIGHT),
    Claim("Moved to the nearest category, the workspace's pictures are right more often", OURS,
          "voice to picture, nearest category, 4000", "voice to picture, pairs alone, 4000", RIGHT),
    Claim("The workspace's error is larger on new pairs than on its own, by more than .05 of the variance", OURS,
          "squared error, workspace, new pairs", "squared error, workspace, own pairs", "of the variance",
          margin=0.05, show=("squared error, messages, new pairs", "squared error, messages, own pairs")),
    Claim("With 100 pairs messages do not draw more digits right", OURS,
          "voice to picture, all losses, 100", "voice to picture, messages, 100", RIGHT),
    Claim("With 100 pairs, repeated as for the workspace, messages do not draw more digits right, either", OURS,
          "voice to picture, all losses, 100", "voice to picture, messages, repeated pairs, 100", RIGHT,
          show=("voice to picture, messages, repeated pairs, 300", "voice to picture, all losses, 300")),
    Claim("With all 4,000 pairs the workspace draws more digits right than MVAE, trained together eight times as long "
          "as the picture's module", OURS, "voice to picture, pairs alone, 4000", "voice to picture, MVAE, 4000",
          RIGHT),
    Claim("With all 4,000 pairs the workspace draws more digits right than JMVAE, trained as long", OURS,
          "voice to picture, pairs alone, 4000", "voice to picture, JMVAE, 4000", RIGHT),
    Claim("MVAE trained so long is better than after half the epochs by at most .03", OURS,
          "voice to picture, MVAE, half the epochs, and .03", "voice to picture, MVAE, 4000", RIGHT),
    Claim("JMVAE trained so long is better than after half the epochs by at most .03", OURS,
          "voice to picture, JMVAE, half the epochs, and .03", "voice to picture, JMVAE, 4000", RIGHT),
    Claim("With 300 pairs the workspace draws more digits right than MVAE, trained on the same examples", OURS,
          "voice to picture, all losses, 300", "voice to picture, MVAE, 300", RIGHT),
    Claim("With 300 pairs also more than JMVAE, which can use pairs alone", OURS, "voice to picture, all losses, 300",
          "voice to picture, JMVAE, 300", RIGHT),
    Claim("A workspace of one number draws fewer digits right than one of ten", OURS, "voice to picture, cycles, 1000",
          "voice to picture, one number", RIGHT),
    Claim("Twice the epochs add at most .03 with 100 pairs", OURS, "voice to picture, cycles, 100, and .03",
          "voice to picture, cycles, twice the epochs, 100", RIGHT),
]  # fmt: skip


class Judge(nn.Module):
    """The evaluation classifier of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(ImageEncoder(1, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Scores of the digits, (B, 10)."""
        scores: Tensor = self.net(batch["handwritten"])
        return scores

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The cross-entropy, ()."""
        scores = self(batch)
        return {"loss": nn.functional.cross_entropy(scores, batch["label"].to(scores.device))}


def picture_vae(pictures: Tensor, seed: int) -> MVAE:
    """The picture's module, trained on pictures alone."""
    seed_everything(seed)
    d = SIZES["picture"]
    vae = MVAE({"picture": ImageEncoder(1, 2 * d)}, {"picture": ImageDecoder(d, 1, 28, logits=True)},
               {"picture": bernoulli()}, d)  # fmt: skip
    fit(
        vae,
        {"picture": pictures},
        epochs=ALONE,
        batch_size=64,
        lr=3e-3,
        schedule="one-cycle",
        seed=seed,
        progress=False,
    )
    return vae.eval()


class World:
    """The examples of a seed, both modules, their codes, and what judges them; ``test`` may be the validation split."""

    def __init__(self, seed: int, test: str = "test") -> None:
        self.seed = seed
        draw = partial(digits, "handwritten", "spoken", seed=seed, progress=False)
        train, held_out = draw(split="train", n=TRAIN).tensors, draw(split=test, n=TEST).tensors
        self.train, self.test = train, held_out
        self.label, self.test_label = train["label"], held_out["label"]
        self.vae, self.second = (picture_vae(train["handwritten"], s) for s in (seed, 500 + seed))
        sounds = train["spoken"].flatten(1)
        _, scale, V = torch.linalg.svd(sounds - sounds.mean(0), full_matrices=False)

        def codes(data: Mapping[str, Tensor]) -> dict[str, Tensor]:
            with torch.no_grad():
                first, second = (
                    vae.encode({"picture": data["handwritten"]}).mean.cpu() for vae in (self.vae, self.second)
                )
            k = SIZES["voice"]
            voice = (data["spoken"].flatten(1) - sounds.mean(0)) @ V[:k].T / scale[:k] * len(sounds) ** 0.5
            return {"picture": first, "voice": voice, "second": second}

        self.codes, self.test_codes = codes(train), codes(held_out)
        seed_everything(seed)
        self.judge = Judge()
        examples = digits("handwritten", split="train", n=3 * TRAIN, seed=1000 + seed, progress=False)
        fit(self.judge, examples, epochs=4, batch_size=64, lr=3e-3, schedule="one-cycle", seed=seed, progress=False)
        self.hears = LogisticRegression(max_iter=1000).fit(self.codes["voice"], self.label)

    def right(self, to: str, codes: Tensor) -> float:
        """How often the digit is right of codes that a module of the test set should have."""
        if to == "voice":
            return float(self.hears.score(codes, self.test_label))
        vae = self.vae if to == "picture" else self.second
        with torch.no_grad():
            pictures = vae.decoders["picture"](codes.to(next(vae.parameters()).device)).sigmoid().view(-1, 1, 28, 28)
        return self.pictures_right(pictures)

    def pictures_right(self, pictures: Tensor) -> float:
        """How often the evaluation classifier finds the digit."""
        return float(
            (predict(self.judge, {"handwritten": pictures.cpu()}).argmax(1) == self.test_label).double().mean()
        )


def few_pairs(codes: Mapping[str, Tensor], modules: tuple[str, str], pairs: int) -> dict[str, Tensor]:
    """A fifth of the rows or more are pairs, few pairs many times; in the others one module observes something."""
    n = len(codes[modules[0]])
    again, rows = torch.arange(max(n // 2, min(pairs, n))) % pairs, torch.arange(n)
    out = {}
    for k, m in enumerate(modules):
        parts = [codes[m], torch.zeros_like(codes[m])]
        out[m] = torch.cat([codes[m][again], *(parts if k == 0 else reversed(parts))])
        there = [rows >= 0, rows < 0]
        out[f"{m}_present"] = torch.cat([again >= 0, *(there if k == 0 else reversed(there))])
    return out


# ---- categories


def categories(
    batch: Mapping[str, Tensor], sizes: Mapping[str, int], seed: int, k: int = SETTINGS["categories"],
    pseudo: float = PSEUDO,
) -> SharedCategories:  # fmt: skip
    """Found by EM."""
    model = SharedCategories({m: MixtureLink(k, d, pseudo) for m, d in sizes.items()})
    model.fit_em(batch, steps=60, starts=STARTS, seed=seed)
    return model


def of_categories(world: World) -> dict[str, float]:
    """Categories and digits."""
    seed, sizes = world.seed, SIZES
    known, new = ({m: codes[m] for m in sizes} for codes in (world.codes, world.test_codes))

    def rand(model: SharedCategories, batch: Mapping[str, Tensor]) -> float:
        return float(adjusted_rand_score(world.test_label, model.belief(batch).probs.argmax(1)))

    def one(m: str) -> dict[str, Tensor]:
        return {m: new[m]}

    out, joined = {}, categories(known, sizes, seed)
    other = known | {"voice": known["voice"].roll(1, 0)}
    shuffled = categories(other, sizes, seed)
    out["Rand, both, joined"] = rand(joined, new)
    for m in sizes:
        out[f"Rand, {m}, joined"] = rand(joined, one(m))
        out[f"Rand, {m}, shuffled"] = rand(shuffled, one(m))
        out[f"Rand, {m}, alone"] = rand(categories({m: known[m]}, {m: sizes[m]}, seed), one(m))
    out["Rand, best alone"] = max(out["Rand, picture, alone"], out["Rand, voice, alone"])
    all_numbers = [torch.cat([*codes.values()], 1) for codes in (known, new)]
    out["Rand, both, one mixture"] = rand(
        categories({"picture": all_numbers[0]}, {"picture": sum(sizes.values())}, seed), {"picture": all_numbers[1]}
    )
    believed, expected = joined.belief(known).probs, joined.belief(new)
    for labels in LABELS:
        hits = torch.zeros(2, 20)
        for k in range(hits.shape[1]):
            few = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(100 * seed + k))[:labels]
            table = TableLink(SETTINGS["categories"], 10)
            table.update(world.label[few], believed[few])
            hits[0, k] = (table.down(expected).probs.argmax(1) == world.test_label).float().mean()
            classifier = LogisticRegression(max_iter=300).fit(all_numbers[0][few], world.label[few])
            hits[1, k] = float(classifier.score(all_numbers[1], world.test_label))
        out[f"messages, {labels} labels"], out[f"labelled alone, {labels} labels"] = hits.mean(1).tolist()
        unnamed = sum((-1) ** (k + 1) * math.comb(10, k) * (1 - k / 10) ** labels for k in range(1, 11))
        out[f"at the best, {labels} labels"] = 1 - 0.9**labels + unnamed / 10
    means = joined.links["picture"].means
    assert isinstance(means, Tensor)
    for name, codes in (("new", world.test_codes), ("own", world.codes)):
        drawn_from = joined.belief({"voice": codes["voice"]}).probs @ means
        out[f"squared error, messages, {name} pairs"] = float((drawn_from - codes["picture"]).square().mean())
    ways: list[tuple[str, Any, int]] = [("messages", once, pairs) for pairs in PAIRS]
    ways += [("messages, repeated pairs", partial(few_pairs, modules=("picture", "voice")), n) for n in (100, 300)]
    for name, way, pairs in ways:
        model = joined if pairs == TRAIN else categories(way(known, pairs=pairs), sizes, seed)
        tree = MessageTree({m: ("category", model.links[m]) for m in sizes}, model.prior)  # type: ignore[misc]
        drawn = tree.beliefs({"voice": new["voice"]})["picture"]
        assert not isinstance(drawn, Tensor)
        out[f"voice to picture, {name}, {pairs}"] = world.right("picture", drawn.mean)  # type: ignore[union-attr]
    return out


def once(codes: Mapping[str, Tensor], pairs: int) -> dict[str, Tensor]:
    """The first examples as pairs; of the others each module has all, without their partners."""
    out: dict[str, Tensor] = {}
    n = len(next(iter(codes.values())))
    pairs = min(pairs, n)
    for k, m in enumerate(codes):
        rest, nothing = codes[m][pairs:], torch.zeros_like(codes[m][pairs:])
        out[m] = torch.cat([codes[m][:pairs], rest, nothing] if k == 0 else [codes[m][:pairs], nothing, rest])
        there = torch.arange(2 * n - pairs)
        out[f"{m}_present"] = (there < n) if k == 0 else (there < pairs) | (there >= n)
    return out


# ---- the workspace


def network(before: int, after: int) -> nn.Module:
    """Into the workspace, or out of it."""
    return nn.Sequential(nn.Linear(before, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, after))


def workspace(
    world: World,
    modules: tuple[str, str],
    pairs: int,
    losses: str,
    *,
    k: int = 10,
    longer: int = 1,
    lr: float | None = None,
    weights: Mapping[str, float] | None = None,
) -> SharedWorkspace:
    """Trained."""
    seed_everything(world.seed)
    sizes, weights = {m: world.codes[m].shape[1] for m in modules}, weights or LOSSES[losses]
    contrast = InfoNCE() if "contrastive" in weights else None
    encoders, decoders = {m: network(d, k) for m, d in sizes.items()}, {m: network(k, d) for m, d in sizes.items()}
    model = SharedWorkspace(encoders, decoders, weights, contrast)
    fit(model, few_pairs(world.codes, modules, pairs), epochs=longer * EPOCHS, batch_size=256,
        lr=lr or LR[losses], schedule="one-cycle", seed=world.seed, progress=False)  # fmt: skip
    return model.eval()


@torch.no_grad()
def translated(model: SharedWorkspace, world: World, source: str, to: str) -> float:
    """How often the digit is right."""
    return world.right(to, model.translate({source: world.test_codes[source]}, to=to).cpu())


def pairs_for(goal: float, scores: list[float]) -> float:
    """How many pairs reach a score, as log₂: between those of `PAIRS`, and never fewer or more than those."""
    logs, best = [math.log2(n) for n in PAIRS], -math.inf
    for k, score in enumerate(scores):
        if score >= goal:
            if k == 0:
                return logs[0]
            return logs[k - 1] + (goal - best) / (score - best) * (logs[k] - logs[k - 1]) if score > best else logs[k]
        best = score
    return logs[-1]


def of_errors(model: SharedWorkspace, world: World) -> dict[str, float]:
    """How far a picture's code from a voice is from the true one; and if it is moved to the nearest category."""
    out: dict[str, float] = {}
    for name, codes in (("new", world.test_codes), ("own", world.codes)):
        with torch.no_grad():
            drawn = model.translate({"voice": codes["voice"]}, to="picture").cpu()
        out[f"squared error, workspace, {name} pairs"] = float((drawn - codes["picture"]).square().mean())
        if name == "new":
            found = categories({m: world.codes[m] for m in SIZES}, SIZES, world.seed)
            nearest = found.links["picture"].means[found.belief({"picture": drawn}).probs.argmax(1)]  # type: ignore[index]
            out["voice to picture, nearest category, 4000"] = world.right("picture", nearest)
    return out


def savings(found: Mapping[str, float]) -> dict[str, float]:
    """How many times fewer pairs are as good with cycles as some without them, as log₂; and whether `PAIRS` is left."""
    out = {}
    for way in ("voice to picture", "picture to voice", "same picture"):
        for without, more in (("pairs alone", "cycles"), ("contrast", "all losses")):
            if f"{way}, {more}, {PAIRS[0]}" not in found:
                continue
            scores = [found[f"{way}, {more}, {n}"] for n in PAIRS]
            for n in (100, 300, 1000):
                goal = found[f"{way}, {without}, {n}"]
                out[f"saved, {way}, {more}, {n}"] = math.log2(n) - pairs_for(goal, scores)
                out[f"beyond, {way}, {more}, {n}"] = float(scores[0] >= goal or max(scores) < goal)
    return out


def of_workspace(world: World) -> dict[str, float]:
    """Digits right by losses and pairs."""
    out: dict[str, float] = {}
    both, most = ("picture", "voice"), PAIRS[-1]
    for losses in LOSSES:
        for pairs in PAIRS:
            model = workspace(world, both, pairs, losses)
            if losses == "pairs alone" and pairs == most:
                out |= of_errors(model, world)
            for source, to in (both, both[::-1]):
                out[f"{source} to {to}, {losses}, {pairs}"] = translated(model, world, source, to)
            if losses in ("pairs alone", "demi-cycles", "cycles"):
                same = workspace(world, ("picture", "second"), pairs, losses)
                out[f"same picture, {losses}, {pairs}"] = translated(same, world, "picture", "second")
    out |= savings(out)

    def drawn(pairs: int, losses: str, **changes: Any) -> float:
        return translated(workspace(world, both, pairs, losses, **changes), world, "voice", "picture")

    out["voice to picture, one number"] = drawn(1000, "cycles", k=1)
    for losses, pairs in (("cycles", 100), ("pairs alone", most)):
        out[f"voice to picture, {losses}, twice the epochs, {pairs}"] = drawn(pairs, losses, longer=2)
    return out


# ---- trained together


def together(world: World, name: str, pairs: int, epochs: int, lr: float | None = None) -> float:
    """Digits right of pictures from voices, by a VAE of pictures and sounds; each epoch has as many steps."""
    seed_everything(world.seed)
    d, raw = SIZES["picture"], {"picture": world.train["handwritten"], "voice": world.train["spoken"]}
    parts: dict[str, Any] = {
        "encoders": {"picture": ImageEncoder(1, 2 * d), "voice": AudioEncoder(2 * d)},
        "decoders": {"picture": ImageDecoder(d, 1, 28, logits=True), "voice": ImageDecoder(d, 1, 32)},
        "likelihoods": {"picture": bernoulli(), "voice": gaussian(0.2)},
        "latent": d,
    }
    model: MultimodalVAE = MVAE(**parts) if name == "MVAE" else JMVAE(**parts, joint=Both(d))
    data = {m: x[torch.arange(TRAIN) % pairs] for m, x in raw.items()}
    if name == "MVAE" and pairs < TRAIN:  # it learns from unpaired examples, too
        data = few_pairs(raw, ("picture", "voice"), pairs)
    epochs = math.ceil(epochs * TRAIN / len(data["picture"]))
    fit(model, data, epochs=epochs, batch_size=64, lr=lr or LR[name], schedule="one-cycle", seed=world.seed,
        clip_norm=200.0, progress=False)  # fmt: skip
    model.eval()
    with torch.no_grad():
        z = model.encode({"voice": world.test["spoken"]}).mean
        pictures = model.decoders["picture"](z).sigmoid().view(-1, 1, 28, 28)
    return world.pictures_right(pictures)


def of_together(world: World) -> dict[str, float]:
    """Multimodal VAEs, trained on the same pairs and, if they can, on the unpaired examples."""
    out = {}
    for name in ("MVAE", "JMVAE"):
        out[f"voice to picture, {name}, 300"] = together(world, name, 300, TOGETHER // 2)
        out[f"voice to picture, {name}, half the epochs"] = together(world, name, 4000, TOGETHER // 2)
        out[f"voice to picture, {name}, 4000"] = together(world, name, 4000, TOGETHER)
    return out


class Both(nn.Module):
    """The joint encoder of JMVAE."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.picture, self.voice, self.head = ImageEncoder(1, 64), AudioEncoder(64), nn.Linear(128, 2 * d)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean and log σ, (B, 2 d)."""
        z: Tensor = self.head(torch.cat([self.picture(batch["picture"]), self.voice(batch["voice"])], 1).relu())
        return z


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    world = World(seed)
    out = {"four": 2.0, "zero": 0.0, "ceiling of pictures": world.right("picture", world.test_codes["picture"])}
    out["ceiling of voices"] = world.right("voice", world.test_codes["voice"])
    for part in (of_categories, of_workspace, of_together):
        start = time.perf_counter()
        out |= part(world)
        out[f"seconds, {part.__name__}"] = time.perf_counter() - start
    for name, more in (
        ("Rand, both, joined", 0.03), ("Rand, picture, alone", 0.03),
        ("voice to picture, cycles, 100", 0.03),
        ("voice to picture, pairs alone, 4000", 0.03), ("voice to picture, MVAE, half the epochs", 0.03),
        ("voice to picture, JMVAE, half the epochs", 0.03),
    ):  # fmt: skip
        out[f"{name}, and {f'{more:.2f}'[1:]}"] = out[name] + more
    return out


def choose(seeds: tuple[int, ...] = (90, 91)) -> None:
    """Print how good other settings are with validation examples, each seed apart."""
    worlds, both = [World(seed, "valid") for seed in seeds], ("picture", "voice")

    def show(name: str, scores: list[list[float]]) -> None:
        print(f"{name}:", "; ".join(", ".join(f"{x:.3f}" for x in row) for row in scores), flush=True)

    for k, pseudo in ((k, pseudo) for k in (10, 20, 30) for pseudo in (10.0, 50.0, 200.0)):
        scores = []
        for world in worlds:
            known, new = ({m: codes[m] for m in SIZES} for codes in (world.codes, world.test_codes))
            found = []
            for modules in (("picture",), ("voice",), both):
                part = {m: known[m] for m in modules}
                model = categories(part, {m: SIZES[m] for m in modules}, world.seed, k, pseudo)
                belief = model.belief({m: new[m] for m in modules}).probs
                found.append(float(adjusted_rand_score(world.test_label, belief.argmax(1))))
            scores.append(found)
        show(f"{k} categories, {pseudo:.0f} pseudo-examples: picture, voice, both", scores)
    for losses, weights in LOSSES.items():
        kinds = [weights]
        if losses == "cycles":
            kinds += [weights | {"cycle": w} for w in (1.0, 3.0)]
        if "contrastive" in weights:
            kinds += [weights | {"contrastive": w} for w in (0.1, 0.3, 1.0)]
        for these, lr in ((these, lr) for these in kinds for lr in (3e-3, 1e-2, 3e-2, 1e-1)):
            scores = []
            for w in worlds:
                models = [workspace(w, both, n, losses, lr=lr, weights=these) for n in (30, 300, 4000)]
                scores.append([translated(model, w, "voice", "picture") for model in models])
            show(f"{these}, lr {lr:.0e}", scores)
    for name, lr in ((name, lr) for name in ("MVAE", "JMVAE") for lr in (1e-3, 3e-3, 6e-3, 1e-2)):
        show(f"{name}, lr {lr:.0e}", [[together(worlds[0], name, n, TOGETHER // 4, lr) for n in (300, 4000)]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--choose", action="store_true", help="compare settings in place of measuring")
    given = parser.parse_args()
    if given.choose:
        choose()
        raise SystemExit
    what = "Modules trained apart and joined: categories by messages, and a shared workspace with few pairs"
    print(measure("workspace", what, CLAIMS, one_seed, given.seeds, SETTINGS))
