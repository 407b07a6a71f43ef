"""Rankings: permutations of weights, and their hull, the permutahedron."""
