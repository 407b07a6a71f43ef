"""Sets that are matrices take scores as matrices: every verb says what it says of vectors."""

import copy
import pickle

import numpy as np
import pytest
import torch

import optlayers as ol

from .helpers import TOL, raw_chain

SETS = {
    "assignment": ol.assignment(3),
    "wide assignment": ol.assignment(2, 4),
    "transport": ol.transport([2.0, 1.0], [1.0, 1.0, 2.0], least_demand=0.0, capacity=1.0),
    "head selection": ol.head_selection(3),
    "label sum": ol.label_sum(3, 2),
    "declared": ol.Polytope(raw_chain(6).A, raw_chain(6).b, shape=(2, 3)),
    "three dimensions": ol.Polytope(
        A_eq=np.ones((1, 12)), b_eq=[1.0], lower=0.0, upper=1.0, shape=(2, 3, 2)
    ),
    "batch": ol.transport(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), [1.0, 1.0, 1.0]),
}
EVERY = pytest.mark.parametrize("name", SETS)
SUMS = ["head selection", "label sum", "three dimensions"]


def both(P: ol.Polytope, *lead: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores as arrays and as vectors."""
    x = torch.randn(*lead, *P.batch_shape, *P.shape, dtype=torch.float64)
    return x, x.flatten(-len(P.shape))


def same(arrays: torch.Tensor, vectors: torch.Tensor, P: ol.Polytope) -> None:
    assert arrays.shape[-len(P.shape) :] == P.shape
    assert torch.equal(arrays.flatten(-len(P.shape)), vectors)


@EVERY
@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3)])
def test_verbs(name, lead):
    P = SETS[name]
    x, flat = both(P, *lead)
    for verb in (ol.decode, ol.project):
        z, status = verb(P, x, return_status=True)
        expected, of_vectors = verb(P, flat, return_status=True)
        same(z, expected, P)
        assert status.batch_shape == of_vectors.batch_shape == (*lead, *P.batch_shape)


@EVERY
def test_low_scores_and_failures(name):
    P = SETS[name]
    x, flat = both(P, 3)
    x[0, ..., 0] = flat.reshape(x.shape)[0, ..., 0] = -1e9
    x.reshape(-1)[-1] = flat.reshape(-1)[-1] = torch.nan
    for verb in (ol.decode, ol.project):
        z, status = verb(P, x, on_failure="nan", return_status=True)
        expected, of_vectors = verb(P, flat, on_failure="nan", return_status=True)
        assert z.isnan().sum() == P.n
        assert torch.equal(z.nan_to_num(-7.0).flatten(), expected.nan_to_num(-7.0).flatten())
        assert status.failures.keys() == of_vectors.failures.keys()
        where = ", ".join(str(k - 1) for k in P.shape)
        with pytest.raises(ol.InputError, match=rf"\[\.\.\., {where}\] is nan"):
            verb(P, x.nan_to_num(0.0).where(~x.isnan(), torch.nan))


LAYERS = {
    "default": ol.SPIGOT(warn=False),
    "vertex": ol.SPIGOT(around="vertex", warn=False),
    "clipped": ol.SPIGOT(eta=ol.NormClip(0.5), warn=False),
    "straight-through": ol.StraightThrough(),
    "clipped straight-through": ol.StraightThrough(ol.NormClip(1.0)),
    "sparsemap": ol.SparseMAP(),
    "lpgd": ol.LPGD(),
    "blackbox": ol.Blackbox(),
    "identity": ol.Identity(),
}


@EVERY
@pytest.mark.parametrize("surrogate", LAYERS)
def test_layers(name, surrogate):
    P = SETS[name]
    x, flat = both(P, 3)
    weights = torch.randn(P.shape, dtype=torch.float64)
    results = []
    for s, w in ((x, weights), (flat, weights.flatten())):
        s = s.clone().requires_grad_()
        layer = ol.StructuredArgmax(P, LAYERS[surrogate])
        z = layer(s)
        (z * w).sum().backward()
        results.append((z.detach(), s.grad))
    for arrays, vectors in zip(*results, strict=True):
        same(arrays, vectors, P)


@EVERY
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_losses(name, reduction):
    P = SETS[name]
    x, flat = both(P, 3)
    gold = ol.decode(P, torch.randn_like(x))
    found = []
    for s, g in ((x, gold), (flat, gold.flatten(-len(P.shape)))):
        s = s.clone().requires_grad_()
        losses = [
            ol.structured_hinge(P, s, g, reduction=reduction),
            ol.structured_perceptron(P, s, g, reduction=reduction),
            ol.sparsemap_loss(P, s, g, reduction=reduction),
            ol.spo_plus(P, s, g, sense="scores", reduction=reduction),
            ol.regret(P, s, g + 1, sense="scores", reduction=reduction),
            ol.perturbed_fenchel_young(
                P, s, g, samples=2, generator=torch.Generator().manual_seed(0), reduction=reduction
            ),
        ]
        torch.stack([loss.sum() for loss in losses]).sum().backward()
        found.append(([loss.detach() for loss in losses], s.grad))
    for one, two in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        found[0][1].flatten(-len(P.shape)), found[1][1], rtol=0, atol=TOL[torch.float64]
    )


@pytest.mark.parametrize("name", SUMS)
def test_sums(name):
    P = SETS[name]
    x, flat = both(P, 3)
    assert torch.equal(ol.log_partition(P, x), ol.log_partition(P, flat))
    assert torch.equal(ol.entropy(P, x), ol.entropy(P, flat))
    same(ol.marginals(P, x), ol.marginals(P, flat), P)
    drawn = [ol.sample(P, v, 4, generator=torch.Generator().manual_seed(0)) for v in (x, flat)]
    same(drawn[0], drawn[1], P)
    gold = ol.decode(P, x)
    torch.testing.assert_close(
        ol.log_loss(P, x, gold), ol.log_loss(P, flat, gold.flatten(-len(P.shape)))
    )


@EVERY
def test_hulls_and_own_decoders(name):
    P = SETS[name]
    x, flat = both(P, 2)
    if not P.batch_shape:
        hull = ol.ConvexHull(P)
        same(ol.decode(hull, x), ol.decode(hull, flat), P)
        same(ol.project(hull, x), ol.project(hull, flat), P)
        same(hull.project(x).z, hull.project(flat).z, P)
    seen = []

    def decoder(scores: torch.Tensor) -> torch.Tensor:
        seen.append(scores.shape)
        return ol.decode(P, scores)

    same(ol.decode(P, x, decoder=decoder), ol.decode(P, flat), P)
    assert seen == [x.shape]


@EVERY
def test_the_judge(name):
    P = SETS[name]
    x, flat = both(P, 2)
    z = ol.project(P, x)
    assert ol.certify(P, x, z).holds(TOL[torch.float64])
    found = ol.certify(P, x, z).residual
    assert torch.equal(found, ol.certify(P, flat, z.flatten(-len(P.shape))).residual)
    assert ol.validate(P, samples=2, against=("osqp",)).ok


def test_gradients_of_projections_flow_through_matrices():
    P = SETS["assignment"]
    x, flat = both(P, 2)
    x, flat = x.requires_grad_(), flat.detach().clone().requires_grad_()
    weights = torch.randn_like(x)
    (ol.project(P, x) * weights).sum().backward()
    (ol.project(P, flat) * weights.flatten(1)).sum().backward()
    same(x.grad, flat.grad, P)


def test_a_layer_diagnoses_matrices():
    P = SETS["assignment"]
    layer = ol.StructuredArgmax(P, ol.SPIGOT(), diagnostics=True)
    found = []
    x, flat = both(P, 3)
    for s in (x, flat):
        layer(s.clone().requires_grad_()).square().sum().backward()
        found.append(layer.diagnose())
    assert found[0] == pytest.approx(found[1])


# ---------------------------------------------------------------------- which of the two


def test_a_batch_of_rows_is_no_matrix_of_another_set():
    """The last dimension tells: n m entries are a vector, m of them need n before."""
    P = ol.assignment(2, 3)
    assert ol.decode(P, torch.zeros(2, 6)).shape == (2, 6)
    assert ol.decode(P, torch.zeros(6, 2, 3)).shape == (6, 2, 3)
    for shape in [(3, 2), (2, 2), (3,), (2, 4)]:
        with pytest.raises(ol.InputError, match=r"shape \(..., 6\).* or \(..., 2, 3\). Got"):
            ol.decode(P, torch.zeros(shape))


def test_where_both_fit_they_are_vectors():
    P = ol.assignment(1, 3)
    s = torch.randn(4, 1, 3)
    _, status = ol.decode(P, s, return_status=True)
    assert status.batch_shape == (4, 1)
    assert torch.equal(ol.decode(P, s), ol.decode(P, s[:, 0])[:, None])


def test_what_a_batch_could_mean_twice_is_refused():
    P = ol.transport(torch.ones(2, 1), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert ol.decode(P, torch.zeros(2, 2)).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ol.InputError, match=r"may be arrays of shape \(1, 2\) or vectors of 2"):
        ol.decode(P, torch.zeros(2, 1, 2))


def test_a_shape_that_is_none_is_refused():
    for shape in [(2, 2), (0, 3), (-1, -3)]:
        with pytest.raises(ol.PolytopeError, match="`shape` must be sizes whose product is the"):
            ol.Polytope(lower=[0.0] * 3, shape=shape)


# ---------------------------------------------------------------------- it stays with the set


def test_the_shape_is_kept(tmp_path):
    P = SETS["wide assignment"]
    ol.save(P, tmp_path / "set.npz")
    kept = [
        P.with_(upper=0.5, integral=False), P.fix({0: 0.0}), copy.deepcopy(P),
        pickle.loads(pickle.dumps(P)), ol.load(tmp_path / "set.npz"),
        ol.intersect(P, ol.box(8)), ol.intersect(ol.box(8), P), P.instance(()),
        SETS["batch"].instance((0,)),
    ]  # fmt: skip
    assert [Q.shape for Q in kept] == [(2, 4)] * 8 + [(2, 3)]
    assert ol.product(P, P).shape == (16,)


def test_cvxpy_variables_give_their_shape():
    import cvxpy as cp

    z = cp.Variable((2, 3), boolean=True)
    P = ol.Polytope.from_cvxpy(z, [cp.sum(z, axis=0) == 1])
    assert ol.decode(P, torch.eye(2, 3)).tolist() == [[1, 0, 1], [0, 1, 0]]
