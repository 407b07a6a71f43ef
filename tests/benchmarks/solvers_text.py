"""The prose of docs/results/solvers.md; figures are filled in by solvers_page.py."""

# ruff: noqa: E501  (wrapped like the other pages)

PAGE = r"""# Solvers of projections against their peers

Written by `make bench-solvers` (`python -m tests.benchmarks.solvers`) on {date}; do not edit by hand. All rows with all
digits: [{name}.csv]({name}.csv).

| | |
|---|---|
| machine | {machine}, {cores} cores, shared with other jobs; load averages at the end: {load}; {gpu} |
| python | {python} |
| versions | {versions} |
| second environment (`tests/benchmarks/peers.txt`) | {peer_versions} |
| threads | `OMP_NUM_THREADS`, `torch.set_num_threads` and the number of workers are what the column says |

**How.** Each row is a process of its own on the same saved points, normal, float64. Setting up is outside of the clock: the plan for
ours, the factorisation for the peers. Each method runs its batch twice, then the methods of a case take turns for about half a second each
(at least 3 rounds; a single one above 2 s), so that what else the machine does hits all alike. A method that would need more than
0.4 s for the batch gets a part of it; its time is multiplied, and the row says so. A call below 2 ms is repeated for as long, and the
mean counts.

**Accuracy.** The residual is that of `ol.certify`, which recomputes multipliers by itself, the largest over up to 64 timed
instances, evenly spread (birkhoff20 and birkhoff15-1024: 32, arborescence12: 8; the CSV has the number). Everybody has to reach 1e-6. Where a method has a tolerance, it is the loosest power of ten from 1e-5
(cvxpylayers: its default; jaxopt: 1e-6) down that does; a row that never does is marked and counts for no target.

- **OSQP loop**: one setup per thread; `update(q)` and a warm-started `solve` per instance; rho the faster of its default, 0.1, and 1.
- **proxsuite**: `update(g)` and `solve`. *dense, loop* has the bounds apart from the rows (`box_constraints`); the faster of cold and
  warm starts. *batch* is `BatchQP` with `solve_in_parallel`; a batch has no place for bounds apart from rows, so they are rows there.
- **DAQP**, **quadprog**, **PIQP** and **Clarabel** are called for one instance after the other. DAQP in the fastest of three ways:
  `daqp.solve`, or a `Model` that is told the linear term alone, from the active set of the instance before or from an empty one.
  quadprog and `daqp.solve` set everything up anew, PIQP and Clarabel update the linear term.
- **Moreau, batch** is its compiled solver on the CPU, all instances at once; it chooses its method by itself.
- **cvxpylayers**: the layer of its documentation with SCS, its default; it takes as many threads as there are cores.
- **jaxopt** `BoxOSQP` under `vmap` and `jit`; **qpth** with one thread (with two its factorisations do not return).
- **optlayers, OSQP inside** is the library's own use of OSQP: cold starts to 1e-9, every answer judged, and repaired where it fails.

The dense solvers are left out where the matrices are too large for them (arborescence12, sparse10k).

## What a user declares

Dense rows with normal coefficients, $n$ variables in $[0, 1]$, one thread, time for an instance (median). *optlayers* has the batch in one
call, *optlayers, one by one* a call of `ol.project` for each point, as the peers but Moreau have. Wanted: at least 2 times faster than the fastest peer
where $n \le 20$, and nowhere slower. The last column is the time of the fastest peer in times of ours one by one. Below 1 a peer is the
faster one there: of a small call, checks, status and what gradients need take more time than the projection.

{declared}

![Time for an instance against the number of variables, ours and each peer]({name}-sizes.svg)

Two sweeps, drawn apart: half as many rows as variables, and twice as many. A missing point is an answer that misses the accuracy, or none
in 12 s.

[LP-SparseMAP](https://github.com/deep-spin/lp-sparsemap), the peer for hulls, is not here: it comes as a source distribution alone,
which does not build. With the setuptools of today: `ImportError: cannot import name 'convert_path' from 'setuptools'`; with 59.8 and
Cython 0.29: `ValueError: 'lpsmap/ad3qp/factor_graph.pyx' doesn't match any files`.

## Targets

At least 2x the best peer with up to 2 threads at a batch of 64 or more, never slower than the OSQP loop, 50x the loop on a GPU at 1,024.
The better of one and two threads counts on both sides, unless the row says otherwise, and both medians and minima have to reach the factor.

{targets}

## Times

{tables}

## Memory of the large sparse one

Growth of the peak resident set (`VmHWM`, reset before) of a fresh process while sparse10k is declared or set up and projected, after a
small case has loaded the code. The rows as a dense matrix would be 381 MiB.

{memory}

## What could not run

{failures}
"""
