"""Tree decoders against every tree of a few words, and against other methods beyond."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optlayers._sets.trees.arborescence import arborescence
from optlayers._sets.trees.eisner import eisner
from optlayers._sets.trees.structure import is_tree

from .tree_enumeration import LARGEST, crosses, tree_heads, tree_tensors

KINDS = [(p, r) for p in (True, False) for r in (True, False)]
kinds = pytest.mark.parametrize(("projective", "single_root"), KINDS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def decode(scores, lengths, allowed, projective, single_root):
    return (eisner if projective else arborescence)(scores, lengths, allowed, single_root)


def coarse(rng, *shape, dtype=np.float64):
    """Scores with many ties, whose sums are exact."""
    return (rng.integers(-3, 4, shape) / 2).astype(dtype)


def between_words(n):
    """Arcs that any tree of n words may have."""
    ok = ~np.eye(n + 1, dtype=bool)
    ok[:, 0] = False
    return ok


def score_of(scores, heads):
    """The score of one tree, summed exactly."""
    return math.fsum(float(scores[h, m]) for m, h in enumerate(heads) if h >= 0)


def check_against_enumeration(scores, allowed, projective, single_root):
    """States as enumeration says, and everywhere a best one of the trees that are allowed."""
    count, n = len(scores), scores.shape[1] - 1
    lengths = np.full(count, n)
    heads, state = decode(scores, lengths, allowed, projective, single_root)
    usable = between_words(n) & (scores > -np.inf)
    usable &= True if allowed is None else allowed
    z = tree_tensors(n, projective, single_root).numpy().reshape(-1, (n + 1) ** 2)
    values = z @ np.where(usable, scores, 0).astype(np.float64).reshape(count, -1).T
    values[(z @ (~usable).reshape(count, -1).T.astype(np.float64)) > 0] = -np.inf
    assert (state == (values.max(0) == -np.inf)).all()
    assert (heads[:, 0] == -1).all()
    known = {tuple(tree) for tree in tree_heads(n, projective, single_root).tolist()}
    for b in range(count):
        if state[b]:
            assert (heads[b] == -1).all()
            continue
        assert tuple(heads[b, 1:].tolist()) in known
        assert all(usable[b, heads[b, m], m] for m in range(1, n + 1))
        assert score_of(scores[b], heads[b]) == values[:, b].max()
    return state


# ---------------------------------------------------------------------- the enumeration itself


def test_the_enumeration_has_as_many_trees_as_there_are():
    for n in range(1, LARGEST + 1):
        assert len(tree_heads(n, False, False)) == (n + 1) ** (n - 1)  # Cayley
        assert len(tree_heads(n, False, True)) == n ** (n - 1)
        # Noncrossing trees: OEIS A001764, and A006013 where the root has a single child.
        assert len(tree_heads(n, True, False)) == math.comb(3 * n, n) // (2 * n + 1)
        assert len(tree_heads(n, True, True)) == math.comb(3 * n - 2, n - 1) // n
        for kind in KINDS:
            heads, z = tree_heads(n, *kind), tree_tensors(n, *kind)
            assert len({tuple(t) for t in heads.tolist()}) == len(heads) == len(z)
            assert (z.sum(1)[:, 1:] == 1).all()
            assert (z.argmax(1)[:, 1:].numpy() == heads).all()


# ---------------------------------------------------------------------- against enumeration


@kinds
@dtypes
@pytest.mark.parametrize("n", range(1, LARGEST + 1))
def test_the_best_tree(n, projective, single_root, dtype):
    rng = np.random.default_rng(n)
    scores = coarse(rng, 60, n + 1, n + 1, dtype=dtype)
    scores[40:] = rng.integers(-(2**20), 2**20, (20, n + 1, n + 1))  # hardly any ties
    assert not check_against_enumeration(scores, None, projective, single_root).any()


@kinds
@pytest.mark.parametrize("n", range(1, LARGEST + 1))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_masks(n, share, projective, single_root):
    rng = np.random.default_rng(n)
    scores = coarse(rng, 80, n + 1, n + 1)
    allowed = (rng.random(scores.shape) < share) & between_words(n)
    state = check_against_enumeration(scores, allowed, projective, single_root)
    masked = np.where(allowed, scores, -np.inf)
    assert (check_against_enumeration(masked, None, projective, single_root) == state).all()
    if n > 1 and share < 0.8:
        assert 0 < state.sum() < len(state)  # masks of both kinds
    # One mask for the whole batch, and the same answer from -inf and from the mask.
    heads, state = decode(scores, np.full(80, n), allowed[:1], projective, single_root)
    masked = np.where(allowed[:1], scores, -np.inf)
    same = decode(masked, np.full(80, n), None, projective, single_root)
    assert (heads == same[0]).all()
    assert (state == same[1]).all()


@kinds
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_small_trees_by_search(projective, single_root, data):
    n = data.draw(st.integers(1, 4))
    value = st.sampled_from([-np.inf, -1.0, -0.5, 0.0, 0.5, 1.0, 1e6])
    cells = data.draw(st.lists(value, min_size=(n + 1) ** 2, max_size=(n + 1) ** 2))
    scores = np.array(cells).reshape(1, n + 1, n + 1)
    check_against_enumeration(scores, None, projective, single_root)


@kinds
def test_small_differences_between_large_scores(projective, single_root):
    n, rng = 5, np.random.default_rng(0)
    scores = coarse(rng, 40, n + 1, n + 1) * 1e6 + coarse(rng, 40, n + 1, n + 1) * 2e-3
    heads, state = decode(scores, np.full(40, n), None, projective, single_root)
    assert not state.any()
    for b in range(40):
        best = max(
            score_of(scores[b], [-1, *tree])
            for tree in tree_heads(n, projective, single_root).tolist()
        )
        assert abs(score_of(scores[b], heads[b]) - best) < 1e-6  # the next tree is 1e-3 worse


@kinds
def test_the_lowest_float_as_a_mask_does_not_overflow(projective, single_root):
    n, rng = 5, np.random.default_rng(0)
    scores = coarse(rng, 100, n + 1, n + 1)
    allowed = (rng.random(scores.shape) < 0.6) & between_words(n)
    lengths = np.full(100, n)
    heads, state = decode(scores, lengths, allowed, projective, single_root)
    low = np.where(allowed, scores, np.finfo(np.float64).min)
    answer, fine = decode(low, lengths, None, projective, single_root)
    assert not fine.any()
    assert is_tree(answer, lengths, single_root, projective).all()
    for b in np.flatnonzero(state == 0):
        assert score_of(low[b], answer[b]) == score_of(low[b], heads[b])
    # Sums and differences of these overflow, unless they are made smaller first.
    expected = decode(scores, lengths, None, projective, single_root)
    found = decode(np.ldexp(scores, 1023), lengths, None, projective, single_root)
    assert (found[0] == expected[0]).all()
    assert not found[1].any()


# ---------------------------------------------------------------------- not finite


@kinds
@dtypes
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_scores_count_where_an_arc_is_allowed(projective, single_root, dtype, bad):
    n, rng = 4, np.random.default_rng(0)
    scores = coarse(rng, 3, n + 3, n + 3, dtype=dtype)
    lengths = np.array([n, n, n])
    allowed = np.zeros((3, n + 3, n + 3), dtype=bool)
    allowed[:, : n + 1, : n + 1] = between_words(n)
    good = decode(scores, lengths, None, projective, single_root)
    for h, m in itertools.product(range(n + 3), repeat=2):
        broken = scores.copy()
        broken[1, h, m] = bad
        counts = h <= n and 1 <= m <= n and h != m
        for mask in (None, allowed):
            heads, state = decode(broken, lengths, mask, projective, single_root)
            assert state.tolist() == [0, 2 * counts, 0]
            assert (heads[[0, 2]] == good[0][[0, 2]]).all()
            assert (heads[1] == (-1 if counts else good[0][1])).all()
    # An arc that the mask forbids may hold anything.
    forbidden = np.where(rng.random(scores.shape) < 0.2, dtype(bad), scores)
    mask = allowed & np.isfinite(forbidden)
    expected = decode(scores, lengths, mask, projective, single_root)
    found = decode(forbidden, lengths, mask, projective, single_root)
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    assert (found[1] != 2).all()


@kinds
def test_arcs_are_missing(projective, single_root):
    n, lengths = 3, np.array([3])
    ok = between_words(n)[None]
    no_root, no_head, two_parts = ok.copy(), ok.copy(), ok.copy()
    no_root[:, 0] = False
    no_head[:, :, 2] = False
    two_parts[:, [1, 2], 3] = two_parts[:, 3, [1, 2]] = False  # needs two words under the root
    for mask, state in ((no_root, 1), (no_head, 1), (two_parts, int(single_root))):
        zeros = np.zeros((1, n + 1, n + 1))
        assert decode(zeros, lengths, mask, projective, single_root)[1] == state
        zeros[~mask] = -np.inf
        assert decode(zeros, lengths, None, projective, single_root)[1] == state


# ---------------------------------------------------------------------- batches


@kinds
@dtypes
def test_a_padded_batch_is_its_sentences(projective, single_root, dtype):
    rng = np.random.default_rng(0)
    size, lengths = 9, np.array([9, 0, 1, 5, 2, 7, 8, 0, 3])
    scores = rng.normal(size=(9, size + 1, size + 1)).astype(dtype)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    word = np.arange(size + 1) <= lengths[:, None]
    padding = ~(word[:, :, None] & word[:, None, :])
    scores[padding] = rng.choice([np.nan, np.inf, -np.inf, 1e30], padding.sum())
    heads, state = decode(scores, lengths, None, projective, single_root)
    assert (heads.dtype, state.dtype) == (np.int64, np.int8)
    assert (state < 2).all()
    assert (state[lengths == 0] == 0).all()
    for b, n in enumerate(lengths):
        alone = np.ascontiguousarray(scores[b : b + 1, : n + 1, : n + 1])
        one, its_state = decode(alone, lengths[b : b + 1], None, projective, single_root)
        assert its_state[0] == state[b]
        assert (heads[b, : n + 1] == one[0]).all()
        assert (heads[b, n + 1 :] == -1).all()


@kinds
def test_no_sentences_and_no_words(projective, single_root):
    for shape in ((0, 4, 4), (3, 1, 1)):
        lengths = np.zeros(shape[0], dtype=np.int64)
        heads, state = decode(np.full(shape, np.nan), lengths, None, projective, single_root)
        assert heads.shape == shape[:2]
        assert not state.any()
        assert (heads == -1).all()
        assert is_tree(heads, lengths, single_root, projective).all()


@kinds
def test_float32_and_threads_change_nothing(projective, single_root):
    rng = np.random.default_rng(0)
    scores = coarse(rng, 97, 33, 33, dtype=np.float32)
    lengths = rng.integers(0, 33, 97)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = decode(scores, lengths, None, projective, single_root)
        wide = decode(scores.astype(np.float64), lengths, None, projective, single_root)
        torch.set_num_threads(2)
        two = decode(scores, lengths, None, projective, single_root)
    finally:
        torch.set_num_threads(threads)
    assert not one[1].any()
    for other in (wide, two):
        assert (one[0] == other[0]).all()
        assert (one[1] == other[1]).all()


# ---------------------------------------------------------------------- longer sentences


def projective_by_heads(scores, single_root):
    """Best score over spans with a head anywhere inside: O(n^5), another program than Eisner's."""
    n = len(scores) - 1
    first = 1 if single_root else 0
    best = {(i, i): np.zeros(1) for i in range(first, n + 1)}
    for width in range(1, n + 1 - first):
        for i in range(first, n + 1 - width):
            j = i + width
            value = np.full(width + 1, -np.inf)
            for k in range(i, j):
                here, there = best[i, k], best[k + 1, j]
                a, b = slice(i, k + 1), slice(k + 1, j + 1)
                to_right = here + (scores[a, b] + there).max(1)
                to_left = there + (scores[b, a] + here).max(1)
                both = np.concatenate([to_right, to_left])
                value = np.maximum(value, both)
            best[i, j] = value
    return (scores[0, 1:] + best[1, n]).max() if single_root else best[0, n][0]


def spanning_arborescence(scores, single_root):
    """Best score by networkx; one arc from the root by a penalty, exact on small integers."""
    n = len(scores) - 1
    graph = nx.DiGraph()
    penalty = 2**45 if single_root else 0
    for h, m in itertools.product(range(n + 1), range(1, n + 1)):
        if h != m and scores[h, m] > -np.inf:
            graph.add_edge(h, m, weight=scores[h, m].item() - penalty * (h == 0))
    found = nx.maximum_spanning_arborescence(graph)
    arcs = list(found.edges)
    assert len(arcs) == n
    assert not single_root or sum(h == 0 for h, _ in arcs) == 1
    return sum(scores[h, m] for h, m in arcs)


@pytest.mark.parametrize("single_root", [True, False])
@pytest.mark.parametrize("n", [10, 17, 24])
def test_longer_projective_trees(n, single_root):
    rng = np.random.default_rng(n)
    scores = rng.integers(-20, 21, (4, n + 1, n + 1)).astype(np.float64)
    scores[2:][rng.random((2, n + 1, n + 1)) < 0.4] = -np.inf
    scores[3, 0] = 5.0  # many words under the root pay
    scores[:, :, 0] = -np.inf
    heads, state = eisner(scores, np.full(4, n), None, single_root)
    for b in range(4):
        expected = projective_by_heads(scores[b], single_root)
        assert state[b] == (expected == -np.inf)
        if not state[b]:
            assert score_of(scores[b], heads[b]) == expected


def nested_cycles(n):
    """Best arcs form a cycle of two, then of it and the next word, and so on to the last."""
    index = np.arange(n + 1)
    scores = -np.maximum.outer(index, index).astype(np.float64)
    scores[0] = -1000.0 - 7 * index
    return scores


@pytest.mark.parametrize("single_root", [True, False])
@pytest.mark.parametrize("n", [10, pytest.param(25, marks=pytest.mark.slow), 40])
def test_longer_trees(n, single_root):
    rng = np.random.default_rng(n)
    scores = rng.integers(-3, 4, (8, n + 1, n + 1)).astype(np.float64)
    scores[1] = rng.integers(-1000, 1000, (n + 1, n + 1))
    scores[2, 0] = 5.0  # many words under the root pay
    scores[3] = nested_cycles(n)
    order = np.concatenate([[0], 1 + rng.permutation(n)])
    scores[4] = nested_cycles(n)[np.ix_(order, order)]
    blocks = rng.integers(0, 4, n + 1)  # groups that hold together: cycles of cycles
    scores[5] += 50.0 * (blocks[:, None] == blocks)
    scores[5, 0] = -100.0
    sparse = rng.random((n + 1, n + 1)) < 0.6
    sparse[0, 1] = False
    sparse[np.arange(n), np.arange(1, n + 1)] = False  # one tree at least is left
    scores[6][sparse] = -np.inf
    scores[7] = scores[5].round(-1) + nested_cycles(n)
    heads, state = arborescence(scores, np.full(8, n), None, single_root)
    assert not state.any()
    assert is_tree(heads, np.full(8, n), single_root, False).all()
    for b in range(8):
        expected = spanning_arborescence(scores[b], single_root)
        assert score_of(scores[b], heads[b]) == expected


@pytest.mark.parametrize("single_root", [True, False])
def test_small_differences_survive_nested_cycles(single_root):
    n, rng = 30, np.random.default_rng(0)
    large = np.stack([nested_cycles(n), rng.integers(-3, 4, (n + 1, n + 1))])
    thousandths = (large * 10**9).astype(np.int64) + rng.integers(-9, 10, large.shape)
    heads, state = arborescence(thousandths / 1000, np.array([n, n]), None, single_root)
    assert not state.any()
    for b in range(2):  # integers are exact
        found = sum(int(thousandths[b, heads[b, m], m]) for m in range(1, n + 1))
        assert found == spanning_arborescence(thousandths[b], single_root)


@kinds
@pytest.mark.parametrize("n", [30, 60, 159])
def test_long_sentences(n, projective, single_root):
    rng = np.random.default_rng(n)
    scores = rng.normal(size=(6, n + 1, n + 1)).astype(np.float32)
    lengths = np.array([n, n, n // 2, n, 1, n])
    heads, state = decode(scores, lengths, None, projective, single_root)
    assert not state.any()
    assert is_tree(heads, lengths, single_root, projective).all()
    # What was found, rewarded, is found again; a constant per word does not change the best.
    planted = rng.random(scores.shape) + rng.normal(size=(6, 1, n + 1)) * 100
    for b, m in itertools.product(range(6), range(1, n + 1)):
        if heads[b, m] >= 0:
            planted[b, heads[b, m], m] += 1.0
    again, _ = decode(planted, lengths, None, projective, single_root)
    assert (again == heads).all()


def test_names_of_words_do_not_matter():
    n, rng = 80, np.random.default_rng(0)
    scores = rng.integers(-50, 51, (1, n + 1, n + 1)).astype(np.float64)
    order = np.concatenate([[0], 1 + rng.permutation(n)])
    for s in (scores, nested_cycles(n)[None]):
        for single_root in (True, False):
            heads, _ = arborescence(s, np.array([n]), None, single_root)
            other = s[:, order][:, :, order].copy()
            renamed, _ = arborescence(other, np.array([n]), None, single_root)
            assert score_of(s[0], heads[0]) == score_of(other[0], renamed[0])


# ---------------------------------------------------------------------- what is a tree


@kinds
@pytest.mark.parametrize("n", range(6))
def test_is_tree_knows_all_trees(n, projective, single_root):
    every = np.array(list(itertools.product(range(n + 1), repeat=n)), dtype=np.int64)
    every = every.reshape((n + 1) ** n, n)
    heads = np.concatenate([np.full((len(every), 1), -1), every], 1)
    found = is_tree(heads, np.full(len(heads), n), single_root, projective)
    assert (every[found] == tree_heads(n, projective, single_root)).all()


@kinds
def test_is_tree_looks_at_words_only(projective, single_root):
    heads = np.array([[7, 2, 0, 9], [-1, 2, 0, -1], [-1, 2, 0, 2], [-1, -1, 0, 2], [-1, 3, 0, 2]])
    lengths = np.array([2, 2, 3, 3, 2])
    answer = is_tree(heads, lengths, single_root, projective)
    assert answer.tolist() == [True, True, True, False, False]


# ---------------------------------------------------------------------- real trees


def read_heads(path):
    """The heads of every sentence of a CoNLL-U file; -1 for the root itself comes first."""
    sentence = [-1]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and line[0] != "#":
            columns = line.split("\t")
            if columns[0].isdigit():  # neither a range of tokens nor an empty node
                sentence.append(int(columns[6]))
        elif not line and len(sentence) > 1:
            yield sentence
            sentence = [-1]


@pytest.mark.parametrize(
    ("part", "count", "uncrossed"),
    [("train", 12544, 12256), ("dev", 2001, 1970), ("test", 2077, 2051)],
)
def test_gold_trees_are_recovered(data_dir, part, count, uncrossed):
    sentences = sorted(read_heads(data_dir / "ud_ewt" / f"en_ewt-ud-{part}.conllu"), key=len)
    assert len(sentences) == count
    recovered = 0
    while sentences:
        size = len(sentences[0])  # padded by a quarter at most
        many = max(1, sum(len(s) <= 1.25 * size for s in sentences[: max(1, 10**6 // size**2)]))
        batch, sentences = sentences[:many], sentences[many:]
        side = len(batch[-1])
        heads = np.full((many, side), -1)
        scores = np.zeros((many, side, side), dtype=np.float32)
        for b, sentence in enumerate(batch):
            heads[b, : len(sentence)] = sentence
            scores[b, sentence[1:], np.arange(1, len(sentence))] = 1.0
        lengths = np.array([len(s) - 1 for s in batch])
        projective = is_tree(heads, lengths, True, True)
        assert projective.tolist() == [not crosses(sentence[1:]) for sentence in batch]
        for single_root in (True, False):
            found, state = arborescence(scores, lengths, None, single_root)
            assert not state.any()
            assert (found == heads).all()
            found, state = eisner(scores, lengths, None, single_root)
            assert not state.any()
            assert ((found == heads).all(1) == projective).all()
        recovered += projective.sum()
    assert recovered == uncrossed
