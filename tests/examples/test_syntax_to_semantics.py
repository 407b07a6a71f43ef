"""Pipeline 1 from the configuration to files on disk."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from examples import metrics
from examples.data import Corpus, load_corpus, read_conllu, read_sdp, write_conllu, write_sdp
from examples.data.toy import generate
from examples.parsing.batches import Batches, collate
from examples.syntax_to_semantics.__main__ import main
from examples.syntax_to_semantics.config import Config, make_config
from examples.syntax_to_semantics.methods import METHODS
from examples.syntax_to_semantics.model import JointParser
from examples.syntax_to_semantics.run import load_data, load_model, make_model, parse
from examples.syntax_to_semantics.train import train
from examples.training.settings import ConfigError

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

JOINT = ["attention", "straight-through", "spigot", "spigot-projection", "spigot-marginals"]
TINY = make_config(
    "small", word_size=12, tag_size=6, hidden=10, mlp=8, batch_size=8, epochs=2, dropout=0.1
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return generate(0, trees=(24, 8, 8), graphs=(40, 8, 8))


def model_for(method: str, corpus: Corpus, **settings) -> JointParser:
    return make_model(replace(TINY, method=method, **settings), corpus)


def batch_of(model: JointParser, corpus: Corpus, kind: str, count: int = 8):
    return collate(getattr(corpus, kind)["train"][:count], model.vocabulary, kind)


# ---------------------------------------------------------------------- the model


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_move_the_parameters(method, corpus):
    model = model_for(method, corpus)
    kinds = [
        k
        for k, wanted in (("trees", "syntax"), ("graphs", "semantics"))
        if getattr(model.method, wanted) and not (k == "trees" and model.method.pretrained)
    ]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        for kind in kinds:
            optimizer.zero_grad()
            loss = model.loss(batch_of(model, corpus, kind))
            assert torch.isfinite(loss)
            assert loss > 0
            loss.backward()
            optimizer.step()
    moved = {
        name.split(".")[0]
        for name, p in model.named_parameters()
        if not torch.equal(p, before[name])
    }
    frozen = {"syntax"} if model.method.pretrained else set()
    assert moved == {name.split(".")[0] for name in before} - frozen


@pytest.mark.parametrize("method", ["pipeline", *JOINT])
def test_graphs_teach_the_syntactic_parser_only_through_the_tree(method, corpus):
    model = model_for(method, corpus)
    model.loss(batch_of(model, corpus, "graphs")).backward()
    assert model.syntax is not None
    grads = [p.grad for p in model.syntax.parameters()]
    if method == "pipeline":
        assert grads == [None] * len(grads)
    else:
        assert sum(float(g.abs().sum()) for g in grads if g is not None) > 0


def test_warmup_keeps_the_semantic_loss_from_the_syntactic_parser(corpus):
    model = model_for("spigot", corpus, warmup=1)
    model.loss(batch_of(model, corpus, "graphs")).backward()
    assert model.syntax is not None
    assert all(p.grad is None for p in model.syntax.parameters())


def test_the_hinge_loss_is_that_of_its_definition(corpus):
    model = model_for("spigot", corpus).eval()
    batch = batch_of(model, corpus, "trees", 4)
    trees, scores = model.trees(batch), model.score_trees(batch).detach()
    by_hand = 0.0
    for row, sentence in zip(scores, batch.sentences, strict=True):
        single, n = model.trees(collate([sentence], model.vocabulary)), len(sentence)
        row = row[: n + 1, : n + 1]
        gold = single.from_heads([sentence.heads])[0]
        worst = single.decode((row + 0.5 * (1 - gold) - 0.5 * gold)[None])[0]
        by_hand += float(((worst - gold) * row).sum() + 0.5 * (worst - gold).abs().sum())
    assert float(model.loss(batch).detach()) == pytest.approx(by_hand, rel=1e-5)
    assert trees.size == max(map(len, batch.sentences))


def test_a_frozen_parser_drops_no_words(corpus):
    model: Any = model_for("pipeline", corpus).train()
    assert model.syntax is not None
    assert model.semantics is not None
    assert not model.syntax.training
    assert model.semantics.training


def test_parsing_keeps_the_order_and_empty_sentences(corpus):
    model = model_for("spigot", corpus)
    sentences = list(corpus.graphs["dev"])
    empty = replace(sentences[0], words=[], lemmas=[], tags=[], arcs=None, heads=None)
    sentences.insert(1, empty)
    parsed = parse(model, sentences)
    assert [s.words for s in parsed] == [s.words for s in sentences]
    assert parsed[1].arcs == []
    model.eval()
    alone = model.parse(collate([sentences[3]], model.vocabulary))[0]
    assert (alone.heads, alone.arcs) == (parsed[3].heads, parsed[3].arcs)


def overfit(corpus: Corpus, epochs: int = 120) -> dict[str, float]:
    """Scores on the training sentences, when they are good or the time is over."""
    config = make_config("small", word_dropout=0.0, method="spigot")
    banks = {"trees": corpus.trees["train"], "graphs": corpus.graphs["train"]}
    model = make_model(config, corpus)
    batches = Batches(banks, model.vocabulary, 10, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scores = {}
    for epoch in range(epochs):
        batches.sampler.set_epoch(epoch)
        for batch in batches:
            optimizer.zero_grad()
            (model.loss(batch) / len(batch)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
        if epoch % 10 == 9:
            scores = metrics.tree_scores(banks["trees"], parse(model, banks["trees"]))
            scores |= metrics.graph_scores(banks["graphs"], parse(model, banks["graphs"]))
            if min(scores["UAS"], scores["LF"]) > 0.995:
                break
    return {name: scores[name] for name in ("UAS", "LF")}


def test_twenty_generated_sentences_are_learned_by_heart():
    scores = overfit(generate(0, trees=(20, 1, 1), graphs=(20, 1, 1)))
    assert min(scores.values()) > 0.99, scores


def test_twenty_real_sentences_are_learned_by_heart(data_dir):
    corpus = load_corpus("ewt", data=data_dir, max_words=20)
    short = Corpus(
        {"train": [s for s in corpus.trees["train"] if len(s) > 5][:20]},
        {"train": [s for s in corpus.graphs["train"] if s.arcs and len(s) > 5][:20]},
    )
    scores = overfit(short)
    assert min(scores.values()) > 0.99, scores


# ---------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("pipeline")
    train(replace(TINY, method="pipeline", epochs=1), folder, corpus=corpus, quiet=True)
    return folder


def test_a_pipeline_trains_its_parser_first_and_keeps_it(trained):
    parser, whole = load_model(trained / "parser"), load_model(trained, "last.ckpt")
    assert parser.semantics is None
    assert parser.syntax is not None
    assert whole.syntax is not None
    for one, other in zip(parser.syntax.parameters(), whole.syntax.parameters(), strict=True):
        assert torch.equal(one, other)


def test_joint_training_goes_on_from_a_parser_that_was_trained_first(trained, tmp_path, corpus):
    config = replace(TINY, method="spigot", epochs=1, pretrain=True)
    train(config, tmp_path / "run", corpus=corpus, quiet=True)
    # The parser is that of the pipeline, to the last digit; joint training moves it on.
    alone, known = load_model(tmp_path / "run" / "parser"), load_model(trained / "parser")
    joint = load_model(tmp_path / "run", "last.ckpt")
    assert alone.syntax is not None
    assert known.syntax is not None
    assert joint.syntax is not None
    parsers = (model.syntax.state_dict() for model in (alone, known, joint))
    for one, other, moved in zip(*(p.values() for p in parsers), strict=True):
        assert torch.equal(one, other)
        assert not torch.equal(one, moved)


def test_checkpoints_hold_tensors_and_plain_values(trained):
    for path in (trained / "best.ckpt", trained / "last.ckpt"):
        assert "random_states" in torch.load(path, weights_only=True)


def test_a_finished_run_is_not_run_again(trained, corpus):
    config = Config.load(trained / "config.yaml")
    before = (trained / "last.ckpt").stat().st_mtime_ns
    result = train(config, trained, corpus=corpus, quiet=True)
    assert result == json.loads((trained / "result.json").read_text())
    assert (trained / "last.ckpt").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"holds a run with other settings.*another --output"):
        train(replace(config, seed=5), trained, corpus=corpus)


def test_predictions_read_back(trained, corpus, tmp_path, capsys):
    source = tmp_path / "new.conllu"
    sentences = corpus.graphs["test"]
    write_conllu(source, sentences)
    assert main(["predict", str(trained), str(source)]) == 0
    trees, graphs = capsys.readouterr().out.split()
    expected = parse(load_model(trained), sentences)
    assert [s.heads for s in read_conllu(trees)] == [s.heads for s in expected]
    found = read_sdp(graphs)
    assert [sorted(s.arcs or []) for s in found] == [sorted(s.arcs or []) for s in expected]
    assert [s.id for s in found] == [s.id for s in sentences]


def test_two_files_are_scored(corpus, tmp_path, capsys):
    gold, system = tmp_path / "gold.sdp", tmp_path / "system.sdp"
    write_sdp(gold, corpus.graphs["dev"])
    write_sdp(system, [replace(s, arcs=(s.arcs or [])[1:]) for s in corpus.graphs["dev"]])
    assert main(["evaluate", str(gold), str(system), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["without tops"]
    arcs = [len(s.arcs or []) for s in corpus.graphs["dev"]]
    assert scores["LP"] == 1
    assert scores["LR"] == pytest.approx(1 - sum(map(bool, arcs)) / sum(arcs))


def test_train_and_evaluate_from_the_command_line(tmp_path, capsys):
    sizes = "--word_size 8 --hidden 6 --mlp 6 --epochs 1".split()
    data = ["--data_options.trees", "[8, 4, 4]", "--data_options.graphs", "[8, 4, 4]"]
    command = ["train", "--method", "none", "--quiet", "--json", "--output", str(tmp_path / "r")]
    assert main([*command, *sizes, *data]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert "UAS" not in trained["dev"]
    assert main(["evaluate", str(tmp_path / "r"), "--part", "dev", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dev"] == trained["dev"]
    assert main(["evaluate", str(tmp_path / "r")]) == 0
    assert "LF" in capsys.readouterr().out


# ---------------------------------------------------------------------- settings


def test_shares_of_the_treebank_are_nested():
    whole, part, none = (
        load_data(Config(treebank=share)).trees["train"] for share in (1.0, 0.1, 0.0)
    )
    assert (len(part), none) == (round(0.1 * len(whole)), [])
    more = load_data(Config(treebank=0.5)).trees["train"]
    assert {s.id for s in part} < {s.id for s in more} < {s.id for s in whole}


def test_paper_holds_the_published_defaults():
    paper = make_config("paper")
    assert (paper.word_size, paper.lemma_size, paper.tag_size) == (100, 50, 50)
    assert (paper.layers, paper.hidden, paper.mlp, paper.word_dropout) == (2, 200, 100, 0.25)
    assert (paper.learning_rate, paper.weight_decay, paper.eta) == (1e-3, 1e-6, 1.0)
    assert (paper.syntax_cost, paper.false_positive, paper.false_negative) == (0.5, 0.4, 0.6)


def test_missing_runs_are_named(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "best.ckpt does not exist. Train a model into" in capsys.readouterr().err


def test_no_config_of_that_name():
    with pytest.raises(ConfigError, match=r"no config 'huge'\. Choose one of ewt, paper, "):
        make_config("huge")


def test_losses_are_finite_numbers_in_the_history(trained):
    header, row = (trained / "metrics.csv").read_text().split()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert math.isfinite(float(values["train/graphs_loss"]))
    assert 0 <= float(values["dev/LF"]) <= 1
