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
# # Declare a polytope
#
# At the end of this page you have a layer for a set that nobody has written a projection for, and
# proof that its projection is right: declare a set, ask how it will be treated, decode, project,
# check, and backpropagate through the decision. Everything here runs when the site is built.

# %%
import torch

import optlayers as ol
from optlayers import plotting

# %% [markdown]
# ## A set nobody has written a projection for
#
# Five candidates in a row. We may choose at most two, and never two neighbours:
#
# $$ Z = \{ z \in \{0,1\}^5 : \textstyle\sum_i z_i \le 2,\; z_i + z_{i+1} \le 1 \}. $$
#
# Each constraint is a row of $A z \le b$. Bounds default to $[0, 1]$ because decisions are
# usually yes or no.

# %%
A = [
    [1, 1, 1, 1, 1],
    [1, 1, 0, 0, 0],
    [0, 1, 1, 0, 0],
    [0, 0, 1, 1, 0],
    [0, 0, 0, 1, 1],
]
P = ol.Polytope(A, b=[2, 1, 1, 1, 1])
print(ol.plan(P).explain())

# %% [markdown]
# The plan says what happens to each independent block of the constraints, and why nothing cheaper
# would do. These rows share variables, so there is one block, and its projection is
# [Newton's method on the dual](../math.md#newton). Decoding has a plan of its own,
# `ol.plan(P, "decoder")`.
#
# Independent parts get a map each. Below, `P` stands beside a simplex and beside two variables
# without rows:

# %%
plotting.draw_plan(ol.product(P, ol.simplex(4), ol.box(2)))

# %% [markdown]
# ## Decode and project
#
# `decode` finds the best 0/1 point. `project` finds the nearest point of the relaxation, where
# entries may be fractional. Both take any number of leading batch dimensions; the last one is
# the variables.

# %%
scores = torch.tensor([[0.9, 1.0, 0.4, 0.2, -0.2], [-0.1, 0.5, 0.1, 0.6, 0.7]])
ol.decode(P, scores)

# %%
z = ol.project(P, scores)
z

# %% [markdown]
# ## Do not believe it, check it
#
# A certificate recomputes the multipliers of the projection from the declaration alone and
# bounds the distance to the true projection. It does not care who computed the point.

# %%
certificate = ol.certify(P, scores, z)
certificate

# %%
assert certificate.holds(1e-5)
wrong = ol.certify(P, scores, ol.decode(P, scores))  # feasible, but not the nearest point
assert not wrong.within(1e-5).any()
wrong.distance

# %% [markdown]
# `validate` does this on random points and compares with independent solvers.

# %%
print(ol.validate(P, samples=20, against=("osqp", "cvxpy")))

# %% [markdown]
# ## A layer
#
# Forward: the hard decision. Backward: SPIGOT. Step from the decision against the gradient of
# the loss, project back, and use the difference as the gradient of the scores.

# %%
layer = ol.StructuredArgmax(P, ol.SPIGOT(eta=0.5, around="vertex"))

s = scores.clone().requires_grad_()
z_hat = layer(s)
target = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])
loss = ((z_hat - target) ** 2).sum()
loss.backward()
s.grad

# %% [markdown]
# That is the formula, word for word:

# %%
grad = 2 * (z_hat - target).detach()
by_hand = z_hat.detach() - ol.project(P, z_hat.detach() - 0.5 * grad)
torch.testing.assert_close(s.grad, by_hand)

# %% [markdown]
# ## The step, drawn
#
# In two dimensions the whole story fits into a picture (Figure 1 of Peng et al., 2018): the
# decision is a vertex, the step leaves the polytope, the projection brings it back to the
# boundary.

# %%
Q = ol.Polytope([[2.0, 1.0]], b=[2.0])  # 2 z_1 + z_2 <= 2 in the unit square
axes = plotting.draw_step(Q, z_hat=[1.0, 0.0], grad=[-0.15, -0.8])

# %% [markdown]
# ## Sets that depend on the input
#
# Right-hand sides and bounds may differ per instance (rows too, see the page *Instances that
# differ*). Here the second instance
# may choose only one candidate, and the first must not choose its first (padding works the same
# way: an upper bound of zero).

# %%
b = torch.tensor([[2.0, 1, 1, 1, 1], [1.0, 1, 1, 1, 1]])
upper = torch.tensor([[0.0, 1, 1, 1, 1], [1.0, 1, 1, 1, 1]])
layer(scores, feasible_set=P.with_(b=b, upper=upper))

# %% [markdown]
# ## More variables than decisions
#
# Some sets are small only with auxiliary variables. The last `num_aux` columns of the rows
# belong to them; scores and results do not contain them. At most one contiguous run of chosen
# words: a run starts where a word is chosen and its predecessor is not, and the starts are
# counted by $\psi$.

# %%
n = 5
before = torch.diag(torch.ones(n - 1), -1)
starts = torch.cat([torch.eye(n) - before, -torch.eye(n)], dim=1)  # z_i - z_{i-1} <= psi_i
count = torch.cat([torch.zeros(1, n), torch.ones(1, n)], dim=1)  # sum psi <= 1
R = ol.Polytope(torch.cat([starts, count]), b=[0.0] * n + [1.0], num_aux=n)
ol.decode(R, torch.tensor([1.0, -0.5, 1.0, -3.0, 1.0]))

# %% [markdown]
# `ol.spans` declares the same set with a limit on the number of words, and more spans. Other
# constructors: see the [API](../api/declare.md#constructors).
#
# ## When the structure is latent
#
# At a vertex, SPIGOT can only demote what was chosen. If nothing else supervises the structure,
# start the backward pass from the relaxed solution instead; the forward pass stays hard.
# [Choosing](../choosing.md) says when.

# %%
latent = ol.StructuredArgmax(P, ol.SPIGOT(eta=0.5, around="projection"))
s = scores.clone().requires_grad_()
((latent(s) - target) ** 2).sum().backward()
s.grad.round(decimals=4)

# %% [markdown]
# ## What to take away
#
# - A set is a matrix, a right-hand side and bounds. Its plan says how it will be treated.
# - `decode`, `project` and `certify` are the three questions that you can ask of it.
# - A layer puts `decode` forward and SPIGOT backward. Right-hand sides and bounds may differ by
#   instance; rows are shared.
#
# Next: [the SPIGOT step, drawn](02_spigot_step.py), or [a polytope of your
# own](../how-to/polytope.md), with patterns for rows.
