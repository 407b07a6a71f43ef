"""Layers in the table of `test_masks`: set x surrogate x policies x kind of bad number.

The bad number is in the second of three instances; what the others get must not depend on it.
"""

import copy
import itertools
from typing import Any

import pytest
import torch

import optlayers as ol

from .test_masks import MASKS, NEEDED, TABLE, Row, batch, close
from .test_surrogate_formulas import SUMS, every_surrogate

inf, nan = torch.inf, torch.nan
POLICIES = [
    {"on_failure": failure, "on_nonfinite": nonfinite}
    for failure, nonfinite in itertools.product(
        ("raise", "nan", "fallback"), ("raise", "propagate")
    )
]
FEW = (0, 1, 3, 8, 14)  # one surrogate of a kind; all of them on some sets
FULL = ("simplex", "two rows", "trees with one root")


def needs_sums(surrogate: Any) -> bool:
    return isinstance(surrogate, SUMS) or getattr(surrogate, "around", None) == "marginals"


PAIRS = [
    pytest.param(
        name, surrogate, id=f"{name}-{surrogate!r}", marks=[pytest.mark.slow] * (k not in FEW)
    )
    for name, row in TABLE.items()
    for k, surrogate in enumerate(every_surrogate())
    if (name in FULL or k in FEW) and (row.sums or not needs_sums(surrogate))
]


def passed(row: Row, x: torch.Tensor, surrogate: Any, policy: dict[str, Any]) -> tuple:
    """Both passes of a fresh layer: the decision, the gradient, and the layer."""
    leaf = x.clone().requires_grad_()
    layer = ol.StructuredArgmax(row.feasible_set, copy.deepcopy(surrogate), **policy)
    z = layer(leaf)
    weights = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype).reshape(x.shape[1:])
    z.backward(weights.expand_as(z))
    return z.detach(), leaf.grad, layer


@pytest.mark.parametrize(("name", "surrogate"), PAIRS)
def test_a_mask_is_one_under_every_policy(name, surrogate):
    row = TABLE[name]
    clean = passed(row, batch(row, 0.0), surrogate, {})
    first, first_grad, _ = passed(row, batch(row, -inf), surrogate, {})
    for kind, policy in itertools.product(("-inf", "-1e9", "lowest"), POLICIES):
        z, grad, layer = passed(row, batch(row, MASKS[kind]), surrogate, policy)
        close(z, first, torch.float32)
        close(grad, first_grad, torch.float32)  # -1e9 leaves a float64 seven digits
        assert z[(1, *row.part)] == 0
        assert grad.isfinite().all()
        close(z[[0, 2]], clean[0][[0, 2]])
        close(grad[[0, 2]], clean[1][[0, 2]])
        assert layer.status.ok.all()
        assert layer.backward_status is None or layer.backward_status.ok.all()


@pytest.mark.parametrize(("name", "surrogate"), PAIRS)
@pytest.mark.parametrize("value", [nan, inf])
def test_what_is_no_number_costs_its_instance_alone(name, surrogate, value):
    row = TABLE[name]
    clean, clean_grad, _ = passed(row, batch(row, 0.0), surrogate, {})
    with pytest.raises(ol.InputError, match=f"Instance 1: .* is {value}"):
        passed(row, batch(row, value), surrogate, POLICIES[0])
    for policy in POLICIES[1:]:
        z, grad, layer = passed(row, batch(row, value), surrogate, policy)
        propagates = policy["on_nonfinite"] == "propagate"
        if policy["on_failure"] == "fallback" and not propagates:
            assert (z[1] == 0).all()
        else:
            assert z[1].isnan().any()
        assert layer.status.ok.tolist() == [True, propagates, True]
        close(z[[0, 2]], clean[[0, 2]])
        close(grad[[0, 2]], clean_grad[[0, 2]])


PLAIN = [s for s in every_surrogate() if not needs_sums(s)]


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("surrogate", PLAIN, ids=repr)
def test_masks_that_leave_nothing_are_a_failure_of_their_instance(name, surrogate):
    P, at = NEEDED[name]
    row = Row(P, (0,), lambda: torch.zeros(0))
    x = torch.linspace(0, 1, 3 * (P.n if isinstance(P, ol.Polytope) else 3)).double().reshape(3, -1)
    clean, clean_grad, _ = passed(row, x, surrogate, {})
    x[1, at] = -inf
    with pytest.raises(ol.InfeasibleError, match="Instance 1: scores of -inf forbid every point"):
        passed(row, x, surrogate, {})
    for policy in POLICIES[1:]:
        if policy["on_failure"] == "raise":
            continue
        z, grad, layer = passed(row, x, surrogate, policy)
        propagates = policy["on_nonfinite"] == "propagate"
        fallback = policy["on_failure"] == "fallback" and not propagates
        assert (z[1] == 0).all() if fallback else z[1].isnan().any()
        assert layer.status.ok.tolist()[::2] == [True, True]
        close(z[[0, 2]], clean[[0, 2]])
        close(grad[[0, 2]], clean_grad[[0, 2]])


def test_an_instance_that_failed_is_nan_as_a_whole():
    """Also where its other blocks have an answer."""
    limits = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    P = ol.Polytope([[1.0, 1, 0, 0], [0, 0, 1, 1]], limits, integral=False)
    x = torch.rand(2, 4)
    for verb in (ol.project, ol.decode):
        z, status = verb(P, x, on_failure="nan", return_status=True)
        assert status.ok.tolist() == [True, False]
        assert z[0].isfinite().all()
        assert z[1].isnan().all()
