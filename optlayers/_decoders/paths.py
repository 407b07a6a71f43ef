"""Blocks that are paths of a graph without cycles: a dynamic program."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .._errors import InfeasibleError, InputError
from .._paths.rows import Ends, find_ends, read_network, why_no_paths
from .._paths.sums import PathBatch, decode
from .._plan.blocks import Block
from .._plan.maps import Limits, Report
from .._plan.operators import outside_graphs
from .common import FORBIDDEN, NO_POINT, NOT_FINITE, PreparedDecoder, back, on_host
from .milp import MILP


class Paths(PreparedDecoder):
    r"""The best path from a source to a target, exactly, in float64: $O(E)$ per instance.

    $$ \alpha_v = \max_{e = (u, v)} \alpha_u + s_e $$

    in an order in which edges lead forward. Rows may be scaled, have other signs and stand in any
    order. Sources, targets and pruned edges (upper bound 0) per instance. Of equally good paths,
    always the same one. Instances with other limits, such as edges that must be used, are
    integer programs.

    References:
        Bellman (1958), *On a routing problem*.
    """

    takes_mixed: ClassVar[bool] = True  # its answers are integers in any case
    shares_matrix: ClassVar[bool] = True
    wide_limits: ClassVar[bool] = True
    prompt: ClassVar[bool] = True

    def __init__(self, block: Block):
        super().__init__(block)
        network = read_network(block)
        assert not isinstance(network, str)  # as `why_not` said
        self._network, self._general = network, MILP(block)
        self._latest_batch: tuple[Ends, int, PathBatch] | None = None

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse rows that are not the flow of one unit through a graph without cycles."""
        return why_no_paths(block)

    def prepare(self, limits: Limits) -> tuple[Any, Tensor | None]:
        """Return where paths begin and end."""
        return find_ends(self._network, limits), None

    @outside_graphs
    def forward(  # type: ignore[override]
        self, x: Tensor, limits: Limits, report: Report
    ) -> Tensor:
        """Run the compiled program over the batch."""
        ends: Ends = self.prepared(limits, len(x), report)
        instances, count, size = x.shape
        scores = x.detach().to("cpu", torch.float64).contiguous().numpy()
        batch = self._batch(ends, instances)
        z, state = decode(scores.reshape(-1, size), batch)
        # What is no path is not judged by paths: it is searched for below.
        z, state = z.reshape(scores.shape), state.reshape(instances, count) * ends.plain
        if state.any():
            for n, c in np.argwhere(state):
                z[n, c] = np.nan
                if state[n, c] == 2:
                    report.fail(int(n), NOT_FINITE, InputError)
                else:
                    some = (scores[n, c] == -np.inf).any()
                    report.fail(int(n), FORBIDDEN if some else NO_POINT, InfeasibleError)
        if not ends.plain.all():
            self._by_search(x, z, ends.plain, limits, report)
        return back(z, x)

    def _batch(self, ends: Ends, instances: int) -> PathBatch:
        """Return the paths of so many instances; those of the latest call are kept."""
        latest = self._latest_batch
        if latest is None or latest[0] is not ends or latest[1] != instances:
            batch = ends.batch(self._network.dag, instances, torch.device("cpu"))
            latest = self._latest_batch = (ends, instances, batch)
        return latest[2]

    def _by_search(
        self, x: Tensor, z: np.ndarray, plain: np.ndarray, limits: Limits, report: Report
    ) -> None:
        """Answer the components whose limits are not those of one path."""
        scores, values = on_host(x, limits, self.block)
        chosen = np.argwhere(~np.broadcast_to(plain, z.shape[:2]))
        self._general.decode_some(chosen, scores, values, z, report)
