"""Corpora of dependency trees and semantic graphs, and of reviews.

Read in this order: `sentence` and `corpus` (what a corpus is), `text`, `conll`, `sdp`, `sst` and
`plain` (files), `toy` and `toy_reviews` (the generated corpora), `load` and `reviews` (corpora by
name, their parts), `propbank`, `download`, `fetch` and `fetch_sst` (how open data gets here).
`python -m examples.data fetch ewt` and `fetch sst` bring the open data.
"""

from .conll import read_conllu as read_conllu
from .conll import write_conllu as write_conllu
from .corpus import PARTS as PARTS
from .corpus import Corpus as Corpus
from .load import load_corpus as load_corpus
from .projectivity import is_projective as is_projective
from .projectivity import projectivise as projectivise
from .reviews import load_reviews as load_reviews
from .sdp import (
    read_sdp as read_sdp,
)
from .sdp import (
    write_companion as write_companion,
)
from .sdp import (
    write_sdp as write_sdp,
)
from .sentence import DataError as DataError
from .sentence import Sentence as Sentence
from .sst import read_sst as read_sst
