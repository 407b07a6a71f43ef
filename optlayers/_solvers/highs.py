"""HiGHS: linear programs and their integral versions, one persistent model per matrix."""

import threading
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .._polytope.consistency import units_of_rows
from . import require
from .worker import run_aside

TIME = "time limit"  # the reason of a solution that is not proved to be the best, or of none
_LARGE = 10_000  # coefficients from which a linear program is worth being interrupted

_OPTIONS = {
    "output_flag": False,
    # One thread per model. Not `threads=1`: that option sizes a scheduler shared by the process,
    # and fails, here or in somebody else's code, if it was sized differently before.
    "parallel": "off",
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 1e-10,
    "mip_feasibility_tolerance": 1e-9,
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-9,
    "small_matrix_value": 1e-12,  # below it, a coefficient is dropped
    "solver": "simplex",  # a vertex, also where the optimum is a face
}


class Solution(NamedTuple):
    """Answer of HiGHS for one set of costs and limits.

    Attributes:
        point: The best point, or the best one found in time; None if there is none.
        reason: "" for the best point, else why it is not, or why there is none.
        bound: What no point has more of than this, where time ran out.
    """

    point: np.ndarray | None
    reason: str
    bound: float = np.inf


class HighsSolver:
    """max c.x s.t. row_lower <= R x <= row_upper, lower <= x <= upper (Huangfu and Hall, 2018).

    Args:
        matrix: Rows `(m, size)`.
        integral: `(size,)` which variables must be integers.
        units: One of `UNITS`: which coefficient of a row becomes 1, if they differ much. Tolerances
            are absolute.
    """

    name = "highs"
    UNITS = ("mean", "smallest", "largest")

    def __init__(self, matrix: sp.csr_array, integral: np.ndarray, units: str = "mean"):
        require(self.name)
        import highspy

        self._status = highspy.HighsModelStatus
        m, size = matrix.shape
        self._units = units_of_rows(matrix) ** {"mean": 1, "smallest": 2, "largest": 0}[units]
        matrix = sp.csr_array(sp.diags_array(self._units) @ matrix)
        self._rows, self._columns = np.arange(m, dtype=np.int32), np.arange(size, dtype=np.int32)
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = m, size
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.col_cost_ = lp.col_lower_ = lp.col_upper_ = np.zeros(size)
        lp.row_lower_ = lp.row_upper_ = np.zeros(m)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = matrix.indptr.astype(np.int32)
        lp.a_matrix_.index_ = matrix.indices.astype(np.int32)
        lp.a_matrix_.value_ = matrix.data
        if integral.any():
            kinds = highspy.HighsVarType
            lp.integrality_ = [kinds.kInteger if i else kinds.kContinuous for i in integral]
        self._lp, self._limited, self._integral = lp, False, bool(integral.any())
        # What is over at once need not be interrupted, and is quicker without a second thread.
        self._long = self._integral or matrix.nnz >= _LARGE
        self._stop = threading.Event()
        self._highs = self._model()

    def _model(self, seconds: float = np.inf) -> Any:
        """Make a model that stops when it is told to."""
        import highspy

        highs: Any = highspy.Highs()
        for option, value in _OPTIONS.items():
            highs.setOptionValue(option, value)
        if not self._integral:  # what it finds of a linear program costs more than it saves
            highs.setOptionValue("presolve", "off")
        highs.setOptionValue("time_limit", seconds)
        highs.passModel(self._lp)
        if self._long:
            stop = self._stop

            def look(event: Any) -> None:
                if stop.is_set():
                    event.interrupt()

            highs.cbSimplexInterrupt += look
            highs.cbMipInterrupt += look
        return highs

    def solve(self, costs, row_lower, row_upper, lower, upper, seconds: float = np.inf) -> Solution:
        """Return the best point for one set of costs and limits, or why there is none.

        The answer does not depend on what was solved before: the model starts afresh each time.
        Ctrl-C is a `KeyboardInterrupt`, after which the solver works.

        Args:
            costs: What is maximised.
            row_lower: Lower limits of the rows.
            row_upper: Upper limits of the rows.
            lower: Lower bounds.
            upper: Upper bounds.
            seconds: When to give up.
        """
        if (lower > upper).any() or (row_lower > row_upper).any():
            return Solution(None, "infeasible")
        if seconds < np.inf or self._limited:  # the clock of a model cannot be set back
            self._highs, self._limited = self._model(seconds), seconds < np.inf
        highs = self._highs
        if len(self._rows):
            limits = (v * self._units for v in (row_lower, row_upper))
            highs.changeRowsBounds(len(self._rows), self._rows, *limits)
        highs.changeColsBounds(len(self._columns), self._columns, lower, upper)
        status = self._run(costs)
        if status in (self._status.kUnboundedOrInfeasible, self._status.kUnbounded):
            # It stops when it knows that costs have no end, where there may be no point either, or
            # that one of the two holds. Which one does not need costs.
            status = self._run(np.zeros_like(costs))
            if status == self._status.kOptimal:
                return Solution(None, "unbounded")
            if status != self._status.kTimeLimit:
                return Solution(None, "infeasible")
            return Solution(None, TIME)
        if status == self._status.kOptimal:
            return Solution(np.array(highs.getSolution().col_value), "")
        if status == self._status.kTimeLimit:
            return self._so_far()
        names = {self._status.kInfeasible: "infeasible"}
        return Solution(None, names.get(status) or str(highs.modelStatusToString(status)))

    def solve_between(self, lower: np.ndarray, upper: np.ndarray) -> Solution:
        """Return the best point between other bounds, from the last answer on: a branch.

        For linear programs; the costs, the rows and the clock are those of the last `solve`.
        """
        highs = self._highs
        highs.changeColsBounds(len(self._columns), self._columns, lower, upper)
        status = self._again()
        if status == self._status.kOptimal:
            return Solution(np.array(highs.getSolution().col_value), "")
        known = {self._status.kInfeasible: "infeasible", self._status.kTimeLimit: TIME}
        return Solution(None, known.get(status) or str(highs.modelStatusToString(status)))

    def _so_far(self) -> Solution:
        """Return the best integral point found; a linear program that was stopped has none."""
        import highspy

        info = self._highs.getInfo()
        found = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
        if not (found and len(self._lp.integrality_)):
            return Solution(None, TIME)
        bound = float(info.mip_dual_bound)
        return Solution(np.array(self._highs.getSolution().col_value), TIME, bound)

    def _run(self, costs: np.ndarray):
        highs = self._highs
        highs.changeColsCost(len(self._columns), self._columns, costs)
        highs.clearSolver()
        return self._again()

    def _again(self):
        highs = self._highs
        if not self._long:
            highs.run()
            return highs.getModelStatus()
        try:
            run_aside(highs.run, self._stop)
        except BaseException:  # it may still be running
            self._stop = threading.Event()
            self._highs = self._model()
            raise
        return highs.getModelStatus()
