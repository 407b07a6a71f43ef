"""What a surrogate gradient is."""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._calls import OnFailure, Status
from .._errors import NoGradientWarning
from .._feasible_set import FeasibleSet, as_set
from .oracles import Oracles


@dataclass(frozen=True)
class Decision:
    """What a surrogate's forward pass hands to the layer.

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


_said: set[tuple[str, ...]] = set()  # by the surrogate and the fields


def say_without_gradient(feasible_set: FeasibleSet, surrogate: "AbstractSurrogate") -> None:
    """Warn, once, where right-hand sides or bounds require a gradient and get none."""
    if torch.compiler.is_compiling():
        return
    names = as_set(feasible_set).fields_with_graph()
    if not names:
        return
    key = (type(surrogate).__name__, *names)
    if key in _said:
        return
    _said.add(key)
    fields = " and ".join(f"`{name}`" for name in names)
    warnings.warn(
        f"{fields} of the polytope: a gradient is required, and the layer gives none, because "
        f"{type(surrogate).__name__} is a gradient of scores alone. `SparseMAP()` and `project` "
        "have one; or detach what the polytope is declared with.",
        NoGradientWarning,
        stacklevel=4,
    )


class AbstractSurrogate(ABC):
    """A formula for the gradient of the scores, used in place of the true one, which is zero.

    One method is all that most need. Those that do not decide on the plain scores (noise, relaxed
    decisions) have a `forward` of their own as well.
    """

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

    @abstractmethod
    def backward(
        self,
        feasible_set: FeasibleSet,
        scores: Tensor,
        z_hat: Tensor,
        grad: Tensor,
        on_failure: OnFailure = "raise",
    ) -> tuple[Tensor, Status]:
        """Return the surrogate gradient of `scores`, and which instances have one.

        Args:
            feasible_set: The set that was decoded.
            scores: `(..., n)`, as given to the layer.
            z_hat: `(..., n)`, the decoded structure.
            grad: `(..., n)`, the gradient of the loss with respect to `z_hat`.
            on_failure: What to do with an instance whose backward pass fails.

        What `forward` saved follows after these.
        """

    def settings(self) -> dict[str, Any]:
        """Return what `repr` shows."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_") and v is not None}

    def __repr__(self) -> str:
        shown = {k: getattr(v, "__name__", v) for k, v in self.settings().items()}
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in shown.items())})"
