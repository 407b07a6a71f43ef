"""Sets of every kind that has a place in a plane."""

import numpy as np

import optlayers as ol

SETS = {
    "box": ol.box(2),
    "budget": ol.Polytope([[1.0, 1.0]], [1.5]),
    "segment": ol.Polytope(A_eq=[[1.0, 1.0]], b_eq=[1.0]),
    "simplex": ol.simplex(3),
    "two of three": ol.cardinality(3, exactly=2),
    "shadow": ol.Polytope([[1.0, 2.0, 1.0], [-1.0, 1.0, -1.0]], [2.0, 0.0], num_aux=1),
    "grid": ol.Polytope([[1.0, 1.0], [-1.0, 2.0], [2.0, -1.0]], [4.0, 3.0, 4.0], upper=3.0),
    "open": ol.Polytope([[-1.0, -1.0]], [-1.0], upper=np.inf, integral=False),
}
