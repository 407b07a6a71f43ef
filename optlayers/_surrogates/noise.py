"""Noise in front of the decision, and what surrogates with noise share."""

import itertools
import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .._calls import OnFailure
from .._errors import InputError
from .._feasible_set import FeasibleSet
from .._status import Status
from .base import AbstractSurrogate, Decision
from .oracles import Oracles
from .steps import check_positive


@dataclass(frozen=True)
class SumOfGamma:
    r"""Noise whose sum over $k$ parts is a Gumbel variable (Niepert et al., 2021).

    $$ \epsilon = \frac1k \Bigl( \sum_{i=1}^{m} \text{Gamma}(1/k,\, k/i) - \log m \Bigr) $$

    With structures of exactly $k$ parts every structure's noise is then Gumbel, and perturbed
    decisions are nearly samples of $p(z) \propto \exp(z \cdot s)$.

    Attributes:
        k: How many parts a structure has.
        iterations: $m$, the terms of the series.
    """

    k: float = 5.0
    iterations: int = 10

    def __post_init__(self):
        numbers = isinstance(self.k, int | float) and isinstance(self.iterations, int)
        if not (numbers and self.k > 0 and self.iterations >= 1):
            raise InputError(f"`SumOfGamma` takes positive numbers. Got {self}.")

    def __call__(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return noise in the shape of `like`."""
        total = torch.zeros_like(like)
        concentration = torch.full_like(like, 1 / self.k)
        for i in range(1, self.iterations + 1):
            total += torch._standard_gamma(concentration, generator) * (self.k / i)
        return (total - math.log(self.iterations)) / self.k


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.empty_like(like).normal_(generator=generator)


def _exponential(like: Tensor, generator: torch.Generator | None) -> Tensor:
    tiny = torch.finfo(like.dtype).tiny  # a draw of zero has no logarithm
    return torch.empty_like(like).exponential_(generator=generator).clamp(min=tiny)


def _gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return -_exponential(like, generator).log()


def _logistic(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return _exponential(like, generator).log() - _exponential(like, generator).log()


_NOISE = {"normal": _normal, "gumbel": _gumbel, "logistic": _logistic}
Draw = Callable[[Tensor, torch.Generator | None], Tensor]
Noise = Literal["normal", "gumbel", "logistic"] | Draw


def check_noise(noise: Noise) -> None:
    """Raises InputError unless `draw` can use it."""
    known = isinstance(noise, str) and noise in _NOISE
    if not known and (isinstance(noise, type) or not callable(noise)):
        raise InputError(
            f"`noise` must be one of {tuple(_NOISE)}, SumOfGamma(k), or a function (like, "
            f"generator) -> noise in the shape of like. Got {noise!r}."
        )


def draw(noise: Noise, samples: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return `(samples, *like.shape)`, in the dtype and on the device of `like`.

    Drawn on the device of the generator, so that a seed means the same everywhere.
    """
    device = like.device if generator is None else generator.device
    empty = torch.empty(samples, *like.shape, dtype=like.dtype, device=device)
    found = (noise if callable(noise) else _NOISE[noise])(empty, generator)
    if found.shape != empty.shape:
        raise InputError(
            f"`noise` must return the shape it is asked for, {tuple(empty.shape)}. "
            f"Got {tuple(found.shape)}."
        )
    return found.to(like)


# ---------------------------------------------------------------------- in compiled graphs
# A graph holds no generator and no function that draws: it has an operator, which is told whose
# noise to draw by a key.

_NOISY: "weakref.WeakValueDictionary[str, NoisySurrogate]" = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()
LIBRARY = torch.library.Library("optlayers", "FRAGMENT")
RANDOM = (torch.Tag.nondeterministic_seeded,)  # no two calls are one


def of_key(key: str) -> "NoisySurrogate":
    """Return the surrogate that a graph asks for."""
    found = _NOISY.get(key)
    if found is None:
        raise InputError("A compiled graph asks for a surrogate that no longer exists.")
    return found


def _drawn(like: Tensor, samples: int, key: str) -> Tensor:
    surrogate = of_key(key)
    return draw(surrogate.noise, samples, like, surrogate.generator)


LIBRARY.define("noise(Tensor like, int samples, str key) -> Tensor", tags=RANDOM)
LIBRARY.impl("noise", _drawn, "CompositeExplicitAutograd")


@torch.library.register_fake("optlayers::noise", lib=LIBRARY)
def _fake_noise(like: Tensor, samples: int, _: str) -> Tensor:
    return like.new_empty((samples, *like.shape))


class NoisySurrogate(AbstractSurrogate, ABC):
    """Decides on several noisy copies of the scores, and hands on the mean of the decisions.

    In evaluation it decides once, without noise; a backward pass then draws noise of its own.
    """

    def __init__(self, samples: int, sigma: float, noise: Noise, generator: torch.Generator | None):
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise InputError(f"`samples` must be a positive integer. Got {samples!r}.")
        check_positive("sigma", sigma)
        check_noise(noise)
        self.samples, self.sigma, self.generator = samples, sigma, generator
        self.noise: Noise = noise
        self._key = self._known()  # by which compiled graphs ask for it

    def _known(self) -> str:
        key = str(next(_NUMBERS))
        _NOISY[key] = self
        return key

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._key = self._known()

    def draw(self, like: Tensor) -> Tensor:
        """Return noise, `(samples, *like.shape)`."""
        if torch.compiler.is_compiling():
            return torch.ops.optlayers.noise(like, self.samples, self._key)
        return draw(self.noise, self.samples, like, self.generator)

    def settings(self):
        """Return what `repr` shows: not the generator."""
        return {k: v for k, v in super().settings().items() if k != "generator"}

    def noisy(self, scores: Tensor, noise: Tensor) -> Tensor:
        """Return the scores that are decided on, `(samples, ..., n)`."""
        return scores + self.sigma * noise

    def forward(self, oracles: Oracles, scores: Tensor, training: bool = True) -> Decision:
        """Return the mean decision over noise; in evaluation, the decision without any."""
        if not training:
            return super().forward(oracles, scores, training)
        noise, decided = self._decide(oracles, scores)
        z, status = oracles.decision(decided.mean(0), scores)
        return Decision(z, status, (noise, decided))

    def _decide(self, oracles: Oracles, scores: Tensor) -> tuple[Tensor, Tensor]:
        wide = scores.detach().to(torch.promote_types(scores.dtype, torch.float32))
        wide = oracles.expand(wide)
        noise = self.draw(wide)
        return noise, oracles.decode_samples(self.noisy(wide, noise))

    def backward(
        self,
        feasible_set: FeasibleSet,
        scores: Tensor,
        z_hat: Tensor,
        grad: Tensor,
        on_failure: OnFailure = "raise",
        noise: Tensor | None = None,
        decided: Tensor | None = None,
    ) -> tuple[Tensor, Status]:
        """Return the gradient, from the noise and the decisions of the forward pass."""
        oracles = Oracles(feasible_set, on_failure)
        wide, _, g = oracles.admit(scores, z_hat, grad)
        if noise is None or decided is None:
            noise, decided = self._decide(oracles, wide)
        return oracles.answer(self.of_samples(oracles, wide, noise, decided, g), grad, g)

    @abstractmethod
    def of_samples(
        self, oracles: Oracles, scores: Tensor, noise: Tensor, decided: Tensor, grad: Tensor
    ) -> Tensor:
        """Return the gradient of the scores.

        Args:
            oracles: Of the backward pass.
            scores: `(..., n)`.
            noise: `(samples, ..., n)`, as drawn.
            decided: `(samples, ..., n)`, the decisions on `noisy(scores, noise)`.
            grad: `(..., n)`, that of the mean decision.
        """
