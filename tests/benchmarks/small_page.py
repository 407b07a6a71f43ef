"""The prose of docs/results/small-calls.md; figures are filled in by small.py."""

# ruff: noqa: E501  (wrapped like the other pages)

PAGE = r"""# Small calls

Written by `make bench-small` (`python -m tests.benchmarks.small`) on {date}; do not edit by hand. All digits:
[small-calls.csv](small-calls.csv).

| | |
|---|---|
| machine | {machine}, {cores} cores; load averages at the end: {load} |
| python | {python} |
| versions | {versions} |
| threads | one |

What a call costs where the work is next to nothing. CPU time in microseconds, the fastest of 20 rounds of some 20 ms, in
one process, ours and what stands beside it by turns. Float32, but for the general rows. Peers that are not installed leave
their column empty. Both ways must have the same answer, or nothing is timed.

| case | ours | beside it | which is | quotient | goal |
|---|---|---|---|---|---|
{table}

Where numbers are finite and nothing can fail, a closed form on the CPU is answered at once: one look for what was compiled
for the set, device and dtype, the compiled loop, and one pass over scores and answer for what is not finite or so low that
it means "forbidden". Everything else (NaN, minus infinity, policies, transforms of `torch.func`, `torch.compile`, autocast,
other devices, batched polytopes) takes the long way, with the same answer. A polytope with rows and values that were seen
before, such as one made anew for every batch, is compiled no more. Of one with new values the rows are read no more: its
blocks are those of the rows, its values go through three compiled passes, and every map says anew whether it takes them.
"""
