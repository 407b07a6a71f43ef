# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Validate a projection of your own
#
# At the end of this page you have a fast projection that the library does not have, a bug in its
# first version that random tests do not see, proof that the second version is right, and
# `ol.project` using it.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

import optlayers as ol
from optlayers import plotting, testing

# %% [markdown]
# ## The set
#
# Levels that never rise: $1 \ge z_1 \ge z_2 \ge \dots \ge z_n \ge 0$. A learned dose that only
# falls, a calibration curve, a ranking with strengths. As rows, $z_{i+1} - z_i \le 0$:

# %%
n = 6
rows = np.eye(n - 1, n, k=1) - np.eye(n - 1, n)
P = ol.Polytope(rows, np.zeros(n - 1), integral=False)
print(ol.plan(P).explain())

# %% [markdown]
# The library knows no closed form, so Newton's method takes it. There is one: projecting onto
# falling sequences is isotonic regression, and its solution is a minimum of maxima of means
# (Robertson, Wright and Dykstra, 1988),
#
# $$ z_i = \min_{a \le i} \; \max_{b \ge i} \; \frac{y_a + \dots + y_b}{b - a + 1} . $$
#
# ## First version
#
# All means at once from cumulative sums; the bounds first, by clipping:


# %%
def falling(y):
    """Nearest falling sequence of each row of y, (..., n); O(n^2)."""
    n = y.shape[-1]
    sums = torch.nn.functional.pad(y.cumsum(-1), (1, 0))
    length = torch.arange(1, n + 1) - torch.arange(n)[:, None]  # b - a + 1
    means = (sums[..., None, 1:] - sums[..., :-1, None]) / length  # (..., a, b)
    means = means.masked_fill(length < 1, -torch.inf)
    best = means.flip(-1).cummax(-1).values.flip(-1)  # the largest over b >= i
    return best.cummin(-2).values.diagonal(dim1=-2, dim2=-1)  # the smallest over a <= i


def first(y):
    return falling(y.clamp(0, 1))


# %% [markdown]
# On probabilities it is right, and a test with `torch.rand` would end here:

# %%
y = torch.rand(500, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
testing.assert_kkt(first, P, y)

# %% [markdown]
# ## `ol.validate` asks harder questions
#
# Its points lie around the set and beyond it, half of them on a coarse grid, where ties and
# boundary points are common. It compares with exact solvers, and judges residuals by itself:

# %%
report = ol.validate(P, projection=first, samples=50, against=("osqp", "cvxpy"))
print(report)
assert not report.ok

# %% [markdown]
# The point is feasible (`primal` is zero) and not the nearest one. Which points? A certificate has
# one verdict per instance.

# %%
y = testing.coarse_points((500, n), seed=1)
wrong = ~ol.certify(P, y, first(y)).within(1e-6)
print(f"wrong: {wrong.sum()} of {len(y)}")
outside = ((y < 0) | (y > 1)).any(-1)
print(f"of those without an entry outside [0, 1]: {(wrong & ~outside).sum()} of {(~outside).sum()}")
assert not (wrong & ~outside).any()

example = y[wrong][0]
print("y    ", example.tolist())
print("first", first(example).tolist())
print("exact", ol.project(P, example).round(decimals=6).tolist())

# %% [markdown]
# All wrong points have entries outside the bounds. Clipping throws away how far outside they were,
# and the means need it.
#
# ## Second version
#
# Clip afterwards: for the same bounds everywhere, clipping the isotonic solution keeps it optimal.


# %%
def second(y):
    return falling(y).clamp(0, 1)


print(ol.validate(P, projection=second, samples=200, against=("osqp", "cvxpy")))

# %% [markdown]
# The checks in `optlayers.testing` go further: a batch equals its instances, single precision is
# close to double, no two points move apart, projecting twice is projecting once.

# %%
testing.assert_kkt(second, P, y)
testing.assert_idempotent(second, y)
testing.assert_nonexpansive(second, y, y.flip(0))
testing.assert_batch_equals_loop(second, y[:20])
testing.assert_float32_close(second, y)
testing.assert_agrees_with_qp(second, P, y[:50], solver="cvxpy")

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
for axes, function, title in zip(panels, (first, second), ("first", "second"), strict=True):
    axes.plot(example, "x", color=plotting.COLOURS["point"], label="$y$")
    axes.step(range(n), function(example), where="mid", label=title)
    exact = ol.project(P, example)
    axes.plot(exact, "D", color=plotting.COLOURS["projection"], markersize=4, label="exact")
    axes.axhspan(0, 1, color="#777777", alpha=0.1)
    axes.set(title=title, xlabel="$i$")
    axes.legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# ## Give it to the library
#
# A map says which blocks it takes (`why_not` gives a reason for the others), projects
# `(N, count, size)` at once, and knows its derivative. Where the answer has equal entries strictly
# between the bounds, they move together: the derivative averages over each such run, and is zero at
# the bounds.


# %%
class Falling(ol.maps.AbstractBlockMap):
    """Falling sequences between two bounds, by means; O(n^2) per instance."""

    @classmethod
    def why_not(cls, block):
        n = block.size
        if block.num_rows < 2:
            return "a single row has a map of its own"
        if block.is_aux.any():
            return "it has auxiliary variables"
        if block.varying:
            return f"its {block.varying} vary in the batch"
        chain = np.eye(n - 1, n) - np.eye(n - 1, n, k=1)
        if block.matrix.shape != chain.shape or (block.matrix.toarray() != chain).any():
            return "its rows do not compare neighbours"
        if (block.row_lower != 0).any() or np.isfinite(block.row_upper).any():
            return "its rows have other right-hand sides than 0"
        if np.ptp(block.lower) or np.ptp(block.upper):
            return "its bounds differ from variable to variable"
        return None

    def forward(self, x, limits, report):
        return falling(x).clamp(limits.lower, limits.upper)

    def vjp(self, x, z, limits, grad):
        run = torch.nn.functional.pad((z.diff(dim=-1) != 0).cumsum(-1), (1, 0))
        same = (run[..., :, None] == run[..., None, :]).to(grad.dtype)
        free = (z > limits.lower) & (z < limits.upper)
        return torch.where(free, (same @ grad[..., None])[..., 0] / same.sum(-1), 0)


# %% [markdown]
# The means of one run have to come out as the same number. They do, because a run shares one entry
# of `means`; only runs that touch with the same mean may be kept apart by rounding, and there the
# derivative jumps. `gradcheck` compares it with finite differences.

# %%
torch.manual_seed(0)
ol.maps.PROJECTIONS.register(Falling)
print(ol.plan(P).explain())
y = torch.randn(20, n, dtype=torch.float64, requires_grad=True)
assert torch.autograd.gradcheck(lambda y: ol.project(P, y), y)
assert ol.validate(P, samples=50).ok

# %% [markdown]
# It serves every polytope that has such blocks, however they were declared, and every layer. Here
# the rows are in another order and scaled, and there are two blocks of them:

# %%
Q = ol.product(P, ol.Polytope(3 * rows[::-1], np.zeros(n - 1), integral=False))
print(ol.plan(Q).explain())
assert ol.validate(Q, samples=50).ok

# %% [markdown]
# `why_not` is asked about every block of every polytope, so its refusals need tests of their own.
# Without the first two, this map would be wrong on the sets below: single rows are stacked although
# their signs differ, and auxiliary variables have no distance.

# %%
pairs = ol.Polytope([[-1, 1, 0, 0], [0, 0, -1, -1]], [0.0, 0.0], lower=-1, integral=False)
hidden = ol.Polytope(rows, np.zeros(n - 1), lower=-1, num_aux=1, integral=False)
for other in (pairs, hidden):
    assert "-> Falling" not in ol.plan(other).explain()
    assert ol.validate(other, samples=50).ok

# %% [markdown]
# ## What it saves
#
# Milliseconds per point, for a batch of 200, with the map and without it (Newton's method, exact as
# well), and for the two solvers of `validate`, which get one point after the other:


# %%
def milliseconds(P, y):
    ol.project(P, y)  # compiles
    start = time.perf_counter()
    ol.project(P, y)
    return 1e3 * (time.perf_counter() - start) / len(y)


sizes, times = (5, 10, 20, 40), {"Falling": [], "Newton": [], "osqp": [], "cvxpy": []}
for n in sizes:
    chain = ol.Polytope(np.eye(n - 1, n, k=1) - np.eye(n - 1, n), np.zeros(n - 1), integral=False)
    y = torch.randn(200, n, dtype=torch.float64)
    times["Falling"].append(milliseconds(chain, y))
    for row in ol.validate(chain, samples=20).rows[1:]:
        times[row.method].append(row.ms)
    ol.maps.PROJECTIONS.unregister(Falling)
    times["Newton"].append(milliseconds(chain.with_(), y))
    ol.maps.PROJECTIONS.register(Falling)

figure, axes = plt.subplots(figsize=(5.5, 3))
for (name, values), color, marker in zip(times.items(), plotting.SERIES, "Dos^", strict=False):
    axes.loglog(sizes, values, marker=marker, color=color, label=name)
axes.minorticks_off()
axes.set(xlabel="$n$", ylabel="milliseconds per point", xticks=sizes, xticklabels=sizes)
axes.legend()
figure.tight_layout()

ol.maps.PROJECTIONS.unregister(Falling)  # leave the table as it was

# %% [markdown]
# ## What to take away
#
# - Test a projection with ties, at boundaries and far outside. `ol.validate` and
#   `testing.coarse_points` make such points.
# - A certificate judges each instance, and needs to know nothing about how the point was found.
# - A registered map is used by `project` and by layers wherever `why_not` has no objection.
#
# The contract in full, with `must`, `should` and `may`: [a projection of your
# own](../how-to/projection.md). The bound behind the certificate:
# [SPIGOT, derived](../explanation/spigot.py#how-to-know-that-a-projection-is-right).
