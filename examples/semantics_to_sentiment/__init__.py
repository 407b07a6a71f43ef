"""The second pipeline of the paper: a semantic parser inside a sentiment classifier.

Read in this order: `config` (what can be set), `methods` (how gradients pass the graph),
`classifier` and `model` (the classifier, the parser before it, their losses), `train`, `run` (a
trained model on disk), `evaluate`, `predict`, `compare` and `analyse`, `experiment`. What it shares
with the first pipeline is in `examples.training`; its parser is the first pipeline's, without
syntax.
`python -m examples.semantics_to_sentiment train` trains on generated reviews.
"""
