"""The interface of surrogate gradients."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .._calls import OnFailure
from .._feasible_set import FeasibleSet, as_set
from .._polytope.polytope import Polytope
from .._status import Status
from .oracles import Oracles
from .steps import NormClip


@dataclass(frozen=True)
class Decision:
    """Result of a surrogate's forward pass, for the layer.

    Attributes:
        z: `(..., n)`: what goes into the network.
        status: Which instances have a decision.
        saved: Tensors that the backward pass gets after its other arguments: noise, samples.
        differentiable: `z` carries its own derivative, and no surrogate stands behind it.
    """

    z: Tensor
    status: Status
    saved: tuple[Tensor, ...] = ()
    differentiable: bool = False


def step_size(
    eta: "float | Tensor | NormClip", grad: Tensor, event_dim: int = 1
) -> "Tensor | float":
    """Return a number or a tensor of them, one per instance, that multiplies `grad`."""
    if isinstance(eta, NormClip):
        return eta.step_size(grad, event_dim)
    if isinstance(eta, Tensor):
        eta = eta.detach().to(grad)
        return eta[(..., *[None] * event_dim)] if eta.ndim else eta
    return eta


def stepped(eta: "float | Tensor | NormClip", grad: Tensor, event_dim: int = 1) -> Tensor:
    """Return eta * grad, and `grad` itself where eta is the number 1."""
    if isinstance(eta, int | float) and eta == 1:
        return grad
    return step_size(eta, grad, event_dim) * grad


class AbstractSurrogate:
    """A formula for the gradient of the scores, used in place of the true one, which is zero.

    One method is all that most need: `gradient`, the formula. Those that do not decide on the plain
    scores (noise, relaxed decisions) have a `forward` of their own as well; those that need more
    than a formula, a `backward`.
    """

    # A polytope to project onto, instead of the feasible set's own relaxation.
    relaxation: Polytope | None = None

    # Whether `backward` is made of differentiable operations, so that its result may be
    # differentiated again. Where it decodes, it is not: double backward is refused by name.
    twice_differentiable: ClassVar[bool] = False

    def forward(self, oracles: Oracles, scores: Tensor, training: bool = True) -> Decision:
        """Decide: by default the best structure of the scores.

        Args:
            oracles: `decode`, `project` and `marginals` of the set, under the layer's policies.
            scores: `(..., n)`, as given to the layer.
            training: False in a layer that is in `eval()`: decide without noise.
        """
        z, status = oracles.decision(oracles.decode(scores), scores)
        return Decision(z, status)

    def backward(
        self,
        feasible_set: FeasibleSet,
        scores: Tensor,
        z_hat: Tensor,
        grad: Tensor,
        on_failure: OnFailure = "raise",
    ) -> tuple[Tensor, Status]:
        """Return the surrogate gradient of `scores`, and which instances have one.

        Here: what `gradient` says, asked in float32 at least, under the policy.

        Args:
            feasible_set: The set that was decoded.
            scores: `(..., n)`, as given to the layer.
            z_hat: `(..., n)`, the decoded structure.
            grad: `(..., n)`, the gradient of the loss with respect to `z_hat`.
            on_failure: What to do with an instance whose backward pass fails.

        What `forward` saved follows after these.
        """
        feasible_set = as_set(feasible_set, scores)
        oracles = Oracles(feasible_set, on_failure, relaxation=self.relaxation)
        wide, here, g = oracles.admit(scores, z_hat, grad)
        result = self.gradient(oracles, wide, here, g)
        instead = self.fallback(g, oracles.event_dim) if oracles.failures else g
        return oracles.answer(result, grad, instead)

    def gradient(self, oracles: Oracles, scores: Tensor, z_hat: Tensor, grad: Tensor) -> Tensor:
        """Return the surrogate gradient of `scores`: the formula, and nothing else.

        Args:
            oracles: `decode`, `project` and `marginals` of the set, in this backward pass.
            scores: `(..., n)`, those of the layer; like all that follows in float32 at least.
            z_hat: `(..., n)`, the decoded structure.
            grad: `(..., n)`, the gradient of the loss with respect to `z_hat`; NaN in the whole
                instance where an entry was not finite.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs a method `gradient(oracles, scores, z_hat, grad)`, or "
            "a `backward` of its own."
        )

    def fallback(self, grad: Tensor, event_dim: int) -> Tensor:
        """Return what an instance gets whose backward pass fails, under "fallback"; here, `grad`.

        Args:
            grad: The gradient of the loss.
            event_dim: How many of its trailing dimensions are one instance.
        """
        return grad

    def settings(self) -> dict[str, Any]:
        """Return what `repr` shows."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_") and v is not None}

    def __repr__(self) -> str:
        shown = {k: getattr(v, "__name__", v) for k, v in self.settings().items()}
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in shown.items())})"
