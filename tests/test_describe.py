"""What `constraints` prints, line by line."""

import numpy as np
import pytest
import torch

import optlayers as ol

inf = np.inf


def lines(*args, **options) -> list[str]:
    return ol.describe(*args, **options).split("\n")


def test_rows_with_signs_and_weights():
    P = ol.Polytope([[1, 1, 2], [-1, 0, 0.5]], [3, -1.25], A_eq=[[0, -2.5, -1]], b_eq=[0])
    assert lines(P) == [
        "A[0]: z0 + z1 + 2 z2 <= 3",
        "A[1]: -z0 + 0.5 z2 <= -1.25",
        "A_eq[0]: -2.5 z1 - z2 = 0",
        "0 <= z <= 1",
    ]


def test_names_and_auxiliary_variables():
    P = ol.Polytope([[1, -1, 1]], [0], num_aux=1, upper=[1, 2, inf])
    assert lines(P, names=["a", "b"]) == [
        "A[0]: z(a) - z(b) + psi0 <= 0",
        "0 <= z(a) <= 1",
        "0 <= z(b) <= 2",
        "psi >= 0",
    ]
    with pytest.raises(ol.InputError, match=r"`names` must name the 2 variables .* Got 3"):
        ol.describe(P, names=["a", "b", "c"])


def test_bounds_of_every_kind():
    P = ol.Polytope(lower=[0, -inf, -inf, 0, 2, 0.5, 0], upper=[1, 3, inf, 1, 2, 0.5, inf])
    assert lines(P) == [
        "0 <= z0, z3 <= 1",  # the most common kind first
        "z1 <= 3",
        "z2 free",
        "z6 >= 0",
        "fixed at 0.5: z5",
        "fixed at 2: z4",
    ]


def test_a_batch_is_printed_as_ranges():
    P = ol.simplex(2, torch.tensor([1.0, 3.0])).with_(lower=torch.tensor([[0.0, 1.0], [0.0, 3.0]]))
    assert lines(P.with_(upper=torch.tensor([[1.0, 1.0], [3.0, 3.0]]))) == [
        "A_eq[0]: z0 + z1 = (1 to 3 in the batch)",
        "0 <= z <= (1 to 3 in the batch)",
        "fixed at (1 to 3 in the batch): z1",
    ]
    same = ol.Polytope([[1.0, 1.0]], torch.ones(4, 1))
    assert lines(same)[0] == "A[0]: z0 + z1 <= 1"
    empty = ol.Polytope([[1.0, 1.0]], torch.ones(0, 1))
    assert lines(empty)[0] == "A[0]: z0 + z1 <= (empty batch)"


def test_what_is_long_is_cut():
    P = ol.Polytope(np.eye(30), np.ones(30), A_eq=np.ones((1, 30)), b_eq=[1])
    assert lines(P)[20:] == ["... and 11 more rows", "0 <= z <= 1"]
    assert lines(P, limit=30)[30] == "... and 1 more row"
    assert lines(P, limit=0) == ["... and 31 more rows", "0 <= z <= 1"]
    assert lines(P, limit=99)[30].endswith("z14 + z15 + ... (14 more terms) = 1")
    fixed = ol.box(40, 0.0, np.arange(40) % 2)
    assert lines(fixed)[1].startswith("fixed at 0: z0, z2, ")
    assert lines(fixed)[1].endswith("z30, ... and 4 more")


def test_rows_without_coefficients():
    assert lines(ol.Polytope([[0.0, 0.0]], [3.0])) == ["A[0]: 0 <= 3", "0 <= z <= 1"]
