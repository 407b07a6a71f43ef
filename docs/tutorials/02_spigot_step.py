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
# # The SPIGOT step, drawn
#
# At the end of this page you have moved the step size of a SPIGOT gradient by hand, and seen the
# three things that it can do: nothing, scale the gradient, and turn it. Two dimensions are enough
# for all of it.

# %%
import matplotlib.pyplot as plt
import torch

import optlayers as ol
from optlayers import plotting

# %% [markdown]
# ## Forward: a vertex
#
# Two parts, with one rule: the second may be taken with the first only by half. Scores point
# somewhere; the decision is the 0/1 point that lies furthest in that direction.

# %%
P = ol.Polytope([[1.0, 0.5]], b=[1.0])  # z_1 + z_2 / 2 <= 1 in the unit square
scores = torch.tensor([0.9, 0.6])
z_hat = ol.decode(P, scores)
z_hat

# %% [markdown]
# ## Backward: step, project, subtract
#
# The network behind the decision returns a gradient $g$. SPIGOT goes from $\hat z$ to
# $p = \hat z - \eta g$, projects it onto $P$, and takes $\hat z - \tilde z$ for the gradient of the
# scores. The arrow along the edge is its negative: where descending moves the scores.

# %%
g = torch.tensor([0.1, -0.7])
axes = plotting.draw_step(P, z_hat, g, scores=scores)

# %%
s = scores.clone().requires_grad_()
z = ol.structured_argmax(P, s, ol.SPIGOT(eta=1.0, around="vertex"))
z.backward(g)
torch.testing.assert_close(s.grad, z_hat - ol.project(P, z_hat - g))
s.grad

# %% [markdown]
# Descending raises the second score and lowers the first, although $g$ said almost nothing about
# the first part. The edge says it: more of the second part is less of the first.
#
# ## The step size, by hand
#
# Move the slider. A short step makes an arrow that grows with $\eta$ and keeps its direction: the
# *cone regime*. At $\eta = 5/3$ the target reaches the corner $(\frac12, 1)$ and rests there until
# $\eta = 5$. Then it moves along the upper edge, and $\eta$ turns the gradient. At $\eta = 10$ it
# arrives at $(0, 1)$, the point of $P$ that the loss likes best, and stays: *saturation*. Every
# frame is an exact projection, computed when this page was built.

# %% tags=["hide_input"]
import json

from IPython.display import HTML

etas = torch.logspace(-1.0, 1.3, 81)
steps = z_hat - etas[:, None] * g
targets = ol.project(P, steps)
gradients, corner = z_hat - targets, torch.tensor([0.5, 1.0])
last = ol.project(P, z_hat - 1e4 * g)


def regime(eta, gradient):
    if (gradient / eta - gradients[0] / etas[0]).abs().max() < 1e-4:
        return "cone regime"
    target = z_hat - gradient
    if torch.allclose(target, corner, atol=1e-5):
        return "resting at a corner"
    return "saturated" if torch.allclose(target, last, atol=1e-5) else "turning"


frames = [
    {"eta": float(eta), "p": p.tolist(), "z": z.tolist(), "regime": regime(eta, z_hat - z)}
    for eta, p, z in zip(etas, steps, targets, strict=True)
]
seen = list(dict.fromkeys(frame["regime"] for frame in frames))
assert seen == ["cone regime", "resting at a corner", "turning", "saturated"]
corners = " ".join(f"{100 * x:g},{-100 * y:g}" for x, y in ((0, 0), (1, 0), (0.5, 1), (0, 1)))
slider = """
<figure class="step-slider">
<svg viewBox="-50 -160 230 190" style="width:100%;max-width:26rem" role="img"
aria-label="The step, its projection, the gradient">
<polygon points="CORNERS" fill="BLUE" fill-opacity="0.15" stroke="BLUE" stroke-width="1.5"/>
<g fill="currentColor"><circle r="3"/><circle cx="100" r="4"/><circle cy="-100" r="3"/></g>
<line data-a="step" x1="100" stroke="ORANGE" stroke-width="2"/>
<line data-a="back" stroke="GREEN" stroke-width="1.5" stroke-dasharray="3 3"/>
<line data-a="grad" x1="100" stroke="PINK" stroke-width="4"/>
<path data-a="p" d="M-4-4 4 4M-4 4 4-4" stroke="ORANGE" stroke-width="2"/>
<path data-a="z" d="M0-5 5 0 0 5-5 0z" fill="GREEN"/>
<text x="106" y="14" fill="currentColor" font-size="12">z&#770;</text>
</svg>
<figcaption style="max-width:26rem;font-style:normal">
<label>step size <input style="width:100%" type="range" min="0" max="LAST" value="40"></label>
<output style="display:block"></output></figcaption>
<script>
{
  const root = document.currentScript.closest("figure");
  const frames = FRAMES;
  const part = (name) => root.querySelector(`[data-a=${name}]`);
  const set = (name, values) =>
    Object.entries(values).forEach(([key, value]) => part(name).setAttribute(key, value));
  const show = (number) => {
    const { eta, p, z, regime } = frames[number];
    const at = ([x, y]) => [100 * x, -100 * y];
    const [px, py] = at(p), [zx, zy] = at(z);
    set("step", { x2: px, y2: py });
    set("back", { x1: px, y1: py, x2: zx, y2: zy });
    set("grad", { x2: zx, y2: zy });
    set("p", { transform: `translate(${px} ${py})` });
    set("z", { transform: `translate(${zx} ${zy})` });
    const numbers = [1 - z[0], 0 - z[1]].map((v) => v.toFixed(2)).join(", ");
    root.querySelector("output").textContent =
      `\u03b7 = ${eta.toFixed(2)}, gradient (${numbers}): ${regime}`;
  };
  root.querySelector("input").addEventListener("input", (event) => show(+event.target.value));
  show(40);
}
</script>
</figure>
"""
for word, value in {
    "CORNERS": corners,
    "LAST": str(len(frames) - 1),
    "FRAMES": json.dumps(frames),
    "BLUE": plotting.COLOURS["polytope"],
    "ORANGE": plotting.COLOURS["gradient"],
    "GREEN": plotting.COLOURS["projection"],
    "PINK": plotting.COLOURS["surrogate"],
}.items():
    slider = slider.replace(word, value)
HTML(slider)

# %% [markdown]
# The same as a row of pictures: the arrow grows, reaches the corner, and turns at last. In the last
# two the step ends above the frame.

# %%
figure, panels = plt.subplots(1, 4, figsize=(11, 3.2))
for axes, eta in zip(panels, (0.5, 1.5, 3.0, 7.0), strict=True):
    plotting.draw_step(P, z_hat, g, eta, ax=axes, names=False)
    axes.set(title=rf"$\eta = {eta}$", xlim=(-0.3, 1.3), ylim=(-0.2, 1.8), xlabel="", ylabel="")
figure.tight_layout()

# %% [markdown]
# `ol.diagnose` tells the regimes of a batch apart, cheaply enough to log while training. If nearly
# all instances are in the cone regime or saturated, tuning $\eta$ is a waste of time, and the layer
# warns once. A target that rests at a corner counts as saturated where $2\eta$ leaves it there; the
# rest to 100 % lies between the regimes.

# %%
grads = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
for eta in (0.1, 1.0, 10.0):
    result = z_hat - ol.project(P, z_hat - eta * grads)
    found = ol.diagnose(P, z_hat.expand(1000, 2), eta * grads, result)
    shares = (f"{name} {found[f'{name}_share']:.0%}" for name in ("cone", "saturated", "zero"))
    print(f"eta = {eta:4}:", ", ".join(shares))

# %% [markdown]
# ## What an equality row removes
#
# Three parts of which exactly one is chosen lie on a triangle. Adding the same number to all
# entries of $g$ moves $p$ off the plane of the triangle, and the projection brings it back to the
# same place: the gradient has no part that decisions cannot see.

# %%
triangle = ol.simplex(3)
chosen, g3 = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.6, -0.3, 0.1])
axes = plotting.draw_step(triangle, chosen, g3)
gradient = chosen - ol.project(triangle, chosen - g3)
shifted = chosen - ol.project(triangle, chosen - (g3 + 5.0))
torch.testing.assert_close(gradient, shifted, atol=1e-5, rtol=0)
assert abs(gradient.sum()) < 1e-6

# %% [markdown]
# ## Where a vertex is blind
#
# Turn $g$ around: now the loss wants *more* of the part that is chosen already. The step leaves the
# triangle at its corner, the projection returns to the corner, and the gradient is zero. From a
# point inside both directions are open. `SPIGOT(around="projection")` starts at
# $\Pi_P(s / T)$, the relaxed solution of the same scores; the forward pass stays hard.

# %%
relaxed = ol.project(triangle, torch.tensor([0.6, 0.3, 0.1]))
figure, panels = plt.subplots(1, 2, figsize=(8, 3.6))
plotting.draw_step(triangle, chosen, -g3, ax=panels[0])
plotting.draw_step(triangle, chosen, -g3, ax=panels[1], base=relaxed)
panels[0].set_title("around the vertex: zero")
panels[1].set_title("around the projection")
figure.tight_layout()
assert torch.equal(ol.project(triangle, chosen + g3), chosen)
assert (relaxed - ol.project(triangle, relaxed + g3))[0] < 0  # raises the chosen part

# %% [markdown]
# ## What to take away
#
# - The gradient is the way from a feasible target back to the decision; it never leaves $P$.
# - $\eta$ turns the gradient only between two regimes. A mean over a batch makes it tiny.
# - At a vertex what is chosen can only lose. Latent structure wants `around="projection"`.
#
# Next: [rationale extraction](03_rationales.py), where the structure is latent. Why a projection
# at all: [SPIGOT, derived](../explanation/spigot.py).
