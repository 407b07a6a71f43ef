"""Named sets whose structures are all listed, masks at their parts, and what judges the answers."""
