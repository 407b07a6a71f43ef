"""Calls that take long: Ctrl-C ends them, and a line says how far they are."""

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._kernels import progress
from optlayers._projections.qp import OSQPSolver
from optlayers._solvers import worker
from optlayers._solvers.block import ProjectionProblem

from .test_big import handed_over, network, points  # noqa: F401
from .test_time_limit import hard_and_easy

# ---------------------------------------------------------------------- Ctrl-C

START = """
import signal, torch, optlayers as ol
signal.signal(signal.SIGINT, signal.default_int_handler)  # absent in the background
"""
# Each instance takes a second or so, all of them minutes.
PROJECT = """
from tests.test_big import network
P = network(3000, 6000)
y = torch.randn(200, P.n, dtype=torch.float64)
assert ol.project(P, y[0], return_status=True)[1].solver == {(): "clarabel"}
print("go", flush=True)
ol.project(P, y)
print("done", flush=True)
"""
# HiGHS has 2^40 points before it.
DECODE = """
from tests.test_time_limit import hard_and_easy
P, scores = hard_and_easy()
ol.decode(P, scores[0])
print("go", flush=True)
ol.decode(P, scores[1])
print("done", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
@pytest.mark.parametrize("call", [PROJECT, DECODE], ids=["project", "decode"])
@pytest.mark.timeout(300)
def test_ctrl_c_ends_a_process_in_the_middle_of_a_long_call(call):
    """By KeyboardInterrupt and its traceback; not by an abort of native code left behind."""
    with subprocess.Popen(
        [sys.executable, "-c", START + call],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "go\n", child.stderr.read()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1.0)  # so that it is under way
        child.send_signal(signal.SIGINT)
        out, err = child.communicate()
    assert not out
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert child.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


def block_and_limits(P):
    (map_,) = [m for m in ol.plan(P).maps if m.block.num_rows]
    return map_.block, [np.asarray(v)[0] for v in map_.block.static]


def test_ctrl_c_that_osqp_takes_for_itself_is_one():
    block, static = block_and_limits(ol.assignment(3))
    solver = OSQPSolver(block)
    stopped = SimpleNamespace(x=None, y=None, info=SimpleNamespace(status="interrupted"))
    solver._solver = SimpleNamespace(
        update_settings=lambda **_: None,
        update=lambda **_: None,
        solve=lambda **_: stopped,
    )
    with pytest.raises(KeyboardInterrupt):
        solver.solve(ProjectionProblem(np.zeros(9), *static))


def test_clarabel_stops_when_it_is_told_to(handed_over):  # noqa: F811
    from optlayers._solvers.clarabel import ClarabelSolver

    block, static = block_and_limits(network())
    stop = threading.Event()
    stop.set()
    problem = ProjectionProblem(np.zeros(block.size), *static)
    found = ClarabelSolver(block).solve(problem, 1e-10, stop=stop)
    assert "Callback" in found.status


# ---------------------------------------------------------------------- the line


@pytest.fixture
def said(monkeypatch):
    """What is said, where everything takes long."""
    lines: list[str] = []
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "say", lines.append)
    return lines


def test_a_line_is_written_while_a_solver_is_waited_for(said, monkeypatch):
    """By the thread that waits, so that one long call of a solver is told as well."""
    monkeypatch.setattr(worker, "_TICK", 1e-3)
    told = threading.Event()
    monkeypatch.setattr(progress, "say", lambda text: (said.append(text), told.set()))
    with progress.Clock("deciding", 3) as clock:
        clock.done = 1
        worker.run_aside(lambda: told.wait(60), threading.Event())
    assert said[0].startswith("deciding, 1 of 3 after 0 s")
    count = len(said)
    worker.run_aside(lambda: None, threading.Event())  # no clock is running any more
    assert len(said) == count


def test_a_projection_and_a_decision_say_how_far_they_are(handed_over, said):  # noqa: F811
    made = network()
    ol.project(made, points(made, 3))
    assert any("projecting, by Clarabel, 1 of 3" in line for line in said)
    said.clear()
    P, scores = hard_and_easy()
    ol.decode(P, scores[[1, 1, 1]], time_limit=0.05, on_time_limit="best", on_failure="nan")
    assert any("deciding, by HiGHS, 2 of 3" in line for line in said)


@pytest.mark.parametrize(("value", "lines"), [("1", 1), ("0", 0)])
def test_the_line_can_be_silenced(value, lines, monkeypatch, capsys):
    monkeypatch.setenv("OPTLAYERS_PROGRESS", value)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with progress.Clock("deciding", 1):
        progress.beat()
    assert capsys.readouterr().err.count("optlayers: deciding after 0 s") == lines


def test_clocks_within_clocks(said):
    with progress.Clock("outer", 1):
        with progress.Clock("inner", 1):
            progress.beat()
        progress.beat()
    progress.beat()
    assert [line.split()[0] for line in said] == ["inner", "outer"]


def test_a_fast_call_says_nothing(monkeypatch, capsys):
    monkeypatch.setenv("OPTLAYERS_PROGRESS", "1")
    P, scores = hard_and_easy()
    assert not torch.equal(ol.decode(P, scores[0]), scores[0])
    assert not capsys.readouterr().err
