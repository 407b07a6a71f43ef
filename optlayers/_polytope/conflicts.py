"""Which constraints are in conflict: an elastic linear program, then a deletion filter."""

import numpy as np
import scipy.sparse as sp

_TOL = 1e-9


def conflicting_constraints(
    A: sp.csr_array,
    A_eq: sp.csr_array,
    b: np.ndarray,
    b_eq: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> list[str]:
    """Names of an irreducible infeasible set of rows and bounds; empty when a point exists.

    Chinneck, *Feasibility and Infeasibility in Optimization* (2008), chapters 6 and 7: the rows
    and bounds with a multiplier in the elastic program contain an irreducible set; the deletion
    filter drops, one after the other, what the conflict does not need.
    """
    rows, names = _as_inequalities(A, A_eq, b, b_eq, lower, upper)
    suspects = _suspects(*rows)
    if not len(suspects):
        return []
    kept = list(suspects)
    for candidate in suspects:
        rest = [i for i in kept if i != candidate]
        if len(_suspects(rows[0][rest], rows[1][rest])):
            kept = rest
    return list(dict.fromkeys(names[i] for i in kept))


def _as_inequalities(A, A_eq, b, b_eq, lower, upper):
    """Every constraint as one row G x <= h, and its name in the user's terms."""
    eye = sp.eye_array(A.shape[1], format="csr")
    finite_b, finite_l, finite_u = (np.flatnonzero(np.isfinite(v)) for v in (b, lower, upper))
    G = sp.vstack([A[finite_b], A_eq, -A_eq, -eye[finite_l], eye[finite_u]], format="csr")
    h = np.concatenate([b[finite_b], b_eq, -b_eq, -lower[finite_l], upper[finite_u]])
    names = [f"A[{i}]" for i in finite_b]
    names += 2 * [f"A_eq[{i}]" for i in range(len(b_eq))]
    names += [f"lower[{i}] = {lower[i]:g}" for i in finite_l]
    names += [f"upper[{i}] = {upper[i]:g}" for i in finite_u]
    # Rows of very different scale must not hide one another.
    scale = np.abs(G).max(axis=1).toarray().ravel() if G.nnz else np.zeros(len(h))
    scale[scale == 0] = 1.0  # a row without coefficients keeps its right-hand side
    return (sp.csr_array(sp.diags_array(1 / scale) @ G), h / scale), names


def _suspects(G: sp.csr_array, h: np.ndarray) -> np.ndarray:
    """Rows with a multiplier in min 1'e s.t. Gx - e <= h, e >= 0; empty if the minimum is zero."""
    from scipy.optimize import linprog

    m, n = G.shape
    if m == 0:
        return np.zeros(0, dtype=int)
    cost = np.concatenate([np.zeros(n), np.ones(m)])
    rows = sp.hstack([G, -sp.eye_array(m)], format="csr")
    bounds = np.array([(-np.inf, np.inf)] * n + [(0, np.inf)] * m)
    result = linprog(cost, A_ub=rows, b_ub=h, bounds=bounds, method="highs-ds")
    if result.fun is not None and result.fun <= _TOL * (1 + np.abs(h).max(initial=0.0)):
        return np.zeros(0, dtype=int)
    return np.flatnonzero(np.abs(result.ineqlin.marginals) > _TOL)
