"""The study of surrogates: the protocol on a task that costs nothing, and one step of each task."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import optlayers as ol
from examples.surrogates import latent, listops, permutations, report, search, tours
from examples.surrogates.__main__ import TASKS, main
from examples.surrogates.methods import SURROGATES, make
from examples.surrogates.search import TUNING_SEED, Task, Trial

RUNS: list[Trial] = []
REACHES = {"good": 90.0, "bad": 50.0, "diverges": math.nan}


def pretend(trial: Trial) -> dict[str, float]:
    RUNS.append(trial)
    dev = REACHES[trial.method] - abs(trial.strength - 1) - trial.learning_rate
    return {"dev": dev if trial.learning_rate < 0.05 else math.nan, "score": dev + trial.seed % 2}


@pytest.fixture
def task() -> Task:
    RUNS.clear()
    return Task(
        name="pretend",
        title="Pretended",
        train=pretend,
        methods={"good": "a good one", "bad": "a bad one"},
        learning_rates=(0.01, 0.1),
        strengths={"": (0.5, 1.0, 2.0), "bad": (1.0, 3.0, 5.0)},
        scores={"score": "score"},
        setting="Nothing is trained.",
        seeds=3,
    )


def test_every_method_has_the_same_budget():
    for task in TASKS.values():
        counted = set(task.methods) - task.scale_free
        assert len({len(list(task.grid(method))) for method in counted}) == 1


def test_settings_are_chosen_by_development_data_and_nan_never_wins(task, tmp_path):
    search.study(task, tmp_path)
    rows = pd.read_csv(tmp_path / "pretend.csv")
    assert search.choose(task, rows) == {"good": (0.01, 1.0), "bad": (0.01, 1.0)}
    finals = rows[rows["seed"] != TUNING_SEED]
    assert (finals["strength"] == 1.0).all()
    assert (finals["learning_rate"] == 0.01).all()
    assert finals["seed"].tolist() == [0, 0, 1, 1, 2, 2]


def test_what_was_interrupted_goes_on(task, tmp_path):
    search.study(task, tmp_path)
    path = tmp_path / "pretend.csv"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:8]))
    RUNS.clear()
    search.study(task, tmp_path)
    assert len(RUNS) == len(whole.splitlines()) - 8
    assert sorted(path.read_text().splitlines()) == sorted(whole.splitlines())


def test_smaller_may_be_better(task, tmp_path):
    rows = pd.DataFrame(
        {
            "method": ["good"] * 2,
            "learning_rate": [0.1, 0.2],
            "strength": [1.0, 1.0],
            "seed": [TUNING_SEED] * 2,
            "dev": [3.0, 2.0],
        }
    )
    assert search.choose(task, rows) == {"good": (0.1, 1.0)}
    assert search.choose(replace(task, larger_is_better=False), rows) == {"good": (0.2, 1.0)}


def test_the_page_says_what_ran(task, tmp_path):
    search.study(task, tmp_path)
    report.write([task], tmp_path, tmp_path / "surrogates.md")
    page = (tmp_path / "surrogates.md").read_text()
    assert "| a good one | **90.3 ±0.6** | 0.01 | 1 |" in page
    assert "| a bad one | 50.3 ±0.6 | 0.01 | 1 |" in page
    assert "6 settings" in page
    assert "All tasks and seeds ran." not in page  # of the step sizes there is nothing
    assert "Not run yet: step sizes" in page
    assert set(pd.read_csv(tmp_path / "surrogates.csv")["task"]) == {"pretend"}
    assert (tmp_path / "surrogates-pretend.svg").exists()


def test_seeds_that_not_all_methods_have_are_left_out(task, tmp_path):
    search.study(task, tmp_path)
    path = tmp_path / "pretend.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    report.write([task], tmp_path, tmp_path / "surrogates.md")
    page = (tmp_path / "surrogates.md").read_text()
    assert "Not all seeds yet: Pretended (2 of 3 seeds)." in page
    assert set(pd.read_csv(tmp_path / "surrogates.csv")["seed"]) == {0, 1, TUNING_SEED}
    assert "| a good one | **90.5 ±0.7** | 0.01 | 1 |" in page


def test_few_seeds_come_first(task, tmp_path):
    search.study(task, tmp_path, seeds=1)
    rows = pd.read_csv(tmp_path / "pretend.csv")
    assert rows.loc[rows["seed"] != TUNING_SEED, "seed"].tolist() == [0, 0]
    search.study(task, tmp_path)
    assert len(pd.read_csv(tmp_path / "pretend.csv")) == len(rows) + 4


def test_a_method_whose_strength_changes_nothing_runs_each_rate_once(task):
    some = replace(task, scale_free=frozenset({"bad"}))
    assert [(t.learning_rate, t.strength) for t in some.grid("bad")] == [(0.01, 1.0), (0.1, 1.0)]
    assert len(list(some.grid("good"))) == 6


def test_methods_within_noise_of_the_best_are_marked(task):
    finals = pd.DataFrame(
        [("good", s, 90 + s % 2) for s in range(6)]
        + [("bad", s, 90 + (s + 1) % 2 - 0.1) for s in range(6)]
        + [("far", s, 80 + s % 2) for s in range(6)],
        columns=["method", "seed", "score"],
    )
    assert report.close(task, finals, "good") == {"good", "bad"}


@pytest.mark.parametrize("method", SURROGATES)
def test_every_surrogate_is_made_and_seeded(method):
    scores = torch.randn(4, 5, requires_grad=True)

    def gradient() -> torch.Tensor:
        layer = ol.StructuredArgmax(ol.simplex(5), make(method, 0.5, seed=3))
        return torch.autograd.grad((layer(scores) * torch.arange(20.0).view(4, 5)).sum(), scores)[0]

    assert torch.equal(gradient(), gradient())


@pytest.mark.parametrize("method", ["straight-through", "attention", "frozen", "gold"])
def test_latent_categories_train(monkeypatch, method):
    monkeypatch.setattr(latent, "STEPS", 20)
    monkeypatch.setattr(latent, "EVERY", 10)
    monkeypatch.setattr(latent, "SIZES", {"train": 200, "dev": 50, "test": 50})
    found = latent.train(3, Trial(method, 1e-2, 1.0, 0))
    assert 0 <= found["accuracy"] <= 100
    assert found["step"] in (10, 20)
    assert method != "gold" or found["v_measure"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [([1, 1, 0, 0], 1.0), ([0, 1, 0, 1], 0.0), ([0, 0, 0, 0], 0.0), ([0, 0, 1, 2], 0.8)],
)
def test_v_measure(found, wanted):
    z = torch.tensor([0, 0, 1, 1])
    assert latent.v_measure(z, torch.tensor(found)) == pytest.approx(wanted, abs=1e-12)


def test_categories_have_the_classes_that_they_were_made_with():
    x, z, y = latent.generate(3, 0)["train"]
    for k in range(3):
        within = x[z == k]
        assert torch.allclose(within.std(0), torch.full((latent.FEATURES,), 0.1), atol=0.02)
        assert 0.3 < y[z == k].mean() < 0.7  # the boundary passes the centre


@pytest.mark.parametrize("name", ["sorting", "jigsaw"])
@pytest.mark.parametrize("method", ["spigot-projection", "gumbel-sinkhorn"])
def test_permutations_train(monkeypatch, name, method):
    monkeypatch.setattr(permutations, "SIZES", {"train": 40, "dev": 20, "test": 20})
    monkeypatch.setattr(permutations, "EPOCHS", 2)
    found = TASKS[name].train(Trial(method, 1e-2, 1.0, 0))
    assert 0 <= found["right"] <= 100


def test_pieces_make_the_picture():
    pieces, wanted = permutations.pictures(3, torch.Generator().manual_seed(0))
    assert pieces.shape == wanted.shape == (3, 9, 16)
    for shuffled, ordered in zip(pieces, wanted, strict=True):
        assert sorted(shuffled.sum(1).tolist()) == sorted(ordered.sum(1).tolist())


def test_sinkhorn_is_doubly_stochastic():
    x = permutations.sinkhorn(torch.randn(2, 4, 4), 1.0, torch.zeros(2, 4, 4))
    assert torch.allclose(x.sum(-1), torch.ones(2, 4), atol=1e-3)
    assert torch.allclose(x.sum(-2), torch.ones(2, 4), atol=1e-3)


@pytest.fixture
def expressions(tmp_path, monkeypatch):
    folder = tmp_path / "listops"
    folder.mkdir()
    lines = [f"{max(a, b)}\t( ( ( [MAX {a} ) {b} ) ] )" for a in range(10) for b in range(10)]
    (folder / "test_d20s.tsv").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("OPTLAYERS_DATA", str(tmp_path))
    monkeypatch.setattr(listops, "EPOCHS", 1)
    return tmp_path


@pytest.mark.parametrize("method", TASKS["listops"].methods)
def test_listops_trains(expressions, method):
    found = listops.train(Trial(method, 1e-3, 0.3, 0))
    assert 0 <= found["accuracy"] <= 100


def test_expressions_are_read_without_their_parentheses(expressions):
    tokens, lengths, values = listops.read(expressions)
    assert lengths.tolist() == [4] * 100
    assert tokens[:, 4:].eq(0).all()
    assert values[:3].tolist() == [0, 1, 2]


def test_a_missing_file_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPTLAYERS_DATA", str(tmp_path))
    assert main(["listops", "--out", str(tmp_path)]) == 2
    assert "test_d20s.tsv is missing" in capsys.readouterr().err


def test_an_unknown_method_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["sorting", "--methods", "magic", "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "unknown methods: magic" in capsys.readouterr().err


def every_tour(cities: int) -> np.ndarray:
    edges = list(itertools.combinations(range(cities), 2))
    found = set()
    for rest in itertools.permutations(range(1, cities)):
        tour = (0, *rest, 0)
        used = {tuple(sorted(pair)) for pair in itertools.pairwise(tour)}
        found.add(tuple(float(edge in used) for edge in edges))
    return np.array(sorted(found))


def test_tours_are_the_best_ones():
    edges = list(itertools.combinations(range(6), 2))
    every = torch.as_tensor(every_tour(6))
    scores = torch.randn(20, len(edges), dtype=torch.float64)
    z = ol.decode(tours.tours(6, edges), scores)
    best = (scores @ every.T).max(-1).values
    torch.testing.assert_close((z * scores).sum(-1), best)


def test_fractional_points_that_few_edges_leave_are_cut_off():
    edges = list(itertools.combinations(range(6), 2))
    every = every_tour(6)
    y = torch.randn(10, len(edges), dtype=torch.float64)
    p = ol.project(tours.tours(6, edges), y)
    for point in p.numpy():
        assert not tours.violated(6, np.array(edges), point)
        for side in itertools.product([False, True], repeat=5):
            inside = np.array([True, *side])
            if not inside.all():
                ends = np.array(edges)
                leaving = point[inside[ends[:, 0]] != inside[ends[:, 1]]].sum()
                assert leaving >= 2 - 1e-4
    # all tours are on the right side of all rows that were found
    assert (every.sum(1) == 6).all()
