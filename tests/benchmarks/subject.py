"""What a worker times."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

ENOUGH = 2e-3  # seconds: shorter calls are repeated, and their mean is the time


class Subject:
    """A call to time, how to read its answer, what to say of it, and by how much it is too small.

    A method that is too slow for the whole batch gets a part of it: its time is multiplied by
    `scale`, and the table says so.
    """

    def __init__(
        self,
        run: Callable[[], Any],
        result: Callable[[Any], dict[str, np.ndarray]],
        note: str = "",
        scale: float = 1.0,
    ):
        self.run, self.result, self.note, self.scale = run, result, note, scale
        self.last: Any = None

    def seconds(self) -> float:
        """Run, and again until a few milliseconds have passed; how long one run takes.

        The answer before is gone by then: the autograd graph of a peer may weigh gigabytes.
        """
        start, count, passed = time.perf_counter(), 0, 0.0
        while passed < ENOUGH:
            self.last = None
            self.last = self.run()
            count, passed = count + 1, time.perf_counter() - start
        return passed / count
