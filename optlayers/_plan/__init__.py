"""From a polytope to a plan: presolve, blocks, maps, limits."""
