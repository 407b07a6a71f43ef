"""Sets over the edges of a graph: paths, spanning trees."""
