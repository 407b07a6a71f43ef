"""The verb `plan`: which block goes to which map."""

from typing import Literal

from .._decoders import DECODERS
from .._errors import InputError
from .._plan.compile import compile_plan
from .._plan.plan import Plan
from .._polytope.joint import joint_of
from .._polytope.polytope import Polytope, as_polytope
from .._projections import PROJECTIONS

_TABLES = {"projection": PROJECTIONS, "decoder": DECODERS}


def plan(polytope: Polytope, kind: Literal["projection", "decoder"] = "projection") -> Plan:
    """Return the compiled plan of a polytope: which block goes to which map.

    It is compiled once, then kept. Where rows differ from instance to instance, it is that of all
    instances side by side.

    Examples:
        >>> import optlayers as ol
        >>> print(ol.plan(ol.cardinality(4, at_most=2)).explain())
        Projection plan: 4 variables, 1 block
          1 x 4 variables, 1 row -> OneRow
              not Box: it has coupling rows
              not Simplex: a bound other than those of a simplex can be active
    """
    if not isinstance(kind, str) or kind not in _TABLES:
        raise InputError(f"`kind` must be one of {tuple(_TABLES)}. Got {kind!r}.")
    polytope = as_polytope(polytope, "plan")
    return compile_plan(joint_of(polytope) if polytope.rows_batch else polytope, _TABLES[kind])
