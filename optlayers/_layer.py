"""The layer: a hard structured decision forward, a surrogate gradient backward."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ._errors import InputError
from ._feasible_set import AbstractFeasibleSet
from ._functional import FeasibleSet, OnFailure, Status, decode, prepare
from ._nonfinite import OnNonfinite
from ._polytope.polytope import Polytope
from ._surrogates import SPIGOT, AbstractSurrogate, diagnose


class _Surrogate(torch.autograd.Function):
    """Returns `z_hat` unchanged; its backward pass is the surrogate. No mathematics here."""

    @staticmethod
    def forward(scores, z_hat, feasible_set, surrogate, on_failure, record):
        return z_hat.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        scores, z_hat, *ctx.arguments = inputs
        ctx.save_for_backward(scores, z_hat)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        scores, z_hat = ctx.saved_tensors
        feasible_set, surrogate, on_failure, record = ctx.arguments
        result, status = surrogate.backward(feasible_set, scores, z_hat, grad, on_failure)
        if isinstance(feasible_set, AbstractFeasibleSet):
            free = feasible_set.free_parts(result.device)
            result = result if free is None else torch.where(free, result, 0)
        if record is not None:
            record.append((status, grad, z_hat, scores, result))
        return result, None, None, None, None, None


def structured_argmax(
    feasible_set: FeasibleSet,
    scores: Tensor,
    surrogate: AbstractSurrogate | None = None,
    *,
    decoder: Callable[[Tensor], Tensor] | None = None,
    on_failure: OnFailure = "raise",
    on_nonfinite: OnNonfinite = "raise",
    return_status: bool = False,
) -> Any:
    r"""$\hat z = \arg\max_{z \in Z} z \cdot s$ forward, `surrogate` backward.

    The function behind `StructuredArgmax`; see there.

    Examples:
        >>> import optlayers as ol
        >>> scores = torch.tensor([[0.2, 1.0, 0.1]], requires_grad=True)
        >>> structured_argmax(ol.simplex(3), scores)
        tensor([[0., 1., 0.]], grad_fn=<_SurrogateBackward>)
    """
    policies = (on_failure, on_nonfinite)
    z_hat, status = _run(feasible_set, scores, surrogate or SPIGOT(), decoder, policies, None)
    return (z_hat, status) if return_status else z_hat


def _run(feasible_set, scores, surrogate, decoder, policies, record) -> tuple[Tensor, Status]:
    on_failure, on_nonfinite = policies
    with torch.no_grad():
        z_hat, status = decode(
            feasible_set,
            scores,
            decoder=decoder,
            on_failure=on_failure,
            on_nonfinite=on_nonfinite,
            return_status=True,
        )
    if torch.is_grad_enabled() and scores.requires_grad:
        if z_hat.shape != scores.shape:  # a batched set with one row of scores
            scores = scores.expand(z_hat.shape)
        z_hat = _Surrogate.apply(scores, z_hat, feasible_set, surrogate, on_failure, record)
    return z_hat, status


class StructuredArgmax(nn.Module):
    r"""A layer that makes hard structured decisions and learns through them.

    Forward $\hat z = \arg\max_{z \in Z} z \cdot s$, exactly. Backward the gradient of $s$ is what
    `surrogate` makes of $\nabla_{\hat z} L$; `SPIGOT` by default. No parameters, no buffers: device
    and dtype follow the scores, `state_dict()` is empty, copies and pickles are cheap.

    Args:
        feasible_set: A `Polytope` or a structured set. A set that depends on the batch (padding,
            budgets) is given to the call instead: `layer(scores, feasible_set)`.
        surrogate: The backward pass.
        decoder: A callable to decode with instead of the plan of the set.
        on_failure: "raise" (naming the instance and the rows), "nan", or "fallback": zeros forward
            where there is no structure, the straight-through gradient where the projection of the
            backward pass fails. One bad instance never costs the batch.
        on_nonfinite: What NaN and inf in the scores are: "raise", failures, or "propagate", NaN
            for that instance (see `decode`). A gradient that is not finite always becomes NaN, for
            its instance alone, and never an error.
        diagnostics: Keep what `layer.diagnose()` needs from the latest backward pass.

    Attributes:
        status: `Status` of the latest forward pass.
        backward_status: `Status` of the latest backward pass, None before it.

    Examples:
        >>> import optlayers as ol
        >>> layer = ol.StructuredArgmax(ol.cardinality(4, exactly=2), ol.SPIGOT(eta=1.0))
        >>> layer(torch.tensor([0.3, 0.9, -0.5, 0.4]))
        tensor([0., 1., 0., 1.])
    """

    def __init__(
        self,
        feasible_set: FeasibleSet | None = None,
        surrogate: AbstractSurrogate | None = None,
        decoder: Callable[[Tensor], Tensor] | None = None,
        *,
        on_failure: OnFailure = "raise",
        on_nonfinite: OnNonfinite = "raise",
        diagnostics: bool = False,
    ):
        super().__init__()
        if not isinstance(feasible_set, Polytope | AbstractFeasibleSet | None):
            raise InputError(
                "`feasible_set` must be a Polytope or an AbstractFeasibleSet. "
                f"Got {type(feasible_set).__name__}."
            )
        if on_failure not in ("raise", "nan", "fallback"):
            raise InputError(
                f"`on_failure` must be 'raise', 'nan' or 'fallback'. Got {on_failure!r}."
            )
        if on_nonfinite not in ("raise", "propagate"):
            raise InputError(
                f"`on_nonfinite` must be 'raise' or 'propagate'. Got {on_nonfinite!r}."
            )
        self.on_nonfinite: OnNonfinite = on_nonfinite
        self.feasible_set = feasible_set
        self.surrogate = SPIGOT() if surrogate is None else surrogate
        self.decoder = decoder
        self.on_failure: OnFailure = on_failure
        self.diagnostics = diagnostics
        self.status = Status()
        self._record: _Latest | None = None
        # A traced graph cannot look at constraints, so what a compiled layer needs is made here,
        # and for other devices and dtypes in the first call that is not traced.
        self._ready: set[tuple[int, str, torch.dtype]] = set()
        if isinstance(feasible_set, Polytope):
            self._prepare(feasible_set, torch.empty(0))

    def forward(self, scores: Tensor, feasible_set: FeasibleSet | None = None) -> Tensor:
        """Decode `scores` of shape `(..., n)`; same shape, dtype and device out.

        Args:
            scores: Scores of the parts.
            feasible_set: Takes the place of the layer's own set in this call.
        """
        chosen = self.feasible_set if feasible_set is None else feasible_set
        if chosen is None:
            raise InputError("Give a feasible set to the layer or to this call.")
        record = None
        if not torch.compiler.is_compiling():
            if chosen is self.feasible_set and isinstance(chosen, Polytope):
                self._prepare(chosen, scores)
            self._record = record = _Latest(self.diagnostics)
        z_hat, self.status = _run(
            chosen,
            scores,
            self.surrogate,
            self.decoder,
            (self.on_failure, self.on_nonfinite),
            record,
        )
        if record is not None:
            record.feasible_set = chosen
        return z_hat

    def _prepare(self, polytope: Polytope, like: Tensor) -> None:
        key = (id(polytope), str(like.device), like.dtype)
        if key not in self._ready:
            relaxation = getattr(self.surrogate, "relaxation", None) or polytope
            prepare(polytope, relaxation if isinstance(self.surrogate, SPIGOT) else None, like)
            self._ready.add(key)

    @property
    def backward_status(self) -> Status | None:
        """Status of the latest backward pass; None before it."""
        return None if self._record is None else self._record.status

    def diagnose(self) -> dict[str, float]:
        """Regime shares, norm ratio and cosine of the latest SPIGOT backward pass; see `diagnose`.

        Raises:
            InputError: If the layer keeps no diagnostics, has not run backward, or is not SPIGOT.
        """
        record = self._record
        if not isinstance(self.surrogate, SPIGOT):
            raise InputError(f"Only SPIGOT has these diagnostics. Got {self.surrogate!r}.")
        if record is None or record.tensors is None:
            raise InputError(
                "Nothing to diagnose: use StructuredArgmax(..., diagnostics=True) and run backward."
            )
        grad, z_hat, scores, result = record.tensors
        surrogate, feasible_set = self.surrogate, record.feasible_set
        base, _ = surrogate.base_point(feasible_set, scores, z_hat, "nan")
        step = surrogate.step_size(grad, feasible_set.event_dim) * grad
        tensors = (base, step, result)
        if surrogate.relaxation is not None:
            tensors = tuple(v.flatten(-feasible_set.event_dim) for v in tensors)
            feasible_set = surrogate.relaxation
        return diagnose(feasible_set, *tensors)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_record": None, "status": Status(), "_ready": set()}

    def extra_repr(self) -> str:
        """What `print(layer)` shows."""
        return f"{self.feasible_set}, {self.surrogate}"


class _Latest:
    """What the latest backward pass of a layer left behind; tensors only on request."""

    def __init__(self, keep: bool):
        self.keep, self.status, self.tensors = keep, None, None
        self.feasible_set: Any = None

    def append(self, entry: tuple) -> None:
        self.status = entry[0]
        self.tensors = entry[1:] if self.keep else None
