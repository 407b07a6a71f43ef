"""ListOps (Nangia and Bowman, 2018): arithmetic in prefix notation, by latent dependency trees.

The value of `[MAX 2 9 [MIN 4 7 ] 0 ]` depends on its nesting. A parser scores arcs from a BiLSTM's
states, a tree is chosen, states of modifiers are passed to heads along it, several times, and the
state of the root's modifier says which digit it is. Nobody says what the trees are.
"""

import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import optlayers as ol
from examples.data import DataError

from .methods import make, titles
from .search import Task, Trial

LONGEST = 30
SIZE, HIDDEN, ROUNDS = 32, 64, 5
BATCH, EPOCHS = 64, 8


@cache
def read(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens, padded with 0, lengths, and values, of expressions of LONGEST at most."""
    path = folder / "listops" / "test_d20s.tsv"
    if not path.is_file():
        raise DataError(
            f"{path} is missing. Name the folder that has it by OPTLAYERS_DATA; the file is in "
            "the repository nyu-mll/spinn, python/spinn/data/listops."
        )
    tokens: dict[str, int] = {}
    rows, values = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        value, tab, expression = line.partition("\t")
        if not tab or not value.isdigit():
            raise DataError(f"{path}:{number}: expected a digit, a tab, an expression.")
        words = [word for word in expression.split() if word not in "()"]
        if len(words) <= LONGEST:
            rows.append([tokens.setdefault(word, len(tokens) + 1) for word in words])
            values.append(int(value))
    padded = torch.zeros(len(rows), LONGEST, dtype=torch.long)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = torch.tensor(row)
    return padded, torch.tensor([len(row) for row in rows]), torch.tensor(values)


class Network(torch.nn.Module):
    """A parser, a tree, and messages from modifiers to heads."""

    def __init__(self, tokens: int, method: str, strength: float, seed: int):
        super().__init__()
        self.method, self.noise = method, torch.Generator().manual_seed(seed)
        self.embed = torch.nn.Embedding(tokens + 1, SIZE, padding_idx=0)
        self.encode = torch.nn.LSTM(SIZE, HIDDEN // 2, bidirectional=True, batch_first=True)
        self.head, self.modifier = torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN)
        self.root = torch.nn.Parameter(torch.zeros(HIDDEN))
        # What is composed starts from the words alone: their order is for the parser.
        self.start, self.pass_on = torch.nn.Linear(SIZE, HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN)
        self.update = torch.nn.GRUCell(HIDDEN, HIDDEN)
        self.read = torch.nn.Linear(HIDDEN, 10)
        soft = method in ("marginals", "attention", "random")
        self.surrogate = None if soft else make(method, strength, seed)

    def arcs(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """Return the structure: heads by modifiers, `(N, n + 1, n + 1)`."""
        size = scores.shape[-1] - 1
        if self.method == "attention":  # one head per word, cycles and all
            words = torch.arange(size + 1) <= lengths[:, None]
            allowed = words[:, :, None] & words[:, None] & ~torch.eye(size + 1, dtype=torch.bool)
            allowed[..., 0] = False
            return scores.masked_fill(~allowed, -1e9).softmax(1) * allowed
        trees = ol.DependencyTrees(lengths, size=size)
        if self.method == "marginals":
            return trees.marginals(scores)
        if self.method == "random":
            return ol.decode(trees, torch.rand(scores.shape, generator=self.noise))
        return ol.structured_argmax(trees, scores, self.surrogate)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return logits of the ten digits."""
        tokens = tokens[:, : int(lengths.max())]
        words = self.embed(tokens)
        packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.encode(packed)[0], batch_first=True)
        states = torch.cat([self.root.expand(len(states), 1, -1), states], 1)
        scores = self.head(states) @ self.modifier(states).mT / HIDDEN**0.5
        z = self.arcs(scores, lengths)
        inner = torch.nn.functional.pad(self.start(words), (0, 0, 1, 0))
        for _ in range(ROUNDS):
            message = z @ torch.relu(self.pass_on(inner))
            inner = self.update(message.flatten(0, 1), inner.flatten(0, 1)).view_as(inner)
        return self.read((z[:, 0, :, None] * inner).sum(1))


def train(trial: Trial) -> dict[str, float]:
    """Train one method; scores are those of the epoch that is best on the dev expressions."""
    torch.set_num_threads(1)
    tokens, lengths, values = read(Path(os.environ.get("OPTLAYERS_DATA", "data")))
    shuffled = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    tenth = len(values) // 10
    dev, test, rest = shuffled.split([tenth, tenth, len(values) - 2 * tenth])
    torch.manual_seed(trial.seed)
    network = Network(int(tokens.max()), trial.method, trial.strength, trial.seed)
    optimiser = torch.optim.Adam(network.parameters(), trial.learning_rate)
    order = torch.Generator().manual_seed(trial.seed)

    @torch.no_grad()
    def accuracy(part: Tensor) -> float:
        network.eval()
        hits = [
            (network(tokens[i], lengths[i]).argmax(-1) == values[i]).float()
            for i in part.split(BATCH)
        ]
        return 100 * float(torch.cat(hits).mean())

    best = {"dev": -1.0}
    for epoch in range(1, EPOCHS + 1):
        network.train()
        for i in torch.randperm(len(rest), generator=order).split(BATCH):
            chosen = rest[i]
            logits = network(tokens[chosen], lengths[chosen])
            loss = cross_entropy(logits, values[chosen], reduction="sum")
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 50.0)
            optimiser.step()
        if (reached := accuracy(dev)) > best["dev"]:
            best = {"dev": reached, "accuracy": accuracy(test), "epoch": epoch}
    return best


METHODS = (
    "straight-through",
    "spigot",
    "spigot-projection",
    "spigot-marginals",
    "softmax-st",
    "sparsemap",
    "imle",
    "gumbel-st",
)

TASK = Task(
    name="listops",
    title="Latent trees for ListOps",
    train=train,
    methods=titles(*METHODS)
    | {"marginals": "marginals (relaxed)", "attention": "soft attention", "random": "random trees"},
    learning_rates=(1e-3, 3e-3),
    strengths={"": (0.1, 0.3, 1.0)},
    scale_free=frozenset({"marginals", "attention", "random"}),  # a clip: scales of others matter
    scores={"accuracy": "accuracy"},
    setting=(
        f"Expressions of {LONGEST} tokens at most, nine parts of ten for training and development; "
        f"BiLSTM of {HIDDEN}, {ROUNDS} rounds of messages along projective trees, Adam, batches of "
        f"{BATCH}, losses summed, {EPOCHS} epochs, the best on the development expressions."
    ),
)
