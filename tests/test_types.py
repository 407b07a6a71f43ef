"""What type checkers are told of the verbs; pyright reads this file, and pytest runs it."""

from typing import assert_type

import torch
from torch import Tensor

import optlayers as ol

P = ol.simplex(3)
X = torch.tensor([0.2, 1.0, 0.1])


def test_a_verb_returns_a_tensor():
    assert isinstance(assert_type(ol.project(P, X), Tensor), Tensor)
    assert isinstance(assert_type(ol.decode(P, X, on_failure="nan"), Tensor), Tensor)
    assert isinstance(assert_type(ol.structured_argmax(P, X), Tensor), Tensor)


def test_with_a_status_it_returns_both():
    pairs = (
        assert_type(ol.project(P, X, return_status=True), tuple[Tensor, ol.Status]),
        assert_type(ol.decode(P, X, return_status=True), tuple[Tensor, ol.Status]),
        assert_type(ol.structured_argmax(P, X, return_status=True), tuple[Tensor, ol.Status]),
    )
    for z, status in pairs:
        assert isinstance(z, Tensor)
        assert isinstance(status, ol.Status)


def test_a_flag_that_is_not_known_gives_either():
    for flag in (False, True):
        found = assert_type(ol.project(P, X, return_status=flag), Tensor | tuple[Tensor, ol.Status])
        assert isinstance(found, tuple) is flag
