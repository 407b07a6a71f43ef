"""Semantic graphs: their set, decoder, marginals and polytopes."""
