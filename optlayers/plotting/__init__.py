"""Pictures of what happens in a layer: sets, steps, plans, sentences and curves, in matplotlib."""

try:
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError(
        "optlayers.plotting draws with matplotlib, which is not installed. "
        'Install it with `pip install "optlayers[plot]"`.'
    ) from error

from ._arcs import graph_arcs as graph_arcs
from ._arcs import tree_arcs as tree_arcs
from ._curves import draw_curves as draw_curves
from ._layout import ROOT as ROOT
from ._layout import Arc as Arc
from ._layout import Style as Style
from ._plane import draw_polytope as draw_polytope
from ._plane import draw_projections as draw_projections
from ._plans import draw_plan as draw_plan
from ._sentence import draw_sentence as draw_sentence
from ._steps import draw_figure_1 as draw_figure_1
from ._steps import draw_step as draw_step
from ._style import COLOURS as COLOURS
from ._style import SERIES as SERIES
from ._style import save as save
