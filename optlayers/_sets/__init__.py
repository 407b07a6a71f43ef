"""What a layer needs of a set; a Polytope is one, structured sets are others."""

from ._feasible_set import AbstractFeasibleSet as AbstractFeasibleSet
