"""Rationale extraction: classify a review by a fifth of its words, in at most three spans.

Read in this order: `corpus` (the generated reviews), `sst` (real reviews), `data` (batches),
`model` (the ten lines that use optlayers), `train`, `report`. Run `python -m examples.quickstart`.
"""
