"""Judges of projections, which trust nobody: certificates, references, tables."""
