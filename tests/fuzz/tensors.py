"""Runs the code meant for other devices on the CPU, so that it is fuzzed without one."""

import contextlib
from collections.abc import Iterator
from unittest.mock import patch

from optlayers import _decoders as decoders
from optlayers._projections import Newton, one_row, simplex
from optlayers._projections.before_newton import BeforeNewton


@contextlib.contextmanager
def tensor_code() -> Iterator[None]:
    """Inside, no compiled loop is used: closed forms and Newton's method work on tensors."""
    with contextlib.ExitStack() as stack:
        for module in (one_row, simplex, decoders.one_row, decoders.simplex):
            stack.enter_context(patch.object(module, "use_kernels", lambda _: False))
        stack.enter_context(patch.object(BeforeNewton, "forward", _by_newton))
        stack.enter_context(patch.object(BeforeNewton, "at_once", lambda *_: None))
        stack.enter_context(patch.object(Newton, "_on_host", vars(Newton)["_on_device"]))
        stack.enter_context(
            patch.object(Newton, "constants", lambda self, *at: self.tensors(at[0]))
        )
        yield


def _by_newton(self, x, limits, report, near=None):
    return self.newton.forward(x, limits, report)
