"""The functions that draw. What they return is Any: matplotlib's own types say very little."""

from typing import Any

from optlayers import plotting

draw_curves: Any = plotting.draw_curves
draw_figure_1: Any = plotting.draw_figure_1
draw_plan: Any = plotting.draw_plan
draw_polytope: Any = plotting.draw_polytope
draw_projections: Any = plotting.draw_projections
draw_sentence: Any = plotting.draw_sentence
draw_step: Any = plotting.draw_step
