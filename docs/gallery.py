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
# # Gallery
#
# Eight tasks in some twenty lines each, with a picture: what is declared, what is decided, what is
# learned through the decision. All numbers are made up; every line runs when the site is built.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import optlayers as ol
from optlayers import plotting

torch.set_num_threads(1)  # small problems: several threads would wait for each other


def fit(parameters, loss, steps=100, lr=0.05):
    """Minimise a loss by Adam."""
    optimiser = torch.optim.Adam(parameters, lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


# %% [markdown]
# ## A summary that fits the page
#
# Choose sentences whose lengths add up to at most 40 words: a knapsack for each document. What a
# sentence is worth is not labelled; the reader's verdict on the whole summary is all there is.

# %%
torch.manual_seed(0)
lengths = torch.randint(4, 16, (12,)).double()
features = torch.randn(64, 12, 3, dtype=torch.float64)  # documents, sentences, features
worth = features @ torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
page = ol.budget(lengths, 40.0)
layer = ol.StructuredArgmax(page, ol.SPIGOT())
weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
best = (layer(worth) * worth).sum()
fit([weights], lambda: -(layer(features @ weights) * worth).sum(), steps=30)

chosen = layer(features @ weights)[0].detach()
assert (layer(features @ weights) @ lengths).max() <= 40
assert (layer(features @ weights) * worth).sum() > 0.98 * best
colours = [plotting.COLOURS["polytope"] if z else "lightgrey" for z in chosen]
left = torch.cat([torch.zeros(1), lengths.cumsum(0)[:-1].float()])
plt.figure(figsize=(8, 2.2))
plt.bar(left, worth[0], width=lengths - 0.3, align="edge", color=colours)
plt.axhline(0, color="grey", linewidth=0.8)
plt.xlabel("words of the document")
_ = plt.ylabel("worth"), plt.title(f"{int(chosen @ lengths)} of 40 words are used")

# %% [markdown]
# ## The words that decide
#
# At most six of twenty words, in at most two runs. Words that belong to a run of positive words are
# worth reading; a single bright word among dull ones is not.

# %%
torch.manual_seed(1)
value = torch.randn(8, 20)
value[:, 5:9] += 1.5
runs = ol.spans(20, max_words=6, max_spans=2)
chosen = ol.decode(runs, value)
relaxed = ol.project(runs, value)
assert chosen.sum(-1).max() <= 6
assert (chosen.diff(dim=-1, prepend=torch.zeros(8, 1)) > 0).sum(-1).max() <= 2

figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), sharey=True)
pictures = {"scores": value, "decision": chosen, "projection": relaxed}
for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
    ax.imshow(picture, cmap="cividis", aspect="auto")
    ax.set(title=name, xlabel="word")
_ = axes[0].set_ylabel("sentence")

# %% [markdown]
# ## Appointments that do not overlap
#
# A set of one's own: two requests that share an hour exclude each other. One row for each hour is
# tighter than one for each pair, and its vertices are integral (intervals).

# %%
torch.manual_seed(2)
begin = torch.randint(0, 20, (14,))
end = begin + torch.randint(2, 7, (14,))
hours = torch.arange(26)[:, None]
rows = ((begin <= hours) & (hours < end)).double()
diary = ol.Polytope(rows, b=torch.ones(26))
gain = torch.rand(14, dtype=torch.float64) * (end - begin)
chosen = ol.decode(diary, gain)
assert (rows @ chosen).max() <= 1
assert ol.certify(diary, gain, ol.project(diary, gain)).holds(1e-9)

plt.figure(figsize=(8, 2.6))
for i in range(14):
    colour = plotting.COLOURS["polytope"] if chosen[i] else "lightgrey"
    plt.barh(i, int(end[i] - begin[i]), left=int(begin[i]), color=colour)
_ = plt.xlabel("hour"), plt.yticks([]), plt.title(f"gain {float(chosen @ gain):.1f}")

# %% [markdown]
# ## A way across unknown ground
#
# Four kinds of ground; how long each takes is not known, only how long the chosen ways took.

# %%
torch.manual_seed(3)
side, true = 9, torch.tensor([1.0, 2.0, 4.0, 9.0])
edges = [(r * side + c, r * side + c + 1) for r in range(side) for c in range(side - 1)]
edges += [(r * side + c, (r + 1) * side + c) for r in range(side - 1) for c in range(side)]
ways = ol.dag_path(side * side, edges, 0, side * side - 1)
ground = torch.randint(0, 4, (16, side * side))
kinds = torch.nn.functional.one_hot(ground, 4).float()[:, [head for _, head in edges]]
guess = torch.ones(4, requires_grad=True)
layer = ol.StructuredArgmax(ways, ol.SPIGOT())
hours = kinds @ true
fit([guess], lambda: torch.sum(layer(-kinds @ guess) * hours), steps=40)

took, least = ((ol.decode(ways, -kinds @ cost) * hours).sum() for cost in (guess, true))
assert took < 1.05 * least
chosen = ol.decode(ways, -kinds @ guess.detach())[0]
places = [0, *sorted(head for z, (_, head) in zip(chosen, edges, strict=True) if z)]
plt.figure(figsize=(3.2, 3.2))
plt.imshow(true[ground[0]].view(side, side), cmap="cividis_r")
plt.plot([p % side for p in places], [p // side for p in places], color="white", linewidth=3)
_ = plt.xticks([]), plt.yticks([])

# %% [markdown]
# ## Sorting by a permutation
#
# A network scores each item for each rank, and a matching makes the scores a permutation. Learned
# from the sorted values alone.

# %%
torch.manual_seed(4)
items = torch.rand(32, 6)
ranks = torch.linspace(0, 1, 6)
steep = torch.tensor([0.0, 0.0], requires_grad=True)
layer = ol.StructuredArgmax(ol.assignment(6), ol.SPIGOT())
ordered = items.sort(-1).values


def scores():
    return (steep[0] * items[..., None] * ranks + steep[1] * ranks).flatten(-2)


def unsorted():
    permutation = layer(scores() + 0.01 * torch.randn(32, 36)).unflatten(-1, (6, 6))
    return (torch.einsum("bij,bi->bj", permutation, items) - ordered).square().sum()


fit([steep], unsorted)
permutation = layer(scores().detach()).unflatten(-1, (6, 6))
assert torch.equal(torch.einsum("bij,bi->bj", permutation, items), ordered)
figure, axes = plt.subplots(1, 2, figsize=(6, 2.6))
axes[0].imshow(scores()[0].detach().view(6, 6), cmap="cividis")
axes[1].imshow(permutation[0], cmap="cividis")
_ = axes[0].set(title="scores", ylabel="item", xlabel="rank"), axes[1].set(title="decision")

# %% [markdown]
# ## Syntax above, semantics below
#
# One tree and one graph over the same words, each the best under its scores.

# %%
words = ["Kim", "wants", "to", "read", "books"]
trees, graphs = ol.DependencyTrees(5), ol.SemanticGraphs(5, labels=2, deterministic=[0, 1])
arcs = torch.zeros(6, 6)
for head, modifier in [(0, 2), (2, 1), (2, 4), (4, 3), (4, 5)]:
    arcs[head, modifier] = 1.0
labels = torch.full((5, 5, 2), -1.0)
for head, modifier, label in [(1, 0, 0), (1, 3, 1), (3, 0, 0), (3, 4, 1), (3, 1, 1)]:
    labels[head, modifier, label] = 1.0 if modifier != 1 else 0.5  # a second ARG1, a weaker one
heads = trees.heads(ol.decode(trees, arcs))
z = ol.decode(graphs, graphs.pack(torch.zeros(5), torch.zeros(5, 5), labels))
found = [(i, j, f"ARG{label}") for i, j, label in graphs.to_arcs(z)[0]]
assert heads.tolist() == [2, 0, 4, 2, 4]
assert found == [(1, 0, "ARG0"), (1, 3, "ARG1"), (3, 0, "ARG0"), (3, 4, "ARG1")]
plotting.draw_sentence(words, plotting.tree_arcs(heads), plotting.graph_arcs(found))

# %% [markdown]
# ## Experts with as much work each
#
# Twenty-four tokens, four experts, one expert a token and six tokens an expert. The best expert of
# a token is often full; the decision finds the best exchange. `with_` changes the capacities
# without compiling anew.

# %%
torch.manual_seed(5)
tokens, experts = 24, 4
one = torch.kron(torch.eye(tokens), torch.ones(1, experts))
load = torch.kron(torch.ones(1, tokens), torch.eye(experts))
routing = ol.Polytope(A=load, b=torch.full((experts,), 6.0), A_eq=one, b_eq=torch.ones(tokens))
affinity = torch.randn(tokens, experts) + torch.tensor([1.0, 0.3, 0.0, -0.5])
greedy = torch.nn.functional.one_hot(affinity.argmax(-1), experts)
balanced = ol.decode(routing, affinity.flatten()).view(tokens, experts)
assert balanced.sum(0).tolist() == [6, 6, 6, 6]
assert balanced.sum(1).eq(1).all()

figure, axes = plt.subplots(2, 1, figsize=(8, 3), sharex=True, layout="constrained")
for ax, (name, picture) in zip(
    axes, {"largest": greedy, "balanced": balanced}.items(), strict=True
):
    ax.imshow(picture.T, cmap="cividis", aspect="auto")
    ax.set(ylabel="expert", title=f"{name}: {picture.sum(0).int().tolist()} tokens an expert")
_ = axes[1].set_xlabel("token")

# %% [markdown]
# ## A portfolio: a quadratic objective by whitening
#
# $\max_w \mu \cdot w - \frac{\gamma}{2} w^\top \Sigma w$ has a matrix in its objective, and a
# projection has none. With $\Sigma = L L^\top$ and $u = L^\top w$ it is
# $\min_u \lVert u - L^{-1} \mu / \gamma \rVert^2$: a projection onto the same set in the variables
# $u$, where bounds on $w = L^{-\top} u$ have become rows.

# %%
torch.manual_seed(6)
n, gamma = 8, 4.0
factors = torch.randn(n, n, dtype=torch.float64)
covariance = factors @ factors.T / n + 0.1 * torch.eye(n)
L = torch.linalg.cholesky(covariance)
back = torch.linalg.inv(L).T  # w = back @ u
free = {"lower": -np.inf, "upper": np.inf, "integral": False}
whitened = ol.Polytope(-back, torch.zeros(n), A_eq=back.sum(0)[None], b_eq=[1.0], **free)
mu = torch.randn(n, dtype=torch.float64, requires_grad=True)
w = ol.project(whitened, torch.linalg.inv(L) @ mu / gamma) @ back.T
slope = mu - gamma * covariance @ w  # all held assets have the same, the others no more
assert torch.isclose(w.sum(), torch.tensor(1.0, dtype=torch.float64))
assert w.min() > -1e-9
assert (slope[w > 1e-9].max() - slope.max()).abs() < 1e-8
(gradient,) = torch.autograd.grad((w * mu.detach()).sum(), mu)  # of the return, in the forecast

figure, axes = plt.subplots(1, 2, figsize=(8, 2.4))
axes[0].bar(range(n), w.detach(), color=plotting.COLOURS["projection"])
axes[0].set(title="weights", xlabel="asset")
axes[1].bar(range(n), gradient, color=plotting.COLOURS["polytope"])
_ = axes[1].set(title="gradient of the return in the forecasts", xlabel="asset")
