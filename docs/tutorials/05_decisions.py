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
# # Shortest paths and assignments
#
# At the end of this page you have trained two models for the decisions that they lead to instead of
# the numbers that they predict: a linear model of travel times for shortest paths, and a scorer for
# matching workers with tasks. This is *decision-focused learning*; for more of its methods and
# benchmarks see PyEPO (Tang and Khalil, 2024), which specialises in it.

# %%
import matplotlib.pyplot as plt
import torch

import optlayers as ol
from optlayers import plotting

torch.set_num_threads(1)  # small networks: several threads would wait for each other

# %% [markdown]
# ## A path through a grid
#
# Twenty-five places, and edges that lead right and down. A path from the upper left to the lower
# right is a point of a polytope whose rows say that what flows into a place flows out of it.

# %%
side = 5
edges = [(r * side + c, r * side + c + 1) for r in range(side) for c in range(side - 1)]
edges += [(r * side + c, (r + 1) * side + c) for r in range(side - 1) for c in range(side)]
paths = ol.dag_path(side * side, edges, 0, side * side - 1)
print(ol.plan(paths).explain().splitlines()[1])
print(ol.plan(paths, "decoder").explain().splitlines()[1])

# %% [markdown]
# Projecting is Newton's method on the dual. Deciding would be a linear program for each instance;
# a dynamic program for all of them at once is ten lines of PyTorch, and a layer takes it as
# `decoder=`. A test on random scores says whether the two agree.

# %%
tails, heads = torch.tensor(edges).T


def best_path(scores):
    """The path with the largest sum of scores, (..., edges) -> the same shape, 0/1."""
    value = scores.new_full((*scores.shape[:-1], side * side), -torch.inf)
    value[..., 0] = 0
    last = torch.zeros(value.shape, dtype=torch.long)  # the edge on which a place is reached
    for place in range(1, side * side):
        into = (heads == place).nonzero()[:, 0]
        value[..., place], best = (value[..., tails[into]] + scores[..., into]).max(-1)
        last[..., place] = into[best]
    z, at = torch.zeros_like(scores), torch.full((*scores.shape[:-1], 1), side * side - 1)
    for _ in range(2 * (side - 1)):
        edge = last.gather(-1, at)
        z.scatter_(-1, edge, 1.0)
        at = tails[edge]
    return z


sample = torch.randn(50, len(edges))
assert torch.equal(best_path(sample), ol.decode(paths, sample))

# %% [markdown]
# ## Travel times that no linear model fits
#
# As in Elmachtoub and Grigas (2022): the time of an edge is a power of a linear function of five
# features, times noise. The model that predicts it is linear. It cannot be right everywhere, and
# the question is where it should be.


# %%
def travel_times(n, weights, generator):
    x = torch.randn(n, 5, generator=generator)
    times = ((x @ weights.T / 5**0.5 + 3) ** 6 + 1) / 3.5**6
    return x, times * (0.5 + torch.rand(times.shape, generator=generator))


def regret(scores, times):
    """How much longer the chosen paths take than the best ones, in percent."""
    chosen, best = (best_path(scores) * times).sum(), (best_path(-times) * times).sum()
    return 100 * float(chosen / best - 1)


SURROGATES = {
    "SPIGOT (vertex)": ol.SPIGOT(warn=False, around="vertex"),
    "SPIGOT (projection)": ol.SPIGOT(around="projection"),
    "straight-through": ol.StraightThrough(),
}


def loss_of(method, scores, times):
    if method == "regression":
        return (scores + times).square().sum()  # scores are negative times: layers maximise
    if method == "SPO+":  # Elmachtoub and Grigas: a supervised loss with a margin
        with torch.no_grad():
            worse, best = best_path(2 * scores + times), best_path(-times)
        return (2 * (worse - best) * scores).sum()
    z = ol.structured_argmax(paths, scores, SURROGATES[method], decoder=best_path)
    return (z * times).sum()  # the time that the chosen path takes


def train(method, seed, epochs=25):
    generator = torch.Generator().manual_seed(seed)
    weights = (torch.rand(len(edges), 5, generator=generator) < 0.5).float()
    x, times = travel_times(300, weights, generator)
    x_test, times_test = travel_times(1000, weights, generator)
    torch.manual_seed(seed)
    network = torch.nn.Linear(5, len(edges))
    optimiser, curve = torch.optim.Adam(network.parameters(), lr=0.05), []
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(50):
            loss = loss_of(method, network(x[batch]), times[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            curve.append(regret(network(x_test), times_test))
    return curve, network


# %% [markdown]
# All but the regression learn from the time that the chosen path takes, and SPO+ from the best path
# as well. For a loss that is linear in $z$ the gradient $g$ is the vector of true times, whatever
# the decision. SPIGOT around the vertex is then zero exactly where the decision cannot be improved;
# straight-through is never zero, and pushes all scores down for ever.

# %%
methods = ["regression", *SURROGATES, "SPO+"]
runs = {method: [train(method, seed) for seed in range(4)] for method in methods}
curves = {method: [curve for curve, _ in found] for method, found in runs.items()}
axes = plotting.draw_curves(curves, ylabel="regret on test paths, %")

# %%
print(f"{'regret, %':20}  mean   by seed")
for method, found in curves.items():
    last = torch.tensor(found)[:, -1]
    print(f"{method:20} {last.mean():5.1f}  ", "  ".join(f"{v:4.1f}" for v in last.tolist()))

end = {method: torch.tensor(found)[:, -1].mean() for method, found in curves.items()}
assert end["SPIGOT (projection)"] < 0.9 * end["regression"]
assert end["SPIGOT (projection)"] < end["straight-through"]

# %% [markdown]
# The regression fits best and decides worse. SPIGOT around the projection is level with SPO+, which
# is made for linear losses and is shown the best paths. Around the vertex SPIGOT learns less
# steadily, and straight-through decides worse than the regression on average.
#
# Four seeds are few. The same functions with twelve: regression 13.9 (13.8 by least squares in
# closed form, so it has converged), vertex 11.4, projection 9.0, straight-through 15.5, SPO+ 9.0.
# Around the projection SPIGOT beats the regression with every seed, straight-through with five. The
# mean squared error of the times goes the other way: regression 0.9, all others 2.4 and more.
#
# What is learned shows on one day that neither model has seen, picked because they differ there:
# in favour of SPIGOT, the twentieth largest difference of 200. The colours are true times,
# dark is fast:


# %%
def draw_path(axes, z, times, title):
    for (a, b), time in zip(edges, (times / times.max()).tolist(), strict=True):
        (y1, x1), (y2, x2) = divmod(a, side), divmod(b, side)
        axes.plot([x1, x2], [-y1, -y2], color=plt.cm.cividis(time), lw=6, zorder=1)
    for i in z.nonzero()[:, 0].tolist():
        (y1, x1), (y2, x2) = divmod(edges[i][0], side), divmod(edges[i][1], side)
        axes.plot([x1, x2], [-y1, -y2], color=plotting.COLOURS["gradient"], lw=2, zorder=2)
    axes.set_title(f"{title}: {float(z @ times):.1f}", fontsize=10)
    axes.set_aspect("equal")
    axes.axis("off")


generator = torch.Generator().manual_seed(0)
weights = (torch.rand(len(edges), 5, generator=generator) < 0.5).float()
travel_times(300, weights, generator)  # the days that the models have seen
x, times = travel_times(200, weights, generator)
guesses = {m: runs[m][0][1](x).detach() for m in ("regression", "SPIGOT (projection)")}
taken = {m: (best_path(scores) * times).sum(-1) for m, scores in guesses.items()}
lost = taken["regression"] - taken["SPIGOT (projection)"]
day = int(lost.argsort()[-20])  # the twentieth largest difference
figure, panels = plt.subplots(1, 3, figsize=(9.5, 3.3))
draw_path(panels[0], best_path(-times[day]), times[day], "best")
for axes, (method, scores) in zip(panels[1:], guesses.items(), strict=True):
    draw_path(axes, best_path(scores[day]), times[day], method)
figure.tight_layout()

# %% [markdown]
# ## Workers and tasks
#
# Six workers, six tasks, each with four features; what a pair is worth grows exponentially with a
# bilinear form of length 1. The scorer is bilinear. `ol.assignment` decides by the Hungarian
# method, and the gradient is a projection onto doubly stochastic matrices.

# %%
m = 6
matchings = ol.assignment(m, m)
print(ol.plan(matchings).explain().splitlines()[1])


def pairs(n, form, generator):
    workers, tasks = torch.randn(2, n, m, 4, generator=generator)
    fit = torch.einsum("nik,kl,njl->nij", workers, form, tasks)
    return workers, tasks, torch.exp(fit).flatten(1)


def share(method, seed, epochs=20):
    """Value of the chosen matchings, in percent of the best ones."""
    generator = torch.Generator().manual_seed(seed)
    form = torch.nn.functional.normalize(torch.randn(16, generator=generator), dim=0).view(4, 4)
    workers, tasks, value = pairs(200, form, generator)
    *test, value_test = pairs(500, form, generator)
    torch.manual_seed(seed)
    weight = (0.1 * torch.randn(4, 4)).requires_grad_()
    bias = torch.zeros((), requires_grad=True)

    def score(workers, tasks):
        return (torch.einsum("nik,kl,njl->nij", workers, weight, tasks) + bias).flatten(1)

    optimiser, curve = torch.optim.Adam([weight, bias], lr=0.05), []
    best = (ol.decode(matchings, value_test) * value_test).sum()
    for _ in range(epochs):
        for batch in torch.randperm(len(value)).split(50):
            scores = score(workers[batch], tasks[batch])
            if method == "regression":
                loss = (scores - value[batch]).square().sum()
            else:
                z = ol.structured_argmax(matchings, scores, SURROGATES[method])
                loss = -(z * value[batch]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            chosen = ol.decode(matchings, score(*test))
            curve.append(100 * float((chosen * value_test).sum() / best))
    return curve


curves = {name: [share(name, seed) for seed in range(8)] for name in ["regression", *SURROGATES]}
axes = plotting.draw_curves(curves, ylabel="value, % of the best matching")
print(f"{'value, %':20}  mean   by seed")
for method, found in curves.items():
    last = torch.tensor(found)[:, -1]
    print(f"{method:20} {last.mean():5.1f}  ", "  ".join(f"{v:4.1f}" for v in last.tolist()))

end = {method: torch.tensor(found)[:, -1].mean() for method, found in curves.items()}
assert end["SPIGOT (projection)"] > end["regression"] + 0.5
assert end["SPIGOT (projection)"] > end["straight-through"] + 3

# %% [markdown]
# SPIGOT gains about a point over the regression on average, most where the regression is worst,
# and nothing where it is best; the two base points are level. Straight-through is worst again.
#
# The scale of the values matters for a fair comparison. Leave the length of the form to chance, and
# pairs worth 100000 appear: the regression has not converged after twenty epochs, and is up to 43
# points behind least squares in closed form, which flatters SPIGOT. Here least squares in closed
# form is no better on average than the regression that is shown (96.1). Check your baseline first.
#
# ## What to take away
#
# - Layers maximise: scores are negative costs. The loss is what the decision costs, summed.
# - For linear losses start with `around="projection"`: better on paths, level on matchings. Compare
#   with SPO+, and with a regression that has converged.
# - A decoder of your own, `decoder=`, saves the linear program; compare the two on random scores
#   first.
#
# Next: [validate a projection of your own](06_validate_a_projection.py). The formulas of other
# methods for this setting, I-MLE, blackbox differentiation, perturbed optimisers, are on
# [one page](../explanation/surrogates.md).
