"""Pick a target, pick a loss: surrogates as supervised learning with a made-up target."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .._errors import InputError
from .._feasible_set import FeasibleSet
from .base import AbstractSurrogate, stepped
from .derivatives import gradient_of
from .oracles import Oracles
from .steps import NormClip, check_positive, check_positive_step

Around = Literal["vertex", "projection", "marginals"]
_LOSSES = {"perceptron": "vertex", "sparsemap": "projection", "log": "marginals"}
LossFunction = Callable[[FeasibleSet, Tensor, Tensor], Tensor]


class AbstractTarget(ABC):
    """A rule that pulls a gradient back to a target in the space of structures.

    Args:
        eta: Step size: a number, a tensor with one entry per instance, or `NormClip(T)`.
        around: Where the step starts: the decision ("vertex"), the "projection" of the scores, or
            the "marginals". None: the point of the loss that the rule is paired with.
    """

    def __init__(self, eta: "float | Tensor | NormClip" = 1.0, around: Around | None = None):
        check_positive_step("eta", eta)
        if around not in (None, "vertex", "projection", "marginals"):
            raise InputError(
                f"`around` must be 'vertex', 'projection' or 'marginals'. Got {around!r}."
            )
        self.eta, self.around = eta, around

    @abstractmethod
    def target(self, oracles: Oracles, around: Around, scores: Tensor, grad: Tensor) -> Tensor:
        """Return the target; `grad` is that of the loss, `around` the point to start from."""

    def step(self, oracles: Oracles, grad: Tensor) -> Tensor:
        r"""Return $\eta g$."""
        return stepped(self.eta, grad, oracles.event_dim)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(eta={self.eta}, around={self.around!r})"


class Step(AbstractTarget):
    r"""$\tilde z = m - \eta g$: a step that may leave the polytope.

    With any loss, at its own point: straight-through.
    """

    def target(self, oracles: Oracles, around: Around, scores: Tensor, grad: Tensor) -> Tensor:
        """Return the point less the step."""
        return oracles.point(around, scores) - self.step(oracles, grad)


class ProjectedStep(AbstractTarget):
    r"""$\tilde z = \Pi_P(m - \eta g)$: a step that is brought back.

    With the losses: SPIGOT at the vertex (perceptron), around the projection (sparsemap), SPIGOT-CE
    (log).
    """

    def target(self, oracles: Oracles, around: Around, scores: Tensor, grad: Tensor) -> Tensor:
        """Return the projection of the point less the step."""
        return oracles.project(oracles.point(around, scores) - self.step(oracles, grad))


class ScoreStep(AbstractTarget):
    r"""$\tilde z = m(s - \eta g)$: a step in the scores.

    With the losses: blackbox differentiation times $\lambda = \eta$ (perceptron), SPIGOT-EG (log).
    """

    def target(self, oracles: Oracles, around: Around, scores: Tensor, grad: Tensor) -> Tensor:
        """Return the map at the moved scores."""
        return oracles.point(around, scores - self.step(oracles, grad))


class PulledBack(AbstractSurrogate):
    r"""$\tilde\nabla_s = \nabla_s \ell(s, \tilde z)$: a target rule and a loss, any pair of them.

    The view of Mihaylova, Niculae and Martins (2020): pull the loss of the network back to a target
    $\tilde z$, then learn it as if it were gold. The forward pass decides.

    Args:
        target: `Step(eta)`, `ProjectedStep(eta)`, `ScoreStep(eta)`, or your own.
        loss: "perceptron": $\nabla\ell = \hat z - \tilde z$; "sparsemap": $\Pi_P(s) - \tilde z$;
            "log": $\mu(s) - \tilde z$. Or a function `(feasible_set, scores, target) -> losses`
            with any loss of the library in it, such as `ol.sparsemap_loss`; it is differentiated.
        temperature: Divides the scores first.

    Examples:
        >>> import torch, optlayers as ol
        >>> spigot = PulledBack(ProjectedStep(eta=0.5), "perceptron")
        >>> scores = torch.tensor([1.0, 0.8, 0.1], requires_grad=True)
        >>> z = ol.structured_argmax(ol.simplex(3), scores, spigot)
        >>> (z * torch.tensor([1.0, -1.0, 0.0])).sum().backward()
        >>> scores.grad
        tensor([ 0.5000, -0.5000,  0.0000])
    """

    twice_differentiable: ClassVar[bool] = False

    def __init__(
        self,
        target: AbstractTarget,
        loss: Literal["perceptron", "sparsemap", "log"] | LossFunction = "sparsemap",
        *,
        temperature: float = 1.0,
    ):
        if not isinstance(target, AbstractTarget):
            raise InputError(
                "`target` must be Step(eta), ProjectedStep(eta), ScoreStep(eta) or an "
                f"AbstractTarget of yours. Got {target!r}."
            )
        if not callable(loss) and loss not in _LOSSES:
            raise InputError(
                f"`loss` must be one of {tuple(_LOSSES)} or a function (feasible_set, scores, "
                f"target) -> losses. Got {loss!r}."
            )
        if callable(loss) and target.around is None:
            raise InputError(
                f"A loss given as a function does not say where the step starts: use "
                f"{type(target).__name__}(..., around='projection'), 'vertex' or 'marginals'."
            )
        check_positive("temperature", temperature)
        self.target, self.loss, self.temperature = target, loss, temperature

    def gradient(self, oracles: Oracles, scores: Tensor, z_hat: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient of the loss at the target."""
        scores = scores / self.temperature
        around: Around = self.target.around or _LOSSES[self.loss]  # type: ignore[assignment,index]
        target = self.target.target(oracles, around, scores, grad)
        if not callable(self.loss):
            return oracles.point(_LOSSES[self.loss], scores) - target
        # A loss has policies of its own: what is no number here does not get there.
        fine = (scores < torch.inf) & target.isfinite()
        for dim in oracles.event:
            fine = fine.all(dim, keepdim=True)
        at, kept = (torch.where(fine, v.detach(), 0) for v in (scores, target))

        def loss(at: Tensor) -> Tensor:
            return self.loss(oracles.feasible_set, at, kept).sum()  # type: ignore[operator]

        result = gradient_of(loss, at)
        return torch.where(fine, result, torch.nan)
