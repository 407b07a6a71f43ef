"""Several graph formalisms: their banks, their labels, and one parser that learns from all."""

import csv
from dataclasses import replace

import pytest
import torch

import optlayers as ol
from examples.data import Corpus, DataError, Sentence, load_corpus, write_conllu, write_sdp
from examples.data.formalisms import enhanced_graphs, relation_graph
from examples.parsing.batches import Batches, collate
from examples.parsing.encoder import Sizes
from examples.parsing.semantics import SemanticParser
from examples.parsing.vocabulary import Labels, Vocabulary
from examples.syntax_to_semantics.config import Config, make_config
from examples.syntax_to_semantics.methods import METHODS
from examples.syntax_to_semantics.model import JointParser
from examples.syntax_to_semantics.multitask import MultitaskParser, banks
from examples.syntax_to_semantics.run import load_data, load_model, make_model, parse
from examples.syntax_to_semantics.train import train
from examples.training.settings import ConfigError

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

TINY = make_config(
    "small", word_size=12, tag_size=6, hidden=10, mlp=8, batch_size=8, epochs=1, method="freda"
)
SIZES = Sizes(word=5, lemma=3, tag=4, layers=1, hidden=6, mlp=7)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus("toy", trees=(24, 8, 8), graphs=(40, 8, 8))


def sentence(words: str, **known) -> Sentence:
    split = words.split()
    return Sentence(split, split, ["X"] * len(split), "s1", **known)


# ---------------------------------------------------------------------- graphs of a treebank


def test_relations_are_arcs_from_heads_to_modifiers():
    tree = sentence("the cat sat", heads=[2, 3, 0], relations=["det", "nsubj", "root"])
    graph = relation_graph(tree)
    assert graph.arcs == [(1, 0, "det"), (2, 1, "nsubj")]
    assert graph.tops == [2]
    with pytest.raises(DataError, match="s1: no tree with relations"):
        relation_graph(sentence("the cat"))


def test_enhanced_dependencies_are_arcs_between_words():
    """Empty nodes, a second relation between two words, loops and lexical parts are left out."""
    deps = [
        "2:nsubj|4:nsubj:xsubj",  # more than one head
        "0:root|8.1:conj:and",  # the root makes a top; an empty node is no word
        "2:nmod:of|2:obl",  # one label for an arc: the first
        "2:nsubj:pass|4:dep",  # known with its second part; a loop
    ]
    (graph,) = enhanced_graphs([sentence("a b c d", deps=deps)], {"nsubj", "nmod", "nsubj:pass"})
    assert graph.arcs == [(1, 0, "nsubj"), (1, 2, "nmod"), (1, 3, "nsubj:pass"), (3, 0, "nsubj")]
    assert graph.tops == [1]
    (empty,) = enhanced_graphs([sentence("a b", deps=["_", "1.1:x"])], {"x"})
    assert empty.arcs == []


@pytest.mark.parametrize(
    ("deps", "message"),
    [
        (None, r"s1: no enhanced dependencies \(column DEPS\)"),
        (["5:nsubj", "_"], "bad enhanced dependency '5:nsubj'.*head from 0 to 2"),
        (["x:nsubj", "_"], "bad enhanced dependency 'x:nsubj'"),
    ],
)
def test_bad_enhanced_dependencies_are_refused(deps, message):
    with pytest.raises(DataError, match=message):
        enhanced_graphs([sentence("a b", deps=deps)], {"nsubj"})


def test_the_toy_has_the_relations_of_its_treebank(corpus):
    """Not those of the graph bank's sentences, which would give its trees away."""
    assert list(corpus.more) == ["relations"]
    for part, bank in corpus.more["relations"].items():
        assert [s.id for s in bank] == [s.id for s in corpus.trees[part]]
        for graph in bank:
            assert {(i, j) for i, j, _ in graph.arcs or ()} == {
                (head - 1, j) for j, head in enumerate(graph.heads or ()) if head
            }
    swapped = load_corpus(
        "toy", trees=(24, 8, 8), graphs=(40, 8, 8), formalisms=["relations", "roles"]
    )
    assert (swapped.graphs, swapped.more) == (corpus.more["relations"], {"roles": corpus.graphs})
    assert all(s.arcs is None for s in corpus.trees["train"])


@pytest.mark.parametrize("formalisms", [[], ["roles", "roles"], ["frames"], "frames"])
def test_formalisms_are_those_of_the_corpus(formalisms):
    with pytest.raises(DataError, match=r"one or more of roles, relations\. Got"):
        load_corpus("toy", formalisms=formalisms)


def test_short_sentences_of_all_banks(corpus):
    short = load_corpus("toy", max_words=9, trees=(24, 8, 8), graphs=(40, 8, 8))
    expected = [s.id for s in corpus.more["relations"]["train"] if len(s) <= 9]
    assert [s.id for s in short.more["relations"]["train"]] == expected != []


def test_real_enhanced_dependencies(data_dir):
    both = load_corpus("ewt", data=data_dir, max_words=15, formalisms=["propbank", "enhanced"])
    assert "ARG0" in Labels.of(both.graphs["dev"]).names
    for part, bank in both.more["enhanced"].items():
        assert [s.id for s in bank] == [s.id for s in both.trees[part]]
    train = both.more["enhanced"]["train"]
    words = sum(map(len, train))
    heads = sum(len({j for _, j, _ in s.arcs or ()} | set(s.tops or ())) for s in train)
    assert 0.999 * words < heads < words  # all but words whose heads are empty nodes
    assert sum(len(s.arcs or ()) for s in train) > heads - len(train)  # more than a tree has
    relations = {relation for s in both.trees["train"] for relation in s.relations or ()}
    labels = set(Labels.of(train).names)
    assert labels - relations == {"ref"}
    assert len(labels) < 60


def test_formalisms_of_sdp_files(tmp_path):
    sentences = [
        replace(sentence("a b", heads=[2, 0], relations=["x", "root"]), id=f"2{section}01001")
        for section in ("02", "20", "21")
    ]
    for name, label in (("dm", "ARG1"), ("pas", "verb_ARG1")):
        graphs = [replace(s, arcs=[(1, 0, label)], tops=[1]) for s in sentences]
        write_sdp(tmp_path / f"{name}.sdp", graphs)
    write_conllu(tmp_path / "trees.conllu", sentences)
    options = {"graphs": tmp_path / "dm.sdp", "trees": tmp_path / "trees.conllu"}
    corpus = load_corpus("sdp", **options, more={"pas": tmp_path / "pas.sdp"})
    found = {part: [s.arcs for s in bank] for part, bank in corpus.more["pas"].items()}
    assert found == {part: [[(1, 0, "verb_ARG1")]] for part in ("train", "dev", "test")}
    assert corpus.graphs["train"][0].arcs == [(1, 0, "ARG1")]
    assert load_corpus("sdp", **options).more == {}


# ---------------------------------------------------------------------- labels


def test_a_vocabulary_keeps_the_labels_of_each_formalism(corpus, tmp_path):
    more = {name: bank["train"] for name, bank in corpus.more.items()}
    known = Vocabulary.of(corpus.graphs["train"], more=more)
    plain = Vocabulary.of(corpus.graphs["train"])
    assert known.of_formalism("") == Labels(plain.labels, plain.deterministic)
    labels = known.of_formalism("relations")
    assert "nsubj" in labels.names
    assert "nsubj" not in known.labels
    assert labels.names.index("nsubj") in labels.deterministic
    assert set(plain.words.names) < set(known.words.names)
    known.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == known


def test_a_vocabulary_of_older_runs_still_loads(corpus, tmp_path):
    path = tmp_path / "v.json"
    known = Vocabulary.of(corpus.graphs["train"])
    known.save(path)
    path.write_text(path.read_text().replace(', "more": {}', ""))
    assert "more" not in path.read_text()
    assert Vocabulary.load(path) == known


# ---------------------------------------------------------------------- the model


def model_for(method: str, corpus: Corpus) -> JointParser:
    return make_model(replace(TINY, method=method), corpus)


def batch_of(model: JointParser, corpus: Corpus, kind: str):
    bank = banks(model.method, corpus, "train")[kind]
    return collate(bank[:8], model.vocabulary, kind)


def moved_by(model: JointParser, corpus: Corpus, kind: str) -> set[str]:
    """The parts of the parser that get a gradient from a bank."""
    model.zero_grad()
    model.loss(batch_of(model, corpus, kind)).backward()
    assert isinstance(model.semantics, MultitaskParser)
    parts: dict[str, torch.nn.Module] = {"shared": model.semantics.encoder}
    for i, task in enumerate(model.semantics.tasks):
        parts[f"scorer {i}"] = task.get_submodule("label")
        if model.method.multitask == "freda":
            parts[f"encoder {i}"] = task.get_submodule("encoder")
    return {
        name
        for name, part in parts.items()
        if any(p.grad is not None and bool((p.grad != 0).any()) for p in part.parameters())
    }


@pytest.mark.parametrize("method", ["shared", "freda"])
def test_the_shared_encoder_learns_from_all_formalisms_the_rest_from_its_own(method, corpus):
    model = model_for(method, corpus)
    for i, kind in enumerate(("graphs", "graphs:relations")):
        own = {f"encoder {i}"} if method == "freda" else set()
        assert moved_by(model, corpus, kind) == {"shared", f"scorer {i}"} | own


@pytest.mark.parametrize("method", ["shared", "freda"])
def test_training_on_the_union_lowers_the_loss_of_each(method, corpus):
    model = model_for(method, corpus)
    kinds = ("graphs", "graphs:relations")
    before = {kind: float(model.loss(batch_of(model, corpus, kind)).detach()) for kind in kinds}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train_part = banks(model.method, corpus, "train")
    batches = Batches(train_part, model.vocabulary, 8, seed=0)
    seen = set()
    for batch in batches:
        seen.add(batch.kind)
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
    assert seen == set(train_part) == set(kinds)
    for kind in kinds:
        assert float(model.loss(batch_of(model, corpus, kind)).detach()) < 0.7 * before[kind]


def test_one_formalism_with_a_shared_encoder_is_the_basic_parser(corpus):
    known = Vocabulary.of(corpus.graphs["train"])
    basic = SemanticParser(known, SIZES, heads=False).eval()
    shared = MultitaskParser(known, SIZES, own=False).eval()
    state = basic.state_dict()
    shared.load_state_dict(
        {k if k.startswith("encoder.") else f"tasks.0.{k}": v for k, v in state.items()}
    )
    batch = collate(corpus.graphs["train"][:4], known)
    graphs = ol.SemanticGraphs(batch.lengths, len(known.labels))
    torch.testing.assert_close(shared(batch, graphs), basic(batch, graphs), rtol=0, atol=0)


def test_each_encoder_is_read(corpus):
    """FREDA1: both encoders change the scores of their formalism, none of another."""
    model = model_for("freda", corpus).eval()
    batch = batch_of(model, corpus, "graphs")
    assert isinstance(model.semantics, MultitaskParser)
    parts = [
        model.semantics.encoder,
        *(task.get_submodule("encoder") for task in model.semantics.tasks),
    ]
    found = []
    for part in parts:
        before = model.score_graphs(batch, model.graphs(batch)).parts
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.add_(0.1)
        after = model.score_graphs(batch, model.graphs(batch)).parts
        found.append(torch.equal(before, after))
    assert found == [False, False, True]


def test_banks_are_those_of_the_method(corpus):
    kinds = {
        name: [list(banks(METHODS[name], corpus, part)) for part in ("train", "dev")]
        for name in ("none", "spigot", "pipeline", "syntax", "freda")
    }
    assert kinds == {
        "none": [["graphs"], ["graphs"]],
        "spigot": [["trees", "graphs"], ["trees", "graphs"]],
        "pipeline": [["graphs"], ["trees", "graphs"]],
        "syntax": [["trees"], ["trees"]],
        "freda": [["graphs", "graphs:relations"], ["graphs", "graphs:relations"]],
    }
    without = replace(corpus, more={"relations": {"train": corpus.graphs["train"]}})
    assert list(banks(METHODS["freda"], without, "dev")) == ["graphs"]


def test_other_methods_do_not_look_at_further_formalisms(corpus):
    alone = Corpus(corpus.trees, corpus.graphs)
    assert model_for("none", corpus).vocabulary == model_for("none", alone).vocabulary


def test_several_formalisms_are_needed():
    config = Config(method="freda", prune=0.0, data_options={"formalisms": ["roles"]})
    with pytest.raises(ConfigError, match=r"'freda' learns from several.*data_options\.formalisms"):
        load_data(config)


def test_a_run_reports_each_formalism(tmp_path, corpus):
    result = train(TINY, tmp_path, corpus=corpus, accelerator="cpu", quiet=True)
    model = load_model(tmp_path)
    assert list(model.vocabulary.more) == ["relations"]
    with (tmp_path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert {
        "dev/LF",
        "dev/relations_LF",
        "train/graphs_loss",
        "train/graphs:relations_loss",
    } <= set(row)
    for part in ("dev", "test"):
        assert {"LF", "relations_LF"} <= set(result[part])
        assert not {"UAS", "relations_UAS"} & set(result[part])
    parsed = parse(model, corpus.more["relations"]["dev"], "relations")
    labels = {label for s in parsed for _, _, label in s.arcs or ()}
    assert labels <= set(model.vocabulary.more["relations"].names)
