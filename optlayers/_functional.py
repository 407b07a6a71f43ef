"""The verbs: `project`, `decode` and `plan`, as plain functions over tensors."""

from collections.abc import Callable
from typing import Any, Literal, Unpack, overload

from torch import Tensor

from ._calls import OnFailure, OnTimeLimit, Status, as_time_limit, decision, projection
from ._decoders import DECODERS
from ._errors import InputError
from ._feasible_set import FeasibleSet, as_set
from ._nonfinite import OnNonfinite
from ._options import DecodeOptions, ProjectOptions
from ._own_decoders import looks_at
from ._plan.compile import compile_plan
from ._plan.failures import ACCURACY
from ._plan.plan import Plan
from ._polytope.joint import joint_of
from ._polytope.polytope import Polytope, as_polytope
from ._projections import PROJECTIONS
from ._scores_aux import decode_with_aux, project_with_aux
from ._wrapped import DecodedBy, limited

_TABLES = {"projection": PROJECTIONS, "decoder": DECODERS}


def plan(polytope: Polytope, kind: Literal["projection", "decoder"] = "projection") -> Plan:
    """Return the compiled plan of a polytope: which block goes to which map.

    It is compiled once, then kept. Where rows differ from instance to instance, it is that of all
    instances side by side.

    Examples:
        >>> import optlayers as ol
        >>> print(ol.plan(ol.cardinality(4, at_most=2)).explain())
        Projection plan: 4 variables, 1 block
          1 x 4 variables, 1 row -> OneRow
              not Box: it has coupling rows
              not Simplex: a bound other than those of a simplex can be active
    """
    if not isinstance(kind, str) or kind not in _TABLES:
        raise InputError(f"`kind` must be one of {tuple(_TABLES)}. Got {kind!r}.")
    polytope = as_polytope(polytope, "plan")
    return compile_plan(joint_of(polytope) if polytope.rows_batch else polytope, _TABLES[kind])


@overload
def project(
    feasible_set: FeasibleSet,
    y: Tensor,
    *,
    return_aux: Literal[False] = ...,
    return_status: Literal[False] = ...,
    **options: Unpack[ProjectOptions],
) -> Tensor: ...


@overload
def project(
    feasible_set: FeasibleSet,
    y: Tensor,
    *,
    return_aux: Literal[False] = ...,
    return_status: Literal[True],
    **options: Unpack[ProjectOptions],
) -> tuple[Tensor, Status]: ...


@overload
def project(
    feasible_set: FeasibleSet,
    y: Tensor,
    *,
    return_aux: Literal[False] = ...,
    return_status: bool,
    **options: Unpack[ProjectOptions],
) -> Tensor | tuple[Tensor, Status]: ...


@overload
def project(
    feasible_set: FeasibleSet,
    y: Tensor,
    *,
    return_aux: Literal[True],
    return_status: Literal[False] = ...,
    **options: Unpack[ProjectOptions],
) -> tuple[Tensor, Tensor]: ...


@overload
def project(
    feasible_set: FeasibleSet,
    y: Tensor,
    *,
    return_aux: Literal[True],
    return_status: Literal[True],
    **options: Unpack[ProjectOptions],
) -> tuple[Tensor, Tensor, Status]: ...


def project(
    feasible_set: FeasibleSet,
    y: Tensor,
    *,
    scores_aux: Tensor | None = None,
    near: Tensor | None = None,
    on_failure: Literal["raise", "nan"] = "raise",
    on_nonfinite: OnNonfinite = "raise",
    tolerance: float = ACCURACY,
    time_limit: float | None = None,
    return_aux: bool = False,
    return_status: bool = False,
) -> Tensor | tuple[Tensor, Status] | tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Status]:
    r"""Return the point of a polytope nearest to `y`; for a structured set, of its relaxation.

    $$ \Pi_P(y) = \arg\min_{z \in P} \tfrac12 \|z - y\|_2^2 $$

    Exact: closed forms where the structure of (A, b) allows (see `plan`), else a QP whose answer
    has a KKT residual of at most `tolerance`, relative to 1 + max(|y|, |z|). Differentiable by the
    active face: in `y`, also twice, and in those of `A`, `A_eq`, `b`, `b_eq`, `lower` and `upper`
    that were declared with tensors that require grad. At a kink, where the derivative jumps, it is
    that of the smallest face, a limit of derivatives nearby. Blocks with auxiliary variables cost
    one linear program per instance for it.

    Args:
        feasible_set: A polytope, whose batch dimensions broadcast against those of `y`, or a
            structured set.
        y: `(..., n)`, any float type; structured sets name their own shape. Half precision is
            computed in float32.
        scores_aux: `(..., num_aux)`, c of a polytope with auxiliary variables: then
            $\tfrac12 \|z - y\|^2 - c \cdot \psi$ is least, over z and $\psi$. Computed in float64.
            The derivative in c is what $\psi$ does while z moves on its face (both from the active
            rows); where several $\psi$ are worth as much, a kink, it is that of the largest set of
            $\psi$. There is no second derivative.
        near: Where the answer is expected, broadcasting to the shape of the answer. What is active
            there is tried first by the dual active-set method on the CPU. An answer for almost the
            same point makes it 3 to 4 times faster (20 to 200 dense rows, measured); next to a
            vertex a start from `y` is faster, and all other methods ignore it. It changes the
            work, not the answer (by no more than rounding, 1e-12): any point will do, in the set
            or not, and entries that are not finite say nothing. No gradient flows to it.
        on_failure: "raise", or "nan": put NaN for the instances without an answer. The "fallback"
            of `decode` is refused: zeros need not lie in the set.
        on_nonfinite: What NaN and inf in `y` are. "raise": failures, subject to `on_failure`; the
            check is one pass, and one synchronisation on CUDA. "propagate": NaN for that instance,
            with a zero gradient, nothing is raised and nothing synchronised; also under
            `torch.compile`. Minus infinity, like any number far below the others, keeps a part at
            its lower bound; where there is none it is not finite, and where it leaves no point
            the instance is infeasible.
        tolerance: KKT residual up to which an answer is accepted, at least 1e-9, the default.
            Solvers aim at less whatever it is; it decides what becomes of an instance that all of
            them miss. An answer that is off by more than 1e-8 may have the derivative of another
            face. Hulls are accepted by a proved distance of 1e-6, or `tolerance` if that is more.
        return_aux: Also return $\psi$, `(..., num_aux)`: of all that complete z and are worth most,
            the one nearest to zero. Differentiable in z and in what the polytope was declared with,
            through z in y and c. One more projection, and multipliers on the host.
        time_limit: Seconds that the projection of one instance may take. It is kept to where rows
            are many and fill a factor, which Clarabel then makes (`plan(P).explain()` says so); an
            instance that runs out of time is a failure, subject to `on_failure`. All other methods
            take a fraction of a second, and finish. Ctrl-C ends a long call as well; one of more
            than ten seconds says how far it is, unless `OPTLAYERS_PROGRESS=0` is set.
        return_status: Also return a `Status`, with the residual and the solver of each instance.

    Returns:
        The shape, dtype and device of `y`; with `return_aux`, also $\psi$; with `return_status`,
        also the status, last.

    Raises:
        InputError: If `y` has another last dimension, is not a float tensor, or is not finite; if
            float16 cannot hold the answer; if a policy does not exist; if `tolerance` is not a
            number from 1e-9 to 1; if `near` is no float tensor, or does not fit; if `time_limit` is
            not positive.
        InfeasibleError: If an instance has no point; names the instance and rows in conflict.
        UnboundedError: If `scores_aux` can grow over the set for ever; names a variable.
        SolverFailed: If no exact solver reached `tolerance`; names the instance, with residuals. If
            the time of an instance ran out.

    Examples:
        >>> import torch
        >>> import optlayers as ol
        >>> ol.project(ol.simplex(3), torch.tensor([1.0, 0.5, -1.0]))
        tensor([0.7500, 0.2500, 0.0000])
        >>> _, status = ol.project(ol.assignment(3), torch.rand(2, 9), return_status=True)
        >>> status.solver
        {(0,): 'activeset', (1,): 'activeset'}
        >>> bool((status.residual <= 1e-9).all())
        True
        >>> P = ol.Polytope([[1.0, -1.0], [-1.0, -1.0]], [0.0, 0.0], lower=-2, upper=2, num_aux=1)
        >>> y, price = torch.tensor([1.5]), torch.tensor([-1.0])  # psi >= |z|, and costs 1
        >>> ol.project(P, y, scores_aux=price, return_aux=True)
        (tensor([0.5000]), tensor([0.5000]))
    """
    if scores_aux is not None or return_aux:
        if near is not None or time_limit is not None:
            name = "near" if near is not None else "time_limit"
            raise InputError(
                f"`{name}` is not used beside `scores_aux` or `return_aux`. Leave it out."
            )
        options = (on_failure, on_nonfinite, tolerance)
        z, psi, status = project_with_aux(feasible_set, y, scores_aux, return_aux, *options)
        return _chosen(z, psi if return_aux else None, status if return_status else None)
    limit = as_time_limit(time_limit, "fail")
    asked = as_set(feasible_set, y)
    z, status = projection(asked, y, on_failure, on_nonfinite, tolerance, near, limit)
    return (z, status) if return_status else z


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
        return _chosen(z_hat, psi if return_aux else None, status if return_status else None)
    asked = as_set(feasible_set, scores)
    asked = asked if decoder is None else DecodedBy(asked, decoder)
    asked = limited(asked, as_time_limit(time_limit, on_time_limit), check)
    look = looks_at(asked, check)
    z_hat, status = decision(asked, scores, on_failure, on_nonfinite, look)
    return (z_hat, status) if return_status else z_hat


def _chosen(z: Tensor, psi: Tensor | None, status: Status | None) -> Any:
    """Return what was asked for, alone or as a tuple."""
    found = [v for v in (z, psi, status) if v is not None]
    return found[0] if len(found) == 1 else tuple(found)
