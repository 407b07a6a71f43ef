"""In which regime a SPIGOT step is: what eta does, and how much of the gradient is left."""

import torch
from torch import Tensor

from .._checks import floats
from .._feasible_set import FeasibleSet, as_set
from .._functional import project
from .._kernels.untraced import eager


@eager
@torch.no_grad()
def diagnose(
    feasible_set: FeasibleSet, base: Tensor, step: Tensor, result: Tensor
) -> dict[str, float]:
    r"""Return numbers about a batch of SPIGOT steps, cheap enough to log now and then.

    With $r(\eta) = p - \Pi_P(p - \eta g)$, an instance is in the *cone regime* if
    $r(\eta) = 2\,r(\eta/2)$: the step sees only the tangent cone at $p$, and $\eta$ is a scale. It
    is *saturated* if $r(2\eta) = r(\eta)$: the step has already reached the face it aims at. Cost:
    two projections.

    Args:
        feasible_set: What was projected onto.
        base: $p$, in the shape of the scores: `(..., n)` for a polytope.
        step: $\eta g$, likewise.
        result: $r(\eta)$, likewise.

    Returns:
        Shares of instances `zero_share` (r is zero), `saturated_share` (of the others),
        `cone_share` (of the rest); means `norm_ratio` $\|r\| / \|\eta g\|$ and `cosine` of $r$
        with $g$, the straight-through gradient.
    """
    base, step, result = (
        floats(v, name) for v, name in ((base, "base"), (step, "step"), (result, "result"))
    )
    feasible_set = as_set(feasible_set, base)
    half = base - project(feasible_set, base - step / 2, on_failure="nan")
    twice = base - project(feasible_set, base - 2 * step, on_failure="nan")
    if feasible_set.event_dim > 1:
        base, step, result, half, twice = (
            v.flatten(-feasible_set.event_dim) for v in (base, step, result, half, twice)
        )

    def norm(x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x, dim=-1)

    size, length = norm(result), norm(step)
    # Differences of points of size 1 carry rounding of that size, however small the step.
    near = 1e-4 * size + 16 * torch.finfo(result.dtype).eps * norm(base)
    rounding = 4 * torch.finfo(result.dtype).eps * norm(base)
    zero = size <= 1e-6 * torch.minimum(length, norm(base)) + rounding
    saturated = ~zero & (norm(twice - result) <= near)
    cone = ~zero & ~saturated & (norm(2 * half - result) <= near)
    moving = length > 0
    ratio = size[moving] / length[moving]
    cosine = torch.nn.functional.cosine_similarity(result, step, dim=-1)[~zero]
    shares = {"cone_share": cone, "saturated_share": saturated, "zero_share": zero}
    means = {"norm_ratio": ratio, "cosine": cosine}
    return {k: float(v.double().mean()) if v.numel() else 0.0 for k, v in (shares | means).items()}
