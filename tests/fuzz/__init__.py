"""Hostile polytopes, and a judge for what is projected onto them: `python -m tests.fuzz`."""
