"""Hostile polytopes, and a judge for what is projected onto them: `python -m tests.fuzz`."""

import os

os.environ.setdefault("OPTLAYERS_PROGRESS", "0")  # what is printed is judged
