"""The second pipeline: what the classifier reads, what the parser hears, and whole runs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import optlayers as ol
from examples.data import Corpus, load_reviews
from examples.data.toy import generate
from examples.parsing.batches import collate
from examples.parsing.vocabulary import PADDING, Vocabulary
from examples.semantics_to_sentiment.__main__ import main
from examples.semantics_to_sentiment.classifier import Classifier, head_average
from examples.semantics_to_sentiment.config import Config, make_config, parser_config
from examples.semantics_to_sentiment.evaluate import evaluate
from examples.semantics_to_sentiment.methods import METHODS
from examples.semantics_to_sentiment.model import SentimentModel
from examples.semantics_to_sentiment.run import (
    adopt,
    load_data,
    load_model,
    load_parser,
    make_model,
    parse,
)
from examples.semantics_to_sentiment.train import train
from examples.syntax_to_semantics import run as parsing
from examples.syntax_to_semantics.model import JointParser
from examples.training.runs import take_run
from examples.training.settings import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

SMALL = {"word_size": 6, "tag_size": 4, "hidden": 6, "mlp": 6, "epochs": 2}
GRAPHS = {"trees": [9, 4, 4], "graphs": [30, 8, 8]}
TINY = make_config(
    "small",
    word_size=6,
    hidden=5,
    role_size=4,
    mlp=6,
    epochs=2,
    patience=9,
    batch_size=5,
    warmup=0,
    data_options={"reviews": [14, 6, 6]},
    parser_options={**SMALL, "data": "toy", "data_options": GRAPHS},
)
JOINT = [name for name, method in METHODS.items() if method.surrogate]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_data(TINY)


def model_for(method: str, corpus: Corpus, **settings) -> SentimentModel:
    torch.manual_seed(0)
    return make_model(replace(TINY, method=method, **settings), corpus)


def batch_of(model: SentimentModel, corpus: Corpus, kind: str = "reviews", count: int = 6):
    return collate(getattr(corpus, kind)["train"][:count], model.vocabulary, kind)


def run(folder: Path, config: Config = TINY, **options):
    return train(config, folder, accelerator="cpu", quiet=True, **options)


# ---------------------------------------------------------------------- what is read


@pytest.mark.parametrize("sparse", [False, True])
def test_heads_are_averaged_word_by_word(sparse):
    lengths, width = [4, 2], 3
    allowed = torch.ones(2, 4, 4, dtype=torch.bool)
    allowed[:, 3, 0] = False
    graphs = ol.SemanticGraphs(lengths, 3, arcs=allowed if sparse else None)
    assert (graphs.num_slots == 16) != sparse
    arcs = [
        [(0, 1, 2), (2, 1, 0), (3, 2, 1)],
        [(1, 0, 2)],
    ]  # heads of word 1: two; of 0 and 3: none
    z = graphs.from_arcs(arcs)
    h, roles = torch.randn(2, 4, width), torch.randn(3, 2)
    found = head_average(graphs, z, h, roles)
    for b, sentence in enumerate(arcs):
        for j in range(4):
            heads = [(i, label) for i, k, label in sentence if k == j]
            wanted = torch.zeros(width + 2)
            for i, label in heads:
                wanted += torch.cat([h[b, i], roles[label]]) / len(heads)
            assert torch.allclose(found[b, j], wanted, atol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_the_gradient_of_an_arc_is_its_head_over_the_number_of_heads(sparse):
    allowed = torch.ones(1, 3, 3, dtype=torch.bool)
    allowed[:, 2, 0] = not sparse
    graphs = ol.SemanticGraphs([3], 2, arcs=allowed if sparse else None)
    z = graphs.from_arcs([[(0, 1, 0), (2, 1, 1)]]).requires_grad_()
    h, roles, weight = torch.randn(1, 3, 4), torch.randn(2, 2), torch.randn(1, 3, 6)
    (head_average(graphs, z, h, roles) * weight).sum().backward()
    assert z.grad is not None
    _, arcs, labels = graphs.unpack(z.grad)
    assert labels is not None
    for slot, (i, j) in enumerate(graphs.arc_index[0].tolist()):
        if i >= 0 and i != j:
            count = 2 if j == 1 else 1
            assert arcs[0, slot] == pytest.approx(
                float(weight[0, j, :4] @ h[0, i]) / count, rel=1e-4
            )
            wanted = roles @ weight[0, j, 4:] / count
            assert torch.allclose(labels[0, slot], wanted, atol=1e-6)


def test_the_classifier_of_the_config_paper_is_the_published_one(corpus):
    """An affine layer of 100, a hidden layer of 100, an output; dropout after the first two."""
    config = make_config("paper")
    known = Vocabulary.of(corpus.graphs["train"])
    shapes = {
        name: [tuple(p.shape) for p in part.parameters()]
        for name, part in Classifier(known, config, graphs=True).named_children()
    }
    assert shapes["combine"] == [(100, 2 * 300 + 100), (100,)]
    assert shapes["output"] == [(100, 100), (100,), (1, 100), (1,)]
    baseline = Classifier(known, config, graphs=False)
    assert next(baseline.output.parameters()).shape == (100, 300)
    rates = [m.p for m in baseline.modules() if isinstance(m, torch.nn.Dropout) and m.p]
    assert rates == [0.5, 0.2]  # of the input; of the hidden layer
    assert baseline.encoder.alpha == 0


@pytest.mark.parametrize("method", ["bilstm", "pipeline"])
def test_padding_counts_for_nothing(method, corpus):
    model = model_for(method, corpus).eval()
    reviews = sorted(corpus.reviews["test"], key=len)
    together = parse(model, [reviews[0], reviews[-1]])
    assert len(reviews[0]) < len(reviews[-1])
    alone = [parse(model, [review])[0] for review in (reviews[0], reviews[-1])]
    for one, other in zip(together, alone, strict=True):
        assert one.sentiment == pytest.approx(other.sentiment, abs=1e-5)
        assert one.arcs == other.arcs


def test_no_label_that_is_deterministic_occurs_twice(corpus):
    model = model_for("spigot", corpus)
    batch = batch_of(model, corpus)
    assert model.vocabulary.deterministic
    graphs, _ = model.graphs(batch)
    z = model.argmax(5 * torch.randn(len(batch), graphs.num_parts), graphs)
    for arcs in graphs.to_arcs(z):
        fixed = [(i, label) for i, _, label in arcs if label in model.vocabulary.deterministic]
        assert len(fixed) == len(set(fixed))
        assert arcs


# ---------------------------------------------------------------------- what the parser hears


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_move_what_they_should(method, corpus):
    model: Any = model_for(method, corpus).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    kinds = ["reviews", *(["graphs"] if model.method.surrogate else [])]
    for kind in 2 * kinds:
        optimizer.zero_grad()
        loss = model.loss(batch_of(model, corpus, kind))
        assert torch.isfinite(loss)
        loss.backward()
        optimizer.step()
    moved = {n.split(".")[0] for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    frozen = {"parser"} if model.method.frozen else set()
    assert moved == {name.split(".")[0] for name in before} - frozen
    if model.method.frozen:
        assert model.parser is not None
        assert not model.parser.training
        assert not any(p.requires_grad for p in model.parser.parameters())


@pytest.mark.parametrize("method", ["pipeline", *JOINT])
def test_reviews_teach_the_parser_only_through_the_graph(method, corpus):
    model = model_for(method, corpus)
    model.loss(batch_of(model, corpus)).backward()
    assert model.parser is not None
    grads = [p.grad for p in model.parser.parameters()]
    if method == "pipeline":
        assert grads == [None] * len(grads)
    else:
        assert sum(float(g.abs().sum()) for g in grads if g is not None) > 0


def test_in_a_warmup_the_parser_does_not_hear_of_reviews(corpus):
    model = model_for("spigot", corpus, warmup=1)
    model.loss(batch_of(model, corpus)).backward()
    assert model.parser is not None
    assert all(p.grad is None for p in model.parser.parameters())


@pytest.mark.parametrize("projection", ["exact", "sequential"])
def test_spigot_projects_the_step_of_each_review_onto_the_polytope(projection, corpus, monkeypatch):
    """Recomputed from its definition; `project` is judged by the tests of the library."""
    model = model_for("spigot", corpus, projection=projection, eta=0.3).eval()
    batch, seen = batch_of(model, corpus), {}
    argmax = model.argmax.forward

    def watched(scores, graphs):
        z = argmax(scores, graphs)
        for name, value in (("scores", scores), ("z", z)):
            value.retain_grad()
            seen[name] = value
        seen["graphs"] = graphs
        return z

    monkeypatch.setattr(model.argmax, "forward", watched)
    model.loss(batch).backward()
    z, g = seen["z"].detach(), seen["z"].grad
    g = g * (ol.project(seen["graphs"], torch.ones_like(g)) > 0)  # no part of padding counts
    step = g * (0.3 / g.norm(dim=-1, keepdim=True)).clamp(max=1)
    assert (g.norm(dim=-1) > 0).all()
    assert torch.allclose(seen["scores"].grad, z - ol.project(seen["graphs"], z - step), atol=1e-6)
    assert seen["graphs"].projection == projection


# ---------------------------------------------------------------------- the parser of a run


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "pipeline"
    run(folder, replace(TINY, method="pipeline"))
    return folder


def test_a_larger_vocabulary_changes_no_graph(trained, corpus):
    """Also of sentences with words that only the reviews have."""
    parser, model = load_parser(trained), load_model(trained)
    assert model.parser is not None
    reviews = [s for part in corpus.reviews.values() for s in part]
    new = {w.lower() for s in reviews for w in s.words if w.lower() not in parser.vocabulary.words}
    assert new & set(model.vocabulary.words.names)
    wanted = [s.arcs for s in parsing.parse(parser, reviews)]
    assert [s.arcs for s in parse(model, reviews)] == wanted
    assert any(wanted)


def test_vectors_of_new_words_are_kept_if_they_were_given(trained, corpus):
    old, model = load_parser(trained), model_for("spigot", corpus)
    assert model.parser is not None
    words, table = model.vocabulary.words, model.parser.semantics.encoder.word.weight
    fresh = table.detach().clone()
    new = [name for name in words.names if name not in old.vocabulary.words]
    adopt(model.parser, old, new[:1])
    trained_table = old.semantics.encoder.word.weight
    assert torch.equal(table[words[new[0]]], fresh[words[new[0]]])
    assert torch.equal(table[words[new[1]]], trained_table[1])  # that of unknown words
    known = old.vocabulary.words.names[-1]
    assert torch.equal(table[words[known]], trained_table[old.vocabulary.words[known]])
    assert not table[PADDING].any()


def test_a_parser_of_other_labels_is_refused(trained, corpus):
    old, model = load_parser(trained), model_for("spigot", corpus)
    old.vocabulary = replace(old.vocabulary, labels=("A", "B"))
    assert model.parser is not None
    with pytest.raises(ConfigError, match=r"other labels than those of this data: A, B\."):
        adopt(model.parser, old)


def test_a_trained_parser_is_copied(trained, tmp_path):
    source = tmp_path / "parser"
    shutil.copytree(trained / "parser", source)
    config = replace(TINY, parser=str(source), parser_options={})
    result = run(tmp_path / "run", config)
    shutil.rmtree(source)
    model = load_model(tmp_path / "run")
    corpus = load_data(model.config)
    assert evaluate(model, corpus, "test") == result["test"]


def test_a_copy_that_was_broken_off_is_completed(trained, tmp_path):
    (tmp_path / "vocabulary.json").write_text("broken off")
    take_run(trained / "parser", tmp_path)
    names = {"vocabulary.json", "best.ckpt", "result.json", "metrics.csv", "config.yaml"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (trained / "parser" / name).read_bytes()


# ---------------------------------------------------------------------- runs


def test_twenty_generated_reviews_are_learned_by_heart():
    reviews = load_reviews("toy", reviews=(20, 4, 4))["train"]
    learned_by_heart(reviews, TINY)


def test_twenty_real_reviews_are_learned_by_heart(data_dir):
    reviews = load_reviews("sst", data=data_dir)
    short = sorted(reviews["train"], key=len)
    bank = [s for kind in (0, 1) for s in [t for t in short if t.sentiment == kind][300:310]]
    options = TINY.parser_options | {"tag_size": 0, "lemma_size": 0}
    learned_by_heart(bank, replace(TINY, data="sst", parser_options=options))


def learned_by_heart(reviews, config) -> None:
    config = replace(config, word_size=20, hidden=20, mlp=20, dropout=0.0)
    toy = generate(0, trees=(9, 4, 4), graphs=(30, 8, 8))
    corpus = replace(toy, reviews={"train": reviews, "dev": reviews, "test": reviews})
    torch.manual_seed(0)
    model = make_model(config, corpus).train()
    batch = collate(reviews, model.vocabulary, "reviews")
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(80):
        optimizer.zero_grad()
        (model.loss(batch) / len(batch)).backward()
        optimizer.step()
    found = parse(model.eval(), reviews)
    assert [s.sentiment > 0.5 for s in found] == [s.sentiment > 0.5 for s in reviews]


def test_an_epoch_sees_a_share_of_the_graphs(tmp_path, corpus, monkeypatch):
    seen: list[tuple[int, str, tuple[str, ...]]] = []
    step = SentimentModel.training_step

    def watched(self, batch, *args):
        names = tuple(sorted(s.id for s in batch.sentences))
        seen.append((self.current_epoch, batch.kind, names))
        return step(self, batch, *args)

    monkeypatch.setattr(SentimentModel, "training_step", watched)
    run(tmp_path, replace(TINY, graph_share=0.5, epochs=3), corpus=corpus)
    for epoch in range(3):
        reviews = [
            name for e, kind, names in seen for name in names if (e, kind) == (epoch, "reviews")
        ]
        assert sorted(reviews) == sorted(s.id for s in corpus.reviews["train"])
    graphs = [{n for e, k, n in seen if (e, k) == (epoch, "graphs")} for epoch in range(3)]
    assert [len(batches) for batches in graphs] == [3, 3, 3]  # of six
    assert graphs[0] != graphs[1]


@pytest.mark.parametrize("method", ["spigot", "pipeline"])
@pytest.mark.parametrize(
    ("trained", "at"), [(SentimentModel, 4), (SentimentModel, 10), (JointParser, 4)]
)
def test_resumed_equals_uninterrupted(tmp_path, corpus, monkeypatch, method, trained, at):
    """Killed in the joint training, or while the parser is trained before it."""

    class KilledError(BaseException):
        """As abrupt as an exception can be."""

    config = replace(TINY, method=method, epochs=4)
    run(tmp_path / "whole", config, corpus=corpus)
    step, count = trained.training_step, [0]

    def killed(self, *args):
        count[0] += 1
        if count[0] == at:
            raise KilledError
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(trained, "training_step", killed)
        with pytest.raises(KilledError):
            run(tmp_path / "killed", config, corpus=corpus)
    run(tmp_path / "killed", config, corpus=corpus)
    results = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("whole", "killed")]
    for result in results:
        del result["seconds"]
    assert results[0] == results[1]
    one, other = (
        torch.load(tmp_path / n / "last.ckpt", weights_only=True)["state_dict"]
        for n in ("whole", "killed")
    )
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parser=huge"], r"`parser` is one of ewt, paper, .* or the folder of a run"),
        (
            ["--parser_options.method=spigot"],
            r"one without syntax \(method 'none'\)\. Got 'spigot'",
        ),
        (["--parser_options.colour=3"], r"`parser`: .*colour"),
        (["--graph_share=2"], r"`graph_share` is a share from 0 to 1\. Got 2"),
        (["--projection=round"], r"projection.*round"),
        (["--method=magic"], r"`method` is one of bilstm, pipeline, straight-through"),
        (["--data=imdb"], r"There are no reviews 'imdb'\. Choose one of toy, sst"),
        (["--data_options.colour=3"], r"Options of the data 'toy': .*'colour'"),
        (["--role_size=0"], r"`role_size` must be positive\. Got 0"),
        (["--surrogate=SPIGOT", "--method=pipeline"], r"pass a structure: .*Got 'pipeline'"),
    ],
)
def test_wrong_settings_are_refused(arguments, message, tmp_path, capsys):
    assert main(["train", "--output", str(tmp_path / "run"), *arguments]) == 2
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(" ".join(capsys.readouterr().err.split()))
    assert not (tmp_path / "run").exists()


def test_a_parser_that_reads_tags_is_refused_where_there_are_none(corpus):
    bare = [replace(s, tags=["_"] * len(s), lemmas=["_"] * len(s)) for s in corpus.reviews["train"]]
    with pytest.raises(ConfigError, match=r"no parts of speech.*--parser_options.tag_size 0"):
        make_model(TINY, replace(corpus, reviews=corpus.reviews | {"train": bare}))


def test_other_graphs_do_not_get_the_options_of_these():
    assert parser_config(make_config("small")).data_options == {"graphs": [300, 200, 400]}
    other = parser_config(make_config("small", graphs="ewt"))
    assert (other.data, other.data_options) == ("ewt", {})


def test_train_and_evaluate_from_the_command_line(tmp_path, capsys):
    TINY.save(tmp_path / "tiny.yaml")
    folder = tmp_path / "run"
    command = ["train", "--config", str(tmp_path / "tiny.yaml"), "--output", str(folder)]
    command += ["--method", "spigot-projection", "--quiet", "--json", "--accelerator", "cpu"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"dev", "test"}
    assert {"accuracy", "LF", "reviews_LF"} <= set(printed["test"])
    assert main(["evaluate", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"test": printed["test"]}
