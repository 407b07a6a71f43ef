"""The first pipeline of the paper: a syntactic parser inside a semantic parser.

Read in this order: `config` (what can be set), `methods` (how gradients pass the tree), `model`
(both parsers and their losses), `train`, `run` (a trained model on disk), `evaluate`, `predict`,
`compare` and `analyse`, `experiment`. What it shares with the second pipeline is in
`examples.training`. `python -m examples.syntax_to_semantics train` trains on a generated corpus.
"""
