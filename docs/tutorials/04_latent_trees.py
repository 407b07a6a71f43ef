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
# # Latent trees
#
# At the end of this page a toy parser has learned dependency trees that nobody showed it, from the
# loss of the task behind it. The forward pass is a hard projective tree, by Eisner's algorithm.

# %%
import torch

import optlayers as ol
from optlayers import plotting

torch.set_num_threads(1)  # small networks: several threads would wait for each other

# %% [markdown]
# ## Sentences that need a tree
#
# A word has a *mark*, its depth in the tree, and a *value*. The mark says where the head is: the
# nearest word that is one level higher, with nothing higher between. The task is a number: the sum
# over words of an unknown table of (value of the word, value of its head). It cannot be computed
# without the tree, and neither the tree nor the table is given.

# %%
LONGEST, VALUES = 8, 4
TABLE = torch.randn(VALUES, VALUES + 1, generator=torch.Generator().manual_seed(7)).sign()


def make_sentences(n, generator):
    """Lengths, marks, values, heads (-1 at padding) and the number to predict."""
    lengths = torch.randint(4, LONGEST + 1, (n,), generator=generator)
    marks, values = torch.zeros(2, n, LONGEST + 1, dtype=torch.long)
    heads = torch.full((n, LONGEST + 1), -1)
    for i, length in enumerate(lengths.tolist()):
        todo = [(1, length, 0, 1)]  # a stretch of words, its head, its depth
        while todo:
            first, last, head, depth = todo.pop()
            if first <= last:
                word = int(torch.randint(first, last + 1, (), generator=generator))
                heads[i, word], marks[i, word] = head, depth
                todo += [(first, word - 1, word, depth + 1), (word + 1, last, word, depth + 1)]
        values[i, 1 : length + 1] = torch.randint(VALUES, (length,), generator=generator) + 1
    pairs = TABLE[(values - 1).clamp(min=0), values.gather(1, heads.clamp(min=0))]
    wanted = (pairs * (heads >= 0)).sum(1) / lengths.sqrt()
    return lengths, marks, values, heads, wanted


def arcs_of(heads):
    """Heads as 0/1 arcs, heads by modifiers."""
    z = torch.zeros(len(heads), LONGEST + 1, LONGEST + 1)
    sentence, word = (heads >= 0).nonzero().T
    z[sentence, heads[sentence, word], word] = 1.0
    return z


# %% [markdown]
# ## The network
#
# A parser scores arcs from marks and distances; a layer makes a tree of the scores; the second half
# reads values along the arcs of the tree. It combines the two ends of an arc non-linearly: a sum
# over words of something linear would depend on how many arcs a word has, not on which.


# %%
def pairwise(x, y):
    """Every vector of x beside every vector of y."""
    n = x.shape[1]
    return torch.cat([x[:, :, None].expand(-1, -1, n, -1), y[:, None].expand(-1, n, -1, -1)], -1)


def small(inputs):
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1), torch.nn.Flatten(-2)
    )


class Network(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.mark = torch.nn.Embedding(LONGEST + 1, 16)
        self.distance = torch.nn.Embedding(2 * LONGEST + 1, 16)
        self.value = torch.nn.Embedding(VALUES + 1, 16)
        self.arc, self.read = small(48), small(32)

    def parse(self, marks):
        at = torch.arange(LONGEST + 1)
        distance = self.distance(at[:, None] - at + LONGEST).expand(len(marks), -1, -1, -1)
        both = pairwise(self.mark(marks), self.mark(marks))
        return self.arc(torch.cat([both, distance], -1))

    def forward(self, lengths, marks, values, heads):
        scores, trees = self.parse(marks), ol.DependencyTrees(lengths, size=LONGEST)
        z = self.layer(trees, scores, heads)
        values = self.value(values)
        total = (z * self.read(pairwise(values, values))).sum((1, 2))
        return total / lengths.sqrt(), z, scores, trees


def by(surrogate):
    return lambda trees, scores, _: ol.structured_argmax(trees, scores, surrogate)


METHODS = {
    "SPIGOT (projection)": by(ol.SPIGOT(eta=0.3, around="projection", temperature=2.0)),
    "SPIGOT (marginals)": by(ol.SPIGOT(eta=0.1, around="marginals")),
    "SPIGOT (vertex)": by(ol.SPIGOT(eta=0.3, warn=False, around="vertex")),
    "straight-through": by(ol.StraightThrough(ol.NormClip(1.0))),
    "structured attention": lambda trees, scores, _: trees.marginals(scores),
    "gold trees": lambda _, __, heads: arcs_of(heads),
    "random trees": lambda trees, scores, _: ol.decode(trees, torch.rand_like(scores)),
}

# %% [markdown]
# Structured attention is the soft relative: every arc, weighted by its probability, with its true
# gradient. Gold trees are what perfect parsing would give, random trees what no parsing gives. The
# warning that `warn=False` turns off would be right: around the vertex nearly every step is in the
# cone regime, where `eta` is only a factor.


# %%
def train(layer, seed, supervised=0, epochs=15):
    generator = torch.Generator().manual_seed(seed)
    data, test = make_sentences(1000, generator), make_sentences(500, generator)
    gold = arcs_of(data[3][:supervised])
    torch.manual_seed(seed)
    network, explained, correct = Network(layer), [], []
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(epochs):
        for batch in torch.randperm(1000).split(50):
            *inputs, wanted = (part[batch] for part in data)
            predicted, *_ = network(*inputs)
            loss = (predicted - wanted).square().sum()
            if supervised:
                trees = ol.DependencyTrees(data[0][:supervised], size=LONGEST)
                scores = network.parse(data[1][:supervised])
                loss = loss + ol.structured_hinge(trees, scores, gold)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            predicted, _, scores, trees = network(*test[:4])
            error = (predicted - test[4]).square().mean() / test[4].var()
            found = trees.heads(ol.decode(trees, scores))
            words = test[3][:, 1:] >= 0
            explained.append(100 * float(1 - error))
            correct.append(100 * float((found == test[3][:, 1:])[words].double().mean()))
    return explained, correct, network


runs = {name: [train(layer, seed) for seed in range(3)] for name, layer in METHODS.items()}
few = "SPIGOT (vertex), 20 trees"
runs[few] = [train(METHODS["SPIGOT (vertex)"], seed, supervised=20) for seed in range(3)]

# %% [markdown]
# ## What was learned
#
# The share of the variance that the predictions explain, and the share of words whose head is
# right. No training saw a head, except the last method, which saw those of 20 sentences.

# %%
curves = {name: [run[0] for run in found] for name, found in runs.items()}
axes = plotting.draw_curves(curves, ylabel="variance explained, %")

# %%
parsers = [name for name in runs if name not in ("gold trees", "random trees")]
curves = {name: [run[1] for run in runs[name]] for name in parsers}
axes = plotting.draw_curves(curves, ylabel="right heads, %")

# %%
print(f"{'':26} explained          right heads")
for name, found in runs.items():
    cells = ["  ".join(f"{run[k][-1]:4.0f}" for run in found) for k in (0, 1)]
    print(f"{name:26} {cells[0]:18} {cells[1] if name in parsers else '-'}")

right = {name: torch.tensor([run[1][-1] for run in found]) for name, found in runs.items()}
assert right["SPIGOT (projection)"].median() > 80
assert right["SPIGOT (vertex)"].max() < 60
assert right[few].min() > 90

# %% [markdown]
# - **Around the projection** the parser finds nearly all heads by itself, and the forward pass was
#   a hard tree all the time.
# - **Around the vertex** the gradient can only take arcs away from the tree that was chosen.
#   Nothing says which ones to keep, and the predictions are no better than with random trees.
#   Twenty sentences with a hinge loss supply what is missing: that is the paper's setting.
# - **Around the marginals** it depends on the step and the seed. **Straight-through** is stuck,
#   with and without the clipping.
# - **Structured attention** has a true gradient, and learns as well. It reads a mixture of trees,
#   while training as well as afterwards; take it where that will do.
#
# No method is a certainty. With seeds 3, 4 and 5, left out here to save time, the shares of right
# heads were 99, 99 and 63 around the projection, 88, 99 and 28 around the marginals, 52, 100 and 66
# with attention, 21, 22 and 19 around the vertex, 25, 35 and 25 straight through, 99, 97 and 100
# with twenty trees.
# Settings matter, too: the step and the temperature of the first method were chosen by the results
# of these seeds, and with temperature 1 one of the first three ends at 11. The others were tried
# with several steps each, on three seeds, and did not do clearly better than here.
#
# ## Before and after
#
# True trees above, those of the parser below; arcs that differ are dashed.

# %%
lengths, marks, values, heads, _ = make_sentences(500, torch.Generator().manual_seed(99))
i = int((lengths == 7).nonzero()[0])
trained = runs["SPIGOT (projection)"][0][2]
torch.manual_seed(0)
untrained = Network(METHODS["SPIGOT (projection)"])
words = [f"{'abcd'[v - 1]}{m}" for v, m in zip(values[i, 1:8], marks[i, 1:8], strict=True)]
true = heads[i, 1:8].tolist()


def picture(network, title):
    trees = ol.DependencyTrees(lengths[i : i + 1], size=LONGEST)
    found = trees.heads(ol.decode(trees, network.parse(marks[i : i + 1]).detach()))[0, :7].tolist()
    below = plotting.tree_arcs(found, before=true)
    return plotting.draw_sentence(words, plotting.tree_arcs(true), below, title)


picture(untrained, "before training")

# %%
picture(trained, "after training")

# %% [markdown]
# Letters are values, numbers are marks. Is the parser sure? Scores define a distribution over
# trees, and its entropy says no:

# %%
trees = ol.DependencyTrees(lengths, size=LONGEST)
networks = {"untrained": untrained, "SPIGOT (projection)": trained}
networks["structured attention"] = runs["structured attention"][0][2]
for name, network in networks.items():
    entropy = trees.entropy(network.parse(marks).detach()).mean()
    print(f"{name:20} {entropy:5.2f} nats")

# %% [markdown]
# SPIGOT moves scores by amounts of the size of the polytope, until decisions are right, and then
# stops. Attention has to make the right tree probable. Do not read probabilities off a parser that
# was trained for its decisions.
#
# ## What to take away
#
# - A hard tree inside a network can be learned from the end task alone; the step has to start
#   inside the polytope, and even then not every seed gets there.
# - A handful of supervised structures changes the picture. Use them if you have them.
# - Run many seeds: latent structure either falls into place or does not.
#
# Next: [paths and assignments](05_decisions.py), where the loss is what a decision costs;
# [when SPIGOT helps](../explanation/when.py), on real parsers.
