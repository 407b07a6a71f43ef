"""Rows whose factor would be large: counted before it is made, and handed over to Clarabel."""

from unittest.mock import patch

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import optlayers as ol
from optlayers._projections.newton import newton, ordering
from optlayers._solvers.block import Answer, ProjectionProblem, judged
from optlayers._solvers.polish import polished

from .helpers import SAME_FACE


def network(nodes: int = 30, edges: int = 60, seed: int = 0) -> ol.Polytope:
    """Flows of at most one through a random network, with supplies that one of them has."""
    generator = np.random.default_rng(seed)
    tail = generator.integers(0, nodes, edges)
    head = (tail + generator.integers(1, nodes, edges)) % nodes
    A = np.zeros((nodes, edges))
    A[tail, np.arange(edges)] += 1
    A[head, np.arange(edges)] -= 1
    b = A @ generator.uniform(0, 1, edges)
    return ol.Polytope(A_eq=A, b_eq=b, lower=0.0, upper=1.0)


@pytest.fixture
def handed_over(newton_first, monkeypatch):
    """Newton's method takes every sparse factor for a large one."""
    monkeypatch.setattr(newton, "_LARGE", -1.0)
    monkeypatch.setattr(ordering, "_LARGEST_DENSE", 0)


def points(made: ol.Polytope, count: int = 3) -> torch.Tensor:
    return torch.randn(count, made.n, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_handed_over_is_exact(seed, handed_over):
    made = network(seed=seed)
    y = points(made)
    z, status = ol.project(made, y, return_status=True)
    assert set(status.solver.values()) == {"clarabel"}
    assert (status.residual <= 1e-9).all()
    with patch.object(newton, "_LARGE", np.inf):
        expected = ol.project(network(seed=seed).with_(b_eq=made.b_eq), y)
    torch.testing.assert_close(z, expected, rtol=0, atol=SAME_FACE)


def test_inequalities_are_handed_over_too(handed_over):
    made = ol.Polytope(torch.eye(20).roll(1, 0) + torch.eye(20), torch.ones(20))
    z = ol.project(made, y := points(made))
    assert ol.certify(made, y, z).holds(1e-9)


def test_an_empty_set_is_told_from_a_hard_one(handed_over):
    made = network()
    b = made.b_eq.clone()
    b[0] += 100.0
    with pytest.raises(ol.InfeasibleError):
        ol.project(made.with_(b_eq=b), points(made))


def test_the_plan_says_what_a_factor_costs(handed_over):
    text = ol.plan(network()).explain()
    assert "Clarabel, then exact steps: a factor of its rows has" in text
    assert "operations" in text


@pytest.mark.parametrize("seed", range(3))
def test_the_fill_is_counted_as_it_is_made(seed, monkeypatch):
    """By the elimination tree, against the factor itself."""
    R = sp.csr_array(sp.random_array((150, 300), density=0.01, rng=seed) + sp.eye_array(150, 300))
    made, entries = ordering.elimination_order(R)
    monkeypatch.setattr(ordering, "_LARGEST_WHOLE", 0)
    order, counted = ordering.elimination_order(R)
    assert (order == made).all()
    assert (counted == entries).all()


def test_an_instance_that_runs_out_of_time_fails_alone_in_words(handed_over, monkeypatch):
    from optlayers._solvers.clarabel import ClarabelSolver

    given = []

    def slow(self, problem, accuracy, seconds=np.inf, stop=None):
        given.append(seconds)
        nothing = np.zeros(self.block.num_rows)
        return Answer(np.full(self.block.size, np.nan), nothing, np.inf, "user_limit")

    monkeypatch.setattr(ClarabelSolver, "solve", slow)
    made = network()
    z, status = ol.project(
        made, points(made, 2), time_limit=1e-9, on_failure="nan", return_status=True
    )
    assert given
    assert max(given) <= 1e-9
    assert z.isnan().all()
    assert "time limit of 1e-09 s ran out" in status.failures[(0,)]
    with pytest.raises(ol.SolverFailed, match="give a larger one"):
        ol.project(made, points(made), time_limit=1e-9)


def test_a_generous_limit_changes_nothing(handed_over):
    made = network()
    y = points(made)
    assert torch.equal(ol.project(made, y, time_limit=1e3), ol.project(made, y))


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), "1", True])
def test_a_limit_is_a_positive_number_of_seconds(limit):
    with pytest.raises(ol.InputError, match="`time_limit` must be a positive number"):
        ol.project(ol.simplex(3), torch.zeros(3), time_limit=limit)


def test_parts_of_a_batch_are_as_the_whole(newton_first, monkeypatch):
    made = network()
    y = points(made, 7)
    whole = ol.project(made, y)
    monkeypatch.setattr(newton, "_PART", 1.0)  # one instance each
    assert torch.equal(ol.project(made, y), whole)


@pytest.mark.parametrize("noise", [1e-8, 1e-5])
def test_steps_take_an_answer_that_is_nearly_right_to_rounding(noise):
    made = network()
    (map_,) = [m for m in ol.plan(made).maps if m.block.num_rows]
    block, size = map_.block, map_.block.size
    generator = np.random.default_rng(0)
    y, lam = generator.normal(size=size), generator.normal(size=block.num_rows)
    x = np.clip(y - block.matrix.T @ lam, 0, 1)
    limits = block.matrix @ x
    problem = ProjectionProblem(y, limits, limits, np.zeros(size), np.ones(size))
    near = judged(block, problem, x + noise, lam + noise, "near")
    assert near.residual > 1e-9
    assert polished(block, problem, near).residual <= 1e-14
