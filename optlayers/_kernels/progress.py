"""Lines on the standard error about what takes long: whether they are wanted, and one of them."""

import os
import sys
import threading
import time
from typing import Any, Self

VARIABLE = "OPTLAYERS_PROGRESS"  # 0 in the environment: no such lines
LONG = 2.0  # seconds of compiling after which there is a line
PATIENCE = 10.0  # seconds after which a call says how far it is, and until it does so again


def says_progress() -> bool:
    """Return whether lines about what takes long are wanted."""
    return os.environ.get(VARIABLE, "1").lower() not in ("0", "no", "false", "off")


def say(text: str) -> None:
    """Write a line, if lines are wanted and there is where to write them."""
    if says_progress() and sys.stderr is not None:
        sys.stderr.write(f"optlayers: {text}\n")
        sys.stderr.flush()


def _still_compiling(name: str) -> None:
    say(
        f"compiling {name} for the first time on this machine; `python -m optlayers warmup` does "
        f"so beforehand, {VARIABLE}=0 silences this"
    )


class Compilations:
    """Starts a clock with each compilation of ours that is not part of another one.

    numba compiles one function at a time, and calls `on_start` and `on_end` within its lock.
    """

    def __init__(self) -> None:
        self._depth, self._clock = 0, threading.Timer(LONG, _still_compiling, [""])

    def start(self, name: str) -> None:
        """Note that a function begins to be compiled."""
        self._depth += 1
        if self._depth == 1:
            self._clock = threading.Timer(LONG, _still_compiling, [name])
            self._clock.daemon = True
            self._clock.start()

    def end(self) -> None:
        """Note that the function is compiled, or is not going to be."""
        self._depth -= 1
        if self._depth == 0:
            self._clock.cancel()


def watch() -> None:
    """Let numba tell when it compiles functions of this folder; the first call of a process."""
    from numba.core import event

    compilations, ours = Compilations(), __name__.rpartition(".")[0]

    class Listener(event.Listener):
        def on_start(self, event: Any) -> None:
            function = event.data["dispatcher"].py_func
            if function.__module__.startswith(ours):
                compilations.start(f"{function.__module__.rpartition('.')[2]}.{function.__name__}")

        def on_end(self, event: Any) -> None:
            if event.data["dispatcher"].py_func.__module__.startswith(ours):
                compilations.end()

    event.register("numba:compile", Listener())


class Clock:
    """Says now and then how far a call is that takes long: between parts, and by `beat` in one.

    Args:
        what: Is done, for the line: "projecting".
        total: How many parts it has.
    """

    def __init__(self, what: str, total: int):
        self.what, self.total, self.done = what, total, 0
        self.start = self.said = time.monotonic()

    def __enter__(self) -> Self:
        self._outer, _running.clock = _running.clock, self
        return self

    def __exit__(self, *error: object) -> None:
        _running.clock = self._outer

    def tick(self, done: int) -> None:
        """Note that so many parts are done."""
        self.done = done
        if done < self.total:
            self.look()

    def look(self) -> None:
        """Say how far the call is, if it is time to."""
        now = time.monotonic()
        if now - self.said >= PATIENCE:
            self.said = now
            so_far = f", {self.done} of {self.total}" if self.total > 1 else ""
            say(f"{self.what}{so_far} after {now - self.start:.0f} s; {VARIABLE}=0 silences this")


class _Threads(threading.local):
    clock: Clock | None = None


_running = _Threads()


def beat() -> None:
    """Let the clock of this thread look, if one is running: asked while a solver is waited for."""
    if _running.clock is not None:
        _running.clock.look()
