"""Fenchel-Young losses: a gold structure against the projection, or against noisy decisions."""

import torch
from torch import Tensor

from .._errors import InputError
from .._feasible_set import FeasibleSet, as_set
from .._functional import project
from .._no_gradient import say_without_gradient
from .._surrogates.noise import Noise, check_noise, draw
from .._surrogates.oracles import Oracles
from .._surrogates.perturbed import multiplied
from .._surrogates.steps import check_positive
from .common import Reduction, StructuredLoss, event_of, reduce, same_shape, times, with_gradient


def sparsemap_loss(
    feasible_set: FeasibleSet,
    scores: Tensor,
    gold: Tensor,
    *,
    temperature: float = 1.0,
    reduction: Reduction = "sum",
) -> Tensor:
    r"""Compare the projection of the scores with a gold structure: one projection, no decoding.

    $$ L(s) = \max_{z \in P} \bigl[ s \cdot z - \tfrac{T}{2} \lVert z \rVert^2 \bigr]
       - s \cdot z^* + \tfrac{T}{2} \lVert z^* \rVert^2, \qquad \nabla_s L = \Pi_P(s / T) - z^* $$

    The Fenchel-Young loss of the quadratic. Not negative for $z^* \in P$, convex, and zero where
    the projection is $z^*$: there is a margin, as in a hinge loss, and it is smooth. With a gold
    structure that is a vertex it needs no cost function. Differentiable twice. $P$ is the
    relaxation of the set; a `ConvexHull` makes it the SparseMAP loss proper.

    Args:
        feasible_set: A `Polytope` or a structured set.
        scores: In the shape that the set asks for; they are maximised.
        gold: $z^*$, in the same shape: structures, or points of the polytope.
        temperature: $T$, the weight of the quadratic.
        reduction: "sum" or "mean" over the batch, or "none".

    Returns:
        A number, or the batch shape with `reduction="none"`.

    References:
        Niculae, Martins, Blondel and Cardie (2018), *SparseMAP: differentiable sparse structured
        inference*; Blondel, Martins and Niculae (2020), *Learning with Fenchel-Young losses*.

    Examples:
        >>> import optlayers as ol
        >>> scores = torch.tensor([1.0, 0.5, -1.0], requires_grad=True)
        >>> loss = sparsemap_loss(ol.simplex(3), scores, torch.tensor([1.0, 0.0, 0.0]))
        >>> loss.backward()
        >>> loss, scores.grad
        (tensor(0.0625, grad_fn=<SumBackward0>), tensor([-0.2500,  0.2500,  0.0000]))
    """
    same_shape(scores, gold)
    check_positive("temperature", temperature)
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    gold = gold.detach().to(wide)
    p = project(feasible_set, wide / temperature)
    with torch.no_grad():  # (p - z) . s - T/2 (p - z) . (p + z): nothing large cancels
        terms = times(p - gold, wide - temperature / 2 * (p + gold))
    event = event_of(feasible_set, wide)
    loss = with_gradient(wide, p - gold, terms.sum(event))
    if torch.is_grad_enabled() and as_set(feasible_set).fields_with_graph():
        # What moves with the limits alone; s - T p stands on the face, so none of it is in s.
        moved = project(feasible_set, (wide / temperature).detach())
        own = times((wide - temperature * p).detach(), moved).sum(event)
        loss = loss + (own - own.detach())
    return reduce(loss.to(scores.dtype), reduction)


def perturbed_fenchel_young(
    feasible_set: FeasibleSet,
    scores: Tensor,
    gold: Tensor,
    *,
    sigma: float = 1.0,
    samples: int = 10,
    noise: Noise = "normal",
    multiplicative: bool = False,
    generator: torch.Generator | None = None,
    reduction: Reduction = "sum",
) -> Tensor:
    r"""Compare noisy decisions with a gold structure: `samples` decodings, any set.

    $$ L(s) = \frac1m \sum_i \max_{z \in Z} (s + \sigma\epsilon_i) \cdot z - s \cdot z^*, \qquad
       \nabla_s L = \frac1m \sum_i \hat z(s + \sigma\epsilon_i) - z^* $$

    The Fenchel-Young loss of the perturbed maximum, up to a constant that depends on $z^*$ alone,
    so that its least value is not zero. The mean over noise is smooth; no derivative of a decision
    is needed.

    Args:
        feasible_set: Decodes; a `Polytope` or a structured set.
        scores: In the shape that the set asks for; they are maximised.
        gold: The true structures, in the same shape.
        sigma: $\sigma$, the size of the noise.
        samples: $m$.
        noise: "normal", "gumbel", "logistic", `SumOfGamma(k)` or a function.
        multiplicative: Decide on $s \odot \exp(\sigma\epsilon - \sigma^2/2)$, which keeps signs;
            the gradient then has that factor on each decision. Normal noise only.
        generator: Where noise comes from; None: torch's own.
        reduction: "sum" or "mean" over the batch, or "none".

    References:
        Berthet, Blondel, Teboul, Cuturi, Vert and Bach (2020), *Learning with differentiable
        perturbed optimizers*; multiplicative: Dalle, Baty, Bouvier and Parmentier (2022).
    """
    same_shape(scores, gold)
    check_positive("sigma", sigma)
    check_noise(noise)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise InputError(f"`samples` must be a positive integer. Got {samples!r}.")
    if multiplicative and noise != "normal":
        raise InputError(f"Multiplicative noise is normal. Got `noise={noise!r}`.")
    say_without_gradient(feasible_set, "a loss of decisions")
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    with torch.no_grad():
        gold = gold.to(wide)
        found = draw(noise, samples, wide, generator)
        factor: Tensor | float = 1.0
        if multiplicative:
            noisy, factor = multiplied(wide, found, sigma)
        else:
            noisy = wide + sigma * found
        asked = as_set(feasible_set, wide)
        decided = Oracles(asked, on_nonfinite="raise").decode_samples(noisy)
        best = times(decided, noisy).sum(event_of(feasible_set, wide)).mean(0)
        value = best - times(gold, wide).sum(event_of(feasible_set, wide))
        gradient = (factor * decided).mean(0) - gold
    return reduce(with_gradient(wide, gradient, value).to(scores.dtype), reduction)


class SparseMAPLoss(StructuredLoss):
    """`sparsemap_loss` as a module."""

    def __init__(
        self,
        feasible_set: FeasibleSet | None = None,
        *,
        temperature: float = 1.0,
        reduction: Reduction = "sum",
    ):
        super().__init__(feasible_set, reduction, temperature=temperature)

    def forward(
        self, scores: Tensor, gold: Tensor, feasible_set: FeasibleSet | None = None
    ) -> Tensor:
        """Return the loss; see `sparsemap_loss`."""
        chosen = self._set(feasible_set)
        return sparsemap_loss(chosen, scores, gold, reduction=self.reduction, **self.options)


class PerturbedFenchelYoungLoss(StructuredLoss):
    """`perturbed_fenchel_young` as a module."""

    def __init__(
        self,
        feasible_set: FeasibleSet | None = None,
        *,
        sigma: float = 1.0,
        samples: int = 10,
        noise: Noise = "normal",
        multiplicative: bool = False,
        generator: torch.Generator | None = None,
        reduction: Reduction = "sum",
    ):
        options = {"sigma": sigma, "samples": samples, "noise": noise}
        options |= {"multiplicative": multiplicative, "generator": generator}
        super().__init__(feasible_set, reduction, **options)

    def forward(
        self, scores: Tensor, gold: Tensor, feasible_set: FeasibleSet | None = None
    ) -> Tensor:
        """Return the loss; see `perturbed_fenchel_young`."""
        return perturbed_fenchel_young(
            self._set(feasible_set), scores, gold, reduction=self.reduction, **self.options
        )
