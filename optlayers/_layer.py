"""The layer: a hard structured decision forward, a surrogate gradient backward."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Unpack, overload

import torch
from torch import Tensor, nn

from ._calls import OnFailure, OnTimeLimit, as_time_limit, check_policies
from ._checks import function
from ._deprecated import keyword_only
from ._errors import InputError, NotTwiceDifferentiable
from ._feasible_set import FeasibleSet, as_set
from ._kernels.arrays import is_ordinary
from ._no_gradient import say_without_gradient
from ._nonfinite import OnNonfinite, refuse_vmap
from ._options import ArgmaxOptions
from ._plan.failures import TimeLimit
from ._status import Status
from ._surrogates import SPIGOT, AbstractSurrogate, Oracles, diagnose
from ._wrapped import DecodedBy, limited


class _Surrogate(torch.autograd.Function):
    """Returns `z` unchanged; its backward pass is the surrogate. No mathematics here."""

    @staticmethod
    def forward(scores, z, feasible_set, surrogate, on_failure, record, *saved):
        return z.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        scores, z, *ctx.arguments = inputs[:6]
        ctx.save_for_backward(scores, z, *inputs[6:])

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        refuse_vmap(grad, "the gradient of the layer")
        scores, z_hat, *saved = ctx.saved_tensors
        feasible_set, surrogate, on_failure, record = ctx.arguments
        again = torch.is_grad_enabled()  # create_graph=True
        arguments = (feasible_set, scores, z_hat, grad, on_failure, *saved)
        if again and not surrogate.twice_differentiable:
            with torch.no_grad():
                result, status = surrogate.backward(*arguments)
        else:
            result, status = surrogate.backward(*arguments)
        free = as_set(feasible_set).free_parts(result.device)
        result = result if free is None else torch.where(free, result, 0)
        if again and not surrogate.twice_differentiable:
            result = _Once.apply(result, grad, repr(surrogate))
        if record is not None:
            record.keep(status, LatestStep(grad, z_hat, scores, result))
        return result, *[None] * (5 + len(saved))


class _PlainSurrogate(torch.autograd.Function):
    """`_Surrogate` for ordinary tensors, outside of `torch.compile` and `torch.func`.

    What those need, torch finds out at every call, which takes as long as a small decision.
    """

    @staticmethod
    def forward(ctx, scores, z, feasible_set, surrogate, on_failure, record, *saved):  # type: ignore[override]
        ctx.arguments = feasible_set, surrogate, on_failure, record
        ctx.save_for_backward(scores, z, *saved)
        return z.clone()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        return _Surrogate.backward(ctx, grad)


class _Once(torch.autograd.Function):
    """Refuses to be differentiated, by name."""

    @staticmethod
    def forward(result, grad, name):
        return result.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.name = inputs[2]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        raise NotTwiceDifferentiable(
            f"The gradient of {ctx.name} cannot be differentiated again: it is piecewise constant, "
            "so that its derivative is zero or missing. Use a surrogate that is "
            "`twice_differentiable`, such as SPIGOT, LPGD or SparseMAP, or detach the gradient."
        )


@overload
def structured_argmax(
    feasible_set: FeasibleSet,
    scores: Tensor,
    surrogate: AbstractSurrogate | None = ...,
    *,
    return_status: Literal[False] = ...,
    **options: Unpack[ArgmaxOptions],
) -> Tensor: ...


@overload
def structured_argmax(
    feasible_set: FeasibleSet,
    scores: Tensor,
    surrogate: AbstractSurrogate | None = ...,
    *,
    return_status: Literal[True],
    **options: Unpack[ArgmaxOptions],
) -> tuple[Tensor, Status]: ...


@overload
def structured_argmax(
    feasible_set: FeasibleSet,
    scores: Tensor,
    surrogate: AbstractSurrogate | None = ...,
    *,
    return_status: bool,
    **options: Unpack[ArgmaxOptions],
) -> Tensor | tuple[Tensor, Status]: ...


def structured_argmax(
    feasible_set: FeasibleSet,
    scores: Tensor,
    surrogate: AbstractSurrogate | None = None,
    *,
    decoder: Callable[[Tensor], Tensor] | None = None,
    on_failure: OnFailure = "raise",
    on_nonfinite: OnNonfinite = "raise",
    time_limit: float | None = None,
    on_time_limit: OnTimeLimit = "fail",
    check: bool = False,
    training: bool = True,
    return_status: bool = False,
) -> Tensor | tuple[Tensor, Status]:
    r"""Return $\hat z = \arg\max_{z \in Z} z \cdot s$, with `surrogate` backward.

    The function behind `StructuredArgmax`; see there. `training=False` decides without noise.

    Examples:
        >>> import optlayers as ol
        >>> scores = torch.tensor([[0.2, 1.0, 0.1]], requires_grad=True)
        >>> structured_argmax(ol.simplex(3), scores)
        tensor([[0., 1., 0.]], grad_fn=<_PlainSurrogateBackward>)
    """
    policies = (on_failure, on_nonfinite)
    surrogate = SPIGOT() if surrogate is None else check_surrogate(surrogate)
    how = _How(decoder, as_time_limit(time_limit, on_time_limit), check)
    z_hat, status = _run(feasible_set, scores, surrogate, how, policies, None, training)
    return (z_hat, status) if return_status else z_hat


def check_surrogate(surrogate: Any) -> AbstractSurrogate:
    """Return a surrogate.

    Raises:
        InputError: If it is something else: a name, a class, a function.
    """
    if isinstance(surrogate, AbstractSurrogate):
        return surrogate
    found = repr(surrogate)
    if isinstance(surrogate, type):
        found = f"the class {surrogate.__name__}"
        if issubclass(surrogate, AbstractSurrogate):
            found += f"; write `{surrogate.__name__}()`"
    raise InputError(f"`surrogate` must be a surrogate, such as `ol.SPIGOT()`. Got {found}.")


class _How(NamedTuple):
    """How a layer decides, besides its set."""

    decoder: Callable[[Tensor], Tensor] | None
    limit: TimeLimit | None
    check: bool


def _run(
    feasible_set, scores, surrogate, how: _How, policies, record, training
) -> tuple[Tensor, Status]:
    check_policies(*policies)
    feasible_set = as_set(feasible_set, scores)
    if how.decoder is not None:  # what a surrogate decodes with is what the layer does
        feasible_set = DecodedBy(feasible_set, how.decoder)
    if how.limit is not None or how.check:
        feasible_set = limited(feasible_set, how.limit, how.check)
    decision = surrogate.forward(Oracles(feasible_set, *policies), scores, training)
    z, status = decision.z, decision.status
    if decision.differentiable or not torch.is_grad_enabled():
        return z, status
    why = f"{type(surrogate).__name__} is a gradient of scores alone"
    say_without_gradient(feasible_set, "the layer", why, 4, surrogate.relaxation)
    if scores.requires_grad:
        if z.shape != scores.shape:  # a batched set with one row of scores
            scores = scores.expand(z.shape)
        node = _PlainSurrogate if is_ordinary(scores) else _Surrogate
        z = node.apply(scores, z, feasible_set, surrogate, policies[0], record, *decision.saved)
    return z, status


class StructuredArgmax(nn.Module):
    r"""A layer that makes hard structured decisions and learns through them.

    Forward $\hat z = \arg\max_{z \in Z} z \cdot s$, exactly. Backward the gradient of $s$ is what
    `surrogate` makes of $\nabla_{\hat z} L$; by default `SPIGOT()`, around the projection of the
    scores. No parameters, no buffers: device and dtype follow the scores, `state_dict()` is empty,
    copies and pickles are cheap.

    Args:
        feasible_set: A `Polytope` or a structured set. A set that depends on the batch (padding,
            budgets) is given to the call instead: `layer(scores, feasible_set)`.
        surrogate: The backward pass, and with some the forward pass: noise, relaxed decisions. In
            `eval()` there is no noise.
        decoder: A callable to decode with instead of the plan of the set.
        on_failure: "raise" (naming the instance and the rows), "nan", or "fallback": zeros forward
            where there is no structure, the straight-through gradient where the projection of the
            backward pass fails. One bad instance never costs the batch.
        on_nonfinite: What NaN and inf in the scores are: "raise", failures, or "propagate", NaN
            for that instance (see `decode`). A gradient that is not finite always becomes NaN, for
            its instance alone, and never an error.
        time_limit: Seconds that HiGHS may take for one instance of a decision (see `decode`), also
            where the surrogate decodes in its backward pass.
        on_time_limit: "fail", or "best": the best structure found in time; see `decode`.
        check: Hold every decision to the rows of the set, as in `decode`; those of a decoder of
            your own are in its first calls in any case.
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

    @keyword_only
    def __init__(
        self,
        feasible_set: FeasibleSet | None = None,
        surrogate: AbstractSurrogate | None = None,
        *,
        decoder: Callable[[Tensor], Tensor] | None = None,
        on_failure: OnFailure = "raise",
        on_nonfinite: OnNonfinite = "raise",
        time_limit: float | None = None,
        on_time_limit: OnTimeLimit = "fail",
        check: bool = False,
        diagnostics: bool = False,
    ):
        super().__init__()
        check_policies(on_failure, on_nonfinite)
        self.on_nonfinite: OnNonfinite = on_nonfinite
        self.feasible_set = feasible_set
        self.surrogate = SPIGOT() if surrogate is None else check_surrogate(surrogate)
        if decoder is not None:
            function(decoder, "decoder", "from scores to structures")
        self.decoder = decoder
        self.on_failure: OnFailure = on_failure
        as_time_limit(time_limit, on_time_limit)
        self.time_limit = time_limit
        self.on_time_limit: OnTimeLimit = on_time_limit
        self.check = check
        self.diagnostics = diagnostics
        self.status = Status()
        self._record: _Latest | None = None
        # A traced graph cannot look at constraints, so what a compiled layer needs is made here,
        # and for other devices and dtypes in the first call that is not traced.
        if feasible_set is not None:
            self._prepare(feasible_set, torch.empty(0, device="cpu"))

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
            if chosen is self.feasible_set and isinstance(scores, Tensor):
                self._prepare(chosen, scores)  # what else scores may be is refused below
            record = _Latest(self.diagnostics)
        z_hat, status = _run(
            chosen,
            scores,
            self.surrogate,
            _How(
                self.decoder,
                as_time_limit(self.time_limit, self.on_time_limit),
                self.check,
            ),
            (self.on_failure, self.on_nonfinite),
            record,
            self.training,
        )
        if record is None:
            self.status = status
        else:
            record.feasible_set = chosen
            self.__dict__.update(
                _record=record, status=status
            )  # a module asks if it is a parameter
        return z_hat

    def _prepare(self, feasible_set: FeasibleSet, like: Tensor) -> None:
        """Compile the constraints for the device and the dtype of `like`."""
        own = as_set(feasible_set)
        own.prepare(like, decides=True)
        if isinstance(self.surrogate, SPIGOT):
            onto = self.surrogate.relaxation
            (own if onto is None else as_set(onto)).prepare(like, decides=False)

    @property
    def backward_status(self) -> Status | None:
        """Status of the latest backward pass; None before it."""
        return None if self._record is None else self._record.status

    def diagnose(self) -> dict[str, float]:
        """Return regime shares, norm ratio and cosine of the latest SPIGOT backward pass.

        Raises:
            InputError: If the layer keeps no diagnostics, has not run backward, or is not SPIGOT.
        """
        record = self._record
        if not isinstance(self.surrogate, SPIGOT):
            raise InputError(f"Only SPIGOT has these diagnostics. Got {self.surrogate!r}.")
        if record is None or record.step is None:
            raise InputError(
                "Nothing to diagnose: use StructuredArgmax(..., diagnostics=True) and run backward."
            )
        grad, z_hat, scores, result = record.step
        surrogate, feasible_set = self.surrogate, as_set(record.feasible_set, grad)
        oracles = Oracles(feasible_set, "nan", relaxation=surrogate.relaxation)
        scores, z_hat, grad = oracles.admit(scores, z_hat, grad)
        with torch.no_grad():
            base = surrogate.base_point(oracles, scores, z_hat)
            step = surrogate.step_size(grad, feasible_set.event_dim) * grad
        tensors = (base, step, result)
        if surrogate.relaxation is not None:
            tensors = tuple(v.flatten(-feasible_set.event_dim) for v in tensors)
            feasible_set = surrogate.relaxation
        return diagnose(feasible_set, *tensors)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_record": None, "status": Status()}

    def extra_repr(self) -> str:
        """Return what `print(layer)` shows."""
        return f"{self.feasible_set}, {self.surrogate}"


class LatestStep(NamedTuple):
    """The tensors of one backward pass, in the shape of the scores."""

    grad: Tensor
    z_hat: Tensor
    scores: Tensor
    result: Tensor


class _Latest:
    """Traces of the latest backward pass of a layer; tensors only on request."""

    def __init__(self, keeps: bool):
        self.keeps = keeps
        self.status: Status | None = None
        self.step: LatestStep | None = None
        self.feasible_set: Any = None

    def keep(self, status: Status, step: "LatestStep") -> None:
        """Take note of a backward pass."""
        self.status, self.step = status, step if self.keeps else None
