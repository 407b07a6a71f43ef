"""Corpora by name: their parts, which sentences are left out, and trees made projective."""

import itertools
from collections import Counter

import pytest

from examples.data import (
    PARTS,
    DataError,
    Sentence,
    is_projective,
    load_corpus,
    projectivise,
    read_conllu,
    write_companion,
    write_conllu,
    write_sdp,
)
from examples.data.fetch import graph_file, tree_file
from examples.data.load import held_out_documents
from examples.data.load_sdp import PAPER, TREE_SECTIONS
from examples.data.propbank import document

# The arc from 3 to 1 covers 2, which hangs on 4; and that one covers 3.
CROSSING = [3, 4, 0, 3]


def sentence(name: str, heads=(2, 0), **known) -> Sentence:
    n = len(heads)
    words = [f"w{j}" for j in range(n)]
    relations = ["root" if head == 0 else "dep" for head in heads]
    return Sentence(words, words, ["X"] * n, name, list(heads), relations, **known)


def graph(name: str, heads=(2, 0)) -> Sentence:
    return sentence(name, heads, arcs=[(0, 1, "A")], tops=[0])


# Projective trees


def trees(n: int):
    """All trees of n words, with any number of roots."""
    for heads in itertools.product(range(n + 1), repeat=n):
        nodes = range(1, n + 1)
        if all(0 in ancestors(heads, node) for node in nodes):
            yield list(heads)


def ancestors(heads, node) -> list[int]:
    result = []
    while node != 0 and len(result) <= len(heads):
        node = heads[node - 1]
        result.append(node)
    return result


def crosses(heads) -> bool:
    """Two arcs that cross, by their ends; the root is 0."""
    arcs = [sorted((head, word)) for word, head in enumerate(heads, start=1)]
    return any(a < c < b < d for (a, b), (c, d) in itertools.permutations(arcs, 2))


@pytest.mark.parametrize("n", range(1, 6))
def test_projective_means_that_no_arcs_cross(n):
    kinds = Counter()
    for heads in trees(n):
        assert is_projective(heads) == (not crosses(heads))
        kinds[is_projective(heads)] += 1
    assert sum(kinds.values()) == (n + 1) ** (n - 1)  # Cayley: every tree was there
    assert n < 3 or kinds[False]


@pytest.mark.parametrize("n", range(1, 6))
def test_projectivise_lifts_to_ancestors_until_no_arcs_cross(n):
    for heads in trees(n):
        tree = sentence("x", heads)
        lifted = projectivise(tree)
        assert not crosses(lifted.heads)
        assert (lifted is tree) == is_projective(heads)
        for old, new, word in zip(heads, lifted.heads, range(1, n + 1), strict=True):
            assert new == old or new in ancestors(heads, word)
        assert tree.heads == heads  # the tree itself is left alone


def lift(heads, choose) -> list[int]:
    """Lifting as Nivre and Nilsson (2005) define it; `choose` picks the arc to be lifted."""
    heads = list(heads)
    while True:
        arcs = [
            (abs(head - word), min(head, word), word)
            for word, head in enumerate(heads, start=1)
            if any(
                head not in [k, *ancestors(heads, k)]
                for k in range(min(head, word) + 1, max(head, word))
            )
        ]
        if not arcs:
            return heads
        word = choose(arcs)[-1]
        heads[word - 1] = heads[heads[word - 1] - 1]


def test_the_smallest_arc_is_lifted_first():
    order_matters = 0
    for heads in trees(5):
        assert projectivise(sentence("x", heads)).heads == lift(heads, min)
        order_matters += lift(heads, min) != lift(heads, max)
    assert order_matters
    # Figure 1 there: the arc from `jedna` (5) to `Z` (1) is lifted to the head of `jedna`.
    tree = projectivise(sentence("x", [5, 1, 0, 5, 3, 3, 6, 3]))
    assert tree.heads == [3, 1, 0, 5, 3, 3, 6, 3]
    assert tree.relations == sentence("x", tree.heads).relations


# EWT


@pytest.fixture
def folder(tmp_path):
    """A small EWT: 20 training documents of 1..4 sentences; the last ids have no graph."""
    names = [f"g-d{d:02d}-{k:04d}" for d in range(20) for k in range(1, 2 + d % 4)]
    train = [sentence(name) for name in names]
    train[3] = sentence(train[3].id, CROSSING)
    train[4] = sentence(train[4].id, [0] + [1] * 70)
    dev = [sentence("g-e-0001", CROSSING), sentence("g-e-0002", [0] + [1] * 70)]
    dev.append(sentence("g-e-0003"))
    write_conllu(tree_file(tmp_path, "train"), train)
    write_conllu(tree_file(tmp_path, "dev"), dev)
    for part, bank in (("train", train[:-1]), ("dev", dev[:-1])):
        graphs = [graph(s.id, s.heads) for s in bank]
        write_sdp(graph_file(tmp_path, part), graphs)
        write_companion(graph_file(tmp_path, part, "cpn"), graphs)
    return tmp_path


def ids(sentences) -> list[str]:
    return [s.id for s in sentences]


def test_parts_of_ewt(folder):
    corpus = load_corpus("ewt", data=folder)
    train = read_conllu(tree_file(folder, "train"))
    for bank in (corpus.trees, corpus.graphs):
        assert tuple(bank) == PARTS
        assert not {document(s) for s in bank["train"]} & {document(s) for s in bank["dev"]}
    held_out = held_out_documents(train)
    assert {document(s) for s in corpus.trees["dev"]} == held_out
    assert {document(s) for s in corpus.graphs["dev"]} <= held_out
    assert sorted(ids(corpus.trees["train"] + corpus.trees["dev"])) == sorted(ids(train))
    assert len(train) / 10 <= len(corpus.trees["dev"]) < len(train) / 10 + 4
    assert ids(corpus.trees["test"]) == ["g-e-0001", "g-e-0002", "g-e-0003"]
    assert ids(corpus.graphs["test"]) == ["g-e-0001", "g-e-0002"]
    assert corpus.graphs["test"][0].heads == CROSSING


def test_trees_of_one_half_of_the_documents_and_graphs_of_the_other(folder):
    whole = load_corpus("ewt", data=folder)
    names = ("propbank", "enhanced")
    halves = load_corpus("ewt", data=folder, disjoint=True, formalisms=names)
    trees, graphs = halves.trees["train"], halves.graphs["train"]
    documents = [{document(s) for s in bank} for bank in (trees, graphs)]
    assert not documents[0] & documents[1]
    assert documents[0] | documents[1] == {document(s) for s in whole.trees["train"]}
    assert abs(len(trees) - len(whole.trees["train"]) / 2) < 4  # a document at most
    assert ids(halves.more["enhanced"]["train"]) == ids(trees)
    for part in ("dev", "test"):
        assert ids(halves.trees[part]) == ids(whole.trees[part])
        assert ids(halves.graphs[part]) == ids(whole.graphs[part])


def test_held_out_documents_do_not_depend_on_order():
    sentences = [sentence(f"d{d}-{k}") for d in range(50) for k in range(3)]
    chosen = held_out_documents(sentences)
    assert chosen == held_out_documents(reversed(sentences))
    assert len(chosen) == 5
    assert chosen == {"d5", "d34", "d38", "d41", "d0"}  # everywhere and always


def test_non_projective_training_trees_of_ewt(folder):
    name = read_conllu(tree_file(folder, "train"))[3].id
    default = load_corpus("ewt", data=folder)
    lifted = load_corpus("ewt", data=folder, non_projective="projectivise")
    skipped = load_corpus("ewt", data=folder, non_projective="skip")
    assert default == lifted
    assert set(ids(lifted.trees["train"])) - set(ids(skipped.trees["train"])) == {name}
    (tree,) = (s for s in lifted.trees["train"] if s.id == name)
    assert tree.heads == projectivise(sentence(name, CROSSING)).heads != CROSSING
    for corpus in (lifted, skipped):
        (untouched,) = (s for s in corpus.graphs["train"] if s.id == name)
        assert untouched.heads == CROSSING
        assert corpus.trees["test"][0].heads == CROSSING
    with pytest.raises(DataError, match=r"is one of projectivise, skip\. Got 'drop'"):
        load_corpus("ewt", data=folder, non_projective="drop")


def test_long_sentences_are_left_out_of_all_parts(folder):
    everything = load_corpus("ewt", data=folder)
    short = load_corpus("ewt", data=folder, max_words=60)
    for all_of, some in ((everything.trees, short.trees), (everything.graphs, short.graphs)):
        for part in PARTS:
            assert ids(some[part]) == [s.id for s in all_of[part] if len(s) <= 60]
    assert len(short.trees["test"]) == 2
    assert len(short.graphs["test"]) == 1


def test_where_ewt_is_looked_for(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("OPTLAYERS_DATA", str(folder))
    assert load_corpus("ewt") == load_corpus("ewt", data=folder)
    with pytest.raises(DataError, match=r"train\.conllu does not exist\. Fetch the corpus"):
        load_corpus("ewt", data=tmp_path / "none")
    graph_file(folder, "dev").unlink()
    with pytest.raises(DataError, match=r"up-dev\.sdp does not exist\. .* by OPTLAYERS_DATA\."):
        load_corpus("ewt")


def test_real_ewt(data_dir):
    corpus = load_corpus("ewt", data=data_dir)
    sizes = {part: (len(corpus.trees[part]), len(corpus.graphs[part])) for part in PARTS}
    assert sizes == {"train": (11_252, 11_238), "dev": (1_292, 1_286), "test": (2_001, 1_968)}
    train = {s.id for bank in (corpus.trees, corpus.graphs) for s in bank["train"]}
    for part in ("dev", "test"):
        assert not train & {s.id for bank in (corpus.trees, corpus.graphs) for s in bank[part]}
    assert all(is_projective(s.heads) for s in corpus.trees["train"])
    assert not all(is_projective(s.heads) for s in corpus.trees["dev"])
    skipped = load_corpus("ewt", data=data_dir, non_projective="skip", max_words=60)
    assert len(skipped.trees["train"]) < 10_988 < len(corpus.trees["train"])
    assert max(map(len, skipped.graphs["test"])) <= 60


def test_real_trees_lifted(data_dir):
    """97.7 % of the training trees are projective; lifting touches few heads of the others."""
    trees = read_conllu(data_dir / "ud_ewt" / "en_ewt-ud-train.conllu")
    crossing = [s for s in trees if not is_projective(s.heads)]
    assert len(crossing) / len(trees) == pytest.approx(0.023, abs=0.0005)
    lifted = [projectivise(s) for s in crossing]
    assert not any(crosses(s.heads) for s in lifted)
    assert all(s.heads.count(0) == 1 for s in lifted)
    changed = sum(
        a != b
        for old, new in zip(crossing, lifted, strict=True)
        for a, b in zip(old.heads, new.heads, strict=True)
    )
    assert changed < 0.002 * sum(map(len, trees))


# SDP


@pytest.fixture
def banks(tmp_path):
    """Files as those with a licence are: graphs in two files, trees in a folder per section."""
    main = [graph(f"2{s:02d}01001") for s in (0, 7, 19, 20)]
    write_sdp(tmp_path / "en.dm.sdp", main)
    write_companion(tmp_path / "en.dm.cpn", main)
    write_sdp(tmp_path / "en.id.dm.sdp", [graph("22101001"), graph("22199123")])
    write_companion(tmp_path / "en.id.dm.cpn", [graph("22101001"), graph("22199123")])
    write_sdp(tmp_path / "en.ood.dm.sdp", [graph("a01-1")])
    for section in (0, 2, 19, 20, 21, 22, 23):
        tree = sentence("", CROSSING if section == 2 else (2, 0))
        write_conllu(tmp_path / "wsj" / f"{section:02d}" / "all.conllx", [tree])
    (tmp_path / "wsj" / "README").write_text("no trees")
    return tmp_path


def load_sdp(banks, **options):
    options = {
        "graphs": [banks / "en.dm.sdp", banks / "en.id.dm.sdp"],
        "trees": banks / "wsj",
        **options,
    }
    return load_corpus("sdp", **options)


def test_parts_of_sdp(banks):
    corpus = load_sdp(banks, ood=banks / "en.ood.dm.sdp")
    assert {part: ids(bank) for part, bank in corpus.graphs.items()} == {
        "train": ["20001001", "20701001", "21901001"],
        "dev": ["22001001"],
        "test": ["22101001", "22199123"],
        "ood": ["a01-1"],
    }
    assert {part: len(bank) for part, bank in corpus.trees.items()} == {
        "train": 4,  # 02, 19, 22 and 23, not 00
        "dev": 1,
        "test": 1,
    }
    assert all(is_projective(s.heads) for s in corpus.trees["train"])
    assert len(load_sdp(banks, non_projective="skip").trees["train"]) == 3
    assert corpus.graphs["train"][0].heads is None
    assert load_sdp(banks, max_words=1).graphs["train"] == []


def test_counts_are_reported_beside_those_of_the_paper(banks, capsys):
    load_sdp(banks, ood=banks / "en.ood.dm.sdp", max_words=1)
    graphs, trees = capsys.readouterr().err.splitlines()
    assert graphs.endswith("train 3 (33,961), dev 1 (1,692), test 2 (1,410), ood 1 (1,849)")
    assert trees.endswith("train 4 (40,265), dev 1 (2,012), test 1 (1,671)")


def test_the_treebank_trains_on_the_sections_that_are_left():
    """The sizes of 02-21, 22 and 23 are known; without 20 and 21 they are the paper's."""
    assert PAPER["trees"]["train"] == 39_832 + 1_700 + 2_416 - 2_012 - 1_671
    assert set(TREE_SECTIONS["train"]) == {*range(2, 22), 22, 23} - {20, 21}


def test_companions_of_sdp(banks):
    beside = [banks / "en.dm.cpn", banks / "en.id.dm.cpn"]
    assert load_sdp(banks, companions=beside).graphs["test"][0].heads == [2, 0]
    with pytest.raises(DataError, match="2 files of graphs, but 1 companions"):
        load_sdp(banks, companions=beside[0])
    with pytest.raises(DataError, match=r"en\.id\.dm\.cpn:1: does not fit .*en\.dm\.sdp"):
        load_sdp(banks, companions=beside[::-1])


def test_sections_of_the_treebank(banks):
    sections = {"train": range(2, 20), "dev": [22], "test": [23]}
    corpus = load_sdp(banks, tree_sections=sections)
    assert [len(corpus.trees[part]) for part in PARTS] == [2, 1, 1]
    with pytest.raises(DataError, match=r"Training trees of sections \[20, 21\], on which graphs"):
        load_sdp(banks, tree_sections={**sections, "train": range(2, 22)})
    with pytest.raises(DataError, match=r"No trees for test: wanted sections \[24\], which .*wsj"):
        load_sdp(banks, tree_sections={**sections, "test": [24]})


@pytest.mark.parametrize(
    "name", ["wsj_0201.mrg.conll", "02.conllx", "wsj-02-all.conllu", "s02.conll"]
)
def test_sections_in_the_names_of_files(banks, name):
    (banks / "wsj" / "02" / "all.conllx").rename(banks / "wsj" / name)
    trees = load_sdp(banks, tree_sections={"train": [2], "dev": [20], "test": [21]}).trees
    assert len(trees["train"]) == 1


def test_sections_in_ids_of_trees(banks):
    path = banks / "99.conllu"
    write_conllu(path, [sentence(f"2{s:02d}01001") for s in (2, 2, 20, 21)][1:])
    trees = load_sdp(banks, trees=[path]).trees
    assert ids(trees["train"]) == ["20201001"]


def test_sentences_without_a_section(banks):
    write_conllu(banks / "trees.conllu", [sentence("")])
    with pytest.raises(DataError, match=r"trees\.conllu: neither ids \(2SSDDNNN\) nor"):
        load_sdp(banks, trees=[banks / "wsj", banks / "trees.conllu"])
    with pytest.raises(DataError, match=r"ood\.dm\.sdp: ids are of the form .* Found 'a01-1'"):
        load_sdp(banks, graphs=banks / "en.ood.dm.sdp")
    with pytest.raises(DataError, match=r"No graphs for test: wanted sections \[21\]"):
        load_sdp(banks, graphs=banks / "en.dm.sdp")


def test_sections_of_real_ids(data_dir):
    """The public sample is all of section 00, so there is nothing to test on in it."""
    path = data_dir / "sdp" / "wsj89.dm.sdp"
    with pytest.raises(DataError, match=r"No graphs for dev: wanted sections \[20\]"):
        load_corpus("sdp", graphs=path, trees=[])


# By name


def test_the_generated_corpus():
    corpus = load_corpus("toy", seed=1, max_words=9)
    assert tuple(corpus.trees) == tuple(corpus.graphs) == PARTS
    assert corpus.trees["train"]
    assert max(len(s) for s in corpus.trees["train"]) <= 9
    assert any(len(s) > 9 for s in load_corpus("toy", seed=1).trees["train"])


def test_corpora_that_do_not_exist():
    with pytest.raises(DataError, match=r"no corpus 'wsj'\. Choose one of toy, ewt, sdp\."):
        load_corpus("wsj")
