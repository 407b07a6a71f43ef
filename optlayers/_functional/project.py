"""The verb `project`, for polytopes and structured sets."""

from typing import Literal, Unpack, overload

from torch import Tensor

from .._calls import as_time_limit, projection
from .._errors import InputError
from .._feasible_set import FeasibleSet, as_set
from .._nonfinite import OnNonfinite
from .._options import ProjectOptions
from .._plan.failures import ACCURACY
from .._scores_aux import chosen, project_with_aux
from .._status import Status


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
        return chosen(z, psi if return_aux else None, status if return_status else None)
    limit = as_time_limit(time_limit, "fail")
    asked = as_set(feasible_set, y)
    z, status = projection(asked, y, on_failure, on_nonfinite, tolerance, near, limit)
    return (z, status) if return_status else z
