"""Implicit maximum likelihood: blackbox differences averaged over noise."""

from typing import Any, Literal

import torch
from torch import Tensor

from .._checks import number
from .._errors import InputError
from .base import step_size
from .blackbox import Side, check_side, difference
from .noise import LIBRARY, RANDOM, Noise, NoisySurrogate, SumOfGamma, of_key
from .oracles import Oracles
from .steps import check_positive, check_positive_step


class IMLE(NoisySurrogate):
    r"""Compare decisions before and after a step of the scores, with the same noise.

    $$ \tilde\nabla_s = \frac1m \sum_i \hat z(s + \sigma\epsilon_i)
       - \hat z(s - \lambda g + \sigma\epsilon_i) $$

    Niepert, Minervini and Franceschi (2021), *Implicit MLE*.
    Forward the mean of $\hat z(s + \sigma\epsilon_i)$: a structure with one sample. Every sample is
    moved by the whole $\lambda g$, with the noise it had. Cost: `samples` decodings forward and
    again backward.

    Args:
        lam: $\lambda$: a number, a tensor with one entry per instance, or `NormClip(T)`.
        samples: $m$.
        sigma: $\sigma$, the temperature of the noise.
        noise: `SumOfGamma(k)`, "gumbel", "normal", "logistic", or a function.
        side: As in `Blackbox`.
        divided: Divide by $\lambda$, as PyEPO does; the paper and torch-imle do not.
        generator: Where noise comes from; None: torch's own.
    """

    def __init__(
        self,
        lam: "float | Tensor" = 10.0,
        samples: int = 1,
        *,
        sigma: float = 1.0,
        noise: Noise | None = None,
        side: Side = "right",
        divided: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__(samples, sigma, noise or SumOfGamma(), generator)
        check_positive_step("lam", lam)
        check_side(side)
        self.lam, self.side, self.divided = lam, side, divided

    def of_samples(
        self, oracles: Oracles, scores: Tensor, noise: Tensor, decided: Tensor, grad: Tensor
    ) -> Tensor:
        """Return the mean difference of decisions with the same noise."""
        lam = step_size(self.lam, grad, oracles.event_dim)
        result = self._difference(oracles, scores, noise, decided, lam * grad)
        return result / lam if self.divided else result

    def _difference(self, oracles, scores, noise, decided, step) -> Tensor:
        at = self.noisy(scores, noise)
        moved = difference(lambda d: oracles.decode_samples(at - d), decided, step, self.side)
        return moved.mean(0)


class AIMLE(IMLE):
    r"""I-MLE whose step $\lambda = \alpha \lVert s \rVert / \lVert g \rVert$ adapts $\alpha$.

    After each backward pass $\alpha$ grows by `update` while the share of gradient entries that are
    not zero, averaged over time, is below `target`, and shrinks otherwise (Minervini, Franceschi
    and Niepert, 2023). The state is `alpha` and `density`, plain attributes: a pickle of the layer
    keeps them, a `state_dict` does not. Do not share it between layers or threads.

    Args:
        alpha: The first $\alpha$.
        samples: $m$.
        sigma: $\sigma$, the temperature of the noise.
        noise: As in `IMLE`.
        side: As in `Blackbox`.
        divided: Divide by $\lambda$.
        target: The wanted share of non-zero entries.
        update: How much $\alpha$ changes.
        decay: Of the average over time.
        norms: $\lambda$ of each "instance", or one for the whole "batch", as in PyEPO.
        generator: Where noise comes from; None: torch's own.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        samples: int = 1,
        *,
        sigma: float = 1.0,
        noise: Noise | None = None,
        side: Side = "right",
        divided: bool = True,
        target: float = 1.0,
        update: float = 1e-3,
        decay: float = 0.9,
        norms: Literal["instance", "batch"] = "instance",
        generator: torch.Generator | None = None,
    ):
        super().__init__(
            1.0,
            samples,
            sigma=sigma,
            noise=noise,
            side=side,
            divided=divided,
            generator=generator,
        )
        del self.lam
        number(alpha, "alpha", 0)
        check_positive("target", target)
        check_positive("update", update)
        number(decay, "decay", 0, 1)
        if norms not in ("instance", "batch"):
            raise InputError(f"`norms` must be 'instance' or 'batch'. Got {norms!r}.")
        self.target, self.update, self.decay, self.norms = target, update, decay, norms
        # Tensors, so that no step waits for the device.
        self._alpha, self._density = (
            torch.tensor(float(alpha), device="cpu"),
            torch.tensor(1.0, device="cpu"),
        )

    @property
    def alpha(self) -> float:
        r"""$\alpha$ as it stands."""
        return float(self._alpha)

    @property
    def density(self) -> float:
        """The share of gradient entries that are not zero, averaged over time."""
        return float(self._density)

    def settings(self) -> dict[str, Any]:
        """Return what `repr` shows."""
        return {"alpha": self.alpha} | super().settings()

    def of_samples(
        self, oracles: Oracles, scores: Tensor, noise: Tensor, decided: Tensor, grad: Tensor
    ) -> Tensor:
        """Return the mean difference of decisions with the same noise, and adapt the step."""
        dims = oracles.event if self.norms == "instance" else tuple(range(grad.ndim))
        if not grad.numel():
            return torch.zeros_like(grad)
        # Masked scores are no measure of the others; without a gradient there is no step.
        said = (oracles.counted(scores), scores), (grad.isfinite(), grad)
        norm, of_grad = (
            torch.linalg.vector_norm(torch.where(counted, v, 0), dim=dims, keepdim=True)
            for counted, v in said
        )
        lam = torch.where(of_grad > 0, self._alpha_at(grad) * norm / of_grad, 0)
        result = self._difference(oracles, scores, noise, decided, lam * grad)
        result = self._adapted(result)
        return torch.where(lam > 0, result / lam, result) if self.divided else result

    def _alpha_at(self, like: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return torch.ops.optlayers.aimle_alpha(like, self._key)
        self._alpha, self._density = self._alpha.to(like), self._density.to(like)
        return self._alpha

    def _adapted(self, result: Tensor) -> Tensor:
        """Return `result`, after a look at how much of it is zero."""
        if torch.compiler.is_compiling():
            return torch.ops.optlayers.aimle_adapt(result, self._key)
        found = result.isfinite()
        share = ((result != 0) & found).sum() / found.sum().clamp(min=1)
        self._density = self.decay * self._density + (1 - self.decay) * share.to(self._density)
        change = torch.where(self._density < self.target, self.update, -self.update)
        self._alpha = (self._alpha + change).clamp(min=0)
        return result


# A graph does not change what is outside of it, but by an operator.


def _alpha(like: Tensor, key: str) -> Tensor:
    return of_key(key)._alpha_at(like).clone()  # type: ignore[attr-defined]


def _adapt(result: Tensor, key: str) -> Tensor:
    return of_key(key)._adapted(result).clone()  # type: ignore[attr-defined]


LIBRARY.define("aimle_alpha(Tensor like, str key) -> Tensor", tags=RANDOM)
LIBRARY.define("aimle_adapt(Tensor result, str key) -> Tensor", tags=RANDOM)
LIBRARY.impl("aimle_alpha", _alpha, "CompositeExplicitAutograd")
LIBRARY.impl("aimle_adapt", _adapt, "CompositeExplicitAutograd")


@torch.library.register_fake("optlayers::aimle_alpha", lib=LIBRARY)
def _fake_alpha(like: Tensor, _: str) -> Tensor:
    return like.new_empty(())


@torch.library.register_fake("optlayers::aimle_adapt", lib=LIBRARY)
def _fake_adapt(result: Tensor, _: str) -> Tensor:
    return torch.empty_like(result)
