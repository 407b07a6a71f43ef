"""Constants of Newton's method, for its compiled loops and its tensor program; without numba.

Chosen by measuring; the answer does not depend on them, only the number of steps.
"""

GROWTH = 10.0  # of the distance to the point, from one stage of the continuation to the next
FIRST_STAGE = 3.0  # distance of the first stage, in widths of the box
FARTHEST = 1e10  # distance beyond which a bounded set is not told where exactly the point is
# Curvature given to slacks, and to auxiliary variables where there are any: first, last, factor.
PLAIN, WITH_AUX = (0.03, 1e-5, 0.03), (0.3, 1e-4, 0.3)
LOOSE = 0.1  # residual of a stage that is not the last one, relative to the width
DAMPING = 1e-2  # of a step, times the gradient relative to the largest one so far
ROUNDING = 4e-16  # of a row's activity, relative to the size of x
SHORT = 3e-10  # step, relative to x, after which nothing is left to go
IDLE = 1e-7  # the same for a stage that is not the last: multipliers are still rounded as a whole
MAX_STEPS, MAX_STAGES = 400, 60
SPARSE_STEPS = 8  # more steps a row, with a sparse factor: along a chain, a few rows change a step
TRIALS = 60  # of a line search
