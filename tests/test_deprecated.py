"""Names and signatures of the last version: each works once more and says what to write instead."""

import pytest
import torch

import optlayers as ol
from optlayers._deprecated import keyword_only


@pytest.mark.parametrize(
    "name", ["Block", "AbstractBlockMap", "Limits", "Report", "PROJECTIONS", "DECODERS"]
)
def test_names_of_map_authors_moved(name):
    with pytest.warns(DeprecationWarning, match=rf"`optlayers\.{name}` is .* `optlayers\.maps\."):
        found = getattr(ol, name)
    assert found is getattr(ol.maps, name)


def test_constraints_is_describe():
    with pytest.warns(DeprecationWarning, match=r"Use `optlayers\.describe`"):
        assert ol.constraints(ol.simplex(2)) == ol.describe(ol.simplex(2))


def test_a_name_that_never_was():
    with pytest.raises(AttributeError, match="has no attribute 'simplx'"):
        _ = ol.simplx


def test_exactly_by_position():
    with pytest.warns(DeprecationWarning, match=r"`exactly` by position .* Use `exactly=2`"):
        polytope = ol.cardinality(4, 2)  # type: ignore[misc]
    assert torch.equal(polytope.b_eq, ol.cardinality(4, exactly=2).b_eq)


def test_decoder_by_position():
    P, decoder = ol.simplex(3), torch.zeros_like
    with pytest.warns(DeprecationWarning, match="`decoder` by position .* Use `decoder="):
        layer = ol.StructuredArgmax(P, ol.SPIGOT(), decoder)  # type: ignore[misc]
    assert layer.decoder is decoder
    with pytest.raises(TypeError):
        ol.StructuredArgmax(P, ol.SPIGOT(), decoder, "nan")  # type: ignore[misc]


def test_keyword_only_refuses_what_was_never_positional():
    @keyword_only
    def call(a, *, b=1, c=2):
        return a, b, c

    assert call(0, b=3, c=4) == (0, 3, 4)
    with pytest.raises(TypeError, match="takes 1 positional argument but 3"):
        call(0, 1, 2)  # type: ignore[misc]
    with pytest.raises(TypeError, match="takes 1 positional argument but 2"):
        call(0, 1, b=2)  # type: ignore[misc]
