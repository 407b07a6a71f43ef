"""What happens when something goes wrong: each test says it in its name."""

import copy
import multiprocessing
import pickle
import signal
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._projections import Newton
from optlayers._projections import qp as qp_module
from optlayers._solvers import SOLVERS

from .helpers import raw_chain
from .test_newton import conflicts

inf, nan = torch.inf, torch.nan
SETS = {
    "box": ol.box(4),
    "simplex": ol.simplex(4),
    "one row": ol.budget([1.0, 2.0, 0.5, 3.0], limit=2.5),
    "several rows": raw_chain(4),
    "auxiliary": ol.spans(4, 2, 1),
    "trees": ol.DependencyTrees(2),
    "hull of trees": ol.DependencyTrees(2, relaxation="hull"),
    "graphs": ol.SemanticGraphs(2, 2, [0]),
    "hull": ol.ConvexHull(ol.budget([2.0, 2.0, 2.0], 3.0)),
}
EVERY = pytest.mark.parametrize("name", list(SETS))


def scores_of(feasible_set, count=3):
    shape = (feasible_set.n,) if isinstance(feasible_set, ol.Polytope) else feasible_set.event_shape
    return torch.randn(count, *shape)


def spoil(scores, value):
    """The second instance, at a part that can be chosen: in a tree, the arc from 0 to 1."""
    spoiled = scores.clone()
    spoiled[(1, 0, 1) if scores.ndim == 3 else (1, 0)] = value
    return spoiled


# ---------------------------------------------------------------------- NaN and infinity


@EVERY
@pytest.mark.parametrize("value", [nan, inf])
def test_nan_and_inf_are_errors_that_name_the_instance_and_the_entry(name, value):
    scores = spoil(scores_of(SETS[name]), value)
    entry = r"0, 1" if scores.ndim == 3 else "0"
    for verb, what in ((ol.decode, "scores"), (ol.project, "y")):
        with pytest.raises(
            ol.InputError, match=rf"Instance 1: .*{what}\[..., {entry}\] is {value}"
        ):
            verb(SETS[name], scores)
    with pytest.raises(ol.InputError, match="Instance 1: "):
        ol.StructuredArgmax(SETS[name])(scores)


@EVERY
@pytest.mark.parametrize("value", [nan, inf])
@pytest.mark.parametrize("policy", [{"on_failure": "nan"}, {"on_nonfinite": "propagate"}])
def test_the_others_keep_their_answers(name, value, policy):
    scores = scores_of(SETS[name])
    for verb in (ol.decode, ol.project):
        expected = verb(SETS[name], scores)
        z, status = verb(SETS[name], spoil(scores, value), return_status=True, **policy)
        assert z[1].isnan().all()
        torch.testing.assert_close(z[[0, 2]], expected[[0, 2]])
        assert status.ok.tolist() == [True, "on_nonfinite" in policy, True]
    layer = ol.StructuredArgmax(SETS[name], ol.SPIGOT(warn=False), **policy)
    spoiled = spoil(scores, value).requires_grad_()
    z_hat = layer(spoiled)
    assert z_hat[1].isnan().all()
    z_hat.nan_to_num().sum().backward()
    assert spoiled.grad[[0, 2]].isfinite().all()


@EVERY
@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("around", ["vertex", "projection"])
def test_a_gradient_that_is_not_finite_becomes_nan_for_its_instance(name, value, around):
    scores = scores_of(SETS[name]).requires_grad_()
    z_hat = ol.structured_argmax(SETS[name], scores, ol.SPIGOT(around=around, warn=False))
    z_hat.backward(spoil(torch.randn_like(z_hat), value))
    assert scores.grad[1].isnan().any()
    assert scores.grad[[0, 2]].isfinite().all()


@EVERY
def test_minus_infinity_is_not_chosen(name):
    scores = scores_of(SETS[name])
    if scores.ndim == 3:
        scores[:, 0, 1] = -inf
        assert not ol.decode(SETS[name], scores)[:, 0, 1].any()
    else:
        scores[:, 0] = -inf
        assert not ol.decode(SETS[name], scores)[:, 0].any()


def test_padding_may_hold_anything():
    trees = ol.DependencyTrees([2, 1])
    scores = torch.zeros(2, 3, 3)
    scores[1, :, 2] = scores[0, :, 0] = nan
    assert ol.decode(trees, scores).isfinite().all()
    assert ol.project(trees, scores).isfinite().all()


@pytest.mark.parametrize("verb", [ol.project, ol.decode])
def test_other_policies_are_refused(verb):
    with pytest.raises(ol.InputError, match="`on_nonfinite` must be 'raise' or 'propagate'"):
        verb(ol.simplex(3), torch.zeros(3), on_nonfinite="ignore")
    with pytest.raises(ol.InputError, match="`on_nonfinite` must be"):
        ol.StructuredArgmax(ol.simplex(3), on_nonfinite="ignore")


def test_compiled_layers_propagate():
    layer = torch.compile(ol.StructuredArgmax(ol.simplex(3)), backend="eager", fullgraph=True)
    z = layer(torch.tensor([[1.0, 2.0, 3.0], [nan, 0.0, 1.0]]))
    assert z[0].tolist() == [0.0, 0.0, 1.0]
    assert z[1].isnan().all()


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


@pytest.mark.parametrize("solver", ["osqp", "cvxpy"])
def test_a_missing_solver_costs_only_what_needs_it(solver, monkeypatch):
    monkeypatch.setitem(SOLVERS, solver, ("no_such_module_here", solver))
    monkeypatch.setitem(sys.modules, solver, None)
    y = 2 * torch.rand(5, 4, dtype=torch.float64)
    assert ol.certify(raw_chain(4), y, ol.project(raw_chain(4), y)).holds(1e-9)  # Newton's method
    with pytest.raises(ol.SolverNotInstalled, match=rf"pip install {solver}"):
        ol.validate(ol.simplex(3), samples=2, against=(solver,))
    # Where it is asked, it says how to install it instead of an ImportError.
    monkeypatch.setattr(Newton, "_on_host", _useless)
    monkeypatch.setattr(qp_module, "LeastDistance", None)
    P = conflicts(7, 8, seed=3 if solver == "osqp" else 4)  # rows nobody compiled before
    if solver == "cvxpy":
        answer = qp_module.Answer(np.zeros(7), np.zeros(8))
        monkeypatch.setattr(qp_module.OSQPSolver, "solve", lambda *_: answer)
    with pytest.raises(ol.SolverNotInstalled, match=rf"pip install {solver}"):
        ol.project(P, torch.full((7,), 2.0))


def _useless(self, y, limits):
    return torch.zeros_like(y), torch.full(y.shape[:2], inf, dtype=torch.float64)


def test_a_solver_that_does_not_converge_is_an_error_with_residuals(monkeypatch):
    monkeypatch.setattr(Newton, "_on_host", _useless)
    for kind in (qp_module.OSQPSolver, qp_module.CvxpySolver, qp_module.LeastDistance):
        monkeypatch.setattr(
            kind,
            "solve",
            lambda self, problem: qp_module.Answer(
                problem.y, np.zeros(self.block.num_rows), 1e-3, "gave up"
            ),
        )
    with pytest.raises(ol.SolverFailed, match=r"Instance 0: .*osqp: gave up, KKT residual 1.0e-03"):
        ol.project(raw_chain(4), torch.full((2, 4), 2.0))


# ---------------------------------------------------------------------- sizes


@pytest.mark.parametrize("scale", [1e-300, 1e-15, 1e6, 1e15])
@pytest.mark.parametrize(
    "P",
    [ol.simplex(4), ol.budget([1.0, 2, 3, 4], 3.0), ol.assignment(3), raw_chain(4), conflicts()],
    ids=["simplex", "one row", "assignment", "chain", "conflicts"],
)
def test_points_of_any_size(P, scale):
    y = scale * torch.randn(8, P.n, dtype=torch.float64)
    assert ol.certify(P, y, ol.project(P, y)).residual.max() <= 1e-9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@EVERY
def test_half_precision_does_not_overflow(name, dtype):
    scores = (6e4 * torch.sign(scores_of(SETS[name]))).to(dtype)
    for verb in (ol.project, ol.decode):
        z = verb(SETS[name], scores)
        assert z.dtype == dtype
        torch.testing.assert_close(z, verb(SETS[name], scores.float()).to(dtype))


# ---------------------------------------------------------------------- interruptions


def test_out_of_memory_in_the_middle_leaves_the_layer_usable(monkeypatch):
    layer, scores = ol.StructuredArgmax(raw_chain(4)), torch.randn(3, 4)
    expected = layer(scores)

    def full(*_):
        raise torch.OutOfMemoryError("simulated")

    with monkeypatch.context() as patch:
        patch.setattr(Newton, "_on_host", full)
        other = scores.clone().requires_grad_()
        with pytest.raises(torch.OutOfMemoryError):
            layer(other).sum().backward()
    assert torch.equal(layer(scores), expected)
    other = scores.clone().requires_grad_()
    layer(other).sum().backward()
    assert other.grad.isfinite().all()


@pytest.mark.parametrize("kind", [qp_module.OSQPSolver, qp_module.CvxpySolver])
def test_an_interrupted_solver_is_not_used_again(kind, monkeypatch):
    class Always(qp_module.QP):
        _first = True

    ol.PROJECTIONS.register(Always)
    try:
        P, y = raw_chain(6), torch.full((2, 6), 2.0, dtype=torch.float64)
        honest = kind.solve

        def stop(self, problem):
            honest(self, problem)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            if kind is qp_module.CvxpySolver:
                patch.setattr(
                    qp_module.OSQPSolver,
                    "solve",
                    lambda _, problem: qp_module.Answer(problem.y, np.zeros(5)),
                )
            patch.setattr(kind, "solve", stop)
            with pytest.raises(KeyboardInterrupt):
                ol.project(P, y)
        assert ol.certify(P, y, ol.project(P, y)).holds(1e-6)
    finally:
        ol.PROJECTIONS.unregister(Always)


def _project_for_long(P, y):
    for _ in range(1000):
        ol.project(P, y)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_ctrl_c_during_a_projection_leaves_the_next_one_right():
    P = ol.assignment(12)
    y = torch.randn(4000, P.n, dtype=torch.float64)
    expected = ol.project(P, y[:5])

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            _project_for_long(P, y)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert torch.equal(ol.project(P, y[:5]), expected)


# ---------------------------------------------------------------------- threads and processes


def fresh(seed):
    """Rows that no other test has compiled."""
    return conflicts(12, 14, seed=seed)


def test_threads_share_a_layer_from_its_first_call_on():
    P, scores = fresh(100), torch.randn(8, 5, 12, dtype=torch.float64)
    layer, results = ol.StructuredArgmax(P, ol.SPIGOT(warn=False)), [None] * 8

    def work(i):
        own = scores[i].clone().requires_grad_()
        z = layer(own)
        z.backward(torch.ones_like(z))
        results[i] = (z.detach(), own.grad, ol.project(P, scores[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        own = scores[i].clone().requires_grad_()
        z = layer(own)
        z.backward(torch.ones_like(z))
        for found, expected in zip(
            results[i], (z.detach(), own.grad, ol.project(P, scores[i])), strict=True
        ):
            assert torch.equal(found, expected)


def _project_in_child(queue, P, y):
    queue.put(ol.project(P, y).numpy())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["Newton", "QP"])
def test_after_a_fork_the_child_projects_too(kind):
    class First(qp_module.QP if kind == "QP" else Newton):
        pass

    ol.PROJECTIONS.register(First)
    try:
        P, y = fresh(101), torch.randn(64, 12, dtype=torch.float64)
        expected = ol.project(P, y)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=_project_in_child, args=(queue, P, y))
        child.start()
        found = queue.get(timeout=60)
        child.join(60)
    finally:
        ol.PROJECTIONS.unregister(First)
    assert child.exitcode == 0
    assert np.array_equal(found, expected.numpy())


def test_copies_made_in_the_middle_of_use():
    P, y = fresh(102), torch.randn(3, 12, dtype=torch.float64)
    layer = ol.StructuredArgmax(P, ol.SPIGOT(warn=False))
    stop, copies = threading.Event(), []

    def use():
        while not stop.is_set():
            ol.project(P, y)
            layer(y)

    user = threading.Thread(target=use)
    user.start()
    try:
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            copies += [pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)]
    finally:
        stop.set()
        user.join()
    assert torch.equal(copies[-1](y), layer(y))


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
