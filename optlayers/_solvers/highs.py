"""HiGHS: linear programs and their integral versions, one persistent model per matrix."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from .._polytope.consistency import units_of_rows
from . import require

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
        self._highs: Any = highspy.Highs()
        for option, value in _OPTIONS.items():
            self._highs.setOptionValue(option, value)
        self._highs.passModel(lp)

    def solve(self, costs, row_lower, row_upper, lower, upper) -> tuple[np.ndarray | None, str]:
        """The best point and "", or None and the reason, for one set of costs and limits.

        The answer does not depend on what was solved before: the model starts afresh each time.
        """
        if (lower > upper).any() or (row_lower > row_upper).any():
            return None, "infeasible"
        highs = self._highs
        if len(self._rows):
            limits = (v * self._units for v in (row_lower, row_upper))
            highs.changeRowsBounds(len(self._rows), self._rows, *limits)
        highs.changeColsBounds(len(self._columns), self._columns, lower, upper)
        status = self._run(costs)
        if status in (self._status.kUnboundedOrInfeasible, self._status.kUnbounded):
            # It stops when it knows that costs have no end, where there may be no point either, or
            # that one of the two holds. Which one does not need costs.
            feasible = self._run(np.zeros_like(costs)) == self._status.kOptimal
            return None, "unbounded" if feasible else "infeasible"
        if status == self._status.kOptimal:
            return np.array(highs.getSolution().col_value), ""
        names = {self._status.kInfeasible: "infeasible"}
        return None, names.get(status) or str(highs.modelStatusToString(status))

    def _run(self, costs: np.ndarray):
        self._highs.changeColsCost(len(self._columns), self._columns, costs)
        self._highs.clearSolver()
        self._highs.run()
        return self._highs.getModelStatus()
