"""The verb `decode`, for polytopes and structured sets."""

from collections.abc import Callable
from typing import Literal, Unpack, overload

from torch import Tensor

from .._calls import OnFailure, OnTimeLimit, as_time_limit, decision
from .._errors import InputError
from .._feasible_set import FeasibleSet, as_set
from .._nonfinite import OnNonfinite
from .._options import DecodeOptions
from .._own_decoders import looks_at
from .._scores_aux import chosen, decode_with_aux
from .._status import Status
from .._wrapped import DecodedBy, limited


@overload
def decode(
    feasible_set: FeasibleSet,
    scores: Tensor,
    *,
    return_aux: Literal[False] = ...,
    return_status: Literal[False] = ...,
    **options: Unpack[DecodeOptions],
) -> Tensor: ...


@overload
def decode(
    feasible_set: FeasibleSet,
    scores: Tensor,
    *,
    return_aux: Literal[False] = ...,
    return_status: Literal[True],
    **options: Unpack[DecodeOptions],
) -> tuple[Tensor, Status]: ...


@overload
def decode(
    feasible_set: FeasibleSet,
    scores: Tensor,
    *,
    return_aux: Literal[False] = ...,
    return_status: bool,
    **options: Unpack[DecodeOptions],
) -> Tensor | tuple[Tensor, Status]: ...


@overload
def decode(
    feasible_set: FeasibleSet,
    scores: Tensor,
    *,
    return_aux: Literal[True],
    return_status: Literal[False] = ...,
    **options: Unpack[DecodeOptions],
) -> tuple[Tensor, Tensor]: ...


@overload
def decode(
    feasible_set: FeasibleSet,
    scores: Tensor,
    *,
    return_aux: Literal[True],
    return_status: Literal[True],
    **options: Unpack[DecodeOptions],
) -> tuple[Tensor, Tensor, Status]: ...


def decode(
    feasible_set: FeasibleSet,
    scores: Tensor,
    *,
    scores_aux: Tensor | None = None,
    decoder: Callable[[Tensor], Tensor] | None = None,
    on_failure: OnFailure = "raise",
    on_nonfinite: OnNonfinite = "raise",
    time_limit: float | None = None,
    on_time_limit: OnTimeLimit = "fail",
    check: bool = False,
    return_aux: bool = False,
    return_status: bool = False,
) -> Tensor | tuple[Tensor, Status] | tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Status]:
    r"""Return the best structure, $\hat z \in \arg\max_{z \in Z} z \cdot s$.

    Equal scores, equal answer. Integral polytopes return integers, others a vertex. Not
    differentiable: see `StructuredArgmax`.

    Args:
        feasible_set: A `Polytope` or a structured set.
        scores: `(..., n)` for a polytope; structured sets name their own shape.
        scores_aux: `(..., num_aux)`, c of a polytope with auxiliary variables: then
            $z \cdot s + c \cdot \psi$ is largest.
        decoder: A callable to use instead, from scores to structures of the same shape.
        on_failure: "raise"; "nan": NaN for instances without an answer; "fallback": zeros there.
        on_nonfinite: What NaN and inf in `scores` are, as for `project`. Minus infinity marks what
            must not be chosen, and where it leaves nothing to choose the instance is infeasible;
            with "propagate", NaN. A number far below the others marks the same, but may be chosen
            where nothing else is left. Padding of structured sets may hold anything.
        time_limit: Seconds that HiGHS may take for one instance, where the plan asks it. Ctrl-C
            ends a long solve as well.
        on_time_limit: What an instance is whose time ran out. "fail": a failure that names the
            limit and the gap, subject to `on_failure`. "best": the best structure found by then, if
            there is one, checked like every other; `Status.gap` tells how much more the best of
            all may score. Which one is found depends on the machine.
        check: Hold every decision to the rows, the bounds and the integrality of the set, or of its
            relaxation; one that breaks them is a failure that names the row. Decoders of your own
            (`decoder`, sets and maps) are held to them in their first three calls in any case.
        return_aux: Also return $\psi$, `(..., num_aux)`: a vertex of those that are worth most,
            always the same one.
        return_status: Also return a `Status`; last.

    Raises:
        InputError: If `scores` has another last dimension, is not a float tensor, or is not finite;
            if float16 cannot hold the answer; if a policy does not exist; if
            `time_limit` is not positive.
        InfeasibleError: If an instance has no point; names the instance and rows in conflict.
        UnboundedError: If the scores of an instance can grow without limit.
        SolverFailed: If the time of an instance ran out.

    Examples:
        >>> import torch
        >>> import optlayers as ol
        >>> ol.decode(ol.cardinality(4, at_most=2), torch.tensor([0.1, 0.3, -0.2, 0.2]))
        tensor([0., 1., 0., 1.])
    """
    if scores_aux is not None or return_aux:
        if decoder is not None:
            raise InputError(
                "`decoder` returns structures alone: omit it beside `scores_aux` or `return_aux`."
            )
        limit = as_time_limit(time_limit, on_time_limit)
        options = (on_failure, on_nonfinite, limit, check)
        z_hat, psi, status = decode_with_aux(feasible_set, scores, scores_aux, *options)
        return chosen(z_hat, psi if return_aux else None, status if return_status else None)
    asked = as_set(feasible_set, scores)
    asked = asked if decoder is None else DecodedBy(asked, decoder)
    asked = limited(asked, as_time_limit(time_limit, on_time_limit), check)
    look = looks_at(asked, check)
    z_hat, status = decision(asked, scores, on_failure, on_nonfinite, look)
    return (z_hat, status) if return_status else z_hat
