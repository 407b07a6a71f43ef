"""SPIGOT: step, project, take the difference."""

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .._errors import InputError, StepSizeWarning
from .._polytope import Polytope
from .._verbs import FeasibleSet, OnFailure, Status, project
from ._base import AbstractSurrogate
from ._diagnostics import diagnose

_CHECKED_CALLS = (10, 100, 1000)  # at which backward calls the effect of eta is looked at


@dataclass(frozen=True)
class NormClip:
    r"""The step size of the published code, $\eta = \min(1, T / \|g\|_2)$, $g = \nabla_{\hat z}L$.

    One per instance. The published pipelines use T = 1 (syntactic to semantic parsing) and
    T = 5/32 (sentiment).
    """

    T: float

    def __post_init__(self):
        if not self.T > 0:
            raise InputError(f"`NormClip` takes a positive norm. Got {self.T}.")

    def step_size(self, grad: Tensor) -> Tensor:
        """The step size of each instance, `(..., 1)`."""
        norm = torch.linalg.vector_norm(grad, dim=-1, keepdim=True)
        return (self.T / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(max=1)


class SPIGOT(AbstractSurrogate):
    r"""$\tilde\nabla_s = p - \Pi_P(p - \eta\,\nabla_{\hat z}L)$ (Peng, Thomson and Smith, 2018).

    Take a gradient step on the decision, project it back onto the relaxed feasible set, use the
    difference. The base point $p$ is

    - `around="vertex"`: $p = \hat z$, the paper's. At a vertex the step can only demote what was
      chosen, so this needs supervision of the structure as well; one projection.
    - `around="projection"`: $p = \Pi_P(s / \text{temperature})$, the relaxed solution. Gradients
      flow both ways, which is what works when the structure is latent; two projections.

    Args:
        eta: Step size: a number, a tensor with one entry per instance, or `NormClip(T)`. It is
            meaningless without the reduction of the loss: with a loss averaged over a batch the
            gradient is tiny and eta merely scales the result.
        around: "vertex" or "projection".
        temperature: Divides the scores before they are projected (`around="projection"`).
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

    def __init__(
        self,
        eta: float | Tensor | NormClip = 1.0,
        around: Literal["vertex", "projection"] = "vertex",
        *,
        temperature: float = 1.0,
        relaxation: Polytope | None = None,
        warn: bool = True,
    ):
        if around not in ("vertex", "projection"):
            raise InputError(f"`around` must be 'vertex' or 'projection'. Got {around!r}.")
        if not temperature > 0:
            raise InputError(f"`temperature` must be positive. Got {temperature}.")
        if isinstance(eta, int | float) and not eta > 0:
            raise InputError(f"`eta` must be positive. Got {eta}.")
        self.eta, self.around, self.temperature = eta, around, temperature
        self.relaxation, self.warn = relaxation, warn
        self._calls = 0

    def __repr__(self) -> str:
        extra = f", temperature={self.temperature}" if self.around == "projection" else ""
        return f"SPIGOT(eta={self.eta}, around={self.around!r}{extra})"

    def step_size(self, grad: Tensor) -> Tensor | float:
        """Eta in a form that multiplies `grad` of shape `(..., n)`."""
        if isinstance(self.eta, NormClip):
            return self.eta.step_size(grad)
        if isinstance(self.eta, Tensor):
            eta = self.eta.detach().to(grad)
            return eta[..., None] if eta.ndim else eta
        return self.eta

    def backward(
        self,
        feasible_set: FeasibleSet,
        scores: Tensor,
        z_hat: Tensor,
        grad: Tensor,
        on_failure: OnFailure = "raise",
    ) -> tuple[Tensor, Status]:
        """Return p - proj(p - eta * grad); where that fails and may fall back, eta * grad."""
        polytope = self.relaxation if self.relaxation is not None else feasible_set.relaxation
        shape, dtype = grad.shape, grad.dtype
        event_dim = getattr(feasible_set, "event_dim", 1)
        # One structure per row, and half precision in float32 before anything is subtracted.
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        scores, z_hat, grad = (v.flatten(-event_dim).to(wide) for v in (scores, z_hat, grad))
        step = self.step_size(grad) * grad
        policy = "raise" if on_failure == "raise" else "nan"
        failures: dict[tuple[int, ...], str] = {}
        base = z_hat
        if self.around == "projection":
            scaled = scores / self.temperature
            base, status = project(polytope, scaled, on_failure=policy, return_status=True)
            failures |= status.failures
        moved, status = project(polytope, base - step, on_failure=policy, return_status=True)
        status = Status(status.batch_shape, failures | status.failures)
        result = base - moved
        if status.failures and on_failure == "fallback":
            result = torch.where(status.ok.to(result.device)[..., None], result, step)
        self._watch(polytope, base, step, result)
        return result.to(dtype).reshape(shape), status

    def _watch(self, polytope: Polytope, base: Tensor, step: Tensor, result: Tensor) -> None:
        """Warn once if eta changes nothing but the length of the gradient, or nothing at all."""
        if torch.compiler.is_compiling() or not self.warn or self.around != "vertex":
            return
        self._calls += 1
        if self._calls not in _CHECKED_CALLS:
            return
        found = diagnose(polytope, base, step, result)
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
