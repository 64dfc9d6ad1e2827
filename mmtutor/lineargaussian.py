"""The linear-Gaussian model: several modalities of one latent code, and every answer about them is known exactly.

A latent code z is drawn from N(0, I), and each modality is a linear function of it with noise. Sums and parts of
Gaussians are Gaussians, so what a multimodal VAE has to learn (posteriors, likelihoods, gaps) is here in closed form.
It is the yardstick: a method that is wrong here is wrong.

    z ~ N(0, I_d),  xᵢ = Wᵢ z + εᵢ,  εᵢ ~ N(0, Σᵢ)                       the world; mostly Σᵢ = σᵢ² I
    P_S = I + Σ_{i∈S} WᵢᵀΣᵢ⁻¹Wᵢ                                          precision of the posterior
    p(z | x_S) = N(P_S⁻¹ h, P_S⁻¹),  h = Σ_{i∈S} WᵢᵀΣᵢ⁻¹xᵢ               posterior, for any set S of modalities
    p(x_S) = N(0, W_S W_Sᵀ + diag(Σᵢ)_{i∈S})                             marginal
    ELBO(q) = E_q log p(x_S | z) − KL(q ‖ p(z))                          lower bound of log p(x_S), for any q(z)
    log p(x_S) − ELBO(q) = KL(q ‖ p(z | x_S))                            the gap
    p(z | x_S) ∝ ∏_{i∈S} p(z | xᵢ) / p(z)^(M−1)                          product of posteriors, M modalities in S

A modality may have private latents besides, xᵢ = Wᵢ z + Vᵢ wᵢ + εᵢ with wᵢ ~ N(0, I). To whom only z counts they are
noise, of covariance Σᵢ = VᵢVᵢᵀ + σᵢ² I. To whom they count the latent code is (z, w₁, …, w_M), and Wᵢ has Vᵢ beside it.

The posterior is in Bishop, Pattern Recognition and Machine Learning, 2006, section 2.3.3, the best diagonal Gaussian
in section 10.1.2; with one modality the model is the probabilistic PCA of Tipping and Bishop, 1999, and factor
analysis where Σ is diagonal. Densities and divergences are in nats.

| symbol | in the code | shape |
| --- | --- | --- |
| xᵢ | ``batch[modality]`` | (B, Dᵢ) |
| z | ``z`` | (B, d) |
| Wᵢ | ``weights[modality]`` | (Dᵢ, d) |
| σᵢ, a standard deviation; or Σᵢ | ``noise[modality]`` | a number; or (Dᵢ, Dᵢ) |
| S | ``modalities``, or the modalities in the batch | |
| P_S | ``precision(modalities)`` | (d, d) |

This file needs only torch: copy it into your own project.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

__all__ = ["LinearGaussian"]

Batch = Mapping[str, Tensor]
Names = str | Iterable[str] | None
Noise: TypeAlias = "float | Tensor"
Gaussian: TypeAlias = "Normal | Independent[Any] | MultivariateNormal"


class LinearGaussian:
    """A world of which everything is known.

    ``modalities`` names a set of modalities, one by its name or several, in any order. None stands for all modalities
    in the batch, or of the world where there is no batch. ``()`` is the empty set: nothing is observed, the posterior
    is the prior, and the batch gives the number of examples alone. A batch and a q may be on any device and of any
    float dtype: they are moved to the device of the weights, then converted to their dtype, and there the answer is.
    Gradients flow through all three. A world in float64 stays on the CPU where the device has no float64; `to` makes
    one like it elsewhere. Values on a GPU are not looked at: the program would have to wait for it.

    Args:
        weights: Wᵢ of each modality, float (Dᵢ, d), all of one d, dtype and device.
        noise: of each modality, or one for all: σᵢ, above 0; or the covariance Σᵢ, float (Dᵢ, Dᵢ), symmetric and
            positive definite; or (Dᵢ,), the standard deviation of each of its numbers. A tensor is taken without its
            gradient, and becomes Σᵢ in ``noise``, of the dtype and on the device of the weights.

    Raises:
        ValueError: here and in every method, for what does not fit: an unknown modality, one that is not in the batch,
            a wrong shape, NaN or infinite values, noise that is not above 0, a mask ``<modality>_present`` (each
            example would have another precision: ask for each set of modalities by itself).

    Examples:
        >>> world = LinearGaussian({"left": torch.eye(1).double(), "right": 2 * torch.eye(1).double()}, noise=1.0)
        >>> batch = {"left": torch.tensor([[3.0]]), "right": torch.tensor([[0.0]])}
        >>> both, left = world.posterior(batch), world.posterior(batch, "left")
        >>> f"{both.mean.item():.3f} {both.variance.item():.3f}, {left.mean.item():.3f} {left.variance.item():.3f}"
        '0.500 0.167, 1.500 0.500'
        >>> world.naive_product(batch).mean, world.naive_product(batch).variance  # the prior counted twice
        (tensor([[0.4286]], dtype=torch.float64), tensor([[0.1429]], dtype=torch.float64))
        >>> world.log_prob(batch)
        tensor([-6.4838], dtype=torch.float64)
        >>> world.gap(batch, left)  # KL(p(z | left) ‖ p(z | left, right))
        tensor([3.4507], dtype=torch.float64)
        >>> W, V = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [3.0]])  # the second number has a private latent
        >>> LinearGaussian({"a": W}, noise=V @ V.T + torch.eye(2)).precision()  # it says little of z: 1 + 1 + 1/10
        tensor([[2.1000]])
    """

    def __init__(self, weights: Mapping[str, Tensor], noise: Noise | Mapping[str, Noise]) -> None:
        self.noise = _check_world(weights, noise)
        W = next(iter(weights.values()))
        self.weights = dict(weights)
        self._roots = {m: torch.linalg.cholesky_ex(S)[0] for m, S in self.noise.items() if isinstance(S, Tensor)}
        self.latent = W.shape[1]
        self.prior = _normal(W.new_zeros(self.latent), scale_tril=torch.eye(self.latent).to(W))
        self._elsewhere: dict[tuple[torch.device, torch.dtype], LinearGaussian] = {}

    @classmethod
    def random(
        cls, sizes: Mapping[str, int], latent: int, noise: Noise | Mapping[str, Noise] = 0.5, seed: int = 0
    ) -> LinearGaussian:
        """A random world in float64: Wᵢ ~ N(0, 1/d), so that each number of Wᵢz has variance 1 on average.

        Args:
            sizes: Dᵢ of each modality.
            latent: d.
            noise: σᵢ or Σᵢ of each modality, or one for all.
            seed: of the weights; torch's global random numbers are not touched.

        Examples:
            >>> world = LinearGaussian.random({"a": 3, "b": 4}, latent=2, noise=0.3, seed=1)
            >>> z, batch = world.sample(5, seed=0)
            >>> world.predict({"a": batch["a"]}, to="b").mean.shape
            torch.Size([5, 4])
        """
        d = _whole("LinearGaussian.random: latent", latent)
        D = {m: _whole(f"LinearGaussian.random: sizes[{m!r}]", size) for m, size in sizes.items()}
        dice = torch.Generator().manual_seed(int(seed))
        drawn = {m: torch.randn(D[m], d, generator=dice, dtype=torch.float64) for m in sizes}
        return cls({modality: w / math.sqrt(d) for modality, w in drawn.items()}, noise)

    def to(self, like: Tensor) -> LinearGaussian:
        """The same world on the device and in the dtype of a tensor, to be a part of a model that trains there.

        Examples:
            >>> world = LinearGaussian.random({"a": 3, "b": 4}, latent=2)
            >>> world.to(torch.zeros(1, dtype=torch.float32)).weights["a"].dtype
            torch.float32
        """
        place = like.device, like.dtype
        if place not in self._elsewhere:
            weights = {modality: W.to(like.device, like.dtype) for modality, W in self.weights.items()}
            self._elsewhere[place] = LinearGaussian(weights, self.noise)
        return self._elsewhere[place]

    def sample(self, n: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Latent codes z (n, d) and a batch generated from them, (n, Dᵢ) of each modality; the same on every device."""
        n = _whole("LinearGaussian.sample: n", n, 0)
        dice, like = torch.Generator().manual_seed(int(seed)), self.prior.mean
        z = torch.randn(n, self.latent, generator=dice, dtype=like.dtype).to(like)  # (n, d)
        batch = {}
        for modality, W in self.weights.items():
            eps = torch.randn(n, len(W), generator=dice, dtype=like.dtype).to(like)  # (n, D_m)
            if modality in self._roots:
                batch[modality] = z @ W.T + eps @ self._roots[modality].T  # xᵢ = Wᵢz + Lεᵢ
            else:
                batch[modality] = z @ W.T + self.noise[modality] * eps  # xᵢ = Wᵢz + σᵢεᵢ
        return z, batch

    # ---- what is true

    def precision(self, modalities: Names = None) -> Tensor:
        """P_S = I + Σ WᵢᵀΣᵢ⁻¹Wᵢ, (d, d): how sharply modalities determine z. It does not depend on their values."""
        P = self.prior.precision_matrix  # (d, d)
        for modality in self._named(modalities):
            W, variance = self._white(modality)
            P = P + W.T @ W / variance  # (d, d)
        return P

    def posterior(self, batch: Batch, modalities: Names = None) -> MultivariateNormal:
        """The exact p(z | x_S) = N(P_S⁻¹ h, P_S⁻¹), batch shape (B,), event shape (d,)."""
        given, size = self._given(batch, modalities)
        P, h = self.precision(given), self.prior.mean.new_zeros(size, self.latent)
        for modality, x in given.items():
            W, variance = self._white(modality)
            h = h + self._whitened(modality, x) @ W / variance  # (B, d)
        # An example is a row, and P is symmetric: h P⁻¹ holds P⁻¹ h of each.
        mean = torch.linalg.solve(P, h, left=False)  # (B, d)
        return MultivariateNormal(mean, precision_matrix=P)

    def marginal(self, modalities: Names = None) -> MultivariateNormal:
        """The exact p(x_S) = N(0, W_S W_Sᵀ + diag Σᵢ) of at least one modality, side by side in the world's order."""
        named = self._named(modalities, least=1)
        W = torch.cat([self.weights[modality] for modality in named])  # (D, d)
        noise: Tensor = torch.block_diag(*map(self._covariance, named))  # type: ignore[no-untyped-call]  # (D, D)
        return MultivariateNormal(W.new_zeros(len(W)), W @ W.T + noise)

    def log_prob(self, batch: Batch, modalities: Names = None) -> Tensor:
        """The exact log p(x_S) in nats, (B,), from the marginal; of no modality at all it is 0."""
        given, size = self._given(batch, modalities)
        if not given:
            return self.prior.mean.new_zeros(size)
        log_p: Tensor = self.marginal(given).log_prob(torch.cat(list(given.values()), 1))  # type: ignore[no-untyped-call]
        return log_p

    def predict(self, batch: Batch, to: str, modalities: Names = None) -> MultivariateNormal:
        """The exact p(x_to | x_S) = N(W m, W P_S⁻¹ Wᵀ + Σ), batch shape (B,); m is the posterior's mean.

        Args:
            batch: what is observed.
            to: the modality to predict; it must not be in S.
            modalities: S.
        """
        given, _ = self._given(batch, modalities)
        if to in given:
            raise ValueError(
                f"LinearGaussian: to={to!r} is among what is given; leave it out of modalities or the batch"
            )
        W = self.weights[self._named(to)[0]]  # (D, d)
        covariance = W @ torch.linalg.inv(self.precision(given)) @ W.T  # (D, D)
        mean = self.posterior(batch, given).mean @ W.T  # (B, D)
        return MultivariateNormal(mean, covariance + self._covariance(to))

    # ---- how far from it an inference is

    def elbo(self, batch: Batch, q: Gaussian, modalities: Names = None) -> Tensor:
        """E_q log p(x_S | z) − KL(q ‖ p(z)) in nats, (B,), without sampling.

        With q = N(m, C) the first term is −½ Σᵢ [Dᵢ log 2πσᵢ² + (‖xᵢ − Wᵢm‖² + tr WᵢCWᵢᵀ) / σᵢ²]. With a covariance
        Σᵢ = LLᵀ it is that of L⁻¹xᵢ and L⁻¹Wᵢ with σᵢ = 1, and −log det L.

        Args:
            batch: what is observed.
            q: a Gaussian for each example, mean (B, d): a MultivariateNormal, a Normal or an Independent of one.
            modalities: S.

        Raises:
            TypeError: q is no such Gaussian.
        """
        given, size = self._given(batch, modalities)
        q = self._full(q, size)
        elbo = -kl_divergence(q, self.prior)  # (B,)
        for modality, x in given.items():
            W, variance = self._white(modality)
            error = (self._whitened(modality, x) - q.mean @ W.T).square().sum(1)  # (B,)
            trace = (W @ q.scale_tril).square().sum((1, 2))  # (B,)
            # tr WCWᵀ = ‖WL‖², for C = LLᵀ
            elbo = elbo - (len(W) * math.log(2 * math.pi * variance) + (error + trace) / variance) / 2  # (B,)
            if modality in self._roots:
                elbo = elbo - self._roots[modality].diagonal().log().sum()  # (B,)
        return elbo

    def gap(self, batch: Batch, q: Gaussian, modalities: Names = None) -> Tensor:
        """What the bound misses, log p(x_S) − ELBO(q) = KL(q ‖ p(z | x_S)) in nats, (B,).

        For a diagonal q it is at least `mean_field_floor`; what lies above that floor is the amortisation gap, if q
        comes from a network (Cremer, Li and Duvenaud, 2018).
        """
        return self.log_prob(batch, modalities) - self.elbo(batch, q, modalities)

    def mean_field(self, batch: Batch, modalities: Names = None) -> Independent[Normal]:
        """The diagonal q with the smallest KL(q ‖ p(z | x_S)): its mean, variances 1 / P_jj (not those of P⁻¹)."""
        exact = self.posterior(batch, modalities)
        return Independent(Normal(exact.mean, exact.precision_matrix.diagonal(dim1=1, dim2=2).rsqrt()), 1)

    def mean_field_floor(self, modalities: Names = None) -> float:
        """The gap of `mean_field` in nats: ½ (Σ log P_jj − log det P), for every x the same."""
        P = self.precision(modalities)
        return ((P.diagonal().log().sum() - P.logdet()) / 2).item()

    # ---- students and products

    def missing_information(self, modalities: Names) -> float:
        """I(z; x_rest | x_S) = ½ (log det P − log det P_S) in nats: what all modalities tell about z beyond S.

        A student that sees S learns from the teacher p(z | x) by the forward E KL(p(z | x) ‖ q(z | x_S)). The best one
        is p(z | x_S) itself, and this loss remains: it says nothing about the student.
        """
        return ((self.precision().logdet() - self.precision(modalities).logdet()) / 2).item()

    def reverse_student(self, batch: Batch, modalities: Names = None) -> MultivariateNormal:
        """The q(z | x_S) with the smallest reverse E KL(q(z | x_S) ‖ p(z | x)), x being all modalities of the world.

        The best of all densities is exp E[log p(z | x) | x_S], normalised. It has the right mean, that of p(z | x_S),
        but the covariance P⁻¹ of the teacher: it is as certain as if all were observed. ½ (tr P P_S⁻¹ − d) nats
        remain.
        """
        return MultivariateNormal(self.posterior(batch, modalities).mean, precision_matrix=self.precision())

    def naive_product(self, batch: Batch, modalities: Names = None) -> MultivariateNormal:
        """∏ p(z | xᵢ) of M modalities, normalised: it has the prior M times, so its precision Σ Pᵢ is P_S + (M − 1) I.

        Divided by p(z)^(M−1) it would be the posterior. Its variance is too small, and its mean too close to 0.
        """
        given, _ = self._given(batch, modalities)
        P = self.precision(given)
        naive = P + (len(self._named(given, least=1)) - 1) * self.prior.precision_matrix
        h = self.posterior(batch, given).mean @ P  # (B, d)
        return MultivariateNormal(torch.linalg.solve(naive, h, left=False), precision_matrix=naive)

    def naive_product_gap(self, modalities: Names = None) -> float:
        """E KL(naive product ‖ p(z | x_S)) in nats, over x_S from the world: the mean of ``gap(batch, naive)``.

        P_S and Λ = P_S + (M − 1) I have the same eigenvectors; call the eigenvalues pⱼ and λⱼ. Along the jth, the
        posterior's mean has variance 1 − 1/pⱼ, and the naive mean differs from it by −(M − 1)/λⱼ times itself. So

            E KL = ½ Σⱼ [pⱼ/λⱼ − 1 + log λⱼ/pⱼ + (M − 1)² (pⱼ − 1) / λⱼ²].
        """
        named = self._named(modalities, least=1)
        p: Tensor = torch.linalg.eigvalsh(self.precision(named))
        more = len(named) - 1
        lam = p + more
        return ((p / lam - 1 + (lam / p).log() + more**2 * (p - 1) / lam**2).sum() / 2).item()

    # ---- noise

    def _covariance(self, modality: str) -> Tensor:
        """Σᵢ, (Dᵢ, Dᵢ); σᵢ² I where the noise is a number."""
        noise = self.noise[self._named(modality)[0]]
        D = len(self.weights[modality])
        eye = torch.eye(D).to(self.weights[modality])  # (D, D)
        return noise if isinstance(noise, Tensor) else noise**2 * eye  # (D, D)

    def _white(self, modality: str) -> tuple[Tensor, float]:
        """Weights and a variance: W and σ², or L⁻¹W and 1 where the noise has the covariance LLᵀ."""
        noise = self.noise[modality]
        W = self._whitened(modality, self.weights[modality].T).T  # (D, d)
        return W, 1.0 if isinstance(noise, Tensor) else noise**2

    def _whitened(self, modality: str, x: Tensor) -> Tensor:
        """L⁻¹x of each row (n, Dᵢ), whose noise is N(0, I); x itself where the noise is a number."""
        if modality not in self._roots:
            return x
        white: Tensor = torch.linalg.solve_triangular(self._roots[modality], x.T, upper=False)  # (D, n)
        return white.T  # (n, D)

    # ---- messages

    def _named(self, modalities: Names, least: int = 0) -> list[str]:
        """The modalities that are asked for, each once, in the order of the weights."""
        given = self.weights if modalities is None else modalities
        asked = [given] if isinstance(given, str) else list(given)
        for name in asked:
            if name not in self.weights:
                near = difflib.get_close_matches(str(name), self.weights, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(self.weights)}"
                if str(name).endswith("_present"):
                    hint = "masks are not read, ask for each set of modalities by itself"
                raise ValueError(f"LinearGaussian: unknown modality {name!r}; {hint}")
        if len(asked) < least:
            raise ValueError(f"LinearGaussian: at least one of {', '.join(self.weights)} must be given, got none")
        return [modality for modality in self.weights if modality in asked]

    def _given(self, batch: Batch, modalities: Names) -> tuple[dict[str, Tensor], int]:
        """The modalities x_S of a batch, checked, and B."""
        if not isinstance(batch, Mapping):
            raise TypeError(f"LinearGaussian: a batch must be a dict of tensors, got {type(batch).__name__}")
        there = self._named(batch, least=1)
        for modality in there:
            if not isinstance(batch[modality], Tensor):
                got = type(batch[modality]).__name__
                raise TypeError(f"LinearGaussian: {modality!r} must be a tensor, got {got}")
        given = {modality: self._here(batch[modality]) for modality in there}
        size = given[there[0]].shape[:1]
        for modality in there:
            x, D = given[modality], len(self.weights[modality])
            if x.shape != (*size, D):
                same = f" with B = {size[0]} as {there[0]!r} has" if modality != there[0] else ""
                raise ValueError(f"LinearGaussian: {modality!r} must be (B, {D}){same}, got {tuple(x.shape)}")
            if not _finite(x if x.device.type == "cpu" else batch[modality]):
                raise ValueError(f"LinearGaussian: {modality!r} has NaN or infinite values")
        named = there if modalities is None else self._named(modalities)
        if absent := [modality for modality in named if modality not in batch]:
            raise ValueError(f"LinearGaussian: {absent[0]!r} is not in the batch, only {', '.join(there)}")
        return {modality: given[modality] for modality in named}, size[0]

    def _here(self, x: Tensor) -> Tensor:
        """A tensor as the weights are. First it is moved: Apple's GPU has no float64."""
        return x.to(self.prior.mean.device).to(self.prior.mean.dtype)

    def _full(self, q: Gaussian, size: int) -> MultivariateNormal:
        """The same q with a full covariance, checked."""
        base = q.base_dist if isinstance(q, Independent) else q
        if not isinstance(base, Normal | MultivariateNormal):
            raise TypeError(f"LinearGaussian: q must be a MultivariateNormal, Normal or Independent(Normal), got {q!r}")
        mean = self._here(base.mean)
        scale = self._here(base.stddev).diag_embed() if isinstance(base, Normal) else self._here(base.scale_tril)
        if mean.shape != (size, self.latent):
            raise ValueError(f"LinearGaussian: q must have mean {(size, self.latent)}, got {tuple(mean.shape)}")
        if not (_finite(mean) and _finite(scale)):
            raise ValueError("LinearGaussian: q has NaN or infinite values")
        return _normal(mean, scale_tril=scale)


def _normal(mean: Tensor, **covariance: Tensor) -> MultivariateNormal:
    """A normal distribution that torch does not check: it would wait for a GPU."""
    return MultivariateNormal(mean, **covariance, validate_args=False)


def _finite(x: Tensor) -> bool:
    """Whether no value is NaN or infinite; of a tensor on a GPU nobody asks."""
    return x.device.type != "cpu" or bool(x.isfinite().all())


def _whole(name: str, value: object, least: int = 1) -> int:
    """A whole number, one of NumPy's too."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or (number := int(value.__index__())) < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return number


def _check_world(weights: Mapping[str, Tensor], noise: Noise | Mapping[str, Noise]) -> dict[str, Noise]:
    """The noise of each modality; refuse weights that are no matrices of one d, and noise that is not above 0."""
    if not isinstance(weights, Mapping):
        raise TypeError(f"LinearGaussian: weights must be a dict by modality, got {type(weights).__name__}")
    if not weights:
        raise ValueError("LinearGaussian: weights must name at least one modality, got none")
    first, W = next(iter(weights.items()))
    for modality, w in weights.items():
        name = f"LinearGaussian: weights[{modality!r}]"
        if not isinstance(modality, str):
            raise TypeError(f"{name}: a modality's name must be a string")
        if not isinstance(w, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(w).__name__}")
        if w.ndim != 2 or w.numel() == 0 or not w.is_floating_point():
            raise ValueError(f"{name} must be float (Dᵢ, d), got {w.dtype} {tuple(w.shape)}")
        if (got := (w.shape[1], w.dtype, w.device)) != (same := (W.shape[1], W.dtype, W.device)):
            raise ValueError(f"{name} must have d, dtype and device of {first!r}, {same}, got {got}")
        if not _finite(w):
            raise ValueError(f"{name} has NaN or infinite values")
    noises = noise if isinstance(noise, Mapping) else dict.fromkeys(weights, noise)
    if noises.keys() != weights.keys():
        raise ValueError(f"LinearGaussian: noise must be given for {', '.join(weights)}, got {[*noises]}")
    return {modality: _check_noise(f"LinearGaussian: noise[{modality!r}]", noises[modality], w)
            for modality, w in weights.items()}  # fmt: skip


def _check_noise(name: str, noise: Noise, W: Tensor) -> Noise:
    """σ as a float, or Σ as the weights are; refuse what is not above 0, or no covariance."""
    if not (isinstance(noise, Tensor) and noise.ndim):
        single = isinstance(noise, Real | Tensor)
        if not single or isinstance(noise, bool) or not (noise > 0 and 0 < noise * noise < math.inf):
            raise ValueError(f"{name} must be finite and above 0, got {noise!r}")
        return float(noise)
    D = len(W)
    if noise.shape not in ((D,), (D, D)) or not noise.is_floating_point():
        raise ValueError(f"{name} must be a number, float ({D},) or ({D}, {D}), got {noise.dtype} {tuple(noise.shape)}")
    noise = noise.detach().to(W.device, W.dtype)
    covariance = noise.square().diag_embed() if noise.ndim == 1 else noise  # (D, D)
    if W.device.type == "cpu":
        symmetric = _finite(covariance) and torch.allclose(covariance, covariance.T)
        if not symmetric or (noise.ndim == 1 and not (noise > 0).all()) or torch.linalg.cholesky_ex(covariance)[1]:
            says = "above 0" if noise.ndim == 1 else "symmetric and positive definite"
            raise ValueError(f"{name} must be finite and {says}, got {noise}")
    return covariance
