"""The first pipeline of the paper: a syntactic parser inside a semantic parser.

Read in this order: `config` (what can be set), `methods` (how gradients pass the tree), `model`
(both parsers and their losses), `callbacks` and `train`, `run` (a trained model on disk),
`evaluate`. `python -m examples.syntax_to_semantics train` trains on a generated corpus.
"""
