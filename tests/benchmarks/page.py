"""The prose of docs/results/projections.md; figures are filled in by report.py."""

# ruff: noqa: E501  (wrapped like the other pages)

PAGE = r"""# Projections and decoders against their peers

Written by `make bench` (`python -m tests.benchmarks.report`) on {date}; do not edit by hand. All rows with all digits:
[projections.csv](projections.csv).

| | |
|---|---|
| machine | {machine}, {cores} cores, shared with other jobs; load averages at the end: {load} |
| python | {python} |
| versions | {versions} |
| second environment (`tests/benchmarks/peers.txt`) | {peer_versions} |
| threads | `OMP_NUM_THREADS` and `torch.set_num_threads` are what the column says |

**How.** Each row is one process of its own, started on the same saved inputs: warm-up, then up to 500 rounds or about
3 seconds of them (at least 3; a single round above 5 s). Times are of the call alone, inside the process. A row that
took a part of the batch says so and has its time multiplied. Projections are for the whole batch in one call of
`ol.project`; scores are normal with standard deviation 3 (head_selection) or 1, rounded to float32 so that both
precisions have the same right answer.

**Accuracy** stands beside every time. head_selection and label_sum: largest entry of the difference from a projection
by sorting in extended precision, written for this comparison. spans: difference from Clarabel at a tolerance of
1e-12. Decoding: largest difference in score from the best there is. SPIGOT: difference from the formula, evaluated
with the reference projection.

**OSQP** gets one setup per shape; all instances share the workspace; `update(q)` and a warm-started `solve` in a Python
loop. *whole*: one QP per sentence. *blocks*: one small QP per modifier or arc, for a user who sees that the problem
separates. Its tolerance is the loosest power of ten with an error below 1e-6, and rho the faster of its default, 0.1,
and 1; both stand in the last column. Status alone is no accuracy: at eps 1e-6 its error on head_selection is above 1e-6.
**cvxpylayers** has its default solver and tolerance, hence a larger error than the others. **entmax** and jaxopt's
simplex get masked or reflected points, prepared by hand outside of the clock; `ol.project` finds the simplices by itself.

## Targets

{targets}

The faster form of each peer counts, and both medians and minima have to reach the factor.

- cvxpylayers was not timed at a tighter tolerance: its factor holds at an error of about 1e-3, ours being rounding.
- spans has no closed form: `ol.project` runs OSQP there too, from a cold start, to 1e-9, and accepted by its
  residual: slower than a warm OSQP loop by what that costs. The gain is in decoding: a dynamic program instead of HiGHS.
- A second thread helps label_sum when the second core is free; head_selection is too small for it, and the QP does
  not use it.

## Times

{tables}

## What could not run

{failures}

Not tried: lp-sparsemap (its source distribution does not build on this Python), torch-struct (crashes on this torch).
cvxpylayers and qpth on label_sum as a whole: 35,400 variables per sentence; they get the arcs as a batch instead.

## How far from the memory-bandwidth limit

A projection must at least read its tensor and write it once. The limit is `copy_` on the same tensor, same thread;
tensors of this size stay in the caches, for the copy as for us. Main memory would allow what the last column says: the
tensor, read and written at the speed of a copy of 256 MiB, {copy_speed:.1f} GB/s (best of 3 processes). Minima.

{bandwidth}

What lies between is arithmetic: a row is passed over a few times while it is in the first-level cache (reflection,
maximum, search for the threshold, output). head_selection fits in the second-level cache, and its copy takes a few
microseconds: some 40 % of the time there is the call from Python (checks, plan, dispatch), the rest the kernel.

## Memory

One projection of label_sum(arcs, 58) for 32 sentences: growth of the peak resident set (`VmHWM`, reset before the call)
beyond what was resident, each size in a process of its own. The output alone accounts for a ratio of 1.

{memory}

## Compilation

Medians of 3 fresh processes. The first projection includes loading the compiled kernel from numba's cache on disk;
the first on a machine, which has to compile it, takes a few seconds more.

{compilation}

## Noise

The projections ran once more at the end, as *optlayers again*; second run over first: {noise}.
Where a median and its minimum lie far apart, other jobs had the core: compare minima there.
The `spread` column of the CSV is the interquartile range over the median.
"""
