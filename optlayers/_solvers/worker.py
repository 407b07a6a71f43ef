"""Long calls of a solver beside the main thread, so that Ctrl-C is answered."""

import atexit
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from .._kernels.progress import beat

_GRACE = 0.3  # seconds in which a solver that is told to stop should do so
_TICK = 0.1  # seconds between two looks at signals, and at the clock of the call
_LAST = 10.0  # seconds that a process waits at its end for solvers that were told to stop


class _Job:
    """A call, and what became of it."""

    def __init__(self, call: Callable[[], Any]):
        self.call = call
        self.done = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Call, and say so."""
        try:
            self.call()
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()


class _Worker:
    """A thread that is kept: some solvers make a scheduler for every new one."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="optlayers-solver", daemon=True).start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job.run()
            del job  # the next one may be long in coming


_idle: list[_Worker] = []
_left: list[_Job] = []  # told to stop, and not over yet


def run_aside(call: Callable[[], Any], stop: threading.Event) -> None:
    """Call something that releases the interpreter's lock, and be open to signals meanwhile.

    The clock of the call, if there is one (`progress.Clock`), says after ten seconds how far it is.
    Signals reach the main thread alone, so that the other threads call it themselves.

    Args:
        call: What to do.
        stop: Set if the wait was interrupted; who is called should then return. If it does not do
            so soon it is left alone, and the next call gets another thread.

    Raises:
        KeyboardInterrupt: Or what else a handler of a signal raises, and what the call raises.
    """
    if threading.current_thread() is not threading.main_thread():
        call()
        return
    worker = _idle.pop() if _idle else _Worker()
    job = _Job(call)
    try:
        worker.jobs.put(job)
        while not job.done.wait(_TICK):
            beat()
    except BaseException:
        stop.set()
        worker.jobs.put(None)
        if not job.done.wait(_GRACE):
            _left[:] = [each for each in _left if not each.done.is_set()] + [job]
        raise
    _idle.append(worker)
    if job.error is not None:
        raise job.error


def _after_fork() -> None:
    """Forget threads of the parent: a child has none but its own."""
    _idle.clear()
    _left.clear()


@atexit.register
def _wait_for_those_left() -> None:
    """Let solvers reach the step at which they stop: the interpreter must not go from under them.

    One that comes back from native code to an interpreter that is gone ends the process by abort.
    """
    for job in _left:
        job.done.wait(_LAST)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
