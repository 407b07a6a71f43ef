"""The prose of docs/results/structures.md; figures are filled in by structures.py."""

# ruff: noqa: E501  (wrapped like the other pages)

PAGE = r"""# Trees and graphs against their peers

Written by `make bench-structures` (`python -m tests.benchmarks.structures`) on {date}; do not edit by hand. All rows with all
digits: [structures.csv](structures.csv).

| | |
|---|---|
| machine | {machine}, {cores} cores, shared with other jobs; load averages at the end: {load}; no GPU |
| python | {python} |
| versions | {versions} |
| second environment (`tests/benchmarks/parsers.txt`) | {peer_versions} |
| threads | `OMP_NUM_THREADS` and `torch.set_num_threads`: 1 unless the column says 2 |

**How.** Each library is a process of its own and gets the same saved scores: float32, normal, every sentence of full length, in the
layout that it wants (prepared outside of the clock). Two calls to warm up, then at least 3 rounds or half a second of them; a call
below 2 ms is repeated for as long, and the mean counts. Cells are
**median / minimum**, and in brackets the median over ours with one thread. All decode with a single root. Our set is made anew in every
call of an argmax or a layer, as it would be for a batch of training. Ours computes in float64 inside, the peers in float32.

**Differences** are from our answer on the same scores: in score for structures, the largest entry for marginals and gradients.
Our answers are held to enumeration, to independent programs and, for the matrix-tree theorem, to 250-digit arithmetic by the tests.

## Targets

{targets}

## Times

{tables}

HiGHS solves one integer program per sentence, with all rows (labels sum to their arc, arcs need their predicate, deterministic labels
once); its time is measured on 8 sentences of 10 words, on 1 of 25, and multiplied. Same optimum: see the difference in value.

supar's non-projective argmax repairs trees with several roots by running again once for each of them.

The marginals of all trees are one factorisation per sentence: the peers call LAPACK, torch-struct in float32. Ours is float64 and adds up
positive numbers only ([how](../math.md#matrix-tree)). {matrix_tree}

## Peaked scores

Marginals for 32 sentences of 50 words, scores of standard deviation 10: what subtraction and float32 cost.

{peaked}

## What could not run

{failures}

torch-struct is the release on PyPI; its repository has later commits, which were not tried. Its `DependencyCRF` runs on this torch only
with scores that require a gradient ("a view of a leaf Variable that requires grad is being used in an in-place operation" otherwise), so
it gets such scores. On 256 sentences of 100 words it took more memory than the machine has (24 GB). Its non-projective
distribution has no argmax: it returns nothing.

## Noise

All of ours ran once more at the end; second run over first: {noise}.
"""
