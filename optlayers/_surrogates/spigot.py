"""SPIGOT: step, project, take the difference."""

import warnings
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .._errors import InputError, StepSizeWarning
from .._polytope.polytope import Polytope
from .base import AbstractSurrogate, step_size, stepped
from .diagnostics import diagnose
from .oracles import Oracles, check_relaxation
from .steps import NormClip, check_positive, check_step

_CHECKED_CALLS = (10, 100, 1000)  # at which backward calls the effect of eta is looked at


class SPIGOT(AbstractSurrogate):
    r"""$\tilde\nabla_s = p - \Pi_P(p - \eta\,\nabla_{\hat z}L)$ (Peng, Thomson and Smith, 2018).

    Take a gradient step on the decision, project it back onto the relaxed feasible set, use the
    difference. The base point $p$ is

    - `around="projection"`, the default: $p = \Pi_P(s / \text{temperature})$, the relaxed solution.
      Gradients flow both ways, so that it works where the structure is latent as where it is
      supervised as well; two projections.
    - `around="vertex"`: $p = \hat z$, the paper's. At a vertex the step can only demote what was
      chosen: without supervision of the structure by a loss of its own it hardly learns; one
      projection.
    - `around="marginals"`: $p = \mathbb{E}[z]$ under $p(z) \propto \exp(z \cdot s /
      \text{temperature})$, for sets that have marginals. This is SPIGOT-CE of Mihaylova,
      Niculae and Martins (2020), *Understanding the mechanics of SPIGOT*, with the gradient taken
      at $\hat z$; one sum-product and one projection.

    Args:
        eta: Step size: a number, a tensor with one entry per instance, or `NormClip(T)`. It is
            meaningless without the reduction of the loss: with a loss averaged over a batch the
            gradient is tiny and eta merely scales the result.
        around: "vertex", "projection" or "marginals".
        temperature: Divides the scores first (`around="projection"` and `"marginals"`).
        relaxation: A polytope to project onto, instead of the feasible set's own relaxation.
        warn: Whether to warn, once, when eta is found to have no effect.

    Examples:
        >>> import optlayers as ol
        >>> scores = torch.tensor([1.0, 0.8, 0.1], requires_grad=True)
        >>> z = ol.structured_argmax(ol.simplex(3), scores, SPIGOT(eta=0.5))
        >>> (z * torch.tensor([1.0, -1.0, 0.0])).sum().backward()
        >>> scores.grad
        tensor([ 0.5000, -0.5000,  0.0000])
    """

    twice_differentiable: ClassVar[bool] = True

    def __init__(
        self,
        eta: float | Tensor | NormClip = 1.0,
        around: Literal["vertex", "projection", "marginals"] = "projection",
        *,
        temperature: float = 1.0,
        relaxation: Polytope | None = None,
        warn: bool = True,
    ):
        if around not in ("vertex", "projection", "marginals"):
            raise InputError(
                f"`around` must be 'vertex', 'projection' or 'marginals'. Got {around!r}."
            )
        check_positive("temperature", temperature)
        check_step("eta", eta)
        if isinstance(eta, int | float) and not eta > 0:
            raise InputError(f"`eta` must be positive. Got {eta}.")
        check_relaxation(relaxation)
        self.eta, self.around, self.temperature = eta, around, temperature
        self.relaxation, self.warn = relaxation, warn
        self._calls = 0

    def __repr__(self) -> str:
        extra = f", temperature={self.temperature}" if self.around != "vertex" else ""
        return f"SPIGOT(eta={self.eta}, around={self.around!r}{extra})"

    def step_size(self, grad: Tensor, event_dim: int = 1) -> Tensor | float:
        """Return eta to multiply `grad` with, whose last `event_dim` dimensions are one step."""
        return step_size(self.eta, grad, event_dim)

    def base_point(self, oracles: Oracles, scores: Tensor, z_hat: Tensor) -> Tensor:
        """Return the point p that the step starts from."""
        if self.around == "vertex":
            return z_hat
        cool = scores if self.temperature == 1 else scores / self.temperature
        return oracles.point(self.around, cool)

    def gradient(self, oracles: Oracles, scores: Tensor, z_hat: Tensor, grad: Tensor) -> Tensor:
        """Return p - proj(p - eta * grad)."""
        base = self.base_point(oracles, scores, z_hat)
        step = stepped(self.eta, grad, oracles.event_dim)
        result = base - oracles.project(base - step)
        self._watch(oracles, base, step, result)
        return result

    def fallback(self, grad: Tensor, event_dim: int) -> Tensor:
        """Return eta * grad."""
        return stepped(self.eta, grad, event_dim)

    def _watch(self, oracles: Oracles, base: Tensor, step: Tensor, result: Tensor) -> None:
        """Warn once if eta changes nothing but the length of the gradient, or nothing at all."""
        if torch.compiler.is_compiling() or not self.warn or self.around != "vertex":
            return
        self._calls += 1
        if self._calls not in _CHECKED_CALLS:
            return
        if self.relaxation is None:
            found = diagnose(oracles.feasible_set, base, step, result)
        else:
            flat = (v.flatten(-oracles.event_dim) for v in (base, step, result))
            found = diagnose(self.relaxation, *flat)
        cone, saturated, zero = (found[f"{k}_share"] for k in ("cone", "saturated", "zero"))
        if cone + saturated + zero > 0.99:
            self.warn = False
            warnings.warn(
                f"eta has no effect on the direction of SPIGOT's gradient: {cone:.0%} of the "
                f"instances are in the cone regime (the gradient is proportional to eta) and "
                f"{saturated:.0%} are saturated (a larger eta changes nothing); {zero:.0%} have no "
                "gradient. Sum the loss over the batch instead of averaging it, or change eta by "
                "orders of magnitude.",
                StepSizeWarning,
                stacklevel=2,
            )
