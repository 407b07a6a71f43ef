"""What parsers of trees and graphs are made of, shared by the two pipelines of the paper.

Read in this order: `vocabulary` and `vectors` (words as numbers, with vectors from elsewhere),
`batches` (sentences as tensors, in an order that can be resumed), `encoder` (a BiLSTM), `layers`
(scores of pairs of words), `syntax` (scores of heads), `semantics` (scores of graphs).
"""
