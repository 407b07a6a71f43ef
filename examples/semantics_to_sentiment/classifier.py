"""The classifier of section 4.2: it reads a sentence, and the graph of it if there is one."""

import torch
from torch import Tensor, nn

import optlayers as ol
from examples.parsing.batches import Batch
from examples.parsing.encoder import Encoder
from examples.parsing.layers import Perceptron, linear
from examples.parsing.vocabulary import PADDING, Vocabulary

from .config import Config


class Classifier(nn.Module):
    r"""The logit that a sentence is positive.

    $$ p = \sigma\Bigl(w \cdot \operatorname{MLP}\Bigl(\sum_j \tilde h_j\Bigr)\Bigr), \qquad
       \tilde h_j = \operatorname{ReLU}\bigl(W [h_j ;\; a_j ;\; r_j] + b\bigr) $$

    where $h_j$ are the vectors of a BiLSTM, and $a_j, r_j$ the averages of the vectors of the heads
    of word j and of the embeddings of their roles (`head_average`). Without graphs, $\tilde h_j$ is
    $h_j$: the baseline.

    Args:
        vocabulary: Words; the roles are its labels.
        config: Of the encoder and the perceptron.
        graphs: Whether graphs are read; not in the baseline.

    References:
        Peng, Thomson and Smith (2018), Section 4.2.
    """

    def __init__(self, vocabulary: Vocabulary, config: Config, graphs: bool):
        super().__init__()
        self.encoder = Encoder(vocabulary, config.sizes, root=False)
        width = self.encoder.width
        features, inputs = nn.Identity(), nn.Dropout(config.dropout)
        if config.dropout_of == "features":
            features, inputs = inputs, features
        self.roles = None
        if graphs:
            self.roles = nn.Parameter(torch.empty(len(vocabulary.labels), config.role_size))
            nn.init.normal_(self.roles, std=0.1)
            read, width = 2 * width + config.role_size, config.combined or width
            self.combine = nn.Sequential(linear(read, width), nn.ReLU(), features)
        self.output = nn.Sequential(
            inputs,
            Perceptron(width, config.mlp, config.mlp_layers, "relu"),
            features,
            linear(config.mlp, 1),
        )

    def forward(
        self, batch: Batch, graphs: ol.SemanticGraphs | None = None, z: Tensor | None = None
    ) -> Tensor:
        """Logits `(B,)`.

        Args:
            batch: The sentences.
            graphs: The set that `z` is from.
            z: `(B, num_parts)`: a graph of each sentence, or a point of the polytope.
        """
        h = self.encoder(batch)
        if self.roles is not None:
            if graphs is None or z is None:
                raise ValueError("This classifier reads graphs: give `graphs` and `z`.")
            h = self.combine(torch.cat([h, head_average(graphs, z, h, self.roles)], -1))
            h = h * (batch.words != PADDING).unsqueeze(-1)
        return self.output(h.sum(1)).squeeze(-1).float()


def head_average(graphs: ol.SemanticGraphs, z: Tensor, h: Tensor, roles: Tensor) -> Tensor:
    r"""For each word the average of its heads' vectors and of its roles, `(B, n, width + role)`.

    $$ a_j = \frac{1}{c_j} \sum_i z_{ij} h_i, \qquad
       r_j = \frac{1}{c_j} \sum_{i, \ell} z_{ij\ell} e_\ell, \qquad
       c_j = \max\bigl(1, \sum_i z_{ij}\bigr) $$

    Words without heads get zeros. No gradient passes the number of heads $c_j$: with it, the vector
    of a word's only head would have the derivative $h_i - a_j = 0$, and a graph would never hear
    about the arcs of words with one head.

    Args:
        graphs: The set that `z` is from, with all arcs or some (its sparse layout).
        z: `(B, num_parts)`.
        h: Vectors of words, `(B, n, width)`.
        roles: Embeddings of the labels, `(L, role)`.
    """
    _, arcs, labels = graphs.unpack(z.to(h))
    assert labels is not None
    if graphs.num_slots == graphs.size**2:
        square = (graphs.size, graphs.size)
        arcs, labels = arcs.unflatten(1, square), labels.unflatten(1, square)
        counts = arcs.sum(1)
        sums = torch.cat([arcs.transpose(1, 2) @ h, labels.sum(1) @ roles], -1)
    else:
        pairs = graphs.arc_index.clamp(min=0).to(h.device)  # slots that stand for no arc are 0
        heads, modifiers = pairs.unbind(-1)
        vectors = h.gather(1, heads.unsqueeze(-1).expand(-1, -1, h.shape[-1]))
        each = torch.cat([arcs.unsqueeze(-1) * vectors, labels @ roles], -1)
        where = modifiers.unsqueeze(-1).expand_as(each)
        sums = each.new_zeros(len(h), graphs.size, each.shape[-1]).scatter_add(1, where, each)
        counts = arcs.new_zeros(len(h), graphs.size).scatter_add(1, modifiers, arcs)
    return sums / counts.detach().clamp(min=1).unsqueeze(-1)
