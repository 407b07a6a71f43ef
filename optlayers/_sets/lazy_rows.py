"""Polytopes with too many rows to write down: rows are found while deciding and projecting."""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import InputError, SolverFailed
from .._feasible_set import PolytopeSet
from .._kernels.untraced import eager
from .._masks import Low
from .._plan.failures import Report
from .._polytope.arguments import as_values
from .._polytope.polytope import Polytope
from .._polytope.rows import as_rows

_BY = 1e-9  # what a point may miss of a row, relative to its terms

# From a point `(n,)`, float64 on the CPU, to rows that it violates; None: there are none.
Separate = Callable[[Tensor], tuple[Any, Any] | None]


class LazyRows(PolytopeSet):
    r"""A polytope with more rows than can be written down: a callable finds the violated ones.

    $$ P = \{ z \in base : a z \le b \text{ for all rows that } separate \text{ may return} \} $$

    Deciding solves with the rows known so far, asks `separate` about the decision, adds what it
    violates, and so on until nothing is: cutting planes. The projection does the same with its
    fractional points. Rows are kept for all instances and all later calls, so that soon few are
    missing. Decisions are exact if `separate` finds a violated row wherever one exists that an
    integral point violates; projections, if it does so for every point. The derivative is that of
    the projection onto the rows at the end.

    Each round with new rows compiles a plan and costs a solve (HiGHS) for every instance that is
    still open.

    Args:
        base: Rows to begin with, which bound the scores.
        separate: From a point `(n,)`, a float64 tensor on the CPU, to `(A, b)` of rows $Az \le b$
            that hold for every structure and not for this point, `(r, n)` and `(r,)`; None if
            there are none.
        max_rounds: Most rounds of one call.

    Attributes:
        base: As given.
        polytope: With the rows found so far; also the `relaxation`.

    Raises:
        InputError: If `base` is no polytope, or `separate` returns something else.
        SolverFailed: If rows are still violated after `max_rounds`, by the policy of the call.

    References:
        Dantzig, Fulkerson and Johnson (1954), *Solution of a large-scale traveling-salesman
        problem*; Grötschel, Lovász and Schrijver (1981), *The ellipsoid method and its
        consequences*.

    Examples:
        >>> import optlayers as ol
        >>> def two_neighbours(z):  # of three in a row, at most one may be chosen
        ...     sums = z[:-2] + z[1:-1] + z[2:]
        ...     k = int(sums.argmax())
        ...     if sums[k] <= 1 + 1e-6:
        ...         return None
        ...     row = torch.zeros(1, len(z))
        ...     row[0, k : k + 3] = 1
        ...     return row, [1.0]
        >>> apart = LazyRows(ol.box(5), two_neighbours)
        >>> ol.decode(apart, torch.tensor([1.0, 2, 1, 1, 2]))
        tensor([0., 1., 0., 0., 1.])
        >>> apart
        LazyRows(Polytope(n=5, integral), 2 rows found)
    """

    def __init__(self, base: Polytope, separate: Separate, *, max_rounds: int = 200):
        if getattr(base, "relaxation", None) is not base:  # a polytope is its own relaxation
            raise InputError(f"`base` must be a Polytope. Got {type(base).__name__}.")
        if not callable(separate):
            raise InputError(f"`separate` must be callable. Got {type(separate).__name__}.")
        super().__init__(base)
        self.base, self.separate, self.max_rounds = base, separate, int(max_rounds)
        self._rows: list[sp.csr_array] = []
        self._limits: list[np.ndarray] = []
        self._known: set[bytes] = set()

    def __repr__(self) -> str:
        count = len(self._known)
        return f"LazyRows({self.base!r}, {count} row{'s' * (count != 1)} found)"

    # ------------------------------------------------------------------ rows

    @eager
    def _find(self, points: Tensor, chosen: list[int]) -> list[int]:
        """Add the rows that points violate; return the numbers of those that violate one."""
        host = points.detach().to("cpu", torch.float64)
        new: list[tuple[sp.csr_array, np.ndarray]] = []
        again = []
        for i in chosen:
            found = self.separate(host[i].clone())
            if found is None:
                continue
            rows, limits = self._read(found)
            kept = self._violated(rows, limits, host[i].numpy())
            if len(kept):
                again.append(i)
                new.append((rows[kept], limits[kept]))
        if new:
            self._add(new)
        return again

    def _read(self, found: Any) -> tuple[sp.csr_array, np.ndarray]:
        n = self.base.n
        if not isinstance(found, tuple) or len(found) != 2:
            raise InputError(
                "`separate` must return None or a pair (A, b) of violated rows. Got "
                f"{type(found).__name__}."
            )
        given = as_rows(found[0], "A")
        rows = None if given is None or given.batch else given.matrix
        if rows is None or rows.shape[1] != n:
            shape = None if rows is None else rows.shape
            raise InputError(f"`separate` must return rows of shape (r, {n}). Got {shape}.")
        return rows, as_values(found[1], rows.shape[0], "b", "A").cpu().numpy()

    @staticmethod
    def _violated(rows: sp.csr_array, limits: np.ndarray, z: np.ndarray) -> np.ndarray:
        terms = abs(rows) @ np.abs(z) + np.abs(limits)
        return np.flatnonzero(rows @ z - limits > _BY * np.maximum(terms, 1e-300))

    def _add(self, new: list[tuple[sp.csr_array, np.ndarray]]) -> None:
        """Take in the rows that are not known yet, all at once."""
        for rows, limits in new:
            for r in range(rows.shape[0]):
                row = rows[[r]]
                key = row.indices.tobytes() + row.data.tobytes() + limits[r].tobytes()
                if key not in self._known:
                    self._known.add(key)
                    self._rows.append(row)
                    self._limits.append(limits[[r]])
        base, count = self.base, len(self._rows)
        wide = sp.csr_array((count, base.num_aux))
        A = sp.vstack([base.A, sp.hstack([sp.vstack(self._rows), wide])], format="csr")
        b = base.with_graph("b")
        more = torch.from_numpy(np.concatenate(self._limits)).to(b.device)
        self.polytope = Polytope(
            A,
            torch.cat([b, more.expand(*b.shape[:-1], count)], -1),
            A_eq=base.A_eq,
            num_aux=base.num_aux,
            integral=base.integral,
            shape=base.shape,
            **{k: base.with_graph(k) for k in ("b_eq", "lower", "upper")},
        )

    # ------------------------------------------------------------------ decisions and points

    def at_once(self, x: Tensor, decides: bool, report: Report) -> None:
        """Return None: an answer has to be asked about."""
        return None

    @eager
    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decide, with as many rows as it takes; NaN where `report` is told of a failure."""
        if scores.dtype != torch.float64:
            return self.decode_instances(scores.double(), report).to(scores.dtype)
        return self._rounds(super().decode_instances, scores, report)

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project, with as many rows as it takes; NaN where `report` is told of a failure."""
        if y.dtype != torch.float64:  # rounding of the points would violate the rows they meet
            return self.project_instances(y.double(), report).to(y.dtype)
        first, before = report.another(), len(self._known)
        z = super().project_instances(y, first)
        with torch.no_grad():
            found = self._rounds(super().project_instances, y.detach(), report, (z, first))
        if not (torch.is_grad_enabled() and y.requires_grad):
            return found
        if len(self._known) > before:  # the rows at the end, all instances together
            last = report.another()
            z = super().project_instances(y, last)
            report.residuals, report.answers = last.residuals, last.answers
            for i, failure in last.failures.items():
                report.add(i, failure)
        lost = torch.zeros(z.shape[:-1].numel(), dtype=torch.bool, device="cpu")
        lost[list(report.failures)] = True
        lost = lost.reshape(z.shape[:-1]).to(z.device)
        return torch.where(lost[..., None], torch.nan, z)

    def project_needed(
        self, y: Tensor, low: Low, numbers: list[int], report: Report, first: bool
    ) -> dict[int, Tensor]:
        """Return nothing: rows that are not found yet may cut off the limit of masks."""
        return {}

    def _rounds(
        self,
        ask: Callable[[Tensor, Report], Tensor],
        x: Tensor,
        report: Report,
        first: tuple[Tensor, Report] | None = None,
    ) -> Tensor:
        """Ask, separate and ask the open instances again, until none is."""
        n, batch = self.base.n, self.admit(x, "scores").shape[:-1]
        own = report.another() if first is None else first[1]
        answers: dict[int, tuple[str, float]] = {}
        z = (ask(x, own) if first is None else first[0]).detach().clone().reshape(-1, n)
        failures, open_ = dict(own.failures), list(range(len(z)))
        for _ in range(self.max_rounds):
            open_ = self._find(z, [i for i in open_ if i not in failures])
            if not open_:
                break
            again = report.another()
            found = self._ask_some(ask, x, batch, open_, again)
            z[open_] = found
            failures |= {i: f for i, f in again.failures.items() if i in open_}
            answers |= again.answers
            own.gaps |= again.gaps
        for i in open_:
            if i not in failures:
                report.fail(i, f"rows are violated after {self.max_rounds} rounds", SolverFailed)
                z[i] = torch.nan
        report.polytope, report.lowest = self.polytope, own.lowest
        report.fits_half, report.residuals = own.fits_half, own.residuals
        report.answers, report.gaps = own.answers | answers, own.gaps
        for i, failure in failures.items():
            report.add(i, failure)
        return z.reshape(*batch, n)

    def _ask_some(
        self, ask: Callable, x: Tensor, batch: torch.Size, open_: list[int], report: Report
    ) -> Tensor:
        """Return the answers of some instances; failures by their numbers in the batch."""
        n, inner = self.base.n, report.another()
        if self.base.batch_shape:
            found, at = ask(x, inner).reshape(-1, n)[open_], {i: i for i in open_}
        else:
            found = ask(x.expand(*batch, n).reshape(-1, n)[open_], inner)
            at = dict(enumerate(open_))
        for k, i in at.items():
            if k in inner.failures:
                report.add(i, inner.failures[k])
            if (worst := inner.worst(k)) is not None:
                report.answers[i] = worst
            if k in inner.gaps:
                report.gaps[i] = inner.gaps[k]
        return found

    def log_partition(self, scores: Tensor) -> NoReturn:
        """Refuse: nobody knows all structures."""
        self._has_no("tractable sum over its structures")

    def marginals(self, scores: Tensor) -> NoReturn:
        """Refuse: nobody knows all structures."""
        self._has_no("tractable marginals")

    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> NoReturn:
        """Refuse: nobody knows all structures."""
        self._has_no("exact samples")
