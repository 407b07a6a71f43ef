"""What happens when something goes wrong: each test says it in its name.

What is not finite is in `test_faults_numbers.py`; interruptions, threads and forks are in
`test_faults_interrupted.py`.
"""

import sys
import zipfile

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._projections import Newton
from optlayers._projections import qp as qp_module
from optlayers._solvers import SOLVERS, Solver

from .helpers import raw_chain
from .test_faults_numbers import EVERY, SETS, inf, nan, scores_of
from .test_newton import conflicts

# ---------------------------------------------------------------------- no answer


def test_an_infeasible_instance_is_named_with_its_rows():
    P = raw_chain(3).with_(b=torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    for verb in (ol.project, ol.decode):
        with pytest.raises(ol.InfeasibleError, match=r"Instance 1: .*In conflict: A\[1\]"):
            verb(P, torch.zeros(2, 3))
        z = verb(P, torch.ones(2, 3), on_failure="nan")
        assert z[0].isfinite().all()
        assert z[1].isnan().all()


def test_an_unbounded_decision_is_an_error():
    P = ol.Polytope([[1.0, -1.0], [1.0, 1.0]], [1.0, 3.0], lower=-inf, upper=inf, integral=False)
    with pytest.raises(ol.UnboundedError, match="Instance 1"):
        ol.decode(P, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    assert ol.project(P, torch.tensor([9.0, 9.0])).isfinite().all()


@EVERY
def test_an_empty_batch_is_an_empty_answer(name):
    scores = scores_of(SETS[name], 0).requires_grad_()
    assert ol.project(SETS[name], scores).shape == scores.shape
    z_hat = ol.structured_argmax(SETS[name], scores)
    assert z_hat.shape == scores.shape
    z_hat.sum().backward()
    assert scores.grad.shape == scores.shape


# ---------------------------------------------------------------------- solvers


@pytest.mark.usefixtures("newton_first")
@pytest.mark.parametrize("solver", ["osqp", "cvxpy"])
def test_a_missing_solver_costs_only_what_needs_it(solver, monkeypatch):
    monkeypatch.setitem(SOLVERS, solver, Solver("no_such_module_here", solver))
    monkeypatch.setitem(sys.modules, solver, None)
    y = 2 * torch.rand(5, 4, dtype=torch.float64)
    assert ol.certify(raw_chain(4), y, ol.project(raw_chain(4), y)).holds(1e-9)  # Newton's method
    with pytest.raises(ol.SolverNotInstalled, match=rf"pip install {solver}"):
        ol.validate(ol.simplex(3), samples=2, against=(solver,))
    # Where it is asked, it says how to install it instead of an ImportError.
    monkeypatch.setattr(Newton, "_on_host", _useless)
    monkeypatch.setattr(qp_module, "ExtendedActiveSet", None)
    P = conflicts(7, 8, seed=3 if solver == "osqp" else 4)  # rows nobody compiled before
    if solver == "cvxpy":
        answer = qp_module.Answer(np.zeros(7), np.zeros(8))
        monkeypatch.setattr(qp_module.OSQPSolver, "solve", lambda *_: answer)
    with pytest.raises(ol.SolverNotInstalled, match=rf"pip install {solver}"):
        ol.project(P, torch.full((7,), 2.0))


def _useless(self, y, limits):
    return torch.zeros_like(y), torch.full(y.shape[:2], inf, dtype=torch.float64)


@pytest.mark.usefixtures("newton_first")
def test_a_solver_that_does_not_converge_is_an_error_with_residuals(monkeypatch):
    monkeypatch.setattr(Newton, "_on_host", _useless)
    for kind in (qp_module.OSQPSolver, qp_module.CvxpySolver, qp_module.ExtendedActiveSet):
        monkeypatch.setattr(
            kind,
            "solve",
            lambda self, problem: qp_module.Answer(
                problem.y, np.zeros(self.block.num_rows), 1e-3, "gave up"
            ),
        )
    with pytest.raises(ol.SolverFailed, match=r"Instance 0: .*osqp: gave up, KKT residual 1.0e-03"):
        ol.project(raw_chain(4), torch.full((2, 4), 2.0))


def test_without_highs_other_decoders_go_on(monkeypatch):
    monkeypatch.setitem(SOLVERS, "highs", Solver("no_such_module_here", "highspy"))
    monkeypatch.setitem(sys.modules, "highspy", None)
    rows = [[1.0, -np.pi, np.e, 0], [0, 1, -np.sqrt(2), 2]]
    P = ol.Polytope(rows, [2.0, 1.0])  # no table holds these, nor are they a packing
    with pytest.raises(ol.SolverNotInstalled, match="pip install highspy"):
        ol.decode(P, torch.randn(4))
    assert ol.decode(ol.simplex(3), torch.tensor([0.0, 2.0, 1.0])).tolist() == [0, 1, 0]
    assert ol.project(P, torch.randn(4)).isfinite().all()
    monkeypatch.undo()
    assert ol.decode(P, torch.randn(4)).isfinite().all()


@pytest.mark.usefixtures("newton_first")
def test_one_instance_without_convergence_costs_the_others_nothing(monkeypatch):
    P, y = raw_chain(4), 2 * torch.randn(3, 4, dtype=torch.float64)
    expected, host = ol.project(P, y), Newton._on_host

    def off(self, x, limits):
        z, quality = host(self, x, limits)
        z[1], quality[1] = 7.0, 1e-2
        return z, quality

    monkeypatch.setattr(Newton, "_on_host", off)
    for kind in (qp_module.OSQPSolver, qp_module.CvxpySolver, qp_module.ExtendedActiveSet):
        monkeypatch.setattr(
            kind, "solve", lambda _, problem: qp_module.Answer(problem.y, np.zeros(3))
        )
    z, status = ol.project(P, y, on_failure="nan", return_status=True)
    assert list(status.failures) == [(1,)]
    assert "KKT residual" in status.failures[(1,)]
    assert z[1].isnan().all()
    assert torch.equal(z[[0, 2]], expected[[0, 2]])


# ---------------------------------------------------------------------- files


class Payload:
    """Leaves a file behind if somebody unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_with_a_pickle_is_refused_and_not_unpickled(tmp_path):
    trap, file = tmp_path / "trap", tmp_path / "polytope.npz"
    ol.save(ol.simplex(3), file)
    fields = dict(np.load(file))
    fields["b_eq"] = np.array([Payload(trap)], dtype=object)
    np.savez(file, **fields)
    with pytest.raises(ol.OptLayersError, match=r"polytope\.npz"):
        ol.load(file)
    assert not trap.exists()


def test_files_that_are_none(tmp_path):
    good = tmp_path / "good.npz"
    ol.save(ol.simplex(3), good)
    whole = good.read_bytes()
    cases = {
        "cut.npz": whole[: len(whole) // 2],
        "text.npz": b"no archive at all",
        "empty.npz": b"",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("something.txt", "else")
    np.savez(tmp_path / "missing.npz", b=np.zeros(3))
    for name in [*cases, "other.npz", "missing.npz"]:
        with pytest.raises(ol.OptLayersError, match=name.replace(".", r"\.")):
            ol.load(tmp_path / name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("b_eq", np.zeros(7)),
        ("lower", np.array(["a", "b", "c"])),
        ("upper", np.array([1.0, nan, 1.0])),
        ("num_aux", np.array([1, 2])),
    ],
)
def test_a_file_with_a_wrong_field_is_named(field, value, tmp_path):
    file = tmp_path / "wrong.npz"
    ol.save(ol.simplex(3), file)
    fields = dict(np.load(file))
    assert field in fields
    fields[field] = value
    np.savez(file, **fields)
    with pytest.raises(ol.OptLayersError, match=r"wrong\.npz"):
        ol.load(file)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ol.PolytopeError, match=r"folder\.npz does not hold .* it is a directory"):
        ol.load(tmp_path / "folder.npz")


@pytest.mark.parametrize(
    "rows", [np.array([[nan, 1.0, 1.0]]), np.ones(3), np.ones((1, 3), complex)]
)
def test_rows_that_are_none_are_named(rows, tmp_path):
    np.savez(tmp_path / "rows.npz", A=rows, b=np.ones(1))
    with pytest.raises(ol.PolytopeError, match=r"rows\.npz does not hold a polytope: `A` must"):
        ol.load(tmp_path / "rows.npz")
