"""Corpora of dependency trees and semantic graphs.

Read in this order: `sentence` and `corpus` (what a corpus is), `text`, `conll` and `sdp` (files),
`toy` (the generated corpus), `load` (corpora by name, their parts), `propbank`, `download` and
`fetch` (how open data gets here). `python -m examples.data fetch ewt` brings the open data.
"""

from .conll import read_conllu as read_conllu
from .conll import write_conllu as write_conllu
from .corpus import PARTS as PARTS
from .corpus import Corpus as Corpus
from .load import load_corpus as load_corpus
from .projectivity import is_projective as is_projective
from .projectivity import projectivise as projectivise
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
