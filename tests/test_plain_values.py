"""Sets made anew with other values: compiled passes find what the general way does."""

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._plan import compile as compiling
from optlayers._plan.compile import compile_plan, compiled_of
from optlayers._plan.plain import plain_values

from .helpers import TOL

inf = np.inf
GRID = np.array([-1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0, 2.0])


def random_polytope(rng: np.random.Generator, batch: tuple[int, ...] = ()) -> ol.Polytope:
    """Rows from a coarse grid: duplicates, single coefficients and corners are common."""
    n, m, m_eq = rng.integers(1, 6), rng.integers(0, 4), rng.integers(0, 3)
    A, A_eq = (rng.choice([0.0, 0.0, 1.0, -1.0, 2.0], size=(k, n)) for k in (m, m_eq))

    def values(size: int, choices: np.ndarray) -> torch.Tensor:
        lead = batch if rng.random() < 0.5 else ()
        return torch.from_numpy(rng.choice(choices, size=(*lead, size)))

    return ol.Polytope(
        A, values(m, np.append(GRID, inf)), A_eq=A_eq, b_eq=values(m_eq, GRID),
        lower=values(n, np.array([-inf, -1.0, 0.0, 0.0, 0.5])),
        upper=values(n, np.array([0.5, 1.0, 1.0, 2.0, inf])),
        integral=bool(rng.random() < 0.5),
    )  # fmt: skip


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
def test_compiled_passes_find_the_values_of_the_general_way(batch, monkeypatch):
    rng, taken = np.random.default_rng(len(batch)), 0
    for _ in range(300):
        try:
            P = random_polytope(rng, batch)
        except ol.PolytopeError:
            continue  # an empty row that nothing satisfies
        compiling._SMALL.clear()
        own = compiled_of(P)
        plain = plain_values(P, own.rows.reduction, own.rows.dependences)
        taken += plain is not None
        with monkeypatch.context() as patch:
            patch.setattr(compiling, "plain_values", lambda *_: None)
            general = compiling._compile(P)
        assert bool(own.empty.any()) == bool(general.empty.any())
        for table in ("projection", "decoder"):
            found, wanted = own.values_for(table)[0], general.values_for(table)[0]
            for (v, varies), (w, vary) in zip(found.parts(), wanted.parts(), strict=True):
                assert varies == vary
                assert v.shape == w.shape or 1 in (len(v), len(w))
                assert (v == w).all()
    assert taken > 50


@pytest.mark.parametrize(
    "P",
    [
        ol.cardinality(6, at_most=3), ol.simplex(5), ol.budget([1.0, 2.0, 3.0], 3.0),
        ol.product(ol.simplex(3), ol.cardinality(3, at_most=1), ol.simplex(3)), ol.spans(4, 2, 1),
        ol.assignment(3), ol.label_sum(3, 2),
    ],
)  # fmt: skip
def test_rows_seen_before_with_other_values_have_the_plan_of_a_first_time(P):
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.standard_normal((4, P.n)))
    for _ in range(12):
        upper = torch.from_numpy(rng.choice([0.0, 1.0, 1.0, 1.0, 2.0], size=P.num_vars))
        changed = P.with_(upper=upper)
        tables = (ol.maps.PROJECTIONS, ol.maps.DECODERS)
        plans = [compile_plan(changed, table).explain() for table in tables]
        found = [
            ol.project(changed, y, on_failure="nan"),
            ol.decode(changed, y, on_failure="nan"),
        ]
        compiling._SMALL.clear()
        compiling._ROWS.clear()
        first = ol.Polytope(
            P.A, P.b, A_eq=P.A_eq, b_eq=P.b_eq, upper=upper, num_aux=P.num_aux, integral=P.integral
        )
        assert plans == [compile_plan(first, table).explain() for table in tables]
        wanted = [ol.project(first, y, on_failure="nan"), ol.decode(first, y, on_failure="nan")]
        for z, w in zip(found, wanted, strict=True):
            torch.testing.assert_close(z, w, rtol=0, atol=TOL[torch.float64], equal_nan=True)


def test_other_values_are_checked_as_first_ones():
    P = ol.Polytope([[1.0, 1.0], [0.0, 0.0]], [1.0, 0.0])
    with pytest.raises(ol.PolytopeError, match="must not exceed"):
        P.with_(lower=2.0)
    with pytest.raises(ol.PolytopeError, match="no coefficients"):
        P.with_(b=[1.0, -1.0])
    with pytest.raises(ol.PolytopeError, match="must have shape"):
        P.with_(b=[1.0])
    with pytest.raises(ol.PolytopeError, match="must be finite"):
        P.with_(upper=[1.0, float("nan")])
    with pytest.raises(ol.PolytopeError, match="batch dimensions"):
        P.with_(upper=torch.ones(2, 2)).with_(lower=torch.zeros(3, 2))
    changed = P.with_(b=torch.tensor([[1.0, 0.0], [2.0, 0.0]]), integral=[True, False])
    assert repr(changed) == "Polytope(n=2, rows=2, batch=(2,), 1 of 2 integral)"
    assert P.batch_shape == ()
