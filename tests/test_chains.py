"""Chains of tags and segmentations: against enumeration, polytopes, masks, bad input."""

import itertools
import math
from typing import Any

import pytest
import torch

import optlayers as ol
from optlayers._paths import sums

from .helpers import TOL

inf = torch.inf


@pytest.fixture(params=["loops", "tensors"])
def way(request, monkeypatch):
    """By compiled loops, and by the tensor programs for everything else."""
    if request.param == "tensors":
        monkeypatch.setattr(sums, "use_kernels", lambda _: False)
    return request.param


def compositions(n: int, longest: int):
    """All ways to write n as a sum of numbers up to `longest`."""
    if n == 0:
        yield ()
    for first in range(1, min(n, longest) + 1):
        for rest in compositions(n - first, longest):
            yield (first, *rest)


def structures(length: int, size: int, longest: int, labels: int, transitions=True):
    """All segmentations as 0/1 tensors, written out part by part. Shares no code."""
    found = []
    for pieces in compositions(length, longest):
        for names in itertools.product(range(labels), repeat=len(pieces)):
            z = torch.zeros(
                size, longest + (labels if transitions else 0), labels, dtype=torch.float64
            )
            at, before = 0, None
            for piece, name in zip(pieces, names, strict=True):
                z[at, piece - 1, name] = 1
                if transitions and before is not None:
                    z[at, longest + before, name] = 1
                at, before = at + piece, name
            found.append(z)
    return torch.stack(found)


LENGTHS = [4, 1, 0, 3, 2]
KINDS: dict[str, tuple[Any, int, int, bool]] = {
    "chain": (lambda n, **k: ol.LinearChain(n, 3, **k), 1, 3, True),
    "one tag": (lambda n, **k: ol.LinearChain(n, 1, **k), 1, 1, True),
    "segments": (lambda n, **k: ol.Segmentation(n, 3, 2, **k), 3, 2, True),
    "labels alone": (
        lambda n, **k: ol.Segmentation(n, 2, 2, transitions=False, **k), 2, 2, False,
    ),
    "too long": (lambda n, **k: ol.Segmentation(n, 6, 1, **k), 6, 1, True),
}  # fmt: skip
EVERY = pytest.mark.parametrize("kind", KINDS)


def case(kind: str, lengths: Any = LENGTHS, **more: Any):
    """A set, and the structures of every length."""
    make, longest, labels, transitions = KINDS[kind]
    made = make(lengths, **more)
    every = [structures(n, made.size, longest, labels, transitions) for n in lengths]
    return made, every


def coarse(made, count, dtype=torch.float64):
    """Scores with many ties, some of them infinite."""
    scores = torch.randint(-3, 4, (count, *made.event_shape)).to(dtype) / 2
    return torch.where(torch.rand(scores.shape) < 0.05, -inf, scores)


def totals(z, s):
    """Scores of structures; those with a part of -inf have it."""
    return torch.where(z > 0, s.double(), 0).flatten(1).sum(1)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_decisions_are_the_best_of_all(kind, dtype):
    for seed in range(5):
        torch.manual_seed(seed)
        made, every = case(kind)
        scores = coarse(made, len(LENGTHS), dtype)
        z, status = ol.decode(made, scores, on_failure="nan", return_status=True)
        for b, found in enumerate(every):
            best = totals(found, scores[b]).max()
            if best == -inf:
                assert not status.ok[b]
                assert z[b].isnan().all()
                continue
            assert (z[b].double() == found).flatten(1).all(1).any()
            assert totals(z[b : b + 1].double(), scores[b]) == best


@EVERY
def test_sums_are_those_of_all_structures(way, kind):
    made, every = case(kind)
    scores = coarse(made, len(LENGTHS))
    log_z, mu = made.log_partition(scores), made.marginals(scores)
    entropy = made.entropy(scores)
    for b, found in enumerate(every):
        value = totals(found, scores[b])
        if value.max() == -inf:
            assert log_z[b] == -inf
            assert mu[b].isnan().all()
            continue
        p = value.softmax(0)
        torch.testing.assert_close(log_z[b], value.logsumexp(0), rtol=0, atol=TOL[torch.float64])
        expected = torch.einsum("t,tabc->abc", p, found)
        torch.testing.assert_close(mu[b], expected, rtol=0, atol=TOL[torch.float64])
        spent = -(p * p.clamp(min=1e-300).log()).sum()
        assert abs(entropy[b] - spent) < TOL[torch.float64]


@EVERY
def test_sums_are_differentiable_twice(way, kind):
    made, _ = case(kind, [3, 1])
    scores = torch.randn(2, *made.event_shape, dtype=torch.float64, requires_grad=True)
    # Along random directions: these tensor programs are many small steps.
    quick = {"fast_mode": True}
    assert torch.autograd.gradcheck(made.log_partition, scores, **quick)
    assert torch.autograd.gradgradcheck(made.log_partition, scores, **quick)
    assert torch.autograd.gradcheck(made.marginals, scores, **quick)
    assert torch.autograd.gradcheck(made.entropy, scores, **quick)


@EVERY
@pytest.mark.parametrize("low", [-1e9, torch.finfo(torch.float32).min])
def test_sums_keep_their_digits_where_low_parts_are_needed(way, kind, low):
    made, every = case(kind, [3])
    scores = torch.randn(1, *made.event_shape, dtype=torch.float64)
    at = (0, 1, slice(0, KINDS[kind][1]))
    low_scores = scores.clone()
    low_scores[at] = low  # every segment that begins at the second position
    gone = torch.zeros_like(scores, dtype=torch.bool)
    gone[at] = True
    cost = (every[0] * gone[0]).flatten(1).sum(1)
    best = every[0][cost == cost.min()]
    p = totals(best, torch.where(gone, 0, scores)[0]).softmax(0)
    expected = torch.einsum("t,tabc->abc", p, best)
    torch.testing.assert_close(
        made.marginals(low_scores)[0], expected, rtol=0, atol=TOL[torch.float64]
    )


@EVERY
def test_samples_have_the_right_frequencies(kind):
    made, every = case(kind, [3])
    scores = torch.randn(1, *made.event_shape, dtype=torch.float64)
    count = 4000
    wide = KINDS[kind][0]([3] * count)
    z = wide.sample(scores.expand(count, -1, -1, -1), torch.Generator().manual_seed(0))
    hits = torch.stack([(z == one).flatten(1).all(1).double().mean() for one in every[0]])
    p = totals(every[0], scores[0]).softmax(0)
    assert abs(hits.sum() - 1) < 1e-12
    assert ((hits - p).abs() <= 5 * (p * (1 - p) / count).sqrt() + 1e-3).all()


@EVERY
def test_the_relaxation_is_the_hull(kind):
    made, every = case(kind)
    P = made.relaxation
    for b, found in enumerate(every):
        flat = found.flatten(1)
        own = P.instance((b,))
        assert (own.A @ flat.T.numpy() <= own.b.numpy()[:, None] + 1e-12).all()
        assert abs((own.A_eq @ flat.T.numpy()).T - own.b_eq.numpy()).max() < 1e-12
        assert (flat <= own.upper).all()
    y = torch.randn(len(LENGTHS), *made.event_shape, dtype=torch.float64)
    z = ol.project(made, y)
    hull = ol.project(ol.ConvexHull(made), y)
    torch.testing.assert_close(z, hull, rtol=0, atol=1e-6)


@EVERY
def test_projections_are_validated(kind):
    made, _ = case(kind, [4, 2])
    assert ol.validate(made, samples=2, against=("osqp",)).ok


@EVERY
def test_membership(kind):
    made, every = case(kind)
    for b, found in enumerate(every):
        z = torch.zeros(len(found), len(LENGTHS), *made.event_shape, dtype=torch.float64)
        z[:, b] = found
        assert made.contains(z)[:, b].all()
        wrong = z.clone()
        wrong[:, b, -1, -1, -1] = 1 - wrong[:, b, -1, -1, -1]
        assert not made.contains(wrong)[:, b].any()
        assert not made.contains(z / 2)[:, b].any() or LENGTHS[b] == 0


@pytest.mark.parametrize("kind", ["segments", "labels alone", "chain"])
def test_segments_there_and_back(kind):
    made, _ = case(kind)
    z = ol.decode(made, torch.randn(len(LENGTHS), *made.event_shape))
    assert torch.equal(made.from_segments(made.segments(z)), z)


def test_tags_there_and_back():
    chain = ol.LinearChain(LENGTHS, 3)
    z = ol.decode(chain, torch.randn(len(LENGTHS), *chain.event_shape))
    tags = chain.tags(z)
    assert (tags >= 0).sum(-1).tolist() == LENGTHS
    assert torch.equal(chain.from_tags(tags), z)
    assert torch.equal(chain.from_tags(torch.where(tags < 0, 7, tags)), z)


def test_parts_of_tags_and_pairs():
    chain = ol.LinearChain([4, 2], 3)
    unary, pairs = torch.randn(2, 4, 3), torch.randn(3, 3)
    tags = [[0, 2, 2, 1], [1, 0]]
    z = chain.from_tags(torch.tensor([tags[0], [*tags[1], 0, 0]]))
    value = (z * chain.parts(unary, pairs)).flatten(1).sum(1)
    for b, own in enumerate(tags):
        expected = sum(unary[b, t, k] for t, k in enumerate(own))
        expected = expected + sum(pairs[i, j] for i, j in itertools.pairwise(own))
        assert abs(value[b] - expected) < 1e-5


def test_a_mask_forbids_parts():
    mask = torch.ones(1, 1, 3, dtype=torch.bool)
    mask[..., 1] = False  # the second tag, and transitions into it
    chain = ol.LinearChain([4, 2], 3, mask=mask)
    scores = torch.randn(2, *chain.event_shape, dtype=torch.float64)
    scores[..., 1] = 5.0
    assert (chain.tags(ol.decode(chain, scores)) != 1).all()
    assert (chain.marginals(scores)[..., 1] == 0).all()
    assert (ol.project(chain, scores)[..., 1].abs() < 1e-9).all()
    scores.requires_grad_()
    ol.structured_argmax(chain, scores, ol.SPIGOT()).square().sum().backward()
    assert (scores.grad[..., 1] == 0).all()


def test_a_mask_that_leaves_nothing_is_a_failure_of_its_instance():
    mask = torch.ones(2, 3, 3, 2, dtype=torch.bool)
    mask[1, 0] = False
    chain, scores = ol.LinearChain([3, 2], 2, mask=mask), torch.randn(2, 3, 3, 2)
    with pytest.raises(ol.InfeasibleError, match="Instance 1: no sequence is left"):
        ol.decode(chain, scores)
    _, status = ol.decode(chain, scores, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False]
    assert chain.log_partition(scores)[1] == -inf
    with pytest.raises(ol.InfeasibleError, match="Instance 1: No point satisfies"):
        ol.project(chain, scores)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ol.LinearChain([3], 0), "`tags` must be a positive integer. Got 0"),
        (lambda: ol.Segmentation([3], 1.5, 2), "`max_length` must be a positive integer"),
        (lambda: ol.LinearChain([3], 2, mask=torch.ones(3, 2)), "`mask` must be booleans"),
        (lambda: ol.LinearChain([3], 2).from_tags([[0, 1, 2]]), "Tags must be from 0 to 1. Got 2"),
        (lambda: ol.LinearChain([3], 2).from_tags([[0.5, 1, 1]]), "`tags` must be integers"),
        (
            lambda: ol.LinearChain([3], 2).parts(torch.zeros(3, 2), torch.zeros(3, 2)),
            "`unary` must have shape",
        ),
        (
            lambda: ol.Segmentation([3], 2, 2).from_segments([[(0, 2, 0), (1, 1, 1)]]),
            r"Got \(1, 1, 1\) after 2 positions",
        ),
        (
            lambda: ol.Segmentation([3], 2, 2).from_segments([[(0, 2, 0)]]),
            "the segments cover 2 positions, not 3",
        ),
        (
            lambda: ol.LinearChain([3], 2).decode(torch.zeros(1, 3, 2, 2)),
            "positions by 1 \\+ tags before by tags",
        ),
        (
            lambda: ol.Segmentation([3], 2, 2).decode(torch.zeros(1, 3, 2, 2)),
            "positions by lengths and labels before by labels",
        ),
        (lambda: ol.LinearChain(0, 2).relaxation, "has no positions"),
    ],
)  # fmt: skip
def test_what_is_refused(make, message):
    with pytest.raises(ol.InputError, match=message):
        make()


def test_log_loss_trains_a_chain():
    chain = ol.LinearChain([3, 2], 2)
    gold = chain.from_tags(torch.tensor([[0, 1, 1], [1, 0, 0]]), torch.float64)
    scores = torch.zeros(2, *chain.event_shape, dtype=torch.float64, requires_grad=True)
    loss = ol.log_loss(chain, scores, gold, reduction="sum")
    assert abs(loss.item() - 5 * math.log(2.0)) < 1e-12
    loss.backward()
    torch.testing.assert_close(scores.grad, chain.marginals(scores.detach()) - gold)


# ---------------------------------------------------------------------- tags, by loops of their own


@pytest.mark.parametrize("kind", ["plain", "masked", "far", "not a number", "infinite"])
def test_sums_over_tags_are_those_over_paths(kind):
    """The loops that know the layout, against those over any graph."""
    from optlayers._sets.chains.layout import graph_of

    lengths, tags = [5, 3, 1, 0], 3
    s = torch.randn(4, 5, 1 + tags, tags, dtype=torch.float64)
    mask = torch.rand(5, 1 + tags, tags) < 0.8 if kind == "masked" else None
    if kind in ("far", "not a number", "infinite"):
        s[1, 1, 2, 1] = {"far": -1e5, "not a number": torch.nan, "infinite": -torch.inf}[kind]
    chain = ol.LinearChain(lengths, tags, mask=mask)
    dag, _ = graph_of(chain._size)

    def answers():
        x = s.clone().requires_grad_()
        total = chain.log_partition(x)
        (mu,) = torch.autograd.grad(total.nan_to_num(0, 0, 0).sum(), x)
        return total.detach(), mu, chain.marginals(s)

    found, known = answers(), dag.tags
    try:
        dag.tags = None
        expected = answers()
    finally:
        dag.tags = known
    assert known is not None
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-12, equal_nan=True)
