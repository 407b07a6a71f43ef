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
# # Lengths, masks, batches, devices
#
# At the end of this page a layer takes padded batches whose sets differ from instance to instance,
# survives an instance without a solution, and runs unchanged on a GPU and in several processes.

# %%
import time

import matplotlib.pyplot as plt
import torch

import optlayers as ol

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"

# %% [markdown]
# ## Sentences of different lengths
#
# A structured set takes the lengths, and ignores the scores of padding. The set is made for each
# batch; what is compiled depends on the padded size alone, so that costs little.

# %%
lengths = torch.tensor([7, 4, 5])
trees = ol.DependencyTrees(lengths)
scores = torch.randn(3, 8, 8, device=device, requires_grad=True)  # heads by modifiers, root first
layer = ol.StructuredArgmax(surrogate=ol.SPIGOT(eta=0.5))
z = layer(scores, trees)
z.backward(torch.randn_like(z))

assert z.sum((1, 2)).tolist() == lengths.tolist()  # one head for each word
assert z.device == scores.device
assert scores.grad[1, :, 5:].eq(0).all()  # padding learns nothing


# %%
def show(values, titles, label):
    """A row of matrices, with one colour for each value in all of them."""
    figure, panels = plt.subplots(1, len(values), figsize=(3 * len(values), 2.9))
    size = max(float(v.abs().max()) for v in values)
    for axes, value, title in zip(panels, values, titles, strict=True):
        picture = axes.imshow(value.cpu(), cmap="PuOr_r", vmin=-size, vmax=size)
        axes.set(title=title, xlabel="modifier", ylabel="head")
    figure.colorbar(picture, ax=panels, label=label, shrink=0.8)


names = [f"{n} words" for n in lengths.tolist()]
show(list(z.detach()), names, "chosen")
show(list(scores.grad), names, "gradient of the scores")

# %% [markdown]
# The chosen arcs, and below them the gradients: zero at padding, and zero in the columns where the
# loss asks for more of the chosen head.
#
# ## Masks and budgets
#
# Every constructor takes `mask=`, true at parts that may be chosen, and limits that depend on the
# input. Behind it stands one mechanism, for polytopes of your own too: rows stay, bounds and
# right-hand sides come as tensors with batch dimensions. A masked part has its lower bound as its
# upper bound.

# %%
mask = torch.arange(8) < torch.tensor([[8], [4], [5]])
budget = torch.tensor([[3.0], [1.0], [2.0]])
P = ol.cardinality(8, at_most=budget[:, 0], mask=mask)
own = ol.Polytope(torch.ones(1, 8), b=budget, upper=mask.double())  # the same, by hand
chosen = ol.decode(P, torch.rand(3, 8))
assert (chosen.sum(-1) == budget[:, 0]).all()
assert not chosen[~mask].any()
scores = torch.rand(3, 8)
assert torch.equal(ol.decode(P, scores), ol.decode(own, scores))
chosen.int()

# %% [markdown]
# Structured sets take `mask=` as well. The last dimensions of scores
# belong to the structure; there may be any number of leading ones, and those of the set broadcast
# against them:

# %%
samples = torch.rand(10, 3, 8)  # ten samples for each of the three instances
assert ol.decode(P, samples).shape == (10, 3, 8)

# %% [markdown]
# What a mask forbids is not looked at, so forbidden scores may be anything finite, and minus
# infinity as well. Where every possibility is gone, the instance has no solution.
#
# ## An instance without a solution
#
# The third instance below asks for three of two words. By default that is an error, which names
# the instance and the rows:

# %%
wanted = torch.tensor([[1.0], [2.0], [3.0]])
allowed = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]])
hard = ol.cardinality(4, exactly=1).with_(b_eq=wanted, upper=allowed)
scores = torch.randn(3, 4, requires_grad=True)
try:
    ol.structured_argmax(hard, scores)
except ol.InfeasibleError as error:
    print(error)

# %% [markdown]
# A training run of three days should not end there. `on_failure="fallback"` gives zeros and the
# straight-through gradient for that instance; `"nan"` gives not-a-number. The others never notice.

# %%
careful = ol.StructuredArgmax(surrogate=ol.SPIGOT(), on_failure="fallback")
z = careful(scores, hard)
z.sum().backward()
print(z.int().tolist())
print(careful.status.ok.tolist(), careful.status.failures)
assert careful.status.ok.tolist() == [True, True, False]

# %% [markdown]
# `layer.status` is of the last forward pass, `layer.backward_status` of the last backward pass. Log
# how many instances fail, and mask their loss if zeros mean something to your network.
#
# ## Dtypes and devices
#
# Results have the dtype and the device of the scores. Half precision is computed in single and
# rounded at the end. Closed forms and Newton's method run on the device, the other solvers on the
# host: [Choosing](../choosing.md#which-solver) says which.

# %%
for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
    s = torch.tensor([0.7, 0.6, 0.1], dtype=dtype, device=device, requires_grad=True)
    z = ol.structured_argmax(ol.simplex(3), s)
    z[0].backward()
    assert z.dtype == s.grad.dtype == dtype
    assert z.device == s.device

# %% [markdown]
# ## What a batch saves
#
# Equal blocks of all instances are one operation. Deciding and projecting sentence by sentence
# costs the overhead of a call each time:


# %%
def seconds(function, repeats=20):
    function()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


heads, batches = ol.head_selection(20), [1, 4, 16, 64, 256]
alone = seconds(lambda: ol.project(heads, torch.zeros(heads.n)))
per_instance = []
for batch in batches:
    y = torch.randn(batch, heads.n)
    per_instance.append(seconds(lambda: ol.project(heads, y)) / batch)  # noqa: B023

figure, axes = plt.subplots(figsize=(5, 2.8))
axes.semilogx(batches, [1e6 * t for t in per_instance], "o-", label="in a batch")
axes.axhline(1e6 * alone, linestyle="--", color="#555555", label="alone")
axes.set(xlabel="instances in the batch", ylabel="microseconds each", ylim=(0, None))
axes.legend()
figure.tight_layout()

# %% [markdown]
# Two habits make batches cheap: change right-hand sides and bounds, never rows, because a set with
# other rows is compiled anew; and on a GPU pass `on_nonfinite="propagate"`, which saves the look at
# the numbers on the host.
#
# ## Several processes
#
# Layers have no parameters and no buffers that matter: copy them, pickle them, put them into a
# module under `DistributedDataParallel`. Here two processes with half of a batch each get the
# gradient of one process with all of it. The loss is summed over instances, as SPIGOT wants, and
# `DistributedDataParallel` averages over processes: multiply the gradient by their number (or the
# learning rate), and not the loss, since that would lengthen SPIGOT's step.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
import optlayers as ol

def network():
    torch.manual_seed(0)
    return torch.nn.Linear(6, 10).double()

def gradient(model, x):
    z = ol.structured_argmax(ol.cardinality(10, at_most=3), model(x), ol.SPIGOT(eta=0.3))
    loss = (z * torch.linspace(-1, 1, 10, dtype=x.dtype)).sum()
    return loss

if __name__ == "__main__":
    rank, path = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    x = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    model = network()
    parallel = DistributedDataParallel(model)
    gradient(parallel, x[rank::2]).backward()
    alone = network()
    gradient(alone, x).backward()
    torch.testing.assert_close(2 * model.weight.grad, alone.weight.grad)
    assert model.weight.grad.abs().sum() > 0
    print(f"process {rank}: the same gradient", flush=True)
    dist.destroy_process_group()
"""

with tempfile.TemporaryDirectory() as folder:
    script = Path(folder) / "two.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script)]
    processes = [
        subprocess.Popen([*command, str(rank), str(Path(folder) / "meet")], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=100)[0].decode() for process in processes]
print("".join(sorted(outputs)))
assert all("the same gradient" in output for output in outputs)

# %% [markdown]
# Workers of a `DataLoader` may make sets, too: they pickle, and forked workers may use layers that
# the parent has used.
#
# ## What to take away
#
# - Structured sets take lengths; polytopes take bounds of 0 and batched right-hand sides.
# - Failures are per instance: `on_failure="fallback"`, then look at `status`.
# - The same code runs on any device, in any floating dtype, and under data parallelism.
#
# Next: [what happens when an instance fails](../choosing.md#when-an-instance-fails), in full;
# [trees and graphs](../structures.md).
