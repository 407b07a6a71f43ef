"""Draws a sentence in a row, with arcs above and below it: graphs, trees, and how trees differ.

Lengths are in points, 1/72 inch, in the picture as on paper; so text of a known size has a known
place, and words move apart until every label fits on its arc.
"""

from .drawing import draw as draw
from .drawing import save as save
from .layout import ROOT as ROOT
from .layout import Arc as Arc
from .layout import Style as Style
from .layout import levels as levels
