"""Long calls of a solver beside the main thread, so that Ctrl-C is answered."""

import os
import queue
import threading
from collections.abc import Callable
from typing import Any

_GRACE = 0.3  # seconds in which a solver that is told to stop should do so
_TICK = 0.1  # where waiting for a lock cannot be interrupted (Windows), seconds between looks


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


def run_aside(call: Callable[[], Any], stop: threading.Event) -> None:
    """Call something that releases the interpreter's lock, and be open to signals meanwhile.

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
            pass
    except BaseException:
        stop.set()
        worker.jobs.put(None)
        job.done.wait(_GRACE)
        raise
    _idle.append(worker)
    if job.error is not None:
        raise job.error


def _after_fork() -> None:
    """Forget threads of the parent: a child has none but its own."""
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
