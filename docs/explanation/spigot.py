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
# # SPIGOT, derived
#
# Why a structured decision has no gradient, what SPIGOT puts in its place, why a projection is in
# it, and how an answer is certified. Each claim is followed by a cell that would fail if the claim
# were wrong. The notation is that of the [mathematics](../math.md).

# %%
import matplotlib.pyplot as plt
import torch

import optlayers as ol
from optlayers import plotting

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## The gradient that is not there
#
# Scores $s$ come from a network, a decision $\hat z = \arg\max_{z \in Z} s \cdot z$ is made, and a
# loss $L(\hat z)$ looks at the decision. Change one score a little: the decision stays, or it
# jumps. So does the loss. Its derivative is zero where it exists, and backpropagation stops.

# %%
P = ol.simplex(3)
direction = torch.linspace(-1.5, 1.5, 301)
scores = torch.stack([direction, torch.zeros(301), torch.full((301,), -0.5)], dim=-1)
cost = torch.tensor([0.2, 1.0, 0.5])
loss = ol.decode(P, scores) @ cost

figure, axes = plt.subplots(figsize=(5, 2.6))
axes.plot(direction, loss, color=plotting.COLOURS["decision"])
axes.set(xlabel="the first of three scores", ylabel="loss of the decision")
figure.tight_layout()
assert loss.unique().numel() == 2  # flat, one jump

# %% [markdown]
# ## A target instead of a gradient
#
# Suppose we knew which point $\tilde z$ the decision *should* have been. Then learning the scores
# would be ordinary supervised learning, for example with the perceptron's loss
#
# $$ \ell(s) = \max_{z \in Z} s \cdot z - s \cdot \tilde z,
#    \qquad \nabla_s \ell = \hat z - \tilde z . $$
#
# Nobody knows $\tilde z$, but the loss behind the decision says in which direction to look. Near
# $\hat z$ it is $L(\hat z) + g \cdot (z - \hat z)$ with $g = \nabla_{\hat z} L$. The best target
# that does not go too far, within the relaxed set $P$, is
#
# $$ \tilde z = \arg\min_{z \in P} \; g \cdot z + \frac{1}{2\eta} \lVert z - \hat z \rVert^2
#    = \arg\min_{z \in P} \; \tfrac12 \lVert z - (\hat z - \eta g) \rVert^2
#    = \Pi_P(\hat z - \eta g) : $$
#
# completing the square turns it into a projection. Put the two together:
#
# $$ \tilde\nabla_s L = \hat z - \Pi_P(\hat z - \eta g) . $$
#
# That is SPIGOT (Peng, Thomson and Smith, 2018), and this derivation is that of Mihaylova, Niculae
# and Martins (2020), who call $\tilde z$ a pulled-back label. Other targets and other losses give
# [other surrogates](surrogates.md).

# %%
plotting.draw_figure_1()

# %% [markdown]
# *Figure 1 of the paper, redrawn.* Left: the step leaves $P$ and is projected back, so that the
# surrogate gradient runs along an edge. Right: the step stays inside, and the surrogate is
# $\eta g$.

# %%
Q = ol.Polytope([[2.0, 1.0], [1.0, 2.0]], b=[4.0, 4.0], upper=2.0)
z_hat, g, eta = torch.tensor([2.0, 0.0]), torch.tensor([0.2, -1.0]), 1.0
target = ol.project(Q, z_hat - eta * g)
z = ol.project(Q, 4 * torch.rand(2000, 2) - 1)  # points of Q


def model(z):
    return z @ g + (z - z_hat).square().sum(-1) / (2 * eta)


assert (model(z) >= model(target) - 1e-12).all()  # none of them is a better target

# %% [markdown]
# ## Why project?
#
# Without the projection the target is $\hat z - \eta g$, and the surrogate $\eta g$: the
# straight-through estimator. The perceptron's loss tells what is lost. For a target in the convex
# hull of $Z$ it is never negative, because the maximum over $Z$ is at least $s \cdot \tilde z$.
# For a target outside, some direction $d$ separates it from the hull, and along $s = t d$ the loss
# falls without end: the scores are pushed forever towards something that no decision can do.
#
# On a simplex that direction is easy to name. Decisions depend on differences of scores, yet $\eta
# g$ also moves their sum. Follow both gradients for a while, with a loss that dislikes all three
# parts:


# %%
def follow(surrogate, steps=200):
    s, path = torch.tensor([0.5, 0.2, 0.0]), []
    for _ in range(steps):
        s = s.detach().requires_grad_()
        z = ol.structured_argmax(P, s, surrogate)
        (torch.tensor([1.0, 0.9, 1.1]) @ z).backward()
        s = s.detach() - 0.1 * s.grad
        path.append(s)
    return torch.stack(path)


through, spigot = follow(ol.StraightThrough()), follow(ol.SPIGOT(warn=False, around="vertex"))

figure, panels = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
for axes, path, name in zip(panels, (through, spigot), ("straight-through", "SPIGOT"), strict=True):
    for i, style in enumerate(("-", "--", ":")):
        axes.plot(path[:, i], style, color=plotting.SERIES[i], label=f"$s_{i + 1}$")
    axes.set(title=name, xlabel="step")
panels[0].set_ylabel("score")
panels[1].legend()
figure.tight_layout()

assert through.sum(-1)[-1] < -50  # the scores run away
assert (spigot.sum(-1) - 0.7).abs().max() < 1e-12  # their sum never moves
assert ol.decode(P, spigot[-1]).argmax() == ol.decode(P, through[-1]).argmax() == 1

# %% [markdown]
# Both end with the best part, the second. Straight-through goes on: the parts that are not chosen
# are pushed down, again and again, and so is the one that is. Decisions see none of it, but a loss
# with a margin does, and so does the next step of an optimiser that all parts share.
#
# ## What the projection guarantees
#
# Everything below follows from $\tilde z$ being the nearest point of a convex set that contains
# $\hat z$. Let $r = \hat z - \tilde z$ be the surrogate gradient.

# %%
n = 6
A_eq = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
R = ol.Polytope([[1.0, 0, 0, 1, 0, 0]], b=[1.0], A_eq=A_eq, b_eq=[1.0, 1.0])
z_hat, g = ol.decode(R, torch.randn(500, n)), torch.randn(500, n)


def surrogate(eta, g=g):
    return z_hat - ol.project(R, z_hat - eta * g)


r = surrogate(0.7)
assert ol.certify(R, z_hat - r, z_hat - r).primal.max() < 1e-9  # the target is feasible
assert (r @ A_eq.T).abs().max() < 1e-9  # equalities are not disturbed
squared = r.square().sum(-1)
assert ((g * r).sum(-1) >= squared / 0.7 - 1e-9).all()  # a descent direction of the loss
assert (r.norm(dim=-1) <= 0.7 * g.norm(dim=-1) + 1e-9).all()  # never longer than the step
moved = surrogate(0.7, g + torch.randn(500, 2) @ A_eq)
torch.testing.assert_close(moved, r, atol=1e-8, rtol=0)  # only what decisions can see of g counts

# %% [markdown]
# The step size has two ends. A step so short that it sees only the edges at $\hat z$ makes
# $\eta$ a factor (the *cone regime*); one so long that it reaches the far side of $P$ makes it
# irrelevant (*saturation*): the target is then the best point for the loss.

# %%
torch.testing.assert_close(surrogate(1e-4), 1e-2 * surrogate(1e-2), atol=1e-9, rtol=0)
best = ol.decode(R, -g)
assert torch.equal((z_hat - surrogate(1e4)).round(decimals=6), best)

# %%
etas = torch.logspace(-3, 3, 40)
shares = [ol.diagnose(R, z_hat, eta * g, surrogate(eta)) for eta in etas]
figure, axes = plt.subplots(figsize=(6, 2.8))
for i, (key, name) in enumerate(
    [("cone_share", "cone regime"), ("saturated_share", "saturated"), ("zero_share", "zero")]
):
    values = [100 * found[key] for found in shares]
    axes.semilogx(etas, values, ("-", "--", ":")[i], color=plotting.SERIES[i], label=name)
axes.set(xlabel=r"$\eta$", ylabel="% of instances")
axes.legend()
figure.tight_layout()

# %% [markdown]
# Between the two there is about one order of magnitude in which $\eta$ changes the direction of
# the gradient. A loss averaged over a thousand instances divides every $g$ by a thousand and lands
# far on the left: sum the loss over instances.
#
# ## Which polytope?
#
# $P$ has to contain $Z$. The convex hull of $Z$ is the best one: only there is every target a
# mixture of decisions. A looser polytope is often cheaper, as the paper's trees are, whose $P$ has
# one simplex per word and lets cycles in. Then decide on $Z$, project onto $P$: the decision stays
# exact, and a target may be a little more than any structure can do. Below, *at most one and a
# half of three* leaves room that no decision uses.

# %%
loose = ol.Polytope([[1.0, 1.0, 1.0]], b=[1.5])
hull = ol.ConvexHull(loose)
y = torch.tensor([0.9, 0.8, 0.1])
for name, onto in (("rows", loose), ("hull", hull)):
    print(name, [round(v, 3) for v in ol.project(onto, y).tolist()])

# %% [markdown]
# `ol.ConvexHull` projects onto the hull of anything that decodes, at the price of some calls to
# the decoder. [Trees](../structures.md#which-relaxation) have five relaxations to choose from.
#
# ## How to know that a projection is right
#
# A wrong projection does not crash. It trains a little worse, and nobody notices. So every answer
# can be judged by somebody who did not compute it. For multipliers $\lambda \ge 0, \nu$ the dual
# function $d(\lambda, \nu)$ bounds the objective $f(z) = \frac12 \lVert z - y \rVert^2$ from
# below, and $f$ is strongly convex, so
#
# $$ \lVert z - \Pi_P(y) \rVert \le \sqrt{2\,(f(z) - d(\lambda, \nu))} $$
#
# for every feasible $z$, whoever found it ([derivation](../math.md#certificates)). `ol.certify`
# finds multipliers by itself from the point and the declaration.

# %%
y = 2 * torch.randn(1000, n)
z = ol.project(R, y)
inside = z + 0.05 * torch.rand(1000, 1) * (z.roll(1, 0) - z)  # feasible, but not the nearest
found = ol.certify(R, y, inside)
distance = (inside - z).norm(dim=-1)
assert ol.certify(R, y, z).holds(1e-9)
assert (distance <= found.distance + 1e-7).all()

figure, axes = plt.subplots(figsize=(4.2, 3.6))
axes.loglog(distance, found.distance, ".", color=plotting.COLOURS["projection"], markersize=3)
axes.plot([1e-3, 1e-1], [1e-3, 1e-1], "--", color="#555555", label="equal")
axes.set(xlabel="true distance", ylabel="bound of the certificate")
axes.legend()
figure.tight_layout()

# %% [markdown]
# The bound is never below the distance, and of its size. `ol.validate` does this for many points
# and compares with OSQP and Clarabel; [tutorial 6](../tutorials/06_validate_a_projection.py) uses
# it to find a bug.
#
# ## Where to go next
#
# - [When SPIGOT helps](when.py), and when it does not: measured.
# - [Every surrogate on one page](surrogates.md), in this notation.
# - [Mathematics](../math.md): how the projections are computed.
