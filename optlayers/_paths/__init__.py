"""Paths of graphs without cycles: the best one, and sums over all. Chains are such graphs, too."""
