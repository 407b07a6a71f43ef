"""Sums of scores of any size, on every set that has them: exact, or refused in words."""

import contextlib
from fractions import Fraction

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers import _sums
from optlayers._paths import sums

from .fuzz.generate import named_case
from .fuzz.sets.exact import KINDS, exact_sums, hostile
from .fuzz.sets.known import SetCase, by_rows
from .tree_enumeration import tree_tensors

# Sets of which all structures are listed, with one instance or three.
SETS = {
    "simplex": "set_simplex:0", "subsets": "set_cardinality:9", "budget": "set_budget:0",
    "dag_path": "set_dag_path:3", "grid_path": "set_grid_path:0",
    "label_sum": "set_label_sum:0", "head_selection": "set_head_selection:1",
    "trees": "set_trees:4", "single root": "set_trees:11", "graphs": "set_graphs:11",
    "no predicates": "set_graphs:9",
    "chain": "set_linear_chain:12", "segmentation": "set_segmentation:11",
    "spanning trees": "set_spanning_trees:2", "hull": "set_hull_of_structures:4",
}  # fmt: skip
SIGNED = by_rows(ol.budget([3.0, -1, 2, -2, 1], 1.0))
NAMES = [*SETS, "signs"]
SIZES = {torch.float64: (1e9, 1e30, 1e100, 1e200, 1e300), torch.float32: (1e9, 1e30, 3e38)}
CLOSE = {torch.float64: 1e-8, torch.float32: 2e-4}


def asked(name: str, dtype: torch.dtype, sizes=None):
    """Yield the set, scores of every kind, and what is right for each instance."""
    known = SIGNED
    if name != "signs":
        case = named_case(SETS[name])
        assert isinstance(case, SetCase)
        known = case.known
    rng, most = np.random.default_rng(7), float(torch.finfo(dtype).max)
    for size in (sizes or SIZES)[dtype]:
        for kind in KINDS:
            x = torch.tensor(hostile(rng, (3, *known.event), size, kind, most)).to(dtype)
            wide = x.double().numpy()
            right = [exact_sums(z, s) for z, s in zip(known.structures, wide, strict=True)]
            yield known, x, right


def near(total, right, dtype):
    """Whether a sum is right, to the rounding of the scores that are in it."""
    if right is None or not np.isfinite(total):
        least = -0.99 * float(torch.finfo(dtype).max)
        return total == -np.inf and (right is None or right.log_z < Fraction(least))
    return abs(Fraction(total) - right.log_z) <= Fraction(CLOSE[dtype]) * (1 + right.reach)


@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_log_partition_and_its_derivative(name, dtype):
    refused = total = 0
    for known, x, right in asked(name, dtype):
        x.requires_grad_()
        total += 1
        try:
            found = ol.log_partition(known.asked, x)
        except ol.InputError:
            refused += 1
            continue
        for value, one in zip(found.tolist(), right, strict=True):
            assert near(value, one, dtype), (x, value, one)
        (slope,) = torch.autograd.grad(torch.where(found.isfinite(), found, 0).sum(), x)
        for value, one, mean in zip(found, right, slope.numpy(), strict=True):
            wanted = 0.0 if one is None or not value.isfinite() else one.marginals
            np.testing.assert_allclose(mean, wanted, rtol=0, atol=CLOSE[dtype])
    assert refused < total / 2


@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_marginals_and_entropy(name, dtype):
    for known, x, right in asked(name, dtype):
        with contextlib.suppress(ol.InputError):
            for mean, one in zip(ol.marginals(known.asked, x).numpy(), right, strict=True):
                if one is None:
                    assert np.isnan(mean).any()
                else:
                    np.testing.assert_allclose(mean, one.marginals, rtol=0, atol=CLOSE[dtype])
        with contextlib.suppress(ol.InputError):
            for value, one in zip(ol.entropy(known.asked, x).tolist(), right, strict=True):
                if one is None:
                    assert not np.isfinite(value)
                else:
                    assert abs(value - one.entropy) <= 100 * CLOSE[dtype]


@pytest.mark.parametrize("name", ["dag_path", "grid_path", "chain", "segmentation"])
def test_sums_over_paths_where_nobody_may_look(name, monkeypatch):
    """On devices and in graphs: right for scores of up to 1e25, no number beyond."""
    monkeypatch.setattr(sums, "use_kernels", lambda _: False)
    monkeypatch.setattr(sums, "may_look", lambda _: False)
    monkeypatch.setattr(_sums, "calm", lambda _: True)
    lost = 0
    for known, x, right in asked(
        name, torch.float64, {torch.float64: (1e9, 1e15, 1e19, 1e24, 1e30)}
    ):
        x.requires_grad_()
        log_z = ol.log_partition(known.asked, x)
        (slope,) = torch.autograd.grad(torch.where(log_z.isfinite(), log_z, 0).sum(), x)
        for value, mean, s, one in zip(
            log_z.tolist(), slope.numpy(), x.detach(), right, strict=True
        ):
            if np.isnan(value):
                assert float(s.detach().max()) >= 1e25
                lost += 1
                continue
            assert near(value, one, torch.float64)
            if one is not None and np.isfinite(value) and not bool((s.abs() >= 1e25).any()):
                np.testing.assert_allclose(mean, one.marginals, rtol=0, atol=1e-6)
    assert lost


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("graphs", "no predicates")]
)
def test_samples_are_structures_that_count(name):
    for known, x, right in asked(name, torch.float64):
        try:
            drawn = ol.sample(known.asked, x)
        except ol.InputError:
            continue
        for z, s, listed, one in zip(
            drawn.numpy(), x.numpy(), known.structures, right, strict=True
        ):
            if one is None:
                assert np.isnan(z).any()
                continue
            assert (listed == z).reshape(len(listed), -1).all(1).any()
            total = sum((Fraction(float(v)) for v in s[z > 0]), Fraction(0))
            assert one.log_z - total < 60


@pytest.mark.parametrize("size", [1e30, 1e300])
@pytest.mark.parametrize("P", [ol.simplex(2), ol.cardinality(2, exactly=1), ol.LinearChain(1, 2)])
def test_ties_are_drawn_alike_whatever_their_size(P, size):
    """Noise of one beside scores of 1e30 is rounded away."""
    shape = (2,) if isinstance(P, ol.Polytope) else P.event_shape
    s = torch.full(shape, size, dtype=torch.float64)
    z = ol.sample(P, s, 400, generator=torch.Generator().manual_seed(3))
    first = z.reshape(400, -1)[:, 0].mean()
    assert 0.4 < first < 0.6


def test_a_sum_beyond_the_range_is_refused_in_words():
    largest = float(torch.finfo(torch.float32).max)
    for asked in (ol.box(2), ol.cardinality(2, exactly=2), ol.LinearChain(2, 1)):
        shape = (2,) if isinstance(asked, ol.Polytope) else asked.event_shape
        with pytest.raises(
            ol.InputError, match=r"beyond the range of torch\.float32\. Give scores"
        ):
            ol.log_partition(asked, torch.full(shape, largest))


@pytest.mark.parametrize("size", [1e5, 1e15, 1e100, 1e300])
@pytest.mark.parametrize("projective", [True, False])
@pytest.mark.parametrize("single_root", [True, False])
def test_the_best_trees_are_those_of_exact_arithmetic(projective, single_root, size):
    trees = ol.DependencyTrees(3, projective=projective, single_root=single_root)
    listed = tree_tensors(3, projective, single_root).numpy()
    rng, most = np.random.default_rng(5), float(np.finfo(float).max)
    for kind in KINDS:
        s = hostile(rng, (4, 4), size, kind, most)
        kept = [s[z > 0].tolist() for z in listed if not np.isneginf(s[z > 0]).any()]
        wanted = sorted((sum(map(Fraction, v)) for v in kept), reverse=True)[:5]
        found, _ = trees.k_best(torch.tensor(s), 5)
        totals = [
            sum(map(Fraction, s[z > 0].tolist())) for z in found.numpy() if not np.isnan(z).any()
        ]
        assert totals == wanted
