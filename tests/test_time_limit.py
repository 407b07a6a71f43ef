"""Time limits of mixed-integer decisions, and Ctrl-C during a long solve."""

import os
import signal
import threading

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._solvers import worker

LIMIT = 0.2  # seconds; the proof below takes HiGHS minutes


def market_split(seed=0):
    """Rows that only a few of 2^40 points meet (Cornuejols and Dawande), with slack to count."""
    rng = np.random.default_rng(seed)
    A = rng.integers(1, 100, (5, 40)).astype(float)
    return ol.Polytope(A, A.sum(1) // 2)


def scores_of(P, seed=0):
    """Scores close to what the rows weigh, so that bounds are weak."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.asarray(P.A.sum(0)).ravel() / 250 + 0.01 * rng.random(P.n))


def hard_and_easy():
    P = market_split()
    hard = scores_of(P)
    easy = -torch.ones_like(hard)  # nothing is worth choosing
    return P, torch.stack([easy, hard, easy])


def test_time_that_ran_out_is_a_failure_of_its_instance():
    P, scores = hard_and_easy()
    z, status = ol.decode(P, scores, time_limit=LIMIT, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False, True]
    assert z[1].isnan().all()
    assert not z[[0, 2]].any()
    failure = status.failures[1,]
    assert failure.kind is ol.SolverFailed
    assert "time limit of 0.2 s" in failure
    assert status.gap.isnan().tolist() == [False, True, False]


def test_the_error_names_the_limit_the_gap_and_what_to_do():
    P, scores = hard_and_easy()
    words = r"Instance 1: HiGHS stopped at its time limit of 0.2 s with a gap of [\d.]+ %; give"
    with pytest.raises(ol.SolverFailed, match=words):
        ol.decode(P, scores, time_limit=LIMIT)


def test_no_time_at_all_leaves_no_point():
    P, scores = hard_and_easy()
    with pytest.raises(ol.SolverFailed, match=r"of 1e-09 s without a point; give a larger"):
        ol.decode(P, scores, time_limit=1e-9)
    with pytest.raises(ol.SolverFailed, match="without a point"):
        ol.decode(P, scores, time_limit=1e-9, on_time_limit="best")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_best_point_is_in_the_set_and_its_gap_is_a_bound(dtype):
    P, scores = hard_and_easy()
    scores = (1e3 * scores).to(dtype)
    z, status = ol.decode(P, scores, time_limit=LIMIT, on_time_limit="best", return_status=True)
    assert status.ok.all()
    assert set(z.unique().tolist()) <= {0.0, 1.0}
    assert (np.asarray(P.b)[:, None] >= P.A @ z.double().numpy().T).all()
    assert status.gap[[0, 2]].tolist() == [0.0, 0.0]
    assert 0 < status.gap[1] < scores[1].clamp(min=0).sum()
    longer, again = ol.decode(
        P, scores, time_limit=4 * LIMIT, on_time_limit="best", return_status=True
    )
    found = (scores * z)[1].double().sum()
    assert (scores * longer)[1].double().sum() <= found + status.gap[1] + 1e-6 * found
    assert again.gap[1] <= status.gap[1] + 1e-6 * found


def test_blocks_share_the_time_of_their_instance():
    P, scores = hard_and_easy()
    other = market_split(1)
    covering = ol.Polytope(-other.A, -other.b)  # which no short search decides
    both = ol.product(P, ol.simplex(3), covering)
    s = torch.cat([scores[1], torch.tensor([0.0, 1.0, 0.0]), -scores[1]])
    with pytest.raises(ol.SolverFailed, match=r"time limit of 0\.2 s"):
        ol.decode(both, s, time_limit=LIMIT)
    z, status = ol.decode(
        both, s, time_limit=LIMIT, on_time_limit="best", on_failure="nan", return_status=True
    )
    # The first block has used up the time of the instance.
    assert status.failures[()].endswith("without a point; give a larger `time_limit`")
    assert z.isnan().any()


def test_a_linear_program_has_a_limit_too():
    P, scores = hard_and_easy()
    relaxed = P.with_(integral=False)
    with pytest.raises(ol.SolverFailed, match="time limit of 1e-09 s without a point"):
        ol.decode(relaxed, scores, time_limit=1e-9, on_time_limit="best")
    assert torch.equal(ol.decode(relaxed, scores, time_limit=60), ol.decode(relaxed, scores))


def test_time_enough_changes_nothing():
    torch.manual_seed(0)
    P = ol.Polytope(torch.randint(1, 9, (3, 10)).double(), [15.0, 17.0, 19.0])
    scores = torch.randn(4, 10, dtype=torch.float64)
    for mode in ("fail", "best"):
        z, status = ol.decode(P, scores, time_limit=60, on_time_limit=mode, return_status=True)
        assert torch.equal(z, ol.decode(P, scores))
        assert not status.gap.any()


def test_masks_share_the_time_of_their_instance():
    P, scores = hard_and_easy()
    scores[1, :2] = torch.tensor([-torch.inf, -1e9])
    z, status = ol.decode(P, scores, time_limit=LIMIT, on_time_limit="best", return_status=True)
    assert not z[1, :2].any()
    assert status.gap[1] > 0
    _, status = ol.decode(P, scores, time_limit=LIMIT, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False, True]


@pytest.mark.parametrize("surrogate", [ol.SPIGOT(), ol.Blackbox(), ol.StraightThrough()])
def test_a_layer_has_the_same_limit_forward_and_backward(surrogate):
    P, scores = hard_and_easy()
    words = {"time_limit": LIMIT, "on_time_limit": "best"}
    layer = ol.StructuredArgmax(P, surrogate, **words)
    leaf = scores.clone().requires_grad_()
    z = layer(leaf)
    assert layer.status.gap[1] > 0
    assert not layer.status.gap[[0, 2]].any()
    z.sum().backward()
    assert leaf.grad.isfinite().all()
    _, status = ol.structured_argmax(P, scores, surrogate, return_status=True, **words)
    assert status.gap[1] > 0


@pytest.mark.parametrize("wrong", [0, 0.0, -1.0, float("nan"), "1", True])
def test_a_time_limit_that_is_none_is_refused(wrong):
    P, scores = ol.simplex(3), torch.zeros(3)
    for call in (
        lambda: ol.decode(P, scores, time_limit=wrong),
        lambda: ol.structured_argmax(P, scores, time_limit=wrong),
        lambda: ol.StructuredArgmax(P, time_limit=wrong),
    ):
        with pytest.raises(ol.InputError, match="`time_limit` must be a positive number of sec"):
            call()


def test_an_unknown_rule_is_refused():
    with pytest.raises(ol.InputError, match=r"must be 'fail' or 'best'\. Got 'no'"):
        ol.decode(ol.simplex(3), torch.zeros(3), on_time_limit="no")


# ---------------------------------------------------------------------- Ctrl-C


@pytest.fixture
def interruptible():
    """What is started in the background of a shell ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals as on POSIX")
@pytest.mark.timeout(60)
def test_a_long_solve_is_interrupted_and_the_next_one_is_right(interruptible):
    """The proof alone would take longer than the test may."""
    P, scores = hard_and_easy()
    easy = scores[0]
    expected = ol.decode(P, easy)
    for _ in range(2):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            ol.decode(P, scores)
        timer.join()
        assert torch.equal(ol.decode(P, easy), expected)
    with pytest.raises(ol.SolverFailed, match="time limit"):  # nor is HiGHS told to stop for ever
        ol.decode(P, scores, time_limit=LIMIT)


@pytest.mark.timeout(60)
def test_a_call_that_does_not_stop_is_left_alone(monkeypatch, interruptible):
    monkeypatch.setattr(worker, "_GRACE", 0.0)
    go_on, stop, calls = threading.Event(), threading.Event(), []
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        worker.run_aside(go_on.wait, stop)
    assert stop.is_set()
    worker.run_aside(lambda: calls.append(1), threading.Event())  # while the other is running
    go_on.set()
    assert calls == [1]


def test_errors_of_a_call_aside_are_raised():
    def fail():
        raise ValueError("aside")

    with pytest.raises(ValueError, match="aside"):
        worker.run_aside(fail, threading.Event())
