"""What the end task tells the intermediate model: each model's clip, dropout, and the weight."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from examples.data import Corpus
from examples.data.toy import generate
from examples.data.toy_reviews import generate as generate_reviews
from examples.parsing.batches import collate
from examples.semantics_to_sentiment.config import make_config as sentiment_config
from examples.semantics_to_sentiment.run import make_model as sentiment_model
from examples.syntax_to_semantics.config import make_config as parsing_config
from examples.syntax_to_semantics.run import make_model as parsing_model
from examples.training.settings import ConfigError

SIZES = {"word_size": 12, "hidden": 10, "mlp": 8, "word_dropout": 0.5, "dropout": 0.5, "layers": 2}
PARSER = {"word_size": 12, "tag_size": 0, "hidden": 10, "mlp": 8, "dropout": 0.5, "layers": 2}
CASES = ["syntax_to_semantics", "semantics_to_sentiment"]
MODELS = {CASES[0]: ("syntax", "semantics"), CASES[1]: ("parser", "classifier")}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    found = generate(0, trees=(16, 4, 4), graphs=(16, 4, 4))
    return replace(found, reviews=generate_reviews(0, (16, 4, 4)))


@pytest.fixture(params=CASES)
def make(request, corpus):
    """Makes a model of a pipeline with some settings, the same parameters each time."""

    def made(**settings):
        torch.manual_seed(0)
        settings = {"method": "spigot", **SIZES} | settings
        if request.param == CASES[0]:
            return parsing_model(parsing_config("small", **settings), corpus)
        config = sentiment_config("small", warmup=0, parser_options=PARSER, **settings)
        return sentiment_model(config, corpus)

    maker: Any = made
    maker.models = MODELS[request.param]
    return maker


def batch_of(model, corpus: Corpus, kind: str):
    bank = getattr(corpus, kind)["train"][:8]
    return collate(bank, model.vocabulary, kind)


def gradients(model) -> dict[str, dict[str, torch.Tensor]]:
    """Those of each model of a pipeline, by the names of the models."""
    return {
        name: {k: p.grad for k, p in child.named_parameters() if p.grad is not None}
        for name, child in model.named_children()
    }


def norm(grads: dict[str, torch.Tensor]) -> float:
    return float(torch.stack([g.norm() for g in grads.values()]).norm())


def clipped(model, corpus: Corpus, kind: str, huge: str = "") -> dict[str, dict[str, torch.Tensor]]:
    """Gradients of a step, clipped; those of one model are made huge before."""
    torch.manual_seed(1)
    model.train().training_step(batch_of(model, corpus, kind), 0).backward()
    for parameter in getattr(model, huge).parameters() if huge else ():
        if parameter.grad is not None:
            parameter.grad.mul_(1e6)
    model.configure_gradient_clipping()
    return gradients(model)


@pytest.mark.parametrize("which", [0, 1])
def test_a_huge_gradient_of_one_model_leaves_the_other_alone(make, corpus, which):
    huge, other = make.models[which], make.models[1 - which]
    usual = clipped(make(), corpus, make().END_TASK)
    found = clipped(make(), corpus, make().END_TASK, huge)
    assert norm(found[huge]) == pytest.approx(1, rel=1e-4)
    assert norm(usual[other]) > 0
    assert all(torch.equal(g, found[other][name]) for name, g in usual[other].items())


def test_a_huge_gradient_of_one_model_leaves_the_step_of_the_other_alone(make, corpus):
    huge, other = make.models
    ends = []
    for name in ("", huge):
        model = make()
        optimizer = model.configure_optimizers()
        clipped(model, corpus, model.END_TASK, name)
        optimizer.step()
        ends.append(dict(getattr(model, other).named_parameters()))
    before = dict(getattr(make(), other).named_parameters())
    assert all(torch.equal(p, ends[1][name]) for name, p in ends[0].items())
    assert any(not torch.equal(p, ends[0][name]) for name, p in before.items())


def outputs(model, corpus: Corpus, kind: str, monkeypatch) -> list[torch.Tensor]:
    """What the intermediate model says of a batch in two training steps on it."""
    found = []
    inner = model.intermediate if hasattr(model.intermediate, "score") else None
    inner = model.intermediate.semantics if inner is None else inner
    forward = inner.forward

    def watched(*args):
        scores = forward(*args)
        found.append((scores[0] if isinstance(scores, tuple) else scores).detach())
        return scores

    monkeypatch.setattr(inner, "forward", watched)
    for _ in range(2):
        model.train().loss(batch_of(model, corpus, kind))
    return found


def test_the_intermediate_model_drops_nothing_in_steps_of_the_end_task(make, corpus, monkeypatch):
    model = make()
    first, second = outputs(model, corpus, model.END_TASK, monkeypatch)
    assert torch.equal(first, second)


def test_the_intermediate_model_drops_words_in_steps_of_its_own_task(make, corpus, monkeypatch):
    model = make()
    own = next(kind for kind in model.KINDS if kind != model.END_TASK)
    first, second = outputs(model, corpus, own, monkeypatch)
    assert not torch.equal(first, second)


def test_the_end_task_model_drops_words_in_its_steps(make, corpus):
    model = make()
    losses = [model.train().loss(batch_of(model, corpus, model.END_TASK)) for _ in range(2)]
    assert losses[0] != losses[1]


def test_a_step_leaves_every_module_in_training_mode(make, corpus):
    model = make()
    rates = [m.dropout for m in model.modules() if isinstance(m, torch.nn.LSTM)]
    model.train().loss(batch_of(model, corpus, model.END_TASK))
    assert all(module.training for module in model.modules())
    assert rates == [m.dropout for m in model.modules() if isinstance(m, torch.nn.LSTM)]
    assert max(rates) == 0.5


def test_lstms_stay_in_training_mode_for_the_sake_of_their_gradient_on_a_gpu(
    make, corpus, monkeypatch
):
    model, seen = make(), []
    for module in model.intermediate.modules():
        if isinstance(module, torch.nn.LSTM):
            module.register_forward_pre_hook(lambda m, _: seen.append((m.training, m.dropout)))
    model.train().loss(batch_of(model, corpus, model.END_TASK))
    assert seen == [(True, 0.0)]


@pytest.mark.parametrize("method", ["spigot", "straight-through"])
def test_the_weight_is_that_of_the_gradient_in_the_intermediate_model(make, corpus, method):
    inner, outer = make.models
    found = []
    for weight in (1.0, 0.25):
        torch.manual_seed(1)
        model = make(end_task_weight=weight, method=method)
        model.train().loss(batch_of(model, corpus, model.END_TASK)).backward()
        found.append(gradients(model))
    whole, quarter = found
    assert norm(whole[inner]) > 0
    for name, grad in whole[inner].items():
        torch.testing.assert_close(0.25 * grad, quarter[inner][name], rtol=1e-4, atol=1e-7)
    assert all(torch.equal(g, quarter[outer][name]) for name, g in whole[outer].items())


@pytest.mark.parametrize(("huge", "expected"), [(True, 0.25), (False, None)])
def test_the_weight_is_that_of_the_clipped_gradient(make, corpus, huge, expected):
    inner = make.models[0]
    ends = [
        norm(
            clipped(make(end_task_weight=w), corpus, make().END_TASK, inner if huge else "")[inner]
        )
        for w in (1.0, 0.25)
    ]
    assert ends[1] == pytest.approx(0.25 * ends[0], rel=1e-4)
    assert expected is None or ends[1] == pytest.approx(expected, rel=1e-4)


def test_the_weight_counts_in_steps_of_the_end_task_only(make, corpus):
    own = next(kind for kind in make().KINDS if kind != make().END_TASK)
    inner = make.models[0]
    one, other = (clipped(make(end_task_weight=w), corpus, own, inner)[inner] for w in (1.0, 0.25))
    assert all(torch.equal(grad, other[name]) for name, grad in one.items())


def test_without_weight_the_intermediate_model_hears_nothing(make, corpus):
    inner, outer = make.models
    found = clipped(make(end_task_weight=0.0), corpus, make().END_TASK)
    assert found[inner] == {}
    assert norm(found[outer]) > 0


def test_a_negative_weight_is_refused(make):
    with pytest.raises(ConfigError, match=r"`end_task_weight` is a share from 0 to 1. Got -1.0"):
        make(end_task_weight=-1.0)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_norm_that_is_logged_is_that_of_the_gradient_without_clip_and_weight(
    make, corpus, weight
):
    inner, usual = make.models[0], make()
    torch.manual_seed(1)
    usual.train().training_step(batch_of(usual, corpus, usual.END_TASK), 0).backward()
    expected = norm(gradients(usual)[inner]) / 8  # sentences
    model = make(end_task_weight=weight, clip=1e-3)
    clipped(model, corpus, model.END_TASK)
    assert model.watched["end_task_norm"] == [pytest.approx(expected, rel=1e-4)]
