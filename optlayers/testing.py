"""Property checks for projections and decoders, for your maps as for ours; pytest is not needed.

Each check takes a callable that maps a tensor `(..., n)` to one of the same shape, and raises
`AssertionError` with what it found.

Examples:
    >>> import torch, optlayers as ol
    >>> from optlayers import testing
    >>> P, y = ol.simplex(3), torch.randn(10, 3, dtype=torch.float64)
    >>> testing.assert_kkt(lambda y: ol.project(P, y), P, y)
    >>> testing.vertices(P)
    tensor([[0., 0., 1.],
            [0., 1., 0.],
            [1., 0., 0.]], dtype=torch.float64)
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ._enumerated import best_mixed, vertices
from ._errors import PolytopeError
from ._judge.certificate import certify
from ._judge.references import exact_projection
from ._own_decoders import broken_instances
from ._polytope.polytope import Polytope

__all__ = [
    "assert_agrees_with_qp",
    "assert_batch_equals_loop",
    "assert_decodes_optimally",
    "assert_feasible",
    "assert_float32_close",
    "assert_idempotent",
    "assert_kkt",
    "assert_nonexpansive",
    "assert_permutation_equivariant",
    "coarse_points",
    "vertices",
]

Projection = Callable[[Tensor], Tensor]


def _largest(difference: Tensor) -> float:
    """Return the largest absolute entry; NaN counts as infinite, so that it can never pass."""
    return float(difference.abs().nan_to_num(nan=torch.inf).max()) if difference.numel() else 0.0


def _scale(y: Tensor) -> float:
    return max(1.0, float(y.abs().max())) if y.numel() else 1.0


def assert_feasible(
    projection: Projection, polytope: Polytope, y: Tensor, tol: float = 1e-9
) -> None:
    """Assert that no row or bound is violated by more than `tol * max(1, max |y|)`."""
    z = projection(y)
    _same_kind(z, y)
    found = certify(polytope, y, z)
    if not bool((found.primal <= tol * found.scale).all()):
        raise AssertionError(
            f"A point violates a row or bound by {float(found.primal.max()):.2e}, more than "
            f"{tol:g}: {found}"
        )


def assert_kkt(projection: Projection, polytope: Polytope, y: Tensor, tol: float = 1e-9) -> None:
    """Assert that every projected point satisfies the optimality conditions, by `certify`."""
    z = projection(y)
    _same_kind(z, y)
    found = certify(polytope, y, z)
    if not found.holds(tol):
        at = found.worst()
        raise AssertionError(
            f"Instance {list(at)} is not the projection: {found}, tolerance {tol:g} "
            f"(relative to {float(found.scale[at]):.3g})"
        )


def _same_kind(z: Tensor, y: Tensor) -> None:
    if (z.dtype, z.device) != (y.dtype, y.device):
        raise AssertionError(
            f"The result must keep dtype and device: {y.dtype} on {y.device} became "
            f"{z.dtype} on {z.device}"
        )


def assert_idempotent(projection: Projection, y: Tensor, tol: float = 1e-9) -> None:
    """Projecting twice is projecting once."""
    z = projection(y)
    moved = _largest(projection(z) - z)
    if moved > tol * _scale(y):
        raise AssertionError(
            f"Projecting a second time moves a point by {moved:.2e}, more than {tol:g}"
        )


def assert_nonexpansive(
    projection: Projection, y: Tensor, other: Tensor, tol: float = 1e-9
) -> None:
    """Projections of two points are no further apart than the points."""
    before, after = (y - other).norm(dim=-1), (projection(y) - projection(other)).norm(dim=-1)
    excess = (after - before).nan_to_num(nan=torch.inf)
    worst = float(excess.max()) if excess.numel() else 0.0
    if worst > tol * max(_scale(y), _scale(other)):
        raise AssertionError(f"Two points move apart by {worst:.2e}, more than {tol:g}")


def assert_batch_equals_loop(projection: Projection, y: Tensor, tol: float = 1e-12) -> None:
    """Assert that a batch `(N, n)` gives what its instances give alone, in any shape and layout.

    Not for a polytope with batch dimensions: there an instance alone is another problem.
    """
    batch, scale = projection(y), _scale(y)
    if batch.shape != y.shape:
        raise AssertionError(f"The shape changes from {tuple(y.shape)} to {tuple(batch.shape)}")
    forms = {
        "one by one": lambda: torch.stack([projection(row) for row in y]) if len(y) else batch,
        "with another leading dimension": lambda: projection(y[None, :, None])[0, :, 0],
        "non-contiguous": lambda: projection(y.T.contiguous().T),
        "as an empty batch": lambda: torch.cat([projection(y[:0]), batch]),
    }
    for name, form in forms.items():
        apart = _largest(form() - batch)
        if apart > tol * scale:
            raise AssertionError(f"The batch {name} differs by {apart:.2e}, more than {tol:g}")


def assert_permutation_equivariant(
    make: Callable[[Polytope], Projection],
    polytope: Polytope,
    y: Tensor,
    tol: float = 1e-9,
    seed: int = 0,
) -> None:
    """Renaming variables, reordering rows and scaling rows change nothing but the names.

    Args:
        make: Builds the projection of a polytope, as `lambda P: lambda y: ol.project(P, y)`.
        polytope: What to permute.
        y: Points `(..., n)`.
        tol: Largest difference, relative to max(1, max |y|).
        seed: Seed of permutations and scales (powers of two, which rounding does not see).
    """
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(polytope.n), np.arange(polytope.n, polytope.num_vars)])
    fields = {}
    for name, right in (("A", "b"), ("A_eq", "b_eq")):
        rows, values = getattr(polytope, name), getattr(polytope, right)
        shuffled = rng.permutation(rows.shape[0])
        scale = 2.0 ** rng.integers(-2, 3, len(shuffled))
        fields[name] = sp.diags_array(scale) @ rows[shuffled][:, order]
        fields[right] = values[..., shuffled] * torch.from_numpy(scale).to(values)
    bounds = {name: getattr(polytope, name)[..., order] for name in ("lower", "upper")}
    renamed = Polytope(**fields, **bounds, num_aux=polytope.num_aux, integral=polytope.integral)
    order = torch.from_numpy(order[: polytope.n]).to(y.device)
    apart = _largest(make(renamed)(y[..., order]) - make(polytope)(y)[..., order])
    if apart > tol * _scale(y):
        raise AssertionError(
            f"With variables renamed and rows reordered the result differs by {apart:.2e}, "
            f"more than {tol:g}"
        )


def assert_float32_close(projection: Projection, y: Tensor, tol: float = 1e-5) -> None:
    """float32 gives what float64 gives for the same points, and gives it in float32."""
    y = y.float()
    single, double = projection(y), projection(y.double())
    for z, wanted in ((single, torch.float32), (double, torch.float64)):
        if z.dtype != wanted:
            raise AssertionError(f"{wanted} became {z.dtype}")
    apart = _largest(single.double() - double)
    if apart > tol * _scale(y):
        raise AssertionError(f"float32 differs from float64 by {apart:.2e}, more than {tol:g}")


def assert_agrees_with_qp(
    projection: Projection, polytope: Polytope, y: Tensor, tol: float = 1e-6, solver: str = "cvxpy"
) -> None:
    """Assert that an exact QP solver's point is no farther than what both allow for.

    A QP solver may be the less accurate side, so the bound of its own certificate is granted.
    """
    reference = exact_projection(polytope, y, solver)
    allowed = tol * _scale(y) + certify(polytope, y, reference).distance
    apart = (projection(y).detach().cpu().double() - reference).norm(dim=-1)
    if not bool(((apart <= allowed) & allowed.isfinite()).all()):
        raise AssertionError(
            f"The distance to the point of {solver} is {float(apart.max()):.2e}, more than "
            f"{float(allowed.min()):.2e}"
        )


# ---------------------------------------------------------------------- decoders


def assert_decodes_optimally(
    decoder: Callable[[Tensor], Tensor], polytope: Polytope, scores: Tensor, tol: float = 1e-9
) -> None:
    """Assert that every decoded structure is an integral point, and that none scores higher.

    Where only some variables are integers, every combination of those is completed by a linear
    program, and rows and bounds may be missed by 1e-6.

    Args:
        decoder: Maps scores `(..., n)` to structures.
        polytope: Small enough for `vertices`.
        scores: `(..., n)`.
        tol: Largest loss of score that counts as a tie, relative to max(1, max |score|).
    """
    if isinstance(polytope.integral, tuple):
        return _assert_mixed_optimal(decoder, polytope, scores, max(tol, 1e-7))
    points = vertices(polytope)
    if not len(points):
        raise PolytopeError(f"{polytope} has no integral point, so there is nothing to decode.")
    z_hat, scores = decoder(scores).detach().cpu().double(), scores.detach().cpu().double()
    z_hat, flat = z_hat.reshape(-1, polytope.n), scores.reshape(-1, polytope.n)
    for i, (found, s) in enumerate(zip(z_hat, flat, strict=True)):
        if not bool((found == points).all(-1).any()):
            raise AssertionError(f"Instance {i} is decoded to {found.tolist()}, not in the set")
        values = points @ s
        loss = float(values.max() - found @ s)
        if loss > tol * _scale(scores):
            best = points[int(values.argmax())].tolist()
            raise AssertionError(
                f"Instance {i} is decoded to {found.tolist()}, whose score is {loss:.2e} below "
                f"that of {best}"
            )


def _assert_mixed_optimal(decoder, polytope: Polytope, scores: Tensor, tol: float) -> None:
    """Assert that decisions are in a set of which some variables are integers, and the best."""
    z_hat = decoder(scores).detach().cpu().double().reshape(-1, polytope.n)
    flat = scores.detach().cpu().double().reshape(-1, polytope.n).numpy()
    count = len(flat)
    broken = broken_instances(polytope, torch.Size([count]), z_hat.numpy(), 0.0, count)
    for i, why in broken.items():
        raise AssertionError(f"Instance {i} is decoded to {z_hat[i].tolist()}: {why}")
    for i, (found, s) in enumerate(zip(z_hat.numpy(), flat, strict=True)):
        loss = best_mixed(polytope, s) - float(found @ s)
        if not loss <= tol * _scale(scores):
            raise AssertionError(
                f"Instance {i} is decoded to {found.tolist()}, whose score is {loss:.2e} below "
                "that of the best point"
            )


def coarse_points(
    shape: tuple[int, ...],
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw points on a grid of halves from -1.5 to 1.5: ties and boundary points are common."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).to(dtype) / 2
